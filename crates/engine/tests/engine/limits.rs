//! Timeouts and cancellation: interruptible steps are ended, others are left to finish.

use crate::machine::{Machine, is_alive, until};
use crate::runner::{Connection, Runner};
use farrier_protocol::{EventBody, StepExit};
use std::fs;

/// A script that waits until the test opens its gate.
const GATED: &str = "until [ -e /mnt/go ]; do sleep 0.01; done; echo finished";

fn overdue(runner: &Runner) -> Vec<(&str, bool)> {
    let overdue = runner.bodies().filter_map(|body| match body {
        EventBody::StepOverdue { component, ended, .. } => Some((component.as_str(), *ended)),
        _ => None,
    });
    overdue.collect()
}

sandboxed! {
    /// An installer that hangs must not hold up the fleet, nor leave children behind.
    fn an_interruptible_step_is_ended_with_its_children() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        // The child ignores SIGTERM; its leader does not.
        let mut one = runner.script("one", "(trap '' TERM; sleep 1000) & echo $! >/mnt/child; echo waiting; sleep 1000");
        one.timeout_seconds = 1;
        let two = runner.script("two", "exit 0");
        runner.order_apply("apply-1", vec![one, two]);
        runner.finish(&machine);
        assert_eq!(overdue(&runner), [("one", true)]);
        assert_eq!(runner.exits(), [("one", &StepExit::TimedOut), ("two", &StepExit::Exited { code: 0 })]);
        assert_eq!(runner.output("one"), "waiting\n");
        let child: u32 = fs::read_to_string("/mnt/child").unwrap().trim().parse().unwrap();
        until("the child's end", || !is_alive(child));
        machine.assert_clean();
    }
}

sandboxed! {
    /// SIGTERM may be ignored; SIGKILL follows.
    fn a_step_that_ignores_sigterm_is_killed() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let mut one = runner.script("one", "trap '' TERM; while :; do sleep 1; done");
        one.timeout_seconds = 0;
        runner.order_apply("apply-1", vec![one]);
        runner.finish(&machine);
        assert_eq!(runner.exits(), [("one", &StepExit::TimedOut)]);
        machine.assert_clean();
    }
}

sandboxed! {
    /// Interrupting a firmware update breaks machines.
    fn a_step_that_may_not_be_interrupted_is_left_to_finish() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let mut one = runner.script("one", GATED);
        (one.timeout_seconds, one.interruptible) = (1, false);
        runner.order_apply("apply-1", vec![one]);
        let mut connection = Connection::attach(&machine);
        assert!(runner.serve(&mut connection, |runner| !overdue(runner).is_empty()));
        fs::write("/mnt/go", "").unwrap();
        assert!(runner.serve(&mut connection, |runner| runner.is_done("apply-1")));
        drop(connection);
        assert_eq!(overdue(&runner), [("one", false)]);
        assert_eq!(runner.exits(), [("one", &StepExit::Exited { code: 0 })]);
        runner.finish(&machine);
    }
}

sandboxed! {
    /// A cancelled run finishes the step in progress and starts no other step.
    fn cancelling_lets_the_step_in_progress_finish() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let one = runner.script("one", GATED);
        let (two, three) = (runner.script("two", "echo >>/mnt/ran"), runner.script("three", "echo >>/mnt/ran"));
        runner.order_apply("apply-1", vec![one, two, three]);
        let mut connection = Connection::attach(&machine);
        assert!(runner.serve(&mut connection, |runner| runner.has_started("one")));
        runner.cancel = true;
        assert!(runner.serve(&mut connection, |runner| runner.cancels_sent >= 1));
        // One more heartbeat: the engine has read the response to the previous one.
        assert!(runner.serve(&mut connection, |runner| runner.cancels_sent >= 2));
        fs::write("/mnt/go", "").unwrap();
        assert!(runner.serve(&mut connection, |runner| runner.is_done("apply-1")));
        drop(connection);
        let expected =
            [("one", &StepExit::Exited { code: 0 }), ("two", &StepExit::Cancelled), ("three", &StepExit::Cancelled)];
        assert_eq!(runner.exits(), expected);
        assert!(!fs::exists("/mnt/ran").unwrap());
        runner.finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// A runner cancels a download by closing the connection; the engine learns the reason before it
    /// resumes.
    fn cancelling_ends_a_download() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner { break_after: Some(10), ..Runner::default() };
        let one = runner.script("one", "echo >>/mnt/ran; exit 0");
        runner.order_apply("apply-1", vec![one]);
        let mut connection = Connection::attach(&machine);
        assert!(!runner.serve(&mut connection, |_| false));
        runner.cancel = true;
        runner.talk(&machine, |runner| runner.is_done("apply-1"));
        assert_eq!(runner.exits(), [("one", &StepExit::Cancelled)]);
        assert_eq!(runner.gets.len(), 1);
        runner.finish(&machine);
        machine.assert_clean();
    }
}
