//! Waits of the engine are reported while they last: what it waits for, which process blocks it, and the
//! start and the limit of the wait.

use crate::machine::{Machine, is_alive, until};
use crate::packages::{deb, empty_database};
use crate::runner::{Connection, Runner};
use crate::sandbox::shell;
use farrier_protocol::{EventBody, Holder, Installer, StepExit, Wait, WaitFor};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How soon a wait must be reported, and how soon its end.
const SOON: Duration = Duration::from_secs(3);

const OK: StepExit = StepExit::Exited { code: 0 };

/// Waits until the engine has reported a wait, and returns it.
fn reported(runner: &mut Runner, connection: &mut Connection) -> Wait {
    let begun = Instant::now();
    assert!(runner.serve(connection, |runner| matches!(runner.waits().last(), Some(Some(_)))));
    assert!(begun.elapsed() < SOON, "known after {:?}", begun.elapsed());
    runner.waits().last().unwrap().unwrap().clone()
}

/// Waits until the engine has reported that its wait has ended.
fn over(runner: &mut Runner, connection: &mut Connection) {
    let begun = Instant::now();
    assert!(runner.serve(connection, |runner| matches!(runner.waits().last(), Some(None))));
    assert!(begun.elapsed() < SOON, "known after {:?}", begun.elapsed());
}

fn limit(wait: &Wait) -> u64 {
    wait.until.unwrap() - wait.since
}

/// Starts another dpkg that waits in a package's script until `/mnt/go` exists. The script has a secret
/// argument that must not be reported.
fn other_dpkg() -> Child {
    shell("mkdir -p /mnt/other/DEBIAN /mnt/other/opt/other");
    let script = "#!/bin/sh\ntouch /mnt/held; until [ -e /mnt/go ]; do sleep 0.01; done\n";
    fs::write("/mnt/other/DEBIAN/preinst", script).unwrap();
    let control = "Package: other\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n";
    fs::write("/mnt/other/DEBIAN/control", control).unwrap();
    shell("chmod 755 /mnt/other/DEBIAN/preinst && dpkg-deb --root-owner-group -b /mnt/other /mnt/secret.deb");
    let mut dpkg = Command::new("dpkg");
    dpkg.args(["-i", "/mnt/secret.deb"]).stdin(Stdio::null()).stdout(Stdio::null());
    let dpkg = dpkg.spawn().unwrap();
    until("the other dpkg to be at work", || fs::exists("/mnt/held").unwrap());
    dpkg
}

sandboxed! {
    /// Without the name, a user sees that the run waits and cannot know that the cause is
    /// unattended-upgrades.
    fn the_process_that_has_dpkgs_lock_is_named() {
        empty_database();
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let one = deb(&mut runner, "one", "1", "");
        runner.order_apply("apply-1", vec![one]);
        let mut dpkg = other_dpkg();
        let mut connection = Connection::attach(&machine);
        let verified = |body: &EventBody| matches!(body, EventBody::PayloadVerified { .. });
        assert!(runner.serve(&mut connection, |runner| runner.bodies().any(verified)));
        let wait = reported(&mut runner, &mut connection);
        assert_eq!(wait.what, WaitFor::PackageLock { path: "/var/lib/dpkg/lock-frontend".into() });
        assert_eq!(wait.holder, Some(Holder { pid: dpkg.id(), name: "dpkg".into() }));
        assert_eq!(limit(&wait), 60_000);
        assert!(!fs::read_to_string(machine.journal_path()).unwrap().contains("secret"));
        fs::write("/mnt/go", "").unwrap();
        dpkg.wait().unwrap();
        over(&mut runner, &mut connection);
        assert!(runner.serve(&mut connection, |runner| runner.is_done("apply-1")));
        assert_eq!((runner.exits(), runner.waits().len()), (vec![("one", &OK)], 2));
        drop(connection);
        runner.finish(&machine);
    }
}

sandboxed! {
    /// rpm has another lock, in one of two directories.
    fn the_process_that_has_rpms_lock_is_named() {
        // The lock and its holder are real; the package does not matter here.
        shell("mount -t tmpfs tmpfs /usr/local/sbin && mkdir -p /var/lib/rpm && mount -t tmpfs tmpfs /var/lib/rpm");
        shell("printf '#!/bin/sh\nexit 0\n' >/usr/local/sbin/rpm && chmod 755 /usr/local/sbin/rpm && touch /var/lib/rpm/.rpm.lock");
        let hold = "use Fcntl; open(my $lock, '+<', '/var/lib/rpm/.rpm.lock') or die;
            my $all = pack('s s x4 q q l x4', F_WRLCK, 0, 0, 0, 0); fcntl($lock, F_SETLK, $all) or die;
            open(my $held, '>', '/mnt/held') or die; select(undef, undef, undef, 0.01) until -e '/mnt/go'";
        let mut perl = Command::new("perl").args(["-e", hold]).spawn().unwrap();
        until("the lock to be held", || fs::exists("/mnt/held").unwrap());
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let one = runner.payload("one", Installer::Rpm, b"rpm".to_vec());
        runner.order_apply("apply-1", vec![one]);
        let mut connection = Connection::attach(&machine);
        let wait = reported(&mut runner, &mut connection);
        assert_eq!(wait.what, WaitFor::PackageLock { path: "/var/lib/rpm/.rpm.lock".into() });
        assert_eq!(wait.holder, Some(Holder { pid: perl.id(), name: "perl".into() }));
        fs::write("/mnt/go", "").unwrap();
        perl.wait().unwrap();
        over(&mut runner, &mut connection);
        assert!(runner.serve(&mut connection, |runner| runner.is_done("apply-1")));
        drop(connection);
        runner.finish(&machine);
    }
}

sandboxed! {
    /// A disk that is full for a moment, because another program unpacks something, must not fail an
    /// update.
    fn a_wait_for_free_space_is_reported() {
        shell("mount -t tmpfs -o size=256m tmpfs /mnt && chmod 755 /mnt");
        let machine = Machine::new("s1").started();
        shell("free=$(df -m --output=avail /mnt | tail -1); head -c $((free - 3))M /dev/zero >/mnt/fill");
        let mut runner = Runner::default();
        let one = runner.script("one", &format!("exit 0\n# {}", "x".repeat(1 << 20)));
        runner.order_apply("apply-1", vec![one]);
        let mut connection = Connection::attach(&machine);
        let wait = reported(&mut runner, &mut connection);
        let WaitFor::Room { path, needed, free } = &wait.what else { panic!("{wait:?}") };
        assert_eq!((path.as_str(), wait.holder.as_ref(), limit(&wait)), ("/mnt/farrier-1", None, 60_000));
        assert!(free < needed && *needed > 5 << 20, "{free} of {needed}");
        assert!(runner.gets.is_empty(), "nothing is fetched meanwhile");
        fs::remove_file("/mnt/fill").unwrap();
        over(&mut runner, &mut connection);
        assert!(runner.serve(&mut connection, |runner| runner.is_done("apply-1")));
        assert_eq!(runner.exits(), [("one", &OK)]);
        drop(connection);
        runner.finish(&machine);
    }
}

sandboxed! {
    /// Without this, an engine that is killed while it waits would be shown as waiting forever.
    fn a_wait_that_was_cut_off_is_closed_by_the_next_engine() {
        empty_database();
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let one = deb(&mut runner, "one", "1", "");
        runner.order_apply("apply-1", vec![one]);
        let mut dpkg = other_dpkg();
        let mut connection = Connection::attach(&machine);
        reported(&mut runner, &mut connection);
        machine.kill();
        drop(connection);
        let machine = Machine::new("s1").started();
        let mut connection = Connection::attach(&machine);
        over(&mut runner, &mut connection);
        drop(connection);
        fs::write("/mnt/go", "").unwrap();
        dpkg.wait().unwrap();
        runner.finish(&machine);
        fs::write("/mnt/go", "").unwrap();
        dpkg.wait().unwrap();
    }
}

sandboxed! {
    /// Without this report, users could not tell whether a machine is stuck or still runs the installer of
    /// a dead engine; and a hanging installer had no time limit.
    fn an_installer_that_lost_its_engine_is_reported_and_has_its_limit() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let mut one = runner.script("one", "echo $$ >/mnt/pid; (trap '' TERM; sleep 1000) & sleep 1000");
        one.timeout_seconds = 6;
        runner.order_apply("apply-1", vec![one]);
        let mut connection = Connection::attach(&machine);
        assert!(runner.serve(&mut connection, |_| fs::read_to_string("/mnt/pid").is_ok_and(|pid| !pid.is_empty())));
        let installer: u32 = fs::read_to_string("/mnt/pid").unwrap().trim().parse().unwrap();
        machine.kill();
        drop(connection);

        let machine = Machine::new("s1").started();
        let mut connection = Connection::attach(&machine);
        let wait = reported(&mut runner, &mut connection);
        assert_eq!(wait.what, WaitFor::Installer { component: "one".into() });
        let holder = wait.holder.as_ref().unwrap();
        assert_eq!(holder.pid, installer);
        assert!(!holder.name.is_empty() && limit(&wait) <= 6000, "{wait:?}");
        assert!(runner.serve(&mut connection, |runner| runner.is_done("apply-1")));
        drop(connection);
        assert!(matches!(runner.waits().last(), Some(None)));
        assert_eq!(runner.exits(), [("one", &StepExit::TimedOut)]);
        until("the installer's end", || !is_alive(installer) && !shell("ps -eo args").contains("sleep 1000"));
        runner.finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// A firmware update that must not be interrupted would be interrupted because its engine died.
    fn an_installer_that_lost_its_engine_and_may_not_be_interrupted_is_left() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let mut one = runner.script("one", "touch /mnt/begun; until [ -e /mnt/go ]; do sleep 0.01; done; echo finished");
        (one.timeout_seconds, one.interruptible) = (1, false);
        runner.order_apply("apply-1", vec![one]);
        let mut connection = Connection::attach(&machine);
        assert!(runner.serve(&mut connection, |_| fs::exists("/mnt/begun").unwrap()));
        machine.kill();
        drop(connection);
        let machine = Machine::new("s1").started();
        let mut connection = Connection::attach(&machine);
        let overdue = |body: &EventBody| matches!(body, EventBody::StepOverdue { ended: false, .. });
        assert!(runner.serve(&mut connection, |runner| runner.bodies().any(overdue)));
        // The wait has no limit, because no limit is enforced.
        assert!(runner.serve(&mut connection, |runner| {
            matches!(runner.waits().last(), Some(Some(Wait { until: None, .. })))
        }));
        fs::write("/mnt/go", "").unwrap();
        assert!(runner.serve(&mut connection, |runner| runner.is_done("apply-1")));
        drop(connection);
        assert_eq!(runner.exits(), [("one", &StepExit::Interrupted)]);
        assert!(runner.output("one").ends_with("finished\n"), "{}", runner.output("one"));
        runner.finish(&machine);
    }
}
