//! The engine is killed at every point of an `Apply`, and started again.

use crate::machine::{Machine, RUN, engine_digest, is_alive, until};
use crate::runner::{Connection, Runner};
use crate::sandbox::shell;
use farrier_protocol::{EventBody, FailureCode, LaunchReport, StepExit};
use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Records that it ran, takes a moment, and records if another script runs at the same time.
const SCRIPT: &str = "mkdir /mnt/busy || echo overlap >>/mnt/ran
echo $FARRIER_COMPONENT >>/mnt/ran; sleep 0.03; rmdir /mnt/busy";

const COMPONENTS: [&str; 3] = ["one", "two", "three"];

fn runner() -> Runner {
    let mut runner = Runner::default();
    let steps = COMPONENTS.map(|component| runner.script(component, SCRIPT)).to_vec();
    runner.order_apply("apply-1", steps);
    runner
}

/// Continues a session until its end after its engine was killed, and checks what is left.
fn finish_session(machine: &mut Machine, runner: &mut Runner, when: &str) {
    let retired = machine.journal().iter().any(|event| matches!(event.body, EventBody::Retired { .. }));
    if !retired {
        *machine = Machine::new(&machine.session).started();
        runner.order("retire-1", farrier_protocol::Work::Retire);
        runner.talk(machine, Runner::retired);
        machine.await_end();
    }
    let ran = fs::read_to_string("/mnt/ran").unwrap_or_default();
    let mut lines: Vec<&str> = ran.lines().collect();
    lines.sort_unstable();
    let total = lines.len();
    lines.dedup();
    assert_eq!(lines.len(), total, "{when}: a script ran twice: {ran}");
    assert!(!ran.contains("overlap"), "{when}: two scripts at once: {ran}");

    let mut exits: BTreeMap<String, Vec<StepExit>> = BTreeMap::new();
    let mut numbers = Vec::new();
    for event in machine.journal() {
        numbers.push(event.seq);
        if let EventBody::StepFinished { component, exit, .. } = event.body {
            exits.entry(component).or_default().push(exit);
        }
    }
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "{when}");
    for component in COMPONENTS {
        let exits = exits.get(component).map(Vec::as_slice).unwrap_or_default();
        let [exit] = exits else { panic!("{when}: {component} ended {exits:?}") };
        let did_run = ran.contains(component);
        match exit {
            StepExit::Exited { code: 0 } => assert!(did_run, "{when}: {component}"),
            StepExit::Interrupted => {}
            StepExit::NotStarted { detail, .. } => assert!(!did_run, "{when}: {component}: {detail}"),
            other => panic!("{when}: {component}: {other:?}"),
        }
    }
    machine.assert_clean();
    shell("rm -rf /mnt/ran /mnt/busy /var/log/farrier");
}

sandboxed! {
    /// Kills the engine with SIGKILL as soon as the journal has n lines, for every n: no step runs twice,
    /// and every step ends exactly once.
    fn killed_at_every_line_of_the_journal() {
        for lines in 3.. {
            let mut machine = Machine::new("s1").started();
            let mut runner = runner();
            let over = AtomicBool::new(false);
            let killed = thread::scope(|scope| {
                let killer = scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let text = fs::read_to_string(machine.journal_path()).unwrap_or_default();
                        if text.lines().count() >= lines {
                            machine.kill();
                            return true;
                        }
                        // sleep: between two checks of the journal; a busy loop would starve the engine.
                        thread::sleep(Duration::from_micros(50));
                    }
                    false
                });
                let mut connection = Connection::attach(&machine);
                runner.serve(&mut connection, |runner| runner.is_done("apply-1"));
                over.store(true, Ordering::Relaxed);
                killer.join().unwrap()
            });
            machine.kill();
            finish_session(&mut machine, &mut runner, &format!("killed at line {lines}"));
            if !killed {
                assert!(lines > 12, "only {lines} lines");
                return;
            }
        }
    }
}

sandboxed! {
    /// The same with exact positions: the kernel kills the engine while it writes the byte that exceeds a
    /// limit. This covers incomplete lines, and journals whose last line is complete.
    fn killed_at_bytes_of_the_journal() {
        // An odd step, so that the limits fall on beginnings, middles and ends of lines.
        for limit in (0..).step_by(97) {
            let mut machine = Machine::new("s1").deploy();
            let mut runner = runner();
            let fsize = format!("--fsize={limit}");
            match machine.launch_with(&["prlimit", &fsize], engine_digest()) {
                LaunchReport::Started { pid, .. } => {
                    machine.pid = pid;
                    let mut connection = Connection::attach(&machine);
                    if runner.serve(&mut connection, |runner| runner.is_done("apply-1")) {
                        machine.kill();
                        finish_session(&mut machine, &mut runner, "killed when idle");
                        assert!(limit > 1500, "the limit has no effect");
                        return;
                    }
                    machine.await_end();
                }
                LaunchReport::Failed { .. } => assert!(limit < 500, "not started with {limit} bytes"),
                LaunchReport::AlreadyRunning { .. } => panic!("nothing was running"),
            }
            finish_session(&mut machine, &mut runner, &format!("killed at byte {limit}"));
        }
    }
}

sandboxed! {
    /// The next engine could not wait for an installer that no journal mentions. An installer therefore
    /// does nothing before its process is in the journal.
    fn an_installer_whose_process_is_not_in_the_journal_never_runs() {
        let run = |machine: &Machine| {
            let mut runner = Runner::default();
            let one = runner.script("one", "echo ran >/mnt/ran");
            runner.order_apply("apply-1", vec![one]);
            let mut connection = Connection::attach(machine);
            runner.serve(&mut connection, |runner| runner.is_done("apply-1"))
        };
        let machine = Machine::new("s1").started();
        assert!(run(&machine));
        machine.kill();
        let text = fs::read_to_string(machine.journal_path()).unwrap();
        let started = text.find("stepStarted").unwrap();
        let lease = started + text[started..].find('\n').unwrap();
        assert!(text[lease..].lines().nth(1).unwrap().contains("leaseTaken"));
        shell("rm -r /mnt/farrier-1 /mnt/ran /var/log/farrier");

        let mut machine = Machine::new("s1").deploy();
        // The limit is in the middle of the line with the process id.
        let fsize = format!("--fsize={}", lease + 30);
        let report = machine.launch_with(&["prlimit", &fsize], engine_digest());
        let LaunchReport::Started { pid, .. } = report else { panic!("{report:?}") };
        machine.pid = pid;
        assert!(!run(&machine));
        machine.await_end();
        until("the installer's end", || !shell("ps -eo args").contains("farrier-engine step"));
        assert!(matches!(machine.journal().last().unwrap().body, EventBody::StepStarted { .. }));
        assert!(!fs::exists("/mnt/ran").unwrap());
    }
}

sandboxed! {
    /// An installer outlives its engine. The next engine waits for it and starts nothing else meanwhile; a
    /// sweep does not end it and reports it.
    fn an_installer_that_lost_its_engine_is_left_to_finish() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let one = runner.script("one", "echo $$ >/mnt/pid; until [ -e /mnt/go ]; do sleep 0.01; done; echo finished");
        let two = runner.script("two", "echo two >>/mnt/ran");
        runner.order_apply("apply-1", vec![one, two]);
        let mut connection = Connection::attach(&machine);
        assert!(runner.serve(&mut connection, |_| fs::read_to_string("/mnt/pid").is_ok_and(|pid| !pid.is_empty())));
        let installer: u32 = fs::read_to_string("/mnt/pid").unwrap().trim().parse().unwrap();
        machine.kill();
        assert!(is_alive(installer));

        let swept = machine.sweep();
        let left = String::from_utf8(swept.stdout).unwrap();
        assert!(left.contains(&format!("process {installer}")) && left.contains("left to finish"), "{left}");
        assert_eq!(swept.status.code(), Some(1));

        let machine = Machine::new("s1").started();
        let mut connection = Connection::attach(&machine);
        assert!(runner.serve(&mut connection, |runner| runner.hellos.len() == 2));
        assert!(!runner.hellos[1].tasks[0].finished);
        fs::write("/mnt/go", "").unwrap();
        assert!(runner.serve(&mut connection, |runner| runner.is_done("apply-1")));
        drop(connection);
        let detail = "the engine ended before it was started".into();
        let expected = [("one", &StepExit::Interrupted), ("two", &StepExit::not_started(FailureCode::Other, detail))];
        assert_eq!(runner.exits(), expected);
        assert_eq!(runner.output("one"), "finished\n");
        assert!(!is_alive(installer));
        assert!(fs::read_to_string("/mnt/ran").is_err());
        runner.finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// The same for an installer that has lost its environment, as with `setproctitle`: two installers at once
    /// could leave the machine unusable.
    fn an_installer_without_its_environment_is_waited_for() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let one = runner.script("one", "exec env -i sh -c 'echo $$ >/mnt/pid; until [ -e /mnt/go ]; do /bin/sleep 0.01; done; echo finished'");
        runner.order_apply("apply-1", vec![one]);
        let mut connection = Connection::attach(&machine);
        assert!(runner.serve(&mut connection, |_| fs::read_to_string("/mnt/pid").is_ok_and(|pid| !pid.is_empty())));
        let installer: u32 = fs::read_to_string("/mnt/pid").unwrap().trim().parse().unwrap();
        machine.kill();
        let left = String::from_utf8(machine.sweep().stdout).unwrap();
        assert!(left.contains(&format!("process {installer}")) && left.contains("left to finish"), "{left}");

        let machine = Machine::new("s1").started();
        let mut connection = Connection::attach(&machine);
        assert!(runner.serve(&mut connection, |runner| matches!(runner.waits().last(), Some(Some(_)))));
        fs::write("/mnt/go", "").unwrap();
        assert!(runner.serve(&mut connection, |runner| runner.is_done("apply-1")));
        drop(connection);
        assert_eq!(runner.exits(), [("one", &StepExit::Interrupted)]);
        assert_eq!(runner.output("one"), "finished\n");
        runner.finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// A dead engine that is no longer needed leaves nothing, without being started again.
    fn a_sweep_removes_what_a_dead_engine_left() {
        let machine = Machine::new("s1").started();
        let mut runner = runner();
        runner.talk(&machine, |runner| runner.is_done("apply-1"));
        machine.kill();
        let swept = machine.sweep();
        assert_eq!((String::from_utf8(swept.stdout).unwrap().as_str(), swept.status.code()), ("[]\n", Some(0)));
        machine.assert_clean();
    }
}

sandboxed! {
    /// A sweep also ends an engine that should no longer be running.
    fn a_sweep_ends_an_engine_that_still_runs() {
        let machine = Machine::new("s1").started();
        let swept = machine.sweep();
        assert_eq!(String::from_utf8(swept.stdout).unwrap(), "[]\n");
        until("the engine's end", || !is_alive(machine.pid));
        machine.assert_clean();
    }
}

/// The journal of an engine of the previous version.
const PREVIOUS: &str = include_str!("../../../protocol/tests/compat/journal-of-the-previous-version.jsonl");

sandboxed! {
    /// If the operator was upgraded, an engine that was killed is followed by an engine of a later version.
    /// It must not run a step again, and must report everything that is in the journal.
    fn the_journal_of_an_engine_of_the_previous_version_is_taken_over() {
        let machine = Machine::new("s1").deploy();
        let mut lines: Vec<&str> = PREVIOUS.lines().collect();
        let started = lines.iter().position(|line| line.contains("stepStarted")).unwrap();
        // The second step is in progress, and its installer ended with the machine.
        let begun = started + lines[started + 1..].iter().position(|line| line.contains("stepStarted")).unwrap() + 1;
        lines.truncate(begun + 1);
        shell(&format!("mkdir -p /var/log/farrier/{RUN} && chmod 700 /var/log/farrier/{RUN}"));
        fs::write(machine.journal_path(), lines.join("\n") + "\n").unwrap();
        let machine = machine.started();
        let mut runner = Runner::default();
        runner.talk(&machine, |runner| {
            runner.bodies().any(|body| matches!(body, EventBody::TaskDone { .. }))
        });
        let expected = [("slow", &StepExit::Exited { code: 0 }), ("bmc-tool", &StepExit::Interrupted)];
        assert_eq!(runner.exits(), expected);
        let tasks: Vec<_> = runner.hellos[0].tasks.iter().map(|task| task.id.as_str()).collect();
        assert_eq!(tasks, ["a1-survey", "a1-apply"]);
        runner.finish(&machine);
        machine.assert_clean();
    }
}
