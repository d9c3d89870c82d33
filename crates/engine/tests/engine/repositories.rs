//! Debian packages from a repository that the machine has: apt with a repository and a package database made
//! for the test.

use crate::machine::{Machine, until};
use crate::packages::{add_package, build, build_with, deb, empty_database};
use crate::runner::{Connection, Runner};
use crate::sandbox::shell;
use farrier_protocol::{
    ChangeKind, EventBody, FailureCode, Installer, PackageRef, Refusal, Simulation, Step, StepExit, WaitFor,
    Work,
};
use rustix::fs::{FlockOperation, fcntl_lock};
use std::fs::{self, File};

const OK: StepExit = StepExit::Exited { code: 0 };

/// A line of apt's sources: the repository of the test. It has no signature, and is trusted nevertheless.
const SOURCE: &str = "deb [trusted=yes] file:/mnt/repo ./\n";

/// Creates an apt that knows nothing but the repository of the test, and the database that has only dpkg.
pub(crate) fn empty_apt() {
    empty_database();
    for dir in ["/etc/apt", "/var/lib/apt", "/var/cache/apt"] {
        shell(&format!("mount -t tmpfs -o mode=755 tmpfs {dir}"));
    }
    shell(
        "mkdir -p /mnt/repo /etc/apt/preferences.d /var/lib/apt/lists/partial /var/cache/apt/archives/partial /var/log/apt",
    );
    fs::write("/etc/apt/sources.list", SOURCE).unwrap();
    // apt pauses before each further attempt.
    fs::write("/etc/apt/apt.conf", "Acquire::Retries \"0\";\n").unwrap();
}

/// Adds a package for all architectures to the repository.
pub(crate) fn offer(name: &str, version: &str, more: &str) {
    offer_file(name, version, &build(name, version, "all", more));
}

/// Adds a package whose last script fails.
fn offer_failing(name: &str, version: &str, postinst: &str) {
    let script = format!("{postinst}\nexit 1");
    offer_file(name, version, &build_with(name, version, "all", "", &script));
}

/// Adds a file of a package to the repository.
pub(crate) fn offer_file(name: &str, version: &str, file: &str) {
    let index = format!(
        "cd /mnt/repo && mv {file} . && f={name}-{version}-all.deb && {{ dpkg-deb -f $f; echo \"Filename: ./$f\"; \
         echo \"Size: $(stat -c %s $f)\"; echo \"SHA256: $(sha256sum $f | cut -d' ' -f1)\"; echo; }} >>Packages"
    );
    shell(&index);
}

/// Returns a step that installs a package from the repository.
pub(crate) fn step(installer: Installer, name: &str, version: &str) -> Step {
    let arches = if installer == Installer::Deb { ["amd64", "all"] } else { ["x86_64", "noarch"] };
    Step {
        version: version.into(),
        payload: None,
        package: Some(PackageRef { name: name.into(), arches: arches.map(Into::into).into() }),
        respect_holds: true,
        ..crate::machine::step(name, installer, b"")
    }
}

fn from_repository(name: &str, version: &str) -> Step {
    step(Installer::Deb, name, version)
}

/// Runs a task, and returns how its last step ended.
pub(crate) fn apply(machine: &Machine, runner: &mut Runner, steps: &[Step]) -> StepExit {
    let id = format!("apply-{}", runner.exits().len());
    runner.order_apply(&id, steps.to_vec());
    runner.talk(machine, |runner| runner.is_done(&id));
    runner.exits().last().unwrap().1.clone()
}

/// Returns the refusal and its words; fails for any other exit.
pub(crate) fn refused(exit: &StepExit) -> (Refusal, &str) {
    match exit {
        StepExit::NotStarted { refusal: Some(refusal), detail, .. } => (*refusal, detail),
        other => panic!("{other:?}"),
    }
}

fn installed(name: &str) -> String {
    shell(&format!("dpkg-query -W -f '${{Version}}' {name} 2>/dev/null || true"))
}

/// Returns digests of everything that apt and dpkg keep.
fn state() -> String {
    shell(
        "find /var/lib/apt /var/cache/apt /var/lib/dpkg /var/log/apt -type f -exec sha256sum {} + | sort -k 2",
    )
}

sandboxed! {
    /// The main case: exactly the version that is asked for, with what it needs and without anything else.
    fn exactly_the_version_is_installed_with_new_dependencies_only() {
        empty_apt();
        add_package("other", "1", "install ok installed");
        for version in ["1", "2", "3"] {
            offer("fx", version, "Depends: libnew\nRecommends: nice\n");
        }
        for (name, version) in [("libnew", "1"), ("nice", "1"), ("other", "2")] {
            offer(name, version, "");
        }
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        assert_eq!(apply(&machine, &mut runner, &[from_repository("fx", "2")]), OK, "{}", runner.output("fx"));
        let found = ["fx", "libnew", "nice", "other"].map(installed);
        assert_eq!(found.each_ref().map(String::as_str), ["2", "1", "", "1"]);
        // An older version only on request, the same version as well.
        let older = Step { downgrade: true, ..from_repository("fx", "1") };
        assert_eq!(apply(&machine, &mut runner, &[older]), OK, "{}", runner.output("fx"));
        assert_eq!(installed("fx"), "1");
        shell("rm /opt/fx/version");
        let again = Step { rewrite: true, ..from_repository("fx", "1") };
        assert_eq!(apply(&machine, &mut runner, &[again]), OK, "{}", runner.output("fx"));
        assert_eq!(shell("cat /opt/fx/version"), "1");
        runner.finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// Otherwise an update of one package upgrades or removes others, which nobody has planned.
    fn a_package_that_takes_others_with_it_is_refused() {
        empty_apt();
        for name in ["other", "rival"] {
            add_package(name, "1", "install ok installed");
        }
        offer("fx", "2", "Depends: other (>= 2)\n");
        offer("fy", "2", "Conflicts: rival\n");
        offer("fz", "2", "Depends: nothere\n");
        offer("other", "2", "Breaks: fx (<< 2)\n");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let exit = apply(&machine, &mut runner, &[from_repository("fx", "2")]);
        let (refusal, words) = refused(&exit);
        assert_eq!((refusal, words), (Refusal::ChangesOthers, "to install fx 2, apt-get would also upgrade other to 2"));
        let exit = apply(&machine, &mut runner, &[from_repository("fy", "2")]);
        let (refusal, words) = refused(&exit);
        assert_eq!((refusal, words), (Refusal::ChangesOthers, "to install fy 2, apt-get would also remove rival 1"));
        let exit = apply(&machine, &mut runner, &[from_repository("fz", "2")]);
        assert_eq!(exit, StepExit::DependencyMissing, "{}", runner.output("fz"));
        assert_eq!(["fx", "fy", "fz"].map(installed), ["", "", ""]);
        // The baseline asks for the other package too.
        let both = [from_repository("fx", "2"), from_repository("other", "2")];
        assert_eq!(apply(&machine, &mut runner, &both), OK, "{}", runner.output("fx"));
        assert_eq!(["fx", "other"].map(installed), ["2", "2"]);
        runner.finish(&machine);
    }
}

sandboxed! {
    /// What the owner of the machine has decided is not overridden in passing, whatever the package's source.
    fn holds_and_pins_are_respected_and_named() {
        empty_apt();
        add_package("fx", "1", "hold ok installed");
        offer("fx", "2", "");
        offer("fy", "1", "");
        offer("fy", "2", "");
        let pin = "Package: fy\nPin: version 1*\nPin-Priority: 1001\n";
        fs::write("/etc/apt/preferences.d/owner.pref", pin).unwrap();
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let files = ["fx", "fy"].map(|name| {
            let step = deb(&mut runner, name, "2", "");
            let package = from_repository(name, "2").package;
            Step { version: "2".into(), package, respect_holds: true, ..step }
        });
        let repository = ["fx", "fy"].map(|name| from_repository(name, "2"));
        for steps in [&files, &repository] {
            let exit = apply(&machine, &mut runner, &steps[..1]);
            let (refusal, words) = refused(&exit);
            assert_eq!(refusal, Refusal::Held);
            assert_eq!(words, "fx is on hold on this machine (lift it with apt-mark unhold fx)");
            let exit = apply(&machine, &mut runner, &steps[1..]);
            let (refusal, words) = refused(&exit);
            assert_eq!(refusal, Refusal::Held);
            assert!(words.starts_with("/etc/apt/preferences.d/owner.pref pins fy to version 1* with priority 1001"), "{words}");
        }
        assert_eq!(["fx", "fy"].map(installed), ["1", ""]);
        // The run's force overrides them, and leaves them as they are.
        let forced = repository.map(|step| Step { respect_holds: false, ..step });
        assert_eq!(apply(&machine, &mut runner, &forced), OK, "{}", runner.output("fx"));
        assert_eq!(["fx", "fy"].map(installed), ["2", "2"]);
        assert_eq!(shell("dpkg-query -W -f '${db:Status-Want}' fx"), "hold");
        runner.finish(&machine);
    }
}

sandboxed! {
    /// A wrong version, a repository that is down and one that may be forged need different people.
    fn a_version_that_cannot_be_had_says_why() {
        empty_apt();
        offer("fx", "1", "");
        offer("fx", "2", "");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let exit = apply(&machine, &mut runner, &[from_repository("fx", "9")]);
        let words = "the repositories of this machine have fx 1, 2, not 9";
        assert_eq!(refused(&exit), (Refusal::VersionNotAvailable, words));
        let exit = apply(&machine, &mut runner, &[from_repository("fy", "9")]);
        assert_eq!(refused(&exit), (Refusal::VersionNotAvailable, "no repository of this machine has fy, not 9"));

        // Nothing listens there.
        let down = format!("{SOURCE}deb [trusted=yes] http://127.0.0.1:9/ ./\n");
        fs::write("/etc/apt/sources.list", down).unwrap();
        let exit = apply(&machine, &mut runner, &[from_repository("fx", "9")]);
        let (refusal, words) = refused(&exit);
        assert_eq!(refusal, Refusal::RepositoryUnreachable);
        assert!(words.contains("http://127.0.0.1:9"), "{words}");
        // What another repository has is installed nevertheless.
        assert_eq!(apply(&machine, &mut runner, &[from_repository("fx", "2")]), OK, "{}", runner.output("fx"));

        // The repository has no signature, and nobody says that it is trusted.
        fs::write("/etc/apt/sources.list", "deb file:/mnt/repo ./\n").unwrap();
        shell("printf 'Suite: x\\nSHA256:\\n %s %s Packages\\n' $(sha256sum /mnt/repo/Packages | cut -d' ' -f1) $(stat -c %s /mnt/repo/Packages) >/mnt/repo/Release; rm -r /var/lib/apt/lists/*; mkdir /var/lib/apt/lists/partial");
        let exit = apply(&machine, &mut runner, &[Step { downgrade: true, ..from_repository("fx", "1") }]);
        let (refusal, words) = refused(&exit);
        assert_eq!(refusal, Refusal::RepositoryUntrusted, "{words}");
        assert!(words.contains("is not signed"), "{words}");
        assert_eq!(installed("fx"), "2");
        runner.finish(&machine);
    }
}

sandboxed! {
    /// A plan that changes the machine is none.
    fn a_simulation_tells_the_changes_and_makes_none() {
        empty_apt();
        add_package("other", "1", "install ok installed");
        offer("fx", "2", "Depends: libnew\n");
        offer("libnew", "1", "");
        offer("fy", "2", "Depends: other (>= 2)\n");
        offer("other", "2", "");
        let before = state();
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let steps = vec![from_repository("fx", "2"), from_repository("fy", "2")];
        runner.order("simulate-1", Work::Simulate { steps });
        runner.finish(&machine);
        let simulated = runner.bodies().find_map(|body| match body {
            EventBody::Simulated { simulations, .. } => Some(simulations),
            _ => None,
        });
        let [(fx, possible), (fy, impossible)] = &simulated.unwrap()[..] else { panic!("{simulated:?}") };
        assert_eq!((fx.as_str(), fy.as_str()), ("fx", "fy"));
        let Simulation::Possible { changes } = possible else { panic!("{possible:?}") };
        let mut changes: Vec<_> = changes.iter().map(|c| (c.kind, c.name.as_str(), c.version.as_str())).collect();
        changes.sort_by_key(|(_, name, _)| *name);
        assert_eq!(changes, [(ChangeKind::Install, "fx", "2"), (ChangeKind::Install, "libnew", "1")]);
        let Simulation::Refused { refusal, detail } = impossible else { panic!("{impossible:?}") };
        assert_eq!(*refusal, Refusal::ChangesOthers);
        assert!(detail.contains("upgrade other to 2"), "{detail}");
        assert_eq!(state(), before);
        machine.assert_clean();
    }
}

sandboxed! {
    /// Whoever updates the package lists works with the package manager too.
    fn apts_own_locks_are_waited_for_and_named() {
        empty_apt();
        offer("fx", "2", "");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        runner.order_apply("apply-1", vec![from_repository("fx", "2")]);
        let lists = File::create("/var/lib/apt/lists/lock").unwrap();
        fcntl_lock(&lists, FlockOperation::NonBlockingLockExclusive).unwrap();
        let mut connection = Connection::attach(&machine);
        assert!(runner.serve(&mut connection, |runner| runner.waits().iter().any(Option::is_some)));
        let wait = runner.waits()[0].unwrap().clone();
        assert_eq!(wait.what, WaitFor::PackageLock { path: "/var/lib/apt/lists/lock".into() });
        assert_eq!(wait.holder.unwrap().pid, std::process::id());
        assert!(!runner.has_started("fx"));
        drop(lists);
        assert!(runner.serve(&mut connection, |runner| runner.is_done("apply-1")));
        drop(connection);
        assert_eq!(runner.exits(), [("fx", &OK)], "{}", runner.output("fx"));
        runner.finish(&machine);
    }
}

sandboxed! {
    /// A package that is half installed would be reported as one that was not touched, and be installed again:
    /// scripts of packages print much, and use package managers themselves.
    fn what_a_script_of_a_package_prints_is_no_obstacle() {
        empty_apt();
        let much = "n=0; while [ $n -lt 300 ]; do n=$((n+1)); echo a line of the script; done; echo >>/mnt/attempts";
        let lock = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt)";
        offer_failing("fx", "2", &format!("{much}; echo 'E: Failed to fetch http://x/'"));
        offer_failing("fy", "2", &format!("{much}; echo '{lock}'"));
        let machine = Machine::new("s1").started();
        let mut runner = Runner { wait: Some(5), ..Runner::default() };
        for (name, attempts) in [("fx", 1), ("fy", 2)] {
            let exit = apply(&machine, &mut runner, &[from_repository(name, "2")]);
            assert_eq!(exit, StepExit::Exited { code: 100 }, "{}", runner.output(name));
            assert!(!runner.output(name).contains("Setting up"), "{}", runner.output(name));
            assert_eq!(fs::read("/mnt/attempts").unwrap().len(), attempts);
            shell(&format!("dpkg --purge {name}"));
        }
        runner.finish(&machine);
    }
}

sandboxed! {
    /// A question about a configuration file would block the machine until the installer's timeout.
    fn a_changed_configuration_file_is_kept_without_a_question() {
        empty_apt();
        let conffile = |version: &str| {
            shell(&format!("rm -rf /mnt/build && mkdir -p /mnt/build/DEBIAN /mnt/build/opt/fx && echo {version} >/mnt/build/opt/fx/conf"));
            fs::write("/mnt/build/DEBIAN/conffiles", "/opt/fx/conf\n").unwrap();
            let control = format!("Package: fx\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n");
            fs::write("/mnt/build/DEBIAN/control", control).unwrap();
            let file = format!("fx-{version}-all.deb");
            shell(&format!("dpkg-deb --root-owner-group -b /mnt/build /mnt/repo/{file} && cd /mnt/repo && {{ dpkg-deb -f {file}; echo \"Filename: ./{file}\"; echo \"Size: $(stat -c %s {file})\"; echo \"SHA256: $(sha256sum {file} | cut -d' ' -f1)\"; echo; }} >>Packages"));
        };
        conffile("1");
        conffile("2");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        assert_eq!(apply(&machine, &mut runner, &[from_repository("fx", "1")]), OK, "{}", runner.output("fx"));
        fs::write("/opt/fx/conf", "mine\n").unwrap();
        assert_eq!(apply(&machine, &mut runner, &[from_repository("fx", "2")]), OK, "{}", runner.output("fx"));
        let outputs = runner.bodies().filter_map(|body| match body {
            EventBody::StepFinished { output, .. } => Some(output),
            _ => None,
        });
        let output = outputs.last().unwrap();
        assert!(output.contains("==> Keeping old config file as default."), "{output}");
        assert_eq!((shell("cat /opt/fx/conf"), shell("cat /opt/fx/conf.dpkg-dist")), ("mine\n".into(), "2\n".into()));
        runner.finish(&machine);
    }
}

sandboxed! {
    /// apt gives dpkg a session of its own. A dpkg that goes on would change the machine beside the next step.
    fn a_timeout_ends_dpkg_as_well_as_apt() {
        empty_apt();
        let never_ends = "trap '' TERM HUP; touch /mnt/begun; while :; do sleep 0.1; done";
        offer_file("fx", "2", &build_with("fx", "2", "all", "", never_ends));
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let step = Step { timeout_seconds: 3, ..from_repository("fx", "2") };
        assert_eq!(apply(&machine, &mut runner, &[step]), StepExit::TimedOut);
        assert!(fs::exists("/mnt/begun").unwrap(), "the installer was too slow for the test");
        // On a busy machine a process that was killed is there until it is its turn; process 1 of the test waits later.
        until("dpkg and its script are gone", || {
            let running = shell("ps -eo stat=,comm= | grep -v ^Z");
            !["dpkg", "postinst"].iter().any(|name| running.contains(name))
        });
        runner.finish(&machine);
    }
}

sandboxed! {
    /// A machine without apt has dpkg, and cannot install from a repository.
    fn a_missing_apt_is_named() {
        empty_apt();
        shell("mount --bind /dev/null /usr/bin/apt-get");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        runner.order_apply("apply-1", vec![from_repository("fx", "2")]);
        runner.finish(&machine);
        let (code, component, message) = runner.failure();
        assert_eq!((code, component, message), (FailureCode::InstallerMissing, "fx", "this machine has no apt-get"));
    }
}
