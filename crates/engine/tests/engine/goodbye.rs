//! How the engine leaves without an order.

use crate::machine::{Machine, until};
use crate::runner::{Connection, Runner};
use crate::sandbox::shell;
use farrier_protocol::{EventBody, FailureCode, StepExit};
use std::fs;

fn last(machine: &Machine) -> EventBody {
    machine.journal().pop().unwrap().body
}

sandboxed! {
    /// A runner that is gone for good must not leave an engine on every machine.
    fn an_engine_without_contact_removes_itself() {
        let machine = Machine::new("s1").lease(1).started();
        machine.await_end();
        assert_eq!(last(&machine), EventBody::Retired { leftovers: vec![] });
        machine.assert_clean();
        assert_eq!(shell("ls /mnt"), "");
        let log = "/var/log/farrier/spring/output-s1.log";
        assert_eq!(shell("find /var/log -type f | sort"), format!("{}\n{log}\n", machine.journal_path()));
    }
}

sandboxed! {
    /// The lease runs from the last byte, with the duration that the runner sent.
    fn the_lease_has_the_duration_of_the_runner_and_contact_renews_it() {
        let machine = Machine::new("s1").lease(60).started();
        let mut runner = Runner { lease: Some(2), ..Runner::default() };
        let mut connection = Connection::attach(&machine);
        // Longer than the lease: each response renews it.
        assert!(runner.serve(&mut connection, |runner| runner.asked == 4));
        connection.cut();
        machine.await_end();
        machine.assert_clean();
    }
}

sandboxed! {
    /// The step in progress finishes even then, and the next engine knows its result.
    fn an_expired_lease_lets_the_step_in_progress_finish() {
        let machine = Machine::new("s1").lease(60).started();
        let mut runner = Runner { lease: Some(1), ..Runner::default() };
        let one = runner.script("one", "until [ -e /mnt/go ]; do sleep 0.01; done; sleep 2; echo finished");
        let two = runner.script("two", "echo >>/mnt/ran");
        runner.order_apply("apply-1", vec![one, two]);
        let mut connection = Connection::attach(&machine);
        assert!(runner.serve(&mut connection, |runner| runner.has_started("one")));
        connection.cut();
        fs::write("/mnt/go", "").unwrap();
        machine.await_end();
        machine.assert_clean();

        // The runner returns, deploys a new engine, and learns what happened.
        let machine = Machine::new("s1").started();
        runner.lease = None;
        runner.finish(&machine);
        let detail = "the engine had no contact with the operator until its lease expired".into();
        let expected = [("one", &StepExit::Exited { code: 0 }), ("two", &StepExit::not_started(FailureCode::Other, detail))];
        assert_eq!(runner.exits(), expected);
        assert!(!fs::exists("/mnt/ran").unwrap());
        machine.assert_clean();
    }
}

sandboxed! {
    /// A shutdown of the machine, or an administrator, ends the engine in good order.
    fn sigterm_retires() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let mut connection = Connection::attach(&machine);
        assert!(runner.serve(&mut connection, |runner| runner.asked == 1));
        shell(&format!("kill {}", machine.pid));
        // The runner gets the event.
        assert!(runner.serve(&mut connection, Runner::retired));
        machine.await_end();
        machine.assert_clean();
    }
}

sandboxed! {
    /// A machine whose log directory is read-only is updated all the same.
    fn without_a_log_folder_the_journal_is_in_the_directory() {
        shell("mount -o remount,ro /var/log");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let one = runner.script("one", "echo hello");
        runner.order_apply("apply-1", vec![one]);
        runner.talk(&machine, |runner| runner.is_done("apply-1"));
        let journal = fs::read_to_string("/mnt/farrier-1/log/journal-s1.jsonl").unwrap();
        assert_eq!(journal.lines().count(), runner.events.len());
        runner.finish(&machine);
        assert_eq!(runner.output("one"), "hello\n");
        machine.assert_clean();
    }
}

sandboxed! {
    /// A directory that cannot be removed is reported, and nothing outside it is touched.
    fn a_directory_that_cannot_be_removed_is_a_leftover() {
        let machine = Machine::new("s1").started();
        shell("mkdir /mnt/outside && echo keep >/mnt/outside/file && ln -s /mnt/outside /mnt/farrier-1/away");
        shell("mkdir /mnt/farrier-1/mounted && mount -t tmpfs tmpfs /mnt/farrier-1/mounted");
        let mut runner = Runner::default();
        runner.finish(&machine);
        let Some(EventBody::Retired { leftovers }) = runner.bodies().last() else { panic!("{:?}", runner.events) };
        assert_eq!(leftovers.len(), 1);
        assert_eq!(leftovers[0].what, "/mnt/farrier-1");
        assert!(leftovers[0].why.contains("busy"), "{leftovers:?}");
        assert_eq!(fs::read_to_string("/mnt/outside/file").unwrap(), "keep\n");
        until("the socket's end", || !fs::exists("/mnt/farrier-1/link/socket").unwrap());
    }
}
