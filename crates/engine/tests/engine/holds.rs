//! Holds of dpkg that a run overrides by force: whatever ends the installer, they are there afterwards.

use crate::machine::{Machine, is_alive, until};
use crate::packages::{add_package, build_with};
use crate::repositories::{apply, empty_apt, offer, offer_file, step};
use crate::runner::{Connection, Runner};
use crate::sandbox::shell;
use farrier_protocol::{EventBody, Installer, LeaseKind, Leftover, Step, StepExit, WaitFor};
use rustix::fs::{FlockOperation, fcntl_lock};
use std::fs::{self, File};

const OK: StepExit = StepExit::Exited { code: 0 };

/// Says that it has begun, and goes on when it may.
const WAITS: &str = "touch /mnt/begun; until [ -e /mnt/go ]; do sleep 0.01; done";

/// Says that it has begun, and does not end when it is asked to.
const NEVER_ENDS: &str = "trap '' TERM; touch /mnt/begun; while :; do sleep 0.1; done";

/// Puts a package on hold that the repository has in a newer version with a script.
fn held_package(script: &str) {
    empty_apt();
    add_package("fx", "1", "hold ok installed");
    offer_file("fx", "2", &build_with("fx", "2", "all", "", script));
}

/// Puts a script before a program of the machine.
fn shim(program: &str, script: &str) {
    shell("mount -t tmpfs -o mode=755 tmpfs /usr/local/sbin");
    let path = format!("/usr/local/sbin/{program}");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    shell(&format!("chmod 755 {path}"));
}

/// Returns a step that installs from the repository whatever is on hold.
fn forced(name: &str, version: &str) -> Step {
    Step { respect_holds: false, ..step(Installer::Deb, name, version) }
}

fn selection(name: &str) -> String {
    shell(&format!("dpkg-query -W -f '${{db:Status-Want}}' {name}"))
}

fn leftovers(runner: &Runner) -> Vec<Leftover> {
    let retired = runner.bodies().find_map(|body| match body {
        EventBody::Retired { leftovers } => Some(leftovers.clone()),
        _ => None,
    });
    retired.unwrap()
}

/// Lets the installer begin, and then ends it and the engine as a power cut does.
fn cut_power(machine: &Machine, runner: &mut Runner) {
    runner.order_apply("apply-1", vec![forced("fx", "2")]);
    let mut connection = Connection::attach(machine);
    assert!(runner.serve(&mut connection, |runner| runner.has_started("fx")));
    until("the script of the package", || fs::exists("/mnt/begun").unwrap());
    machine.kill();
    let mut processes = machine.journal().into_iter().filter_map(|event| match event.body {
        EventBody::LeaseTaken { lease } if lease.kind == LeaseKind::Process => Some(lease.what),
        _ => None,
    });
    // The last one is the installer, the first of its group. apt gives dpkg a session of its own.
    let installer = processes.next_back().unwrap();
    let rest = "ps -eo pid=,comm= | awk '$2 ~ /^(apt-get|dpkg|fx.postinst)$/ { print $1 }'";
    // Some may have ended with others.
    shell(&format!("kill -9 -{installer} $({rest}) || true"));
    until("the end of dpkg", || !shell(rest).lines().any(|pid| is_alive(pid.trim().parse().unwrap())));
    assert_eq!(selection("fx"), "install", "the test is about nothing");
}

sandboxed! {
    /// An engine that is killed leaves the hold to the next one, as it does with everything else.
    fn a_hold_is_put_back_by_the_next_engine() {
        held_package(WAITS);
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        cut_power(&machine, &mut runner);
        let machine = Machine::new("s1").started();
        runner.talk(&machine, |runner| runner.is_done("apply-1"));
        assert_eq!(selection("fx"), "hold");
        runner.finish(&machine);
        assert_eq!(leftovers(&runner), []);
        machine.assert_clean();
    }
}

sandboxed! {
    /// The same where no engine can be started any more.
    fn a_hold_is_put_back_by_a_sweep() {
        held_package(WAITS);
        let machine = Machine::new("s1").started();
        cut_power(&machine, &mut Runner::default());
        let swept = machine.sweep();
        assert_eq!(String::from_utf8(swept.stdout).unwrap(), "[]\n");
        assert_eq!(selection("fx"), "hold");
        machine.assert_clean();
    }
}

sandboxed! {
    /// The timeout ends everything that the installer has started, also what would put the hold back.
    fn a_hold_is_put_back_when_the_timeout_ends_the_installer() {
        held_package(NEVER_ENDS);
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let step = Step { timeout_seconds: 3, ..forced("fx", "2") };
        assert_eq!(apply(&machine, &mut runner, &[step]), StepExit::TimedOut);
        assert!(fs::exists("/mnt/begun").unwrap(), "the installer was too slow for the test");
        assert_eq!(selection("fx"), "hold");
        runner.finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// Packages that depend on each other are upgraded by the first of their steps.
    fn the_holds_of_all_packages_that_change_are_put_back() {
        empty_apt();
        for name in ["fx", "fy"] {
            add_package(name, "1", "hold ok installed");
        }
        offer("fx", "2", "Depends: fy (= 2)\n");
        offer("fy", "2", "Depends: fx (= 2)\n");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let steps = [forced("fx", "2"), forced("fy", "2")];
        assert_eq!(apply(&machine, &mut runner, &steps), OK, "{}", runner.output("fx"));
        assert_eq!(shell("cat /opt/fx/version /opt/fy/version"), "22");
        assert_eq!(["fx", "fy"].map(selection), ["hold", "hold"]);
        runner.finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// Another apt may be first when the installer has released the lock.
    fn another_apt_is_waited_for_before_a_hold_is_put_back() {
        held_package("touch /mnt/begun");
        // Between the end of apt and the next step of the engine.
        shim("apt-get", "/usr/bin/apt-get \"$@\" || exit; [ ! -e /mnt/begun ] || { touch /mnt/over; until [ -e /mnt/go ]; do sleep 0.01; done; }");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        runner.order_apply("apply-1", vec![forced("fx", "2")]);
        let mut connection = Connection::attach(&machine);
        assert!(runner.serve(&mut connection, |runner| runner.has_started("fx")));
        until("the end of apt", || fs::exists("/mnt/over").unwrap());
        let lock = File::options().write(true).open("/var/lib/dpkg/lock-frontend").unwrap();
        fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        fs::write("/mnt/go", "").unwrap();
        let is_waiting = |runner: &Runner| matches!(runner.waits().last(), Some(Some(_)));
        assert!(runner.serve(&mut connection, |runner| is_waiting(runner) || runner.is_done("apply-1")));
        assert!(is_waiting(&runner), "{:?}", runner.waits());
        let what = WaitFor::PackageLock { path: "/var/lib/dpkg/lock-frontend".into() };
        assert_eq!(runner.waits().last().unwrap().unwrap().what, what);
        assert_eq!(selection("fx"), "install");
        drop(lock);
        assert!(runner.serve(&mut connection, |runner| runner.is_done("apply-1")));
        drop(connection);
        assert_eq!((runner.exits(), selection("fx")), (vec![("fx", &OK)], "hold".into()));
        runner.finish(&machine);
        assert_eq!(leftovers(&runner), []);
        machine.assert_clean();
    }
}

sandboxed! {
    /// A hold that is lost must be known to its owner.
    fn a_hold_that_cannot_be_put_back_is_a_leftover() {
        held_package("");
        shim("dpkg", "case $* in --set-selections*) echo 'dpkg: error: no more' >&2; exit 2;; esac; exec /usr/bin/dpkg \"$@\"");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        assert_eq!(apply(&machine, &mut runner, &[forced("fx", "2")]), OK, "{}", runner.output("fx"));
        runner.finish(&machine);
        let why = "it could not be put back (dpkg: error: no more); put it back with apt-mark hold fx";
        assert_eq!(leftovers(&runner), [Leftover { what: "hold on fx".into(), why: why.into() }]);
        assert!(!is_alive(machine.pid));
        // The journal still has it, so a sweep is enough when dpkg works again.
        shell("rm /usr/local/sbin/dpkg");
        machine.deploy().sweep();
        assert_eq!(selection("fx"), "hold");
    }
}
