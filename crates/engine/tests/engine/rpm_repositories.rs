//! RPM packages from a repository that the machine has: dnf and zypper with a repository and a package database
//! made for the test.

use crate::machine::Machine;
use crate::repositories::{apply, refused, step};
use crate::rpm::{build, empty_rpm_database, install, installed, plain};
use crate::runner::Runner;
use crate::sandbox::shell;
use farrier_protocol::{
    ChangeKind, EventBody, FailureCode, Installer, Refusal, Simulation, Step, StepExit, Work,
};
use std::fs;

const OK: StepExit = StepExit::Exited { code: 0 };

/// Creates a repository with these packages, which dnf and zypper know as their only one.
fn repository(files: &[String]) {
    shell(&format!("mkdir -p /mnt/repo && mv {} /mnt/repo && createrepo_c -q /mnt/repo", files.join(" ")));
}

/// Makes dnf the package manager with the repository.
fn with_dnf() {
    for dir in ["/var/cache/dnf", "/var/lib/dnf"] {
        shell(&format!("mkdir -p {dir} && mount -t tmpfs tmpfs {dir}"));
    }
    shell(
        "rm -rf /etc/yum.repos.d /etc/zypp/repos.d && mkdir -p /etc/yum.repos.d /etc/dnf/vars && echo 9 >/etc/dnf/vars/releasever",
    );
    fs::write("/etc/yum.repos.d/local.repo", "[local]\nname=local\nbaseurl=file:///mnt/repo\ngpgcheck=0\n")
        .unwrap();
}

/// Makes zypper the package manager with the repository.
fn with_zypper() {
    // zypper's lock names a process, which is another one in another sandbox.
    for dir in ["/var/cache/zypp", "/var/lib/zypp", "/run"] {
        shell(&format!("mkdir -p {dir} && mount -t tmpfs tmpfs {dir}"));
    }
    shell("rm -rf /etc/zypp/repos.d && mkdir -p /etc/zypp/repos.d");
    let repo =
        "[local]\nname=local\nenabled=1\nautorefresh=0\nbaseurl=dir:///mnt/repo\ntype=rpm-md\ngpgcheck=0\n";
    fs::write("/etc/zypp/repos.d/local.repo", repo).unwrap();
    // zypper creates this file when it is used for the first time.
    fs::write("/var/lib/zypp/AnonymousUniqueId", "00000000-0000-0000-0000-000000000000\n").unwrap();
}

fn from_repository(name: &str, version: &str) -> Step {
    step(Installer::Rpm, name, version)
}

/// The packages of all tests: `fx` in three versions, of which the third needs another version of `other`.
fn offers() -> Vec<String> {
    let needs =
        |version: &str| if version == "3" { "Requires: libnew other >= 2" } else { "Requires: libnew" };
    let mut files: Vec<String> =
        ["1", "2", "3"].map(|version| build("fx", version, "noarch", needs(version), "")).into();
    files.extend([plain("libnew", "1", "noarch"), plain("other", "2", "noarch")]);
    files.push(build("fy", "2", "noarch", "Obsoletes: other", ""));
    files
}

/// Does the same with any package manager; `program` is what it is called in messages.
fn exact_versions(program: &str) {
    let machine = Machine::new("s1").started();
    let mut runner = Runner::default();
    let exit = apply(&machine, &mut runner, &[from_repository("fx", "2-1")]);
    assert_eq!(exit, OK, "{}", runner.output("fx"));
    assert_eq!(["fx", "libnew", "other"].map(installed), ["2.noarch", "1.noarch", "1.noarch"]);

    let exit = apply(&machine, &mut runner, &[from_repository("fx", "3-1")]);
    let words = format!("to install fx 3-1, {program} would also upgrade other to 2-1");
    assert_eq!(refused(&exit), (Refusal::ChangesOthers, words.as_str()));
    let exit = apply(&machine, &mut runner, &[from_repository("fy", "2-1")]);
    let (refusal, words) = refused(&exit);
    assert!(refusal == Refusal::ChangesOthers && words.contains("remove other 1-1"), "{words}");
    let exit = apply(&machine, &mut runner, &[from_repository("fx", "9-1")]);
    let words = "the repositories of this machine have fx 1-1, 2-1, 3-1, not 9-1";
    assert_eq!(refused(&exit), (Refusal::VersionNotAvailable, words));
    assert_eq!(["fx", "other"].map(installed), ["2.noarch", "1.noarch"]);

    // Both are asked for.
    let steps = [from_repository("fx", "3-1"), from_repository("other", "2-1")];
    assert_eq!(apply(&machine, &mut runner, &steps), OK, "{}", runner.output("fx"));
    let older = Step { downgrade: true, ..from_repository("fx", "1-1") };
    assert_eq!(apply(&machine, &mut runner, &[older]), OK, "{}", runner.output("fx"));
    assert_eq!(["fx", "other"].map(installed), ["1.noarch", "2.noarch"]);
    shell("rm /opt/fx/1-noarch");
    let again = Step { rewrite: true, ..from_repository("fx", "1-1") };
    assert_eq!(apply(&machine, &mut runner, &[again]), OK, "{}", runner.output("fx"));
    assert_eq!(shell("cat /opt/fx/1-noarch"), "1\n");
    runner.finish(&machine);
    machine.assert_clean();
}

/// Simulates the installation of two packages, and compares the files of the package manager before and after.
fn simulation(program: &str, kept: &str) {
    let state = || shell(&format!("rpm -qa; find {kept} -type f -exec sha256sum {{}} + | sort"));
    let before = state();
    let machine = Machine::new("s1").started();
    let mut runner = Runner::default();
    let steps = vec![from_repository("fx", "2-1"), from_repository("fx", "3-1")];
    runner.order("simulate-1", Work::Simulate { steps });
    runner.finish(&machine);
    let simulated = runner.bodies().find_map(|body| match body {
        EventBody::Simulated { simulations, .. } => Some(simulations),
        _ => None,
    });
    let [(_, possible), (_, impossible)] = &simulated.unwrap()[..] else { panic!("{simulated:?}") };
    let Simulation::Possible { changes } = possible else { panic!("{possible:?}") };
    let mut changes: Vec<_> = changes.iter().map(|c| (c.kind, c.name.as_str(), c.version.as_str())).collect();
    changes.sort_by_key(|(_, name, _)| *name);
    assert_eq!(changes, [(ChangeKind::Install, "fx", "2-1"), (ChangeKind::Install, "libnew", "1-1")]);
    let Simulation::Refused { refusal: Refusal::ChangesOthers, detail } = impossible else {
        panic!("{impossible:?}")
    };
    assert!(detail.starts_with(&format!("to install fx 3-1, {program} would")), "{detail}");
    assert_eq!(state(), before);
    machine.assert_clean();
}

/// Refuses `fx` 2 from the repository and as a file, with these words. Returns the machine and the runner.
fn is_held(words: &str) -> (Machine, Runner) {
    let machine = Machine::new("s1").started();
    let mut runner = Runner::default();
    let bytes = fs::read("/mnt/repo/fx-2-1.noarch.rpm").unwrap();
    let file = runner.payload("fx", Installer::Rpm, bytes);
    for step in [from_repository("fx", "2-1"), Step { respect_holds: true, ..file }] {
        let exit = apply(&machine, &mut runner, &[step]);
        let (refusal, said) = refused(&exit);
        assert_eq!(refusal, Refusal::Held);
        assert!(said.starts_with(words), "{said}");
    }
    assert_eq!(installed("fx"), "1.noarch");
    (machine, runner)
}

sandboxed! {
    /// The main case for dnf: exactly the version, new dependencies, nothing else.
    fn dnf_installs_exactly_the_version_and_nothing_else() {
        empty_rpm_database();
        install(&[plain("other", "1", "noarch")]);
        repository(&offers());
        with_dnf();
        exact_versions("dnf");
    }
}

sandboxed! {
    /// The main case for zypper.
    fn zypper_installs_exactly_the_version_and_nothing_else() {
        empty_rpm_database();
        install(&[plain("other", "1", "noarch")]);
        repository(&offers());
        with_zypper();
        exact_versions("zypper");
    }
}

sandboxed! {
    /// A plan that changes the machine is none.
    fn simulations_of_dnf_and_zypper_change_nothing() {
        empty_rpm_database();
        install(&[plain("other", "1", "noarch")]);
        repository(&offers());
        with_dnf();
        simulation("dnf", "/var/cache/dnf /var/lib/dnf");
        with_zypper();
        // The engine does no task again that is in its journal.
        shell("rm -r /var/log/farrier");
        simulation("zypper", "/var/cache/zypp /var/lib/zypp");
    }
}

sandboxed! {
    /// What the owner of the machine has decided is not overridden in passing, whatever the package's source.
    fn locks_and_excludes_are_respected_and_named() {
        empty_rpm_database();
        repository(&offers());
        install(&["/mnt/repo/fx-1-1.noarch.rpm".to_owned()]);
        with_dnf();
        shell("mkdir -p /etc/dnf/plugins");
        fs::write("/etc/dnf/plugins/versionlock.list", "fx-0:1-1.*\n").unwrap();
        is_held("/etc/dnf/plugins/versionlock.list locks fx by fx-0:1-1.*").1.finish(&Machine::new("s1"));
        shell("rm /etc/dnf/plugins/versionlock.list; rm -rf /var/log/farrier");
        // As dnf 5 writes it.
        fs::write("/etc/dnf/versionlock.toml", "version = \"1.0\"\n\n[[packages]]\nname = \"fx\"\n\n[[packages.conditions]]\nkey = \"evr\"\ncomparator = \"=\"\nvalue = \"1-1\"\n").unwrap();
        is_held("/etc/dnf/versionlock.toml locks fx by evr = 1-1").1.finish(&Machine::new("s1"));
        shell("rm /etc/dnf/versionlock.toml; rm -rf /var/log/farrier; echo 'exclude=libz* fx' >>/etc/dnf/dnf.conf");
        let (machine, mut runner) = is_held("/etc/dnf/dnf.conf excludes fx");
        let forced = Step { respect_holds: false, ..from_repository("fx", "2-1") };
        assert_eq!(apply(&machine, &mut runner, &[forced]), OK, "{}", runner.output("fx"));
        assert_eq!(installed("fx"), "2.noarch");
        runner.finish(&machine);
    }
}

sandboxed! {
    /// zypper has locks of its own.
    fn locks_of_zypper_are_respected_and_named() {
        empty_rpm_database();
        repository(&offers());
        install(&["/mnt/repo/fx-1-1.noarch.rpm".to_owned()]);
        with_zypper();
        shell("zypper --non-interactive addlock fx");
        let (machine, mut runner) = is_held("/etc/zypp/locks locks fx");
        runner.finish(&machine);
    }
}

sandboxed! {
    /// A repository that is down and one that may be forged need different people.
    fn obstacles_of_dnf_are_told_apart() {
        empty_rpm_database();
        repository(&offers());
        with_dnf();
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        // The packages are not signed.
        shell("sed -i s/gpgcheck=0/gpgcheck=1/ /etc/yum.repos.d/local.repo");
        let exit = apply(&machine, &mut runner, &[from_repository("libnew", "1-1")]);
        let (refusal, words) = refused(&exit);
        assert_eq!(refusal, Refusal::RepositoryUntrusted, "{words}");
        shell("sed -i s,file:///mnt/repo,http://127.0.0.1:9/, /etc/yum.repos.d/local.repo");
        let exit = apply(&machine, &mut runner, &[from_repository("libnew", "1-1")]);
        let (refusal, words) = refused(&exit);
        assert_eq!(refusal, Refusal::RepositoryUnreachable, "{words}");
        assert!(words.contains("'local'"), "{words}");
        runner.finish(&machine);
    }
}

sandboxed! {
    /// rpm alone cannot install from a repository.
    fn a_machine_without_dnf_and_zypper_is_told() {
        empty_rpm_database();
        with_dnf();
        shell("mount --bind /dev/null /usr/bin/dnf");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        runner.order_apply("apply-1", vec![from_repository("fx", "2-1")]);
        runner.finish(&machine);
        let (code, _, message) = runner.failure();
        assert_eq!(code, FailureCode::InstallerMissing);
        assert!(message.contains("neither dnf nor zypper"), "{message}");
    }
}
