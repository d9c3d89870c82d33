//! Debian packages of one name for several architectures, and packages that the machine was booted from.

use crate::machine::Machine;
use crate::packages::{add_package_with_files, build, empty_database};
use crate::runner::Runner;
use crate::sandbox::shell;
use farrier_protocol::{Detect, EventBody, Installer, PackageRef, Reading, Refusal, Step, StepExit, Work};
use std::fs;

const OK: StepExit = StepExit::Exited { code: 0 };

/// Prepares a machine that also accepts packages for i386.
fn amd64_with_i386() {
    empty_database();
    fs::write("/var/lib/dpkg/arch", "amd64\ni386\n").unwrap();
}

/// Installs a package without the engine, as another administrator would.
fn install(name: &str, version: &str, arch: &str, more: &str) {
    shell(&format!("dpkg -i {}", build(name, version, arch, more)));
}

/// Returns a step that installs `name`, planned as a package for the machine's own architecture.
fn step(runner: &mut Runner, name: &str, version: &str, arch: &str, more: &str) -> Step {
    let bytes = fs::read(build(name, version, arch, more)).unwrap();
    let package = PackageRef { name: name.into(), arches: vec!["amd64".into(), "all".into()] };
    Step { package: Some(package), ..runner.payload(name, Installer::Deb, bytes) }
}

/// Returns the installed packages, except dpkg itself.
fn installed() -> String {
    let list = shell("dpkg-query -W -f '${Package}:${Architecture} ${Version} ${db:Status-Status}\\n'");
    let lines: Vec<&str> = list.lines().filter(|line| !line.starts_with("dpkg:")).collect();
    lines.join(", ")
}

/// Runs a task with one step, and returns how the step ended.
fn apply(machine: &Machine, runner: &mut Runner, id: &str, step: Step) -> StepExit {
    runner.order_apply(id, vec![step]);
    runner.talk(machine, |runner| runner.is_done(id));
    runner.exits().last().unwrap().1.clone()
}

fn refused(exit: &StepExit) -> Option<(Refusal, &str)> {
    match exit {
        StepExit::NotStarted { refusal: Some(refusal), detail, .. } => Some((*refusal, detail)),
        _ => None,
    }
}

sandboxed! {
    /// dpkg treats a package for another architecture as an upgrade of the installed package, and leaves
    /// two packages that cannot be installed together unusable.
    fn a_package_for_another_architecture_is_neither_replaced_nor_broken() {
        amd64_with_i386();
        let same = "Multi-Arch: same\n";
        install("fx", "1", "i386", "");
        install("ma", "1", "i386", same);
        install("mb", "2", "i386", same);
        install("neutral", "1", "all", "");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let fx = step(&mut runner, "fx", "2", "amd64", "");
        let exit = apply(&machine, &mut runner, "apply-1", fx);
        let (refusal, detail) = refused(&exit).unwrap();
        assert_eq!(refusal, Refusal::ArchitectureConflict);
        assert!(detail.starts_with("fx 1 for i386 is installed"), "{detail}");
        let mb = step(&mut runner, "mb", "1", "amd64", same);
        let exit = apply(&machine, &mut runner, "apply-2", mb);
        let (refusal, detail) = refused(&exit).unwrap();
        assert_eq!(refusal, Refusal::ArchitectureConflict);
        assert!(detail.contains("the same version"), "{detail}");
        let ma = step(&mut runner, "ma", "1", "amd64", same);
        assert_eq!(apply(&machine, &mut runner, "apply-3", ma), OK);
        // It counts as an upgrade even if a package for this architecture only was planned.
        let neutral = step(&mut runner, "neutral", "2", "amd64", "");
        let exact = PackageRef { name: "neutral".into(), arches: vec!["amd64".into()] };
        let neutral = Step { package: Some(exact), ..neutral };
        assert_eq!(apply(&machine, &mut runner, "apply-4", neutral), OK);
        assert_eq!(
            installed(),
            "fx:i386 1 installed, ma:amd64 1 installed, ma:i386 1 installed, \
             mb:i386 2 installed, neutral:amd64 2 installed"
        );
        runner.finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// If the payload is a different package than the one whose version is read, the baseline could never
    /// be reached, and something that was not requested would be installed.
    fn a_payload_that_is_another_package_is_refused() {
        amd64_with_i386();
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let foreign = step(&mut runner, "fx", "1", "i386", "");
        let exit = apply(&machine, &mut runner, "apply-1", foreign);
        let expected = (Refusal::OtherPackage, "the payload is fx 1 for i386, not fx for amd64 or all");
        assert_eq!(refused(&exit), Some(expected));
        let other = step(&mut runner, "other", "1", "all", "");
        let package = PackageRef { name: "fx".into(), arches: vec![] };
        let exit = apply(&machine, &mut runner, "apply-2", Step { package: Some(package), ..other.clone() });
        assert_eq!(refused(&exit), Some((Refusal::OtherPackage, "the payload is other 1 for all, not fx")));
        assert_eq!(installed(), "");
        let unknown = apply(&machine, &mut runner, "apply-3", Step { package: None, ..other });
        assert_eq!(unknown, OK);
        runner.finish(&machine);
    }
}

sandboxed! {
    /// dpkg removes what a package conflicts with and replaces, without asking. A machine without its
    /// kernel does not boot again.
    fn a_package_that_the_machine_was_booted_from_is_not_removed() {
        empty_database();
        // Removing the package removes the directory if it is empty.
        shell("mount -t tmpfs tmpfs /boot");
        let release = shell("uname -r");
        let image = format!("linux-image-{}", release.trim());
        let files = format!("/.\n/boot\n/boot/vmlinuz-{}\n", release.trim());
        add_package_with_files(&image, "6.1", "install ok installed", &files);
        add_package_with_files("old", "1", "install ok installed", "/.\n");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let relation = |name: &str| format!("Conflicts: {name} (<< 7)\nReplaces: {name}\n");
        let bad = step(&mut runner, "bad", "1", "all", &relation(&image));
        let exit = apply(&machine, &mut runner, "apply-1", bad);
        let (refusal, detail) = refused(&exit).unwrap();
        assert_eq!(refusal, Refusal::RemovesBooted);
        assert!(detail.contains(&image), "{detail}");
        // If dpkg does not say what the machine was booted from, nothing is removed.
        let good = step(&mut runner, "good", "1", "all", &relation("old"));
        shell("mount -t tmpfs tmpfs /usr/local/sbin");
        let script = "#!/bin/sh\n[ \"$1\" = -S ] && kill -9 $$\nexec /usr/bin/dpkg-query \"$@\"\n";
        fs::write("/usr/local/sbin/dpkg-query", script).unwrap();
        shell("chmod 755 /usr/local/sbin/dpkg-query");
        let exit = apply(&machine, &mut runner, "apply-2", good.clone());
        let StepExit::NotStarted { detail, .. } = &exit else { panic!("{exit:?}") };
        assert!(detail.contains("booted from could not be determined: dpkg-query"), "{detail}");
        shell("umount /usr/local/sbin");
        // Packages that do not concern the kernel are handled by dpkg as usual.
        assert_eq!(apply(&machine, &mut runner, "apply-3", good), OK);
        assert_eq!(installed(), format!("good:all 1 installed, {image}:all 6.1 installed"));
        runner.finish(&machine);
    }
}

sandboxed! {
    /// Decisions about a package need everything that is installed under its name.
    fn a_survey_reports_every_architecture_of_a_package() {
        amd64_with_i386();
        install("ma", "1", "i386", "Multi-Arch: same\n");
        install("ma", "1", "amd64", "Multi-Arch: same\n");
        install("fx", "2", "i386", "");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let detect = ["ma", "fx", "fx:i386", "fx:amd64"];
        let detect = detect.map(|name| (name.to_owned(), Detect::Package(name.into()))).into();
        runner.order("survey-1", Work::Survey { packages: true, detect, fwupd: false, programs: Vec::new() });
        runner.finish(&machine);
        let survey = runner.bodies().find_map(|body| match body {
            EventBody::SurveyDone { facts, packages, readings, .. } => Some((facts, packages, readings)),
            _ => None,
        });
        let (facts, packages, readings) = survey.unwrap();
        assert_eq!(facts.dpkg_arch, "amd64");
        let listed: Vec<_> = packages.iter().map(|one| format!("{}:{}", one.name, one.arch)).collect();
        assert_eq!(listed, ["dpkg:amd64", "fx:i386", "ma:amd64", "ma:i386"]);
        let arches = |reading: &Reading| -> Vec<String> {
            reading.instances().iter().map(|instance| instance.arch.clone()).collect()
        };
        let [both, foreign, exact, absent] = &readings[..] else { panic!("{readings:?}") };
        assert_eq!(arches(&both.1).len(), 2);
        assert_eq!((arches(&foreign.1), arches(&exact.1)), (vec!["i386".into()], vec!["i386".into()]));
        assert_eq!(absent.1, Reading::Absent);
    }
}
