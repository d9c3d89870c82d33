//! Debian packages, with a package database made for the test that has only dpkg in it.

use crate::machine::{Machine, until};
use crate::runner::{Connection, Runner};
use crate::sandbox::shell;
use farrier_protocol::{EventBody, FailureCode, Installer, Step, StepExit};
use rustix::fs::{FlockOperation, fcntl_lock};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::OwnedFd;

const STATUS: &str = "/var/lib/dpkg/status";

/// Creates a database that has only dpkg in it.
pub(crate) fn empty_database() {
    let arch = shell("dpkg --print-architecture");
    // On systems that do not use rpm, its database is in root's home.
    shell("mount -t tmpfs tmpfs /root && mount -t tmpfs tmpfs /var/lib/dpkg");
    shell("cd /var/lib/dpkg && mkdir info updates triggers parts alternatives && touch lock lock-frontend");
    fs::write(
        STATUS,
        format!(
            "Package: dpkg\nStatus: install ok installed\nArchitecture: {}\nMaintainer: x <x@x>\n\
                 Version: 1.21\nDescription: x\n\n",
            arch.trim()
        ),
    )
    .unwrap();
    fs::write("/var/lib/dpkg/info/dpkg.list", "").unwrap();
}

/// Adds a package in a given state.
pub(crate) fn add_package(name: &str, version: &str, status: &str) {
    add_package_with_files(name, version, status, "");
}

/// Adds a package in a given state, with the paths of its files, one per line.
pub(crate) fn add_package_with_files(name: &str, version: &str, status: &str, files: &str) {
    let mut file = OpenOptions::new().append(true).open(STATUS).unwrap();
    write!(
        file,
        "Package: {name}\nStatus: {status}\nArchitecture: all\nMaintainer: x <x@x>\n\
             Version: {version}\nDescription: x\n\n"
    )
    .unwrap();
    fs::write(format!("/var/lib/dpkg/info/{name}.list"), files).unwrap();
}

/// Builds a package and returns a step that installs it.
pub(crate) fn deb(runner: &mut Runner, name: &str, version: &str, more: &str) -> Step {
    let file = build(name, version, "all", more);
    runner.payload(name, Installer::Deb, fs::read(file).unwrap())
}

/// Builds a package and returns its file.
pub(crate) fn build(name: &str, version: &str, arch: &str, more: &str) -> String {
    build_with(name, version, arch, more, "")
}

/// Builds a package with a script that dpkg runs when it has unpacked the package, and returns its file.
pub(crate) fn build_with(name: &str, version: &str, arch: &str, more: &str, script: &str) -> String {
    shell(&format!("rm -rf /mnt/build && mkdir -p /mnt/build/DEBIAN /mnt/build/opt/{name}"));
    if !script.is_empty() {
        fs::write("/mnt/build/DEBIAN/postinst", format!("#!/bin/sh\n{script}\n")).unwrap();
        shell("chmod 755 /mnt/build/DEBIAN/postinst");
    }
    // Packages that are installed together must not share a file with different contents.
    let path = if arch == "all" { "version".to_owned() } else { format!("version-{arch}") };
    fs::write(format!("/mnt/build/opt/{name}/{path}"), version).unwrap();
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: {arch}\nMaintainer: x <x@x>\nDescription: x\n{more}"
    );
    fs::write("/mnt/build/DEBIAN/control", control).unwrap();
    let file = format!("/mnt/{name}-{version}-{arch}.deb");
    shell(&format!("dpkg-deb --root-owner-group -b /mnt/build {file}"));
    file
}

fn installed(name: &str) -> String {
    fs::read_to_string(format!("/opt/{name}/version")).unwrap_or_default()
}

const OK: StepExit = StepExit::Exited { code: 0 };

sandboxed! {
    /// dpkg unpacks a package before it checks the dependencies; the engine must check them first.
    fn a_package_whose_dependencies_are_missing_changes_nothing() {
        empty_database();
        add_package("old", "1", "install ok installed");
        add_package("removed", "5", "deinstall ok config-files");
        let before = fs::read(STATUS).unwrap();
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let steps = [
            ("none", "Depends: nothere (>= 2) | neither\n"),
            ("older", "Depends: dpkg,\n old (>= 2)\n"),
            ("gone", "Pre-Depends: removed\n"),
        ]
        .map(|(name, more)| deb(&mut runner, name, "1", more));
        runner.order_apply("apply-1", steps.to_vec());
        runner.finish(&machine);
        for (component, exit) in runner.exits() {
            assert_eq!(exit, &StepExit::DependencyMissing, "{component}");
        }
        assert_eq!(runner.output("none"), "none depends on nothere (>= 2) | neither; nothere or neither is not installed");
        assert!(runner.output("older").contains("old 1 all is installed"), "{}", runner.output("older"));
        assert_eq!(fs::read(STATUS).unwrap(), before);
        assert_eq!(shell("ls /opt"), "");
        machine.assert_clean();
    }
}

sandboxed! {
    /// Packages are installed, upgraded in the order of dependencies, downgraded only if requested, and
    /// repaired if broken.
    fn packages_are_installed_as_the_step_says() {
        empty_database();
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let base = deb(&mut runner, "base", "2", "Provides: virtual (= 2)\n");
        let top = deb(&mut runner, "top", "1", "Depends: base (>= 2), virtual (>= 1)\n");
        runner.order_apply("apply-1", vec![base, top]);
        let base = deb(&mut runner, "base", "1", "");
        runner.order_apply("apply-2", vec![base.clone()]);
        runner.talk(&machine, |runner| runner.is_done("apply-2"));
        assert_eq!(runner.exits(), [("base", &OK), ("top", &OK), ("base", &OK)]);
        assert!(runner.output("top").contains("Setting up top (1)"), "{}", runner.output("top"));
        assert_eq!((installed("base").as_str(), installed("top").as_str()), ("2", "1"));

        runner.order_apply("apply-3", vec![Step { downgrade: true, ..base.clone() }]);
        runner.talk(&machine, |runner| runner.is_done("apply-3"));
        assert_eq!(installed("base"), "1");

        // The same version is installed again only if requested, or if the package is broken.
        let touched = || fs::exists("/opt/base/version").unwrap();
        shell("rm /opt/base/version");
        runner.order_apply("apply-4", vec![base.clone()]);
        runner.talk(&machine, |runner| runner.is_done("apply-4"));
        assert!(!touched());
        runner.order_apply("apply-5", vec![Step { rewrite: true, ..base.clone() }]);
        runner.talk(&machine, |runner| runner.is_done("apply-5"));
        assert!(touched());
        shell("rm /opt/base/version; sed -i '/^Package: base/,/^$/s/install ok installed/install ok unpacked/' /var/lib/dpkg/status");
        runner.order_apply("apply-6", vec![base]);
        runner.talk(&machine, |runner| runner.is_done("apply-6"));
        assert!(touched());
        runner.finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// Unattended upgrades and administrators use dpkg as well.
    fn the_engine_waits_for_a_package_manager_in_use() {
        empty_database();
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let one = deb(&mut runner, "one", "1", "");
        runner.order_apply("apply-1", vec![one]);
        let lock = hold("/var/lib/dpkg/lock-frontend");
        let mut connection = Connection::attach(&machine);
        let verified = |body: &EventBody| matches!(body, EventBody::PayloadVerified { .. });
        assert!(runner.serve(&mut connection, |runner| runner.bodies().any(verified)));
        // Heartbeats continue meanwhile, so a cancellation would reach the engine.
        let posts = runner.posts + 3;
        assert!(runner.serve(&mut connection, |runner| runner.posts == posts));
        assert!(!runner.has_started("one"));
        drop(lock);
        assert!(runner.serve(&mut connection, |runner| runner.is_done("apply-1")));
        drop(connection);
        assert_eq!(runner.exits(), [("one", &OK)]);
        runner.finish(&machine);
    }
}

sandboxed! {
    /// An endless wait would look like a run that hangs.
    fn a_package_manager_that_stays_in_use_fails_the_task() {
        empty_database();
        let machine = Machine::new("s1").started();
        let mut runner = Runner { wait: Some(1), ..Runner::default() };
        let one = deb(&mut runner, "one", "1", "");
        runner.order_apply("apply-1", vec![one]);
        let _lock = hold("/var/lib/dpkg/lock");
        runner.finish(&machine);
        let (code, component, message) = runner.failure();
        assert_eq!((code, component), (FailureCode::PackageManagerBusy, "one"));
        assert!(message.starts_with("/var/lib/dpkg/lock was locked by another program ("), "{message}");
        assert!(message.contains(&format!("process {}) for 1 s", std::process::id())), "{message}");
        assert!(runner.exits().is_empty());
    }
}

sandboxed! {
    /// A missing package manager is distinguished from a package that fails.
    fn a_missing_package_manager_is_named() {
        if fs::exists("/usr/bin/rpm").unwrap() {
            shell("mount --bind /dev/null /usr/bin/rpm");
        }
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let one = runner.payload("one", Installer::Rpm, b"rpm".to_vec());
        runner.order_apply("apply-1", vec![one]);
        runner.finish(&machine);
        let (code, component, message) = runner.failure();
        assert_eq!((code, component), (FailureCode::InstallerMissing, "one"));
        assert!(message.contains("no rpm"), "{message}");
        assert!(runner.gets.is_empty());
    }
}

/// Takes a lock as dpkg does.
fn hold(path: &str) -> OwnedFd {
    let file: File = OpenOptions::new().write(true).open(path).unwrap();
    let mut taken = false;
    until("the lock", || {
        taken = fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        taken
    });
    file.into()
}
