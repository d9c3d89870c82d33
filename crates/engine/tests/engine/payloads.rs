//! Payloads: lost connections, wrong bytes, a full disk.

use crate::machine::{DIR, Machine};
use crate::runner::{Connection, Runner};
use crate::sandbox::shell;
use farrier_protocol::{EventBody, FailureCode, Installer, STAGED_DIRECTORY, Step, StepExit};
use std::fs;
use std::path::{Path, PathBuf};

/// Returns a script with padding that makes it large.
fn large() -> Vec<u8> {
    let mut bytes = b"#!/bin/sh\necho installed; exit 0\n".to_vec();
    bytes.extend((0..300_000_u32).flat_map(u32::to_le_bytes));
    bytes
}

sandboxed! {
    /// A download of gigabytes over an unreliable connection must not restart from the beginning.
    fn a_payload_is_resumed_after_a_lost_connection() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner { break_after: Some(500_000), ..Runner::default() };
        let one = runner.payload("one", Installer::Script, large());
        runner.order_apply("apply-1", vec![one]);
        let mut connection = Connection::attach(&machine);
        assert!(!runner.serve(&mut connection, |_| false), "the line was not broken");
        runner.finish(&machine);
        let ranges: Vec<&str> = runner.gets.iter().map(|(_, range)| range.as_str()).collect();
        assert_eq!(ranges, ["", "bytes=500000-"]);
        assert_eq!(runner.exits(), [("one", &StepExit::Exited { code: 0 })]);
        machine.assert_clean();
    }
}

/// Stages a payload of a step beside the engine's directory, with these bytes, for this owner of the directory.
fn stage(step: &Step, bytes: &[u8], owner: &str) -> PathBuf {
    stage_beside(DIR, step, bytes, owner)
}

fn stage_beside(engine: &str, step: &Step, bytes: &[u8], owner: &str) -> PathBuf {
    let dir = Path::new(engine).with_file_name(STAGED_DIRECTORY);
    shell(&format!("mkdir -p -m 700 {0} && chown {owner} {0}", dir.display()));
    let file = dir.join(step.payload.as_ref().unwrap().digest.trim_start_matches("sha256:"));
    fs::write(&file, bytes).unwrap();
    file
}

sandboxed! {
    /// What was carried before a maintenance window must not be carried again in it.
    fn a_staged_payload_is_installed_and_not_fetched() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let one = runner.payload("one", Installer::Script, large());
        let file = stage(&one, &large(), "root");
        runner.order_apply("apply-1", vec![one]);
        runner.finish(&machine);
        assert_eq!(runner.gets, []);
        assert_eq!(runner.exits(), [("one", &StepExit::Exited { code: 0 })]);
        assert_eq!(fs::read(&file).unwrap(), large(), "the operator removes it, when the update has succeeded");
        machine.assert_clean();
    }
}

sandboxed! {
    /// A machine whose disk is nearly full of what was staged there must be able to install it.
    fn a_staged_payload_needs_no_more_room() {
        fs::create_dir("/mnt/small").unwrap();
        shell("mount -t tmpfs -o size=128m,mode=755 tmpfs /mnt/small");
        let machine = Machine::new("s1").in_dir("/mnt/small/farrier-1").started();
        let mut runner = Runner { wait: Some(0), ..Runner::default() };
        let mut bytes = b"#!/bin/sh\necho installed\n".to_vec();
        bytes.resize(24 * 1024 * 1024, b'\n');
        let one = runner.payload("one", Installer::Script, bytes.clone());
        stage_beside("/mnt/small/farrier-1", &one, &bytes, "root");
        shell("dd if=/dev/zero of=/mnt/small/fill bs=1M count=$(($(df -Pm /mnt/small | awk 'NR == 2 { print $4 }') - 8))");
        runner.order_apply("apply-1", vec![one]);
        runner.finish(&machine);
        assert_eq!(runner.exits(), [("one", &StepExit::Exited { code: 0 })]);
        assert_eq!(runner.gets, []);
        machine.assert_clean();
    }
}

sandboxed! {
    /// A file that was changed since it was staged must never be installed, and not be written through either:
    /// it may be a link to something else.
    fn a_staged_payload_that_has_changed_is_fetched() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let one = runner.payload("one", Installer::Script, large());
        let mut evil = b"#!/bin/sh\necho evil >>/mnt/ran\n".to_vec();
        evil.resize(large().len(), b'\n');
        let file = stage(&one, &evil, "root");
        runner.order_apply("apply-1", vec![one]);
        runner.finish(&machine);
        assert_eq!(runner.gets.len(), 1);
        assert_eq!(runner.exits(), [("one", &StepExit::Exited { code: 0 })]);
        assert!(!Path::new("/mnt/ran").exists());
        assert_eq!(fs::read(&file).unwrap(), evil);
    }
}

sandboxed! {
    /// Any user may make a directory in /var/tmp, and could change a file in it between the check and its use.
    fn a_directory_of_another_user_is_not_taken_for_that_of_staged_payloads() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let one = runner.payload("one", Installer::Script, large());
        stage(&one, &large(), "1000");
        runner.order_apply("apply-1", vec![one]);
        runner.finish(&machine);
        assert_eq!(runner.gets.len(), 1);
    }
}

sandboxed! {
    /// HTTP allows a server to ignore ranges, so a proxy or another runner may do it.
    fn a_payload_without_ranges_is_fetched_from_the_beginning() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner { break_after: Some(500_000), no_ranges: true, ..Runner::default() };
        let one = runner.payload("one", Installer::Script, large());
        runner.order_apply("apply-1", vec![one]);
        let mut connection = Connection::attach(&machine);
        assert!(!runner.serve(&mut connection, |_| false), "the line was not broken");
        runner.finish(&machine);
        assert_eq!(runner.gets.len(), 2);
        assert_eq!(runner.exits(), [("one", &StepExit::Exited { code: 0 })]);
    }
}

sandboxed! {
    /// Runners may stream payloads that they have not fetched completely.
    fn a_payload_may_come_in_chunks_and_is_fetched_once() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner { chunked: true, ..Runner::default() };
        let one = runner.payload("one", Installer::Script, large());
        let two = runner.payload("two", Installer::Script, large());
        runner.order_apply("apply-1", vec![one, two]);
        runner.finish(&machine);
        assert_eq!(runner.gets.len(), 1);
        assert_eq!(runner.exits().len(), 2);
        let verified = runner.bodies().filter(|body| matches!(body, EventBody::PayloadVerified { .. })).count();
        assert_eq!(verified, 2);
    }
}

sandboxed! {
    /// Bytes that do not match the baseline's digest are never executed, nor are the other steps of the
    /// task.
    fn wrong_bytes_start_no_step() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let one = runner.script("one", "echo one >>/mnt/ran");
        let two = runner.script("two", "echo two >>/mnt/ran");
        runner.payloads.insert(two.payload.as_ref().unwrap().digest.clone(), b"#!/bin/sh\necho evil >>/mnt/ran\n"[..].into());
        let mut evil = runner.payloads[&two.payload.as_ref().unwrap().digest].clone();
        evil.resize(usize::try_from(two.payload.as_ref().unwrap().size).unwrap(), b'\n');
        runner.payloads.insert(two.payload.as_ref().unwrap().digest.clone(), evil);
        runner.order_apply("apply-1", vec![one, two]);
        runner.finish(&machine);
        let (code, component, message) = runner.failure();
        assert_eq!((code, component), (FailureCode::DigestMismatch, "two"));
        assert!(message.contains("the received file is sha256:"), "{message}");
        assert!(runner.exits().is_empty());
        assert!(fs::read_to_string("/mnt/ran").is_err());
        machine.assert_clean();
    }
}

sandboxed! {
    /// The message must say whether the baseline or the store is wrong.
    fn a_payload_that_is_missing_or_of_the_wrong_length_is_unavailable() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let mut one = runner.script("one", "echo one >>/mnt/ran");
        one.payload.as_mut().unwrap().size += 5;
        runner.order_apply("apply-1", vec![one]);
        let mut connection = Connection::attach(&machine);
        // The engine does not read the offered body, so it closes the connection.
        assert!(!runner.serve(&mut connection, |runner| runner.is_done("apply-1")));
        runner.talk(&machine, |runner| runner.is_done("apply-1"));
        let (code, _, message) = runner.failure();
        assert_eq!(code, FailureCode::PayloadUnavailable);
        assert!(message.contains("the runner offers"), "{message}");

        runner.events.clear();
        let mut runner = Runner { events: machine.journal(), ..Runner::default() };
        let two = runner.script("two", "echo two >>/mnt/ran");
        runner.payloads.clear();
        runner.order_apply("apply-2", vec![two]);
        runner.finish(&machine);
        let failures: Vec<_> = runner
            .bodies()
            .filter_map(|body| match body {
                EventBody::TaskFailed { code, message, .. } => Some((*code, message.as_str())),
                _ => None,
            })
            .collect();
        assert_eq!(failures[1].0, FailureCode::PayloadUnavailable);
        assert!(failures[1].1.contains("404") && failures[1].1.contains("no such payload"), "{failures:?}");
        machine.assert_clean();
    }
}

sandboxed! {
    /// The engine finds the lack of space before it fetches a byte, and reports the figures that an
    /// administrator needs.
    fn a_full_disk_is_found_before_anything_is_fetched() {
        fs::create_dir("/mnt/small").unwrap();
        shell("mount -t tmpfs -o size=40m,mode=755 tmpfs /mnt/small");
        let machine = Machine::new("s1").in_dir("/mnt/small/farrier-1").started();
        let mut runner = Runner::default();
        let mut one = runner.script("one", "true");
        one.payload.as_mut().unwrap().size = 50 * 1024 * 1024;
        runner.order_apply("apply-1", vec![one]);
        runner.finish(&machine);
        let (code, _, message) = runner.failure();
        assert_eq!(code, FailureCode::DiskFull);
        assert!(message.contains("/mnt/small/farrier-1 has") && message.contains("need 54 MiB"), "{message}");
        assert!(runner.gets.is_empty());
        machine.assert_clean();
    }
}

sandboxed! {
    /// A name from a URL must not escape the engine's directory.
    fn a_file_name_cannot_leave_the_directory() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let mut one = runner.script("one", "echo $0");
        one.payload.as_mut().unwrap().file_name = "../../escaped".into();
        let mut two = runner.payload("two", Installer::Script, b"\x7f\x01firmware\n".to_vec());
        two.payload.as_mut().unwrap().file_name = String::new();
        runner.order_apply("apply-1", vec![one, two]);
        runner.finish(&machine);
        assert_eq!(runner.output("one"), format!("{DIR}/work/0/payload\n"));
        let StepExit::NotStarted { detail, .. } = runner.exits()[1].1 else { panic!("{:?}", runner.exits()) };
        assert!(detail.contains("#!"), "{detail}");
        machine.assert_clean();
    }
}
