//! Channel `Callback`: the protocol over TLS, on a stream that the engine opened.

use crate::machine::{Machine, digest, engine_digest, until};
use crate::runner::{Connection, Runner};
use crate::sandbox::shell;
use crate::tls::{SESSION, Server};
use farrier_protocol::{Detect, DialOutcome, EventBody, Installer, LaunchReport, StepExit, Work};
use std::net::TcpListener;

/// Returns a payload that needs many TLS records and does not repeat itself.
fn payload() -> Vec<u8> {
    let mut bytes = b"#!/bin/sh\nexit 0\n#".to_vec();
    bytes.extend((0_u32..20_000).flat_map(|number| digest(&number.to_le_bytes()).into_bytes()));
    bytes
}

sandboxed! {
    /// A whole session whose connection breaks in the middle of a payload: the transfer is resumed.
    fn a_session_over_tls_from_launch_to_retirement() {
        let server = Server::on("127.0.0.1:0");
        let machine = Machine::new(SESSION).calling(&server.callback());
        let mut runner = Runner { break_after: Some(1_000_000), ..Runner::default() };
        let one = runner.payload("one", Installer::Script, payload());
        let detect = vec![("one".into(), Detect::File("/mnt/one".into()))];
        runner.order("survey-1", Work::Survey { packages: false, detect, fwupd: false, programs: Vec::new() });
        runner.order_apply("apply-1", vec![one]);
        runner.finish_calls(&server, &machine);

        assert_eq!(runner.exits(), [("one", &StepExit::Exited { code: 0 })]);
        assert_eq!(runner.dones, ["survey-1", "apply-1"]);
        let ranges: Vec<_> = runner.gets.iter().map(|(_, range)| range.as_str()).collect();
        assert_eq!(ranges.len(), 2, "{ranges:?}");
        assert_eq!((ranges[0], ranges[1].starts_with("bytes=")), ("", true), "{ranges:?}");
        assert_eq!(runner.hellos.len(), 2);
        assert!(runner.hellos.iter().all(|hello| hello.dials.is_empty()), "{:?}", runner.hellos);
        assert_eq!(machine.journal(), runner.events);
        machine.assert_clean();
    }
}

sandboxed! {
    /// A machine may reach only one of the runner's networks.
    fn addresses_are_tried_in_turn_until_one_answers() {
        let server = Server::on("127.0.0.1:0");
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let config = server.callback_at(&[&closed, "192.0.2.1:63002", &server.address()]);
        let machine = Machine::new(SESSION).calling(&config);
        let mut runner = Runner::default();
        runner.finish_calls(&server, &machine);
        let dials: Vec<_> = runner.hellos[0].dials.iter().map(|dial| (dial.address.as_str(), dial.result)).collect();
        assert_eq!(dials, [(closed.as_str(), DialOutcome::Refused), ("192.0.2.1:63002", DialOutcome::NoRoute)]);
        machine.assert_clean();
    }
}

sandboxed! {
    fn ipv6_and_link_local_addresses_are_dialled() {
        shell("ip link add front type veth peer name back && ip link set front up && ip link set back up");
        shell("ip address add fe80::1/64 dev front nodad");
        let server = Server::on("[::]:0");
        for host in ["::1", "fe80::1%front"] {
            let config = server.callback_at(&[&format!("[{host}]:{}", server.port())]);
            let machine = Machine::new(SESSION).calling(&config);
            Runner::default().finish_calls(&server, &machine);
            machine.assert_clean();
            shell("rm -r /var/log/farrier");
        }
        let config = server.callback_at(&["[fe80::1%gone]:1", &format!("[::1]:{}", server.port())]);
        let machine = Machine::new(SESSION).calling(&config);
        let mut runner = Runner::default();
        runner.finish_calls(&server, &machine);
        assert_eq!(runner.hellos[0].dials[0].result, DialOutcome::NoRoute, "{:?}", runner.hellos);
    }
}

sandboxed! {
    /// A runner that cannot be called attaches instead, and keeps its place while it is attached. As
    /// soon as it disconnects, the engine connects again.
    fn an_attached_runner_replaces_the_connection_until_it_leaves() {
        let server = Server::on("127.0.0.1:0");
        let machine = Machine::new(SESSION).calling(&server.callback());
        let mut runner = Runner::default();
        let mut called = server.connection();
        assert!(runner.serve(&mut called, |runner| runner.asked == 1));
        let mut attached = Connection::attach(&machine);
        assert!(runner.serve(&mut attached, |runner| runner.hellos.len() == 2));
        called.read_remaining();
        // Long enough for the engine to check twice whether it should connect.
        assert!(runner.serve(&mut attached, |runner| runner.asked == 4));
        server.listener.set_nonblocking(true).unwrap();
        assert!(server.listener.accept().is_err());
        server.listener.set_nonblocking(false).unwrap();
        drop(attached);
        runner.finish_calls(&server, &machine);
        assert_eq!(runner.hellos.len(), 3);
        machine.assert_clean();
    }
}

sandboxed! {
    /// The engine must connect to the runner that launched last.
    fn a_renewed_configuration_is_applied_at_once() {
        let (old, new) = (Server::on("127.0.0.1:0"), Server::on("127.0.0.1:0"));
        let machine = Machine::new(SESSION).calling(&old.callback());
        let mut runner = Runner::default();
        let mut first = old.connection();
        assert!(runner.serve(&mut first, |runner| runner.asked == 1));
        let again = machine.launch_callback(&new.callback());
        assert_eq!(again, LaunchReport::AlreadyRunning { pid: machine.pid, listening: None });
        let mut second = new.connection();
        assert!(runner.serve(&mut second, |runner| runner.hellos.len() == 2));
        first.read_remaining();

        // Channel Session: the engine no longer connects to any runner.
        assert_eq!(machine.launch(), LaunchReport::AlreadyRunning { pid: machine.pid, listening: None });
        second.read_remaining();
        assert!(!std::fs::exists("/mnt/farrier-1/callback.json").unwrap());
        new.listener.set_nonblocking(true).unwrap();
        runner.finish(&machine);
        assert!(new.listener.accept().is_err());
        machine.assert_clean();
    }
}

sandboxed! {
    /// A peer that vanished without closing the connection must not block the engine forever.
    fn a_stream_from_a_silent_runner_times_out_and_the_engine_reconnects() {
        let server = Server::on("127.0.0.1:0");
        let machine = Machine::new(SESSION).calling(&server.callback());
        let mut runner = Runner::default();
        let mut silent = server.connection();
        assert!(runner.serve(&mut silent, |runner| runner.asked == 1));
        runner.finish_calls(&server, &machine);
        assert_eq!(runner.hellos.len(), 2);
        machine.assert_clean();
    }
}

sandboxed! {
    /// The order to retire is the last one: if the connection breaks after it, the runner must still
    /// learn what is left, although the configuration is gone by then.
    fn final_events_are_delivered_on_another_connection() {
        let server = Server::on("127.0.0.1:0");
        let machine = Machine::new(SESSION).calling(&server.callback());
        let mut runner = Runner::default();
        runner.order("retire-1", Work::Retire);
        let mut first = server.connection();
        // The task is handed out with the first response that is neither a greeting nor an
        // acknowledgement; the engine's events about it are not read any more.
        assert!(runner.serve(&mut first, |runner| runner.given == 1));
        drop(first);
        runner.answer_calls(&server, Runner::retired);
        machine.await_end();
        assert!(matches!(runner.events.last().unwrap().body, EventBody::Retired { .. }));
        machine.assert_clean();
    }
}

sandboxed! {
    /// Contact through either channel renews the lease; without contact the engine exits.
    fn connections_by_the_engine_renew_the_lease() {
        let server = Server::on("127.0.0.1:0");
        let machine = Machine::new(SESSION).calling(&server.callback());
        let mut runner = Runner { lease: Some(2), ..Runner::default() };
        let mut connection = server.connection();
        // Longer than the lease: each response renews it.
        assert!(runner.serve(&mut connection, |runner| runner.asked == 4));
        drop((connection, server));
        machine.await_end();
        machine.assert_clean();
    }
}

sandboxed! {
    /// Whichever process is killed at whatever time, the next launch continues the same session.
    fn the_session_continues_after_engines_and_launches_are_killed() {
        let server = Server::on("127.0.0.1:0");
        let config = server.callback();
        let machine = Machine::new(SESSION).calling(&config);
        let mut runner = Runner::default();
        let one = runner.script("one", "echo ran >>/mnt/ran");
        runner.order_apply("apply-1", vec![one]);
        runner.answer_calls(&server, |runner| runner.is_done("apply-1"));
        machine.kill();

        std::fs::write("/mnt/line", format!("{}\n", serde_json::to_string(&config).unwrap())).unwrap();
        // Kill the launch before, while and after it stores the configuration and starts the engine.
        for milliseconds in (5..).step_by(5) {
            let machine = Machine::new(SESSION).deploy();
            let line = machine.launch_line(&[], engine_digest(), "--channel callback");
            let seconds = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
            let said = shell(&format!("timeout -s KILL {seconds} {line} </mnt/line || true"));
            if said.contains("farrier-launch-1") {
                break;
            }
        }
        let machine = Machine::new(SESSION).deploy();
        let pid = match machine.launch_callback(&config) {
            LaunchReport::Started { pid, .. } | LaunchReport::AlreadyRunning { pid, .. } => pid,
            LaunchReport::Failed { message, .. } => panic!("{message}"),
        };
        let machine = Machine { pid, ..machine };
        until("a call", || {
            runner.serve(&mut server.connection(), |runner| runner.asked > 0)
        });
        runner.finish_calls(&server, &machine);
        assert_eq!(std::fs::read_to_string("/mnt/ran").unwrap(), "ran\n");
        machine.assert_clean();
    }
}
