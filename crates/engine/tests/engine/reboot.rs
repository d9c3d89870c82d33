//! Reboots: what is asked before, what is on the machine when it goes down, and what an engine goes on with. The
//! programs of systemd are scripts; the machine does not go down.

use crate::machine::{Machine, until};
use crate::runner::{Connection, Runner};
use crate::sandbox::shell;
use farrier_protocol::{Event, EventBody, Lease, LeaseKind, NoReboot, Work};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// A directory that outlives a reboot.
const DIR: &str = "/var/lib/farrier-1";

/// The arguments of each request for a reboot.
const REQUESTS: &str = "/mnt/requests";

/// Makes the sandbox a machine that systemd has booted, and whose `systemctl reboot` executes `reboot`. Journals are
/// on a disk, in a directory of this name.
pub(crate) fn boot_with_systemd(name: &str, reboot: &str) {
    let disk = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
    shell(&format!(
        "rm -rf {disk} && mkdir -p {disk} && mount --bind {disk} /var/log
         for d in /run /usr/local/sbin /etc/systemd/system /var/lib; do mount -t tmpfs tmpfs $d && chmod 755 $d; done
         mkdir -p /run/systemd/system /run/systemd/inhibit /etc/systemd/system/multi-user.target.wants"
    ));
    program("systemctl", &format!("[ \"$1\" = reboot ] || exit 0\necho \"$@\" >>{REQUESTS}\n{reboot}"));
    program("busctl", "echo 'a(ssssuu) 0'");
    program("wall", "");
}

/// Makes a program of the machine.
pub(crate) fn program(name: &str, script: &str) {
    let path = format!("/usr/local/sbin/{name}");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) fn reboot(ignore_inhibitors: bool) -> Work {
    Work::Reboot { delay_seconds: 0, message: String::new(), wait_seconds: 0, ignore_inhibitors }
}

/// Returns why the task did not reboot the machine.
fn attempt(machine: &Machine, runner: &mut Runner, id: &str, work: Work) -> NoReboot {
    runner.order(id, work);
    runner.talk(machine, |runner| runner.is_done(id));
    let why = |body: &EventBody| match body {
        EventBody::NotRebooted { task, why } if task == id => Some(why.clone()),
        _ => None,
    };
    runner.bodies().find_map(why).unwrap()
}

fn requests() -> String {
    fs::read_to_string(REQUESTS).unwrap_or_default()
}

sandboxed! {
    /// A login manager that does not answer would be taken for a machine on which nobody works.
    fn a_machine_that_cannot_be_asked_for_inhibitors_is_not_rebooted_unless_it_is_forced() {
        boot_with_systemd("inhibitors", "exit 1");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        for (task, script) in [("a1-reboot", "echo Call failed: Connection timed out >&2; exit 1"), ("a2-reboot", "echo s")] {
            program("busctl", script);
            let why = attempt(&machine, &mut runner, task, reboot(false));
            let NoReboot::Failed { detail } = &why else { panic!("{why:?}") };
            assert!(detail.starts_with("it is not known whether a program inhibits its shutdown"), "{detail}");
            assert!(detail.contains("spec.force.inhibitors"), "{detail}");
        }
        assert!(matches!(&attempt(&machine, &mut runner, "a3-reboot", reboot(true)), NoReboot::Failed { detail } if detail.contains("systemctl failed")));
        assert_eq!(requests(), "reboot -i\n");
        // No login manager has run since the machine was booted.
        shell("rmdir /run/systemd/inhibit");
        attempt(&machine, &mut runner, "a4-reboot", reboot(false));
        assert_eq!(requests(), "reboot -i\nreboot\n");
        runner.finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// The machine would be rebooted without what starts the engine again, because an engine was killed.
    fn a_boot_file_whose_lease_is_taken_and_which_was_not_written_is_written() {
        let unit = "/etc/systemd/system/farrier-1.service";
        boot_with_systemd("boot-file", &format!("cp {unit} /mnt/unit; exit 1"));
        let mut machine = Machine::new("s1").in_dir(DIR).started();
        machine.kill();
        let seq = machine.journal().last().unwrap().seq + 1;
        let lease = Lease { id: "boot-file-9".into(), kind: LeaseKind::BootFile, what: unit.into(), started: None };
        let line = serde_json::to_string(&Event { seq, at: 0, body: EventBody::LeaseTaken { lease } }).unwrap();
        let mut journal = fs::OpenOptions::new().append(true).open(machine.journal_path()).unwrap();
        writeln!(journal, "{line}").unwrap();
        machine = machine.started();
        let mut runner = Runner::default();
        attempt(&machine, &mut runner, "a1-reboot", reboot(false));
        let written = fs::read_to_string("/mnt/unit").expect("the unit is there when the machine goes down");
        assert!(written.contains("resume --dir /var/lib/farrier-1"), "{written}");
        until("the unit to be removed", || !Path::new(unit).exists());
        runner.finish(&machine);
        machine.assert_clean();
    }
}

/// Has the engine begin the reboot, and returns a connection on which the runner answers nothing more.
fn silent_runner(machine: &Machine, runner: &mut Runner) -> Connection {
    let work =
        Work::Reboot { delay_seconds: 1, message: String::new(), wait_seconds: 0, ignore_inhibitors: false };
    runner.order("a1-reboot", work);
    let mut connection = Connection::attach(machine);
    let has_begun = |body: &EventBody| matches!(body, EventBody::RebootBegun { .. });
    assert!(runner.serve(&mut connection, |runner| runner.bodies().any(has_begun)));
    let is_requested = |event: &Event| matches!(event.body, EventBody::RebootRequested { .. });
    until("the request to be recorded", || machine.journal().iter().any(is_requested));
    connection
}

sandboxed! {
    /// A runner would take the engine for lost, and wait for less long than the machine may take.
    fn the_runner_learns_of_the_reboot_before_it_is_requested() {
        boot_with_systemd("told", "exit 1");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let mut connection = silent_runner(&machine, &mut runner);
        // sleep: a request that does not wait would be made now.
        thread::sleep(Duration::from_secs(1));
        assert_eq!(requests(), "");
        assert!(runner.serve(&mut connection, |runner| runner.is_done("a1-reboot")));
        assert_eq!(requests(), "reboot\n");
        drop(connection);
        runner.finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// The machine would not be rebooted, because a runner does not answer or is gone.
    fn the_reboot_does_not_wait_for_a_runner_that_does_not_answer() {
        boot_with_systemd("silent", "exit 1");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let connection = silent_runner(&machine, &mut runner);
        until("the reboot to be requested", || requests() == "reboot\n");
        drop(connection);
        runner.finish(&machine);
        machine.assert_clean();
    }
}
