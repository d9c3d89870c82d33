//! The runner's side of the protocol, for tests. It follows the protocol and records everything.

use crate::machine::{Machine, digest, step};
use crate::tls::Server;
use farrier_protocol::{
    ATTACH_MARKER, Ack, DEFAULT_WAIT_SECONDS, Event, EventBody, Hello, Installer, LOG_CHUNK_BYTES, LogAck,
    Next, Step, StepExit, Task, VERSION, Wait, Welcome, Work,
};
use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

/// The runner. It outlives its connections, like the state of the real runner.
#[derive(Default)]
pub(crate) struct Runner {
    pub(crate) tasks: VecDeque<Task>,
    pub(crate) payloads: HashMap<String, Vec<u8>>,
    /// Events by number, without duplicates.
    pub(crate) events: Vec<Event>,
    pub(crate) hellos: Vec<Hello>,
    pub(crate) dones: Vec<String>,
    /// Path and `Range` of each GET.
    pub(crate) gets: Vec<(String, String)>,
    pub(crate) cancel: bool,
    /// Number of acknowledgements that reported a cancelled run.
    pub(crate) cancels_sent: usize,
    pub(crate) lease: Option<u64>,
    /// Limit in seconds of the engine's waits.
    pub(crate) wait: Option<u64>,
    /// Number of posts of events, empty ones included.
    pub(crate) posts: usize,
    /// Number of requests for a task that were answered without a task.
    pub(crate) asked: usize,
    /// Number of tasks that were handed out.
    pub(crate) given: usize,
    /// Response to the next request for a task.
    pub(crate) answer_next: Option<String>,
    /// Whether payloads are sent in chunks.
    pub(crate) chunked: bool,
    /// Whether payloads are sent from the beginning, whatever range is requested.
    pub(crate) no_ranges: bool,
    /// Number of bytes of the next payload after which the connection breaks.
    pub(crate) break_after: Option<usize>,
    /// The log of the session as it was received. `None`: this runner takes no logs, as earlier versions.
    pub(crate) log: Option<Vec<u8>>,
    /// The sizes of the parts in which the log arrived.
    pub(crate) log_parts: Vec<usize>,
}

/// One connection to the engine.
pub(crate) struct Connection {
    input: BufReader<Box<dyn Read>>,
    output: Option<Box<dyn Write>>,
    /// The process of an attached connection.
    child: Option<Child>,
}

struct Request {
    method: String,
    path: String,
    range: String,
    body: Vec<u8>,
}

impl Connection {
    pub(crate) fn attach(machine: &Machine) -> Self {
        Self::attach_as(machine, &[])
    }

    pub(crate) fn attach_as(machine: &Machine, prefix: &[&str]) -> Self {
        let engine = format!("{}/engine", machine.dir);
        let mut words = prefix.to_vec();
        words.extend([engine.as_str(), "attach", "--dir", &machine.dir]);
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output: Box<dyn Write> = Box::new(child.stdin.take().unwrap());
        let mut input: BufReader<Box<dyn Read>> = BufReader::new(Box::new(child.stdout.take().unwrap()));
        let mut line = String::new();
        input.read_line(&mut line).unwrap();
        assert!(line.is_empty() || line.trim_end() == ATTACH_MARKER, "{line:?}");
        Self { input, output: Some(output), child: Some(child) }
    }

    /// Creates a connection on a stream that the engine opened. It ends when both halves are dropped.
    pub(crate) fn on(input: impl Read + 'static, output: impl Write + 'static) -> Self {
        Self { input: BufReader::new(Box::new(input)), output: Some(Box::new(output)), child: None }
    }

    /// Reads until the engine ends the connection.
    pub(crate) fn read_to_end(&mut self) -> String {
        let mut text = String::new();
        self.input.read_to_string(&mut text).unwrap();
        text
    }

    /// Reads until the stream ends, with or without an error.
    pub(crate) fn read_remaining(&mut self) -> String {
        let mut bytes = Vec::new();
        self.input.read_to_end(&mut bytes).ok();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.output = None;
        self.child.as_mut().unwrap().wait().unwrap().code()
    }

    /// Ends the connection as if the network failed.
    pub(crate) fn cut(&mut self) {
        let child = self.child.as_mut().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends the connection after all sent data has arrived.
    fn end(&mut self) {
        self.output = None;
        if let Some(child) = &mut self.child {
            child.wait().unwrap();
        }
    }

    fn request(&mut self) -> Option<Request> {
        let mut line = String::new();
        self.input.read_line(&mut line).ok()?;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next()?, words.next()?);
        let (mut range, mut length) = (String::new(), 0);
        loop {
            let mut header = String::new();
            self.input.read_line(&mut header).ok()?;
            match header.trim_end().split_once(": ") {
                Some(("Range", value)) => value.clone_into(&mut range),
                Some(("Content-Length", value)) => length = value.parse().unwrap(),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.input.read_exact(&mut body).ok()?;
        Some(Request { method, path, range, body })
    }

    fn send(&mut self, bytes: &[u8]) {
        // The engine may have exited; then no further request arrives.
        self.output.as_mut().unwrap().write_all(bytes).ok();
    }

    fn respond(&mut self, status: &str, headers: &str, body: &[u8]) {
        let length = body.len();
        self.send(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n").as_bytes());
        self.send(body);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Runner {
    /// Returns a script as a step. The runner serves its payload.
    pub(crate) fn script(&mut self, component: &str, script: &str) -> Step {
        let script = format!("#!/bin/sh\n{script}\n");
        self.payload(component, Installer::Script, script.into_bytes())
    }

    pub(crate) fn payload(&mut self, component: &str, installer: Installer, bytes: Vec<u8>) -> Step {
        let step = step(component, installer, &bytes);
        self.payloads.insert(digest(&bytes), bytes);
        step
    }

    pub(crate) fn order(&mut self, id: &str, work: Work) {
        self.tasks.push_back(Task { id: id.into(), work });
    }

    pub(crate) fn order_apply(&mut self, id: &str, steps: Vec<Step>) {
        let wait_seconds = self.wait.unwrap_or(DEFAULT_WAIT_SECONDS);
        self.order(id, Work::Apply { steps, wait_seconds });
    }

    /// Answers requests until `done` returns true. Returns false if the engine ended the connection before.
    pub(crate) fn serve(&mut self, connection: &mut Connection, mut done: impl FnMut(&Self) -> bool) -> bool {
        while !done(self) {
            match connection.request() {
                Some(request) => self.answer(connection, &request),
                None => return done(self),
            }
        }
        true
    }

    /// Serves on a new connection until `done` returns true, which must happen.
    pub(crate) fn talk(&mut self, machine: &Machine, done: impl FnMut(&Self) -> bool) {
        let mut connection = Connection::attach(machine);
        assert!(self.serve(&mut connection, done), "the engine left: {:?}", self.events);
    }

    /// Serves the connections that the engine opens until `done` returns true, which must happen.
    pub(crate) fn answer_calls(&mut self, server: &Server, mut done: impl FnMut(&Self) -> bool) {
        while !self.serve(&mut server.connection(), &mut done) {}
    }

    /// Serves the connections that the engine opens until the engine exits, with a task to retire at the
    /// end.
    pub(crate) fn finish_calls(&mut self, server: &Server, machine: &Machine) {
        self.order("retire-1", Work::Retire);
        self.answer_calls(server, Self::retired);
        machine.await_end();
    }

    /// Serves until the engine exits, with a task to retire at the end.
    pub(crate) fn finish(&mut self, machine: &Machine) {
        self.order("retire-1", Work::Retire);
        self.talk(machine, Self::retired);
        machine.await_end();
    }

    fn answer(&mut self, connection: &mut Connection, request: &Request) {
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/v1/hello") => {
                self.hellos.push(serde_json::from_slice(&request.body).unwrap());
                let lease_seconds = self.lease.unwrap_or(60);
                let log = self.log.as_ref().map(|log| log.len() as u64);
                let welcome = Welcome { ack: self.last_seq(), lease_seconds, protocol: VERSION, log };
                connection.respond("200 OK", "", &serde_json::to_vec(&welcome).unwrap());
            }
            ("POST", "/v1/events") => {
                self.posts += 1;
                let events: Vec<Event> = serde_json::from_slice(&request.body).unwrap();
                for event in events {
                    assert!(event.seq <= self.last_seq() + 1, "a gap before {event:?}");
                    if event.seq > self.last_seq() {
                        self.events.push(event);
                    }
                }
                let ack = Ack { ack: self.last_seq(), cancel: self.cancel };
                self.cancels_sent += usize::from(self.cancel);
                connection.respond("200 OK", "", &serde_json::to_vec(&ack).unwrap());
            }
            ("POST", path) if path.starts_with("/v1/log?from=") => {
                let log = self.log.as_mut().unwrap();
                let from: usize = path.rsplit('=').next().unwrap().parse().unwrap();
                assert!(from >= log.len(), "bytes that the runner has: {from}");
                assert!(request.body.len() <= LOG_CHUNK_BYTES);
                log.resize(from, 0);
                log.extend(&request.body);
                self.log_parts.push(request.body.len());
                let ack = LogAck { next: log.len() as u64 };
                connection.respond("200 OK", "", &serde_json::to_vec(&ack).unwrap());
            }
            ("POST", "/v1/next") => {
                let next: Next = serde_json::from_slice(&request.body).unwrap();
                if let Some(done) = next.done {
                    if self.tasks.front().is_some_and(|task| task.id == done) {
                        self.tasks.pop_front();
                    }
                    self.dones.push(done);
                }
                if let Some(answer) = self.answer_next.take() {
                    return connection.respond("200 OK", "", answer.as_bytes());
                }
                self.asked += usize::from(self.tasks.is_empty());
                match self.tasks.front() {
                    Some(task) => {
                        self.given += 1;
                        connection.respond("200 OK", "", &serde_json::to_vec(task).unwrap());
                    }
                    None => connection.send(b"HTTP/1.1 204 No Content\r\n\r\n"),
                }
            }
            ("GET", path) => self.hand_out(connection, path, &request.range),
            (method, path) => panic!("{method} {path}"),
        }
    }

    fn hand_out(&mut self, connection: &mut Connection, path: &str, range: &str) {
        self.gets.push((path.to_owned(), range.to_owned()));
        let Some(bytes) = path.strip_prefix("/v1/payloads/").and_then(|name| self.payloads.get(name)) else {
            return connection.respond("404 Not Found", "", b"no such payload");
        };
        let range = if self.no_ranges { "" } else { range };
        let from: usize =
            range.strip_prefix("bytes=").map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
        let (rest, total) = (&bytes[from..], bytes.len());
        let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
        let headers = format!("Content-Range: bytes {from}-{}/{total}\r\n", total - 1);
        if let Some(count) = self.break_after.take() {
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", rest.len());
            connection.send(head.as_bytes());
            connection.send(&rest[..count]);
            connection.end();
        } else if self.chunked {
            let head = format!("HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n{headers}\r\n");
            connection.send(head.as_bytes());
            for chunk in rest.chunks(1000) {
                connection.send(format!("{:x}\r\n", chunk.len()).as_bytes());
                connection.send(chunk);
                connection.send(b"\r\n");
            }
            connection.send(b"0\r\n\r\n");
        } else {
            connection.respond(status, &headers, rest);
        }
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.events.last().map_or(0, |event| event.seq)
    }

    pub(crate) fn bodies(&self) -> impl Iterator<Item = &EventBody> {
        self.events.iter().map(|event| &event.body)
    }

    pub(crate) fn is_done(&self, id: &str) -> bool {
        self.dones.iter().any(|done| done == id)
    }

    pub(crate) fn retired(&self) -> bool {
        matches!(self.events.last().map(|event| &event.body), Some(EventBody::Retired { .. }))
    }

    pub(crate) fn has_started(&self, wanted: &str) -> bool {
        self.bodies()
            .any(|body| matches!(body, EventBody::StepStarted { component, .. } if component == wanted))
    }

    /// Returns the lines of the log without their times.
    pub(crate) fn log_lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.log.clone().unwrap_or_default()).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    /// Returns the lines that a component's installer has printed.
    pub(crate) fn printed_by(&self, component: &str) -> Vec<String> {
        let prefix = format!("{component} ");
        self.log_lines().iter().filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned)).collect()
    }

    /// Returns the waits that the engine has reported.
    pub(crate) fn waits(&self) -> Vec<Option<&Wait>> {
        let waits = self.bodies().filter_map(|body| match body {
            EventBody::Waiting { wait } => Some(wait.as_ref()),
            _ => None,
        });
        waits.collect()
    }

    /// Returns how each step ended, in order.
    pub(crate) fn exits(&self) -> Vec<(&str, &StepExit)> {
        self.bodies()
            .filter_map(|body| match body {
                EventBody::StepFinished { component, exit, .. } => Some((component.as_str(), exit)),
                _ => None,
            })
            .collect()
    }

    /// Returns the last output of a component's step.
    pub(crate) fn output(&self, wanted: &str) -> &str {
        let output = self.bodies().find_map(|body| match body {
            EventBody::StepFinished { component, output, .. } if component == wanted => Some(output),
            _ => None,
        });
        output.unwrap_or_else(|| panic!("{wanted} has not ended: {:?}", self.events))
    }

    /// Returns the failure of a task.
    pub(crate) fn failure(&self) -> (farrier_protocol::FailureCode, &str, &str) {
        let failure = self.bodies().find_map(|body| match body {
            EventBody::TaskFailed { code, component, message, .. } => {
                Some((*code, component.as_str(), message.as_str()))
            }
            _ => None,
        });
        failure.unwrap_or_else(|| panic!("no task has failed: {:?}", self.events))
    }
}
