//! What the operator's shell programs print on a machine.
//!
//! A program is recognised by a text in its code. One that is not is reported and fails, so that a change of the
//! operator cannot pass unnoticed.

use crate::engine::Engine;
use crate::fleet::{Fleet, Machine};
use crate::program::Program;
use farrier_protocol::LaunchReport;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// Printed before a program is read.
pub(crate) const READY: &str = "farrier-ready-1";

/// Exit status of a shell if a command does not exist.
const NO_SUCH_COMMAND: u32 = 127;

/// Who talks to which machine.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) number: u32,
    pub(crate) from: SocketAddr,
    pub(crate) at: SocketAddr,
}

impl Peer {
    fn machine(&self) -> Option<MutexGuard<'_, Machine>> {
        self.fleet.machine(self.number)
    }

    /// Returns the engine on the machine.
    pub(crate) fn engine(&self) -> Option<Arc<Engine>> {
        self.machine()?.engine.clone()
    }

    /// Reads one program and prints what it prints. Returns its exit status.
    pub(crate) async fn shell(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<u32> {
        let mut stream = BufReader::new(stream);
        stream.write_all(format!("{READY}\n").as_bytes()).await?;
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some(program) = Program::read(&line) else {
            return Ok(self.unknown(&line));
        };
        let code = program.code.as_str();
        let printed = if code.contains("farrier-send-1") {
            self.deploy(&program, &mut stream).await?
        } else if code.contains("uname -s") {
            self.probe()
        } else if code.contains("round in 1 2 3") {
            self.look()
        } else if code.contains("$PROC/$PID") {
            self.process(&program)
        } else if code.contains("nf_tables") {
            // No firewall.
            String::new()
        } else {
            return Ok(self.unknown(code));
        };
        stream.write_all(printed.as_bytes()).await?;
        stream.write_all(b"farrier-end-1\n").await?;
        Ok(0)
    }

    fn unknown(&self, code: &str) -> u32 {
        self.fleet.counted.unknown.fetch_add(1, Ordering::Relaxed);
        let begin: String = code.chars().take(300).collect();
        eprintln!(
            "a program that the simulated machines do not know; teach it to them (tests/doubles/machines/src/shell.rs): {begin}"
        );
        NO_SUCH_COMMAND
    }

    /// `probe.sh`.
    fn probe(&self) -> String {
        let (from, at) = (self.from.ip(), self.at.ip());
        let existing = self.engine().map(|engine| format!("existing {}\n", engine.dir)).unwrap_or_default();
        format!("from {from}\nat {at}\nsystem Linux\narch x86_64\nuid 0\ngzip yes\n{existing}")
    }

    /// `look.sh`.
    fn look(&self) -> String {
        let left = |engine: Arc<Engine>| format!("left {}\nleft process:{}\n", engine.dir, engine.pid);
        self.engine().map(left).unwrap_or_default()
    }

    /// `process.sh`.
    fn process(&self, program: &Program) -> String {
        let is_it = |engine: Arc<Engine>| engine.pid.to_string() == program.setting("PID");
        if self.engine().is_some_and(is_it) { "there\n".to_owned() } else { String::new() }
    }

    /// `deploy.sh`: receives the engine, unless the one of this session is at work, and launches it.
    async fn deploy(
        &self,
        program: &Program,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> std::io::Result<String> {
        let place = program.setting("PLACES").split(' ').next().unwrap_or_default();
        let dir = format!("{place}/{}", program.setting("NAME"));
        if let Some(engine) = self.engine().filter(|engine| engine.dir == dir) {
            return Ok(launched(&dir, &LaunchReport::AlreadyRunning { pid: engine.pid, listening: None }));
        }
        stream.write_all(format!("farrier-dir-1 {dir}\nfarrier-send-1\n").as_bytes()).await?;
        let length = program.setting("LENGTH").parse().unwrap_or(0);
        let received = tokio::io::copy(&mut (&mut *stream).take(length), &mut tokio::io::sink()).await?;
        if received < length {
            return Ok("farrier-upload-1 failed\n".to_owned());
        }
        let engine =
            Engine::launch(self.number, dir.clone(), program.option("--session"), program.option("--digest"));
        let pid = engine.pid;
        if let Some(mut machine) = self.machine() {
            machine.engine = Some(Arc::new(engine));
        }
        Ok(launched(&dir, &LaunchReport::Started { pid, listening: None }))
    }
}

fn launched(dir: &str, report: &LaunchReport) -> String {
    let json = serde_json::to_string(report).unwrap_or_default();
    format!("farrier-dir-1 {dir}\n{}{json}\n", LaunchReport::PREFIX)
}
