//! Complete sessions over a local stream, with broken connections and restarted runners.

use crate::machine::{Machine, until};
use crate::runner::{Connection, Runner};
use crate::sandbox::shell;
use farrier_protocol::{Detect, EventBody, FailureCode, LeaseKind, Reading, StepExit, TaskRecord, Work};
use std::fs;

fn survey() -> Work {
    let detect = vec![("one".into(), Detect::File("/mnt/one".into()))];
    Work::Survey { packages: false, detect, fwupd: false, programs: Vec::new() }
}

/// Returns the readings of each survey, in order.
fn readings(runner: &Runner) -> Vec<Reading> {
    let surveys = runner.bodies().filter_map(|body| match body {
        EventBody::SurveyDone { readings, .. } => Some(readings.iter().map(|(_, reading)| reading.clone())),
        _ => None,
    });
    surveys.flatten().collect()
}

sandboxed! {
    /// The main job: survey, apply, survey, retire.
    fn a_session_from_launch_to_retirement() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let one = runner.script("one", "echo hello from $FARRIER_COMPONENT $FARRIER_VERSION; echo 1 >/mnt/one; ls -A");
        let two = runner.script("two", "echo trouble >&2; exit 7");
        let mut three = runner.script("three", "echo never");
        three.after = vec!["one".into(), "two".into()];
        let mut four = runner.script("four", "kill -9 $$");
        four.after = vec!["one".into()];
        runner.order("survey-1", survey());
        runner.order_apply("apply-1", vec![one, two, three, four]);
        runner.order("survey-2", survey());
        runner.finish(&machine);

        assert_eq!(readings(&runner), [Reading::Absent, Reading::present("1")]);
        let expected = [
            ("one", &StepExit::Exited { code: 0 }),
            ("two", &StepExit::Exited { code: 7 }),
            ("three", &StepExit::Skipped),
            ("four", &StepExit::Signalled { signal: 9 }),
        ];
        assert_eq!(runner.exits(), expected);
        assert_eq!(runner.output("one"), "hello from one 1\none.run\n");
        assert_eq!(runner.output("two"), "trouble\n");
        assert_eq!(runner.dones, ["survey-1", "apply-1", "survey-2"]);
        let hello = &runner.hellos[0];
        let kinds: Vec<_> = hello.leases.iter().map(|lease| lease.kind).collect();
        assert_eq!((hello.session.as_str(), kinds), ("s1", vec![LeaseKind::Directory, LeaseKind::Process]));
        assert_eq!(machine.journal(), runner.events);
        assert!(fs::read_to_string("/var/log/farrier/spring/output-s1.log").unwrap().contains(" two trouble\n"));
        machine.assert_clean();
    }
}

sandboxed! {
    /// An operator that was restarted without memory gets all events, and no step runs twice.
    fn a_runner_without_memory_gets_all_events_again() {
        let machine = Machine::new("s1").started();
        let mut first = Runner::default();
        let one = first.script("one", "echo ran >>/mnt/ran");
        first.order_apply("apply-1", vec![one]);
        first.talk(&machine, |runner| runner.is_done("apply-1"));

        let mut second = Runner { tasks: first.tasks.clone(), payloads: first.payloads.clone(), ..Runner::default() };
        let one = second.script("one", "echo ran >>/mnt/ran");
        second.order_apply("apply-1", vec![one]);
        second.finish(&machine);
        assert_eq!(second.hellos[0].tasks, [TaskRecord { id: "apply-1".into(), finished: true }]);
        assert_eq!(second.exits(), [("one", &StepExit::Exited { code: 0 })]);
        assert_eq!(second.dones, ["apply-1"]);
        assert_eq!(fs::read_to_string("/mnt/ran").unwrap(), "ran\n");
        assert_eq!(machine.journal(), second.events);
        machine.assert_clean();
    }
}

sandboxed! {
    /// A runner that lost its connection must not wait until the machine notices the loss.
    fn the_newest_connection_replaces_the_one_that_is_there() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let mut first = Connection::attach(&machine);
        assert!(runner.serve(&mut first, |runner| !runner.hellos.is_empty()));
        let mut second = Connection::attach(&machine);
        assert!(runner.serve(&mut second, |runner| runner.hellos.len() == 2));
        first.read_to_end();
        assert_eq!(first.exit_code(), Some(0));
        runner.finish(&machine);
    }
}

sandboxed! {
    /// Steps continue while no runner is connected; the events wait.
    fn a_step_outlives_its_connection() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let one = runner.script("one", "until [ -e /mnt/go ]; do sleep 0.01; done; echo done");
        runner.order_apply("apply-1", vec![one]);
        let mut connection = Connection::attach(&machine);
        assert!(runner.serve(&mut connection, |runner| runner.has_started("one")));
        connection.cut();
        fs::write("/mnt/go", "").unwrap();
        until("the task's end", || matches!(machine.journal().last().unwrap().body, EventBody::TaskDone { .. }));
        runner.finish(&machine);
        assert_eq!(runner.output("one"), "done\n");
        machine.assert_clean();
    }
}

sandboxed! {
    /// The socket gives access to root's privileges: only root and the login user may connect.
    fn other_users_are_rejected() {
        let machine = Machine::new("s1").started();
        let as_user = |uid: &str| {
            let prefix = ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups"];
            Connection::attach_as(&machine, &prefix)
        };
        let mut stranger = as_user("12345");
        assert_eq!((stranger.read_to_end().as_str(), stranger.exit_code()), ("", Some(3)));
        // Connections are rejected even if the socket's mode is wrong.
        shell("chmod 666 /mnt/farrier-1/link/socket");
        assert_eq!(as_user("12345").read_to_end(), "");
        let mut runner = Runner::default();
        assert!(runner.serve(&mut as_user("65534"), |runner| runner.hellos.len() == 1));
        runner.finish(&machine);
    }
}

sandboxed! {
    /// A newer operator may send a task that this engine does not know; the engine must not hang.
    fn a_task_of_a_later_version_fails_by_name() {
        let machine = Machine::new("s1").started();
        let mut connection = Connection::attach(&machine);
        let mut runner = Runner { answer_next: Some(r#"{"id":"x-1","work":{"kind":"levitate"}}"#.into()), ..Runner::default() };
        assert!(runner.serve(&mut connection, |runner| runner.is_done("x-1")));
        let (code, _, message) = runner.failure();
        assert_eq!(code, FailureCode::Other);
        assert!(message.contains("levitate"), "{message}");
        drop(connection);
        runner.finish(&machine);
    }
}

sandboxed! {
    /// An idle engine asks for a task about once a second and uses hardly any processor time.
    fn an_idle_engine_does_not_spin() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let mut connection = Connection::attach(&machine);
        let started = std::time::Instant::now();
        assert!(runner.serve(&mut connection, |runner| runner.asked == 3));
        assert!(started.elapsed() >= std::time::Duration::from_secs(2));
        drop(connection);
        runner.finish(&machine);
    }
}
