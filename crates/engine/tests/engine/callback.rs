//! Channel `Callback`: the conversation over TLS, on a stream that the engine opened.

use crate::machine::{Machine, digest};
use crate::runner::Runner;
use crate::tls::{SESSION, Server};
use farrier_protocol::{Detect, EventBody, Installer, StepExit, Work};

/// A payload that needs many TLS records and is no repetition.
fn payload() -> Vec<u8> {
    let mut bytes = b"#!/bin/sh\nexit 0\n#".to_vec();
    bytes.extend((0_u32..100_000).flat_map(|number| digest(&number.to_le_bytes()).into_bytes()));
    bytes
}

sandboxed! {
    /// The main job, with lines that break in the middle of a payload: it goes on where it was.
    fn a_session_over_tls_from_launch_to_retirement() {
        let server = Server::on("127.0.0.1:0");
        let machine = Machine::new(SESSION).calling(&server.callback());
        let mut runner = Runner { break_after: Some(3_000_000), ..Runner::default() };
        let one = runner.payload("one", Installer::Script, payload());
        let detect = vec![("one".into(), Detect::File("/mnt/one".into()))];
        runner.order("survey-1", Work::Survey { packages: false, detect });
        runner.order_apply("apply-1", vec![one]);
        runner.finish_calls(&server, &machine);

        assert_eq!(runner.exits(), [("one", &StepExit::Exited { code: 0 })]);
        assert_eq!(runner.dones, ["survey-1", "apply-1"]);
        let ranges: Vec<_> = runner.gets.iter().map(|(_, range)| range.as_str()).collect();
        let [first, second] = ranges[..] else { panic!("{ranges:?}") };
        assert_eq!((first, second.starts_with("bytes=")), ("", true), "{ranges:?}");
        assert_eq!(runner.hellos.len(), 2);
        assert_eq!(runner.hellos[0].dials, []);
        assert!(matches!(runner.events.last().unwrap().body, EventBody::Retired { .. }));
        assert_eq!(machine.journal(), runner.events);
        machine.assert_clean();
    }
}
