//! Kernel modules by the real DKMS, which compiles them with the headers of Debian's kernel.

use crate::machine::{Machine, is_alive, until};
use crate::runner::{Connection, Runner};
use crate::sandbox::shell;
use farrier_protocol::{
    Detect, EventBody, FailureCode, Installer, PackageRef, Pending, PendingUntil, Reading, Refusal, Step,
    StepExit, Work,
};
use std::fs;
use std::path::Path;
use std::process::Command;

const NAME: &str = "farrier-probe";

/// What the makefile of a module does that can be compiled.
const COMPILES: &str =
    "make -C /lib/modules/${kernelver}/build M=${dkms_tree}/farrier-probe/${PACKAGE_VERSION}/build modules";

/// Gives this machine an empty DKMS, and headers for the running kernel.
fn prepare() {
    for (dir, copy) in [("/usr/src", "src"), ("/usr/lib/modules", "lib")] {
        shell(&format!(
            "mkdir -p {dir} /mnt/{copy}/u /mnt/{copy}/w && \
             mount -t overlay -o lowerdir={dir},upperdir=/mnt/{copy}/u,workdir=/mnt/{copy}/w {copy} {dir}"
        ));
    }
    shell("mount -t tmpfs tmpfs /var/lib/dkms && mount -t tmpfs tmpfs /tmp");
    shell("k=/lib/modules/$(uname -r) && mkdir -p $k && ln -sfn /usr/src/linux-headers-*-amd64 $k/build");
}

/// Returns an archive with a module that is compiled by `make`, and has `code` in it.
fn archive(version: &str, make: &str, code: &str) -> Vec<u8> {
    shell("rm -rf /mnt/t && mkdir -p /mnt/t/probe");
    let conf = format!(
        "PACKAGE_NAME=\"{NAME}\"\nPACKAGE_VERSION=\"{version}\"\nBUILT_MODULE_NAME[0]=farrier_probe\n\
         DEST_MODULE_LOCATION[0]=/extra\nAUTOINSTALL=yes\nMAKE[0]=\"{make}\"\n"
    );
    fs::write("/mnt/t/probe/dkms.conf", conf).unwrap();
    fs::write("/mnt/t/probe/Makefile", "obj-m := farrier_probe.o\n").unwrap();
    let source = format!(
        "#include <linux/module.h>\n{code}\nMODULE_VERSION(\"{version}\");\nMODULE_LICENSE(\"GPL\");\n"
    );
    fs::write("/mnt/t/probe/farrier_probe.c", source).unwrap();
    shell("tar -czf /mnt/t/probe.tar.gz -C /mnt/t probe");
    fs::read("/mnt/t/probe.tar.gz").unwrap()
}

/// Returns the step that installs an archive.
fn step(runner: &mut Runner, version: &str, bytes: Vec<u8>) -> Step {
    let package = Some(PackageRef { name: NAME.into(), arches: Vec::new() });
    Step { version: version.into(), package, ..runner.payload("probe", Installer::Tar, bytes) }
}

/// Runs a task with one step; returns how it ended, and its output.
fn apply(machine: &Machine, runner: &mut Runner, step: Step) -> (StepExit, String) {
    let id = format!("apply-{}", runner.exits().len());
    runner.order_apply(&id, vec![step]);
    runner.talk(machine, |runner| runner.is_done(&id));
    let ended = runner.bodies().filter_map(|body| match body {
        EventBody::StepFinished { exit, output, .. } => Some((exit.clone(), output.clone())),
        _ => None,
    });
    ended.last().unwrap()
}

fn succeeds(machine: &Machine, runner: &mut Runner, step: Step) {
    let (exit, output) = apply(machine, runner, step);
    assert_eq!(exit, StepExit::Exited { code: 0 }, "{output}");
}

fn read(machine: &Machine, runner: &mut Runner) -> Reading {
    let id = format!("survey-{}", runner.dones.len());
    let detect = vec![("probe".to_owned(), Detect::Module(NAME.into()))];
    runner.order(&id, Work::Survey { packages: false, detect, fwupd: false, programs: Vec::new() });
    runner.talk(machine, |runner| runner.is_done(&id));
    let mut readings = runner.bodies().filter_map(|body| match body {
        EventBody::SurveyDone { task, readings, .. } if *task == id => Some(readings[0].1.clone()),
        _ => None,
    });
    readings.next().unwrap()
}

/// Lists what DKMS and the kernel have of the module, and its sources.
fn state() -> String {
    shell(
        "dkms status; ls /usr/src | grep farrier || :; \
         cd /lib/modules/$(uname -r) && find . -name 'farrier_probe*' | sort; cd /var/lib/dkms && find . | sort",
    )
}

/// State after the first key for signatures was made, which DKMS keeps.
fn without_key(state: &str) -> String {
    state.lines().filter(|line| !line.contains("/mok.")).collect::<Vec<_>>().join("\n")
}

sandboxed! {
    /// The whole way. A driver that does not compile must leave the machine with the one that it has, which may be
    /// that of its network card.
    fn a_driver_is_compiled_replaced_and_kept_if_the_next_one_does_not_compile() {
        prepare();
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let empty = without_key(&state());
        assert_eq!(read(&machine, &mut runner), Reading::Absent);

        let broken = step(&mut runner, "3.0", archive("3.0", COMPILES, "#error no such card"));
        let (exit, output) = apply(&machine, &mut runner, broken.clone());
        assert_eq!(exit, StepExit::Exited { code: 10 }, "{output}");
        assert!(output.trim_end().ends_with("error: #error no such card"), "{output}");
        assert_eq!(without_key(&state()), empty);

        let one = step(&mut runner, "1.0", archive("1.0", COMPILES, ""));
        succeeds(&machine, &mut runner, one.clone());
        assert_eq!(read(&machine, &mut runner), Reading::present("1.0"));
        let first = state();
        assert!(first.contains("/farrier_probe.ko\n"), "{first}");
        assert_eq!(apply(&machine, &mut runner, broken).0, StepExit::Exited { code: 10 });
        assert_eq!(state(), first);

        let two = step(&mut runner, "2.0", archive("2.0", COMPILES, ""));
        succeeds(&machine, &mut runner, two);
        assert_eq!(read(&machine, &mut runner), Reading::present("2.0"));
        assert!(!state().contains("1.0"), "{}", state());
        let installed = shell("modinfo -F version /lib/modules/$(uname -r)/updates/dkms/farrier_probe.ko");
        assert_eq!(installed.trim(), "2.0");

        succeeds(&machine, &mut runner, Step { downgrade: true, ..one.clone() });
        assert_eq!(state(), first);
        // Something else than what was compiled is no version, and is repaired.
        shell("echo x >>/lib/modules/$(uname -r)/updates/dkms/farrier_probe.ko");
        assert!(matches!(read(&machine, &mut runner), Reading::Broken { version, .. } if version == "1.0"));
        succeeds(&machine, &mut runner, Step { rewrite: true, ..one });
        assert_eq!(read(&machine, &mut runner), Reading::present("1.0"));
        assert_eq!(state(), first);

        // A file that was signed by somebody else cannot be compiled again.
        shell("echo signed >>/lib/modules/$(uname -r)/updates/dkms/farrier_probe.ko");
        let signed = state();
        for (version, rewrite) in [("1.0", true), ("3.0", false)] {
            let broken = step(&mut runner, version, archive(version, COMPILES, "#error no such card"));
            let (exit, output) = apply(&machine, &mut runner, Step { rewrite, ..broken });
            assert_eq!(exit, StepExit::Exited { code: 10 }, "{output}");
            assert_eq!(state(), signed, "{output}");
            shell("tail -n 1 /lib/modules/$(uname -r)/updates/dkms/farrier_probe.ko | grep -q signed");
        }

        // DKMS says nothing of a module if it misses the sources of one version.
        shell("d=/var/lib/dkms/farrier-probe/0.9; mkdir $d; ln -s /usr/src/farrier-probe-0.9 $d/source");
        let blind = state();
        let two = step(&mut runner, "2.0", archive("2.0", COMPILES, ""));
        let (exit, output) = apply(&machine, &mut runner, two);
        assert_eq!(exit, StepExit::Exited { code: 2 }, "{output}");
        assert!(output.contains("restore /var/lib/dkms/farrier-probe/0.9/source, or remove"), "{output}");
        assert_eq!(state(), blind);
        runner.finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// Otherwise a driver with a security fix would count as installed while the old one runs, or be missing after
    /// the reboot into a kernel that is newer than the running one.
    fn a_driver_that_is_not_the_loaded_one_waits_and_the_next_kernel_has_it() {
        prepare();
        shell("cd /lib/modules && mkdir 99.1-next 99.2-headers && touch 99.1-next/modules.builtin");
        shell("cd /lib/modules && for k in 99.*; do cp -P $(uname -r)/build $k/build; done");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let one = step(&mut runner, "1.0", archive("1.0", COMPILES, ""));
        succeeds(&machine, &mut runner, one);
        let kernels = shell("dkms status | grep -o '99[^,]*, .*: .*' || :");
        assert!(kernels.starts_with("99.1-next, ") && kernels.ends_with(": installed\n"), "{kernels}");
        shell("mount -t tmpfs tmpfs /sys/module && mkdir /sys/module/farrier_probe");
        fs::write("/sys/module/farrier_probe/srcversion", "0123456789ABCDEF0123456\n").unwrap();
        let pending = Some(Pending { version: "1.0".into(), until: PendingUntil::ModuleLoad });
        let waiting = Reading::Present { version: "1.0".into(), instances: Vec::new(), pending };
        assert_eq!(read(&machine, &mut runner), waiting);
        shell(
            "modinfo -F srcversion /lib/modules/$(uname -r)/updates/dkms/farrier_probe.ko \
             >/sys/module/farrier_probe/srcversion",
        );
        assert_eq!(read(&machine, &mut runner), Reading::present("1.0"));
        runner.finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// What is not the module of the baseline, or would overwrite what somebody else put there, changes nothing.
    fn other_modules_and_hostile_archives_change_nothing() {
        prepare();
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let before = state();
        let good = archive("1.0", COMPILES, "");
        shell("cd /mnt/t && ln -s /etc probe/etc && tar -cf out.tar probe && rm probe/etc");
        shell("cd /mnt/t && tar -cJf none.tar.xz --transform s,dkms.conf,conf, probe");
        for (version, name, bytes, refusal, words) in [
            ("1.1", NAME, good.clone(), Refusal::OtherPackage, "that it is farrier-probe 1.0, and not 1.1"),
            ("1.0", "other", good.clone(), Refusal::OtherPackage, "that it is farrier-probe, and not other"),
            ("1.0", NAME, fs::read("/mnt/t/out.tar").unwrap(), Refusal::ImageRefused, "leaves its directory"),
            ("1.0", NAME, fs::read("/mnt/t/none.tar.xz").unwrap(), Refusal::ImageRefused, "has no dkms.conf"),
            ("1.0", NAME, b"MZ".to_vec(), Refusal::ImageRefused, "no tar archive"),
        ] {
            let package = Some(PackageRef { name: name.into(), arches: Vec::new() });
            let step = Step { package, ..step(&mut runner, version, bytes) };
            match apply(&machine, &mut runner, step).0 {
                StepExit::NotStarted { refusal: Some(found), detail, .. } => {
                    assert_eq!(found, refusal);
                    assert!(detail.contains(words), "{detail}");
                }
                other => panic!("{words}: {other:?}"),
            }
        }
        assert_eq!(state(), before);

        let one = step(&mut runner, "1.0", good);
        shell("mkdir /usr/src/farrier-probe-1.0 && echo mine >/usr/src/farrier-probe-1.0/dkms.conf");
        match apply(&machine, &mut runner, one.clone()).0 {
            StepExit::NotStarted { detail, .. } => assert!(detail.contains("differs from the payload"), "{detail}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(fs::read_to_string("/usr/src/farrier-probe-1.0/dkms.conf").unwrap(), "mine\n");
        shell("rm -r /usr/src/farrier-probe-1.0");

        shell("mount --bind /dev/null $(command -v dkms)");
        assert_eq!(read(&machine, &mut runner), Reading::Absent);
        let fetched = runner.gets.len();
        runner.order_apply("missing", vec![Step { component: "new".into(), ..one }]);
        runner.talk(&machine, |runner| runner.is_done("missing"));
        let (code, _, message) = runner.failure();
        assert_eq!(code, FailureCode::InstallerMissing);
        assert_eq!(message, "this machine has no dkms; install its package dkms");
        assert_eq!(runner.gets.len(), fetched, "nothing is copied");
        runner.finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// A machine that loses its power while a driver is compiled must not keep half of it: DKMS would install it
    /// with the next kernel. The next engine cleans up, or the sweep if there is none.
    fn what_a_killed_installation_left_is_taken_back() {
        prepare();
        let old = archive("1.0", COMPILES, "");
        let stuck = archive("2.0", "touch /opt/begun; sleep 1000", "");
        // Ends only when it is killed, and with it the program that would take it back.
        let stubborn = archive("2.0", "trap '' TERM; sleep 1000; sleep 1000", "");
        let mut before = String::new();
        for ends in ["taken over", "swept", "timed out"] {
            let machine = Machine::new("s1").started();
            let mut runner = Runner::default();
            if before.is_empty() {
                let old = step(&mut runner, "1.0", old.clone());
                succeeds(&machine, &mut runner, old);
                before = state();
            }
            let timeout_seconds = if ends == "timed out" { 5 } else { 600 };
            let bytes = if ends == "timed out" { stubborn.clone() } else { stuck.clone() };
            let step = Step { timeout_seconds, interruptible: true, ..step(&mut runner, "2.0", bytes) };
            shell("rm -f /opt/begun");
            runner.order_apply("stuck", vec![step]);
            if ends == "timed out" {
                runner.talk(&machine, |runner| runner.is_done("stuck"));
                assert_eq!(runner.exits().last().unwrap().1, &StepExit::TimedOut);
            } else {
                let mut connection = Connection::attach(&machine);
                runner.serve(&mut connection, |_| Path::new("/opt/begun").exists());
                assert!(state().contains("2.0"));
                machine.kill();
                let lease = machine.journal().into_iter().rev().find_map(|event| match event.body {
                    EventBody::LeaseTaken { lease } => Some(lease.what),
                    _ => None,
                });
                let pid: u32 = lease.unwrap().parse().unwrap();
                shell(&format!("kill -9 -{pid}"));
                until("the end of the installer", || !is_alive(pid));
            }
            if ends == "swept" {
                let swept = machine.sweep();
                assert!(swept.status.success(), "{swept:?}");
            } else {
                let machine = if ends == "taken over" { Machine::new("s1").started() } else { machine };
                runner.order("retire-1", Work::Retire);
                runner.talk(&machine, Runner::retired);
                machine.await_end();
                machine.assert_clean();
            }
            assert_eq!(state(), before, "{ends}");
            Command::new("rm").args(["-rf", "/var/log/farrier"]).status().unwrap();
        }
    }
}
