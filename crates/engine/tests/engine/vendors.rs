//! Dell update packages and HPE smart components, with doubles that were written from the vendors' documents
//! (tests/doubles/installers).

use crate::machine::Machine;
use crate::runner::Runner;
use crate::sandbox::shell;
use farrier_protocol::{FailureCode, Installer, Refusal, Step, StepExit};
use std::fs;

const DUP: &str = include_str!("../../../../tests/doubles/installers/dell-dup.sh");
const COMPONENT: &str = include_str!("../../../../tests/doubles/installers/hpe-component.sh");

/// State of the double's device.
const DEVICE: &str = "/opt/firmware";

fn of(double: &str, version: &str) -> Vec<u8> {
    double.replace("@VERSION@", version).into_bytes()
}

/// Builds the RPM package around an HPE smart component, with the files that HPE's packages have.
fn package(version: &str, setups: &[&str]) -> Vec<u8> {
    let place = format!("/mnt/build/usr/lib/x86_64-linux-gnu/firmware-double-{version}");
    shell(&format!("rm -rf /mnt/build /mnt/rpm; mkdir -p {place}"));
    for setup in setups {
        let setup = format!("{place}/{setup}");
        fs::create_dir_all(std::path::Path::new(&setup).parent().unwrap()).unwrap();
        // The programs in these packages look for their files where they are called.
        let checked = COMPONENT.replace("work=$(mktemp", "[ -e payload.json ] || exit 6\nwork=$(mktemp");
        fs::write(&setup, of(&checked, version)).unwrap();
        shell(&format!("chmod 755 {setup}"));
    }
    fs::write(format!("{place}/payload.json"), "{}").unwrap();
    let spec = format!(
        "%define __os_install_post %{{nil}}\n%define debug_package %{{nil}}\nName: firmware-double\n\
         Version: {version}\nRelease: 1.1\nSummary: x\nLicense: x\nAutoReqProv: no\n%description\nx\n\
         %install\ncp -a /mnt/build/. %{{buildroot}}/\n%files\n/usr\n"
    );
    fs::write("/mnt/x.spec", spec).unwrap();
    shell("rpmbuild --quiet -bb --define '_topdir /mnt/rpm' --define '_build_id_links none' /mnt/x.spec");
    fs::read(shell("echo /mnt/rpm/RPMS/*/*.rpm").trim()).unwrap()
}

fn device(version: &str, exit: Option<i32>) {
    shell(&format!("rm -rf {DEVICE}; mkdir -p {DEVICE}; echo {version} >{DEVICE}/version"));
    if let Some(code) = exit {
        fs::write(format!("{DEVICE}/exit"), code.to_string()).unwrap();
    }
}

fn state(file: &str) -> String {
    fs::read_to_string(format!("{DEVICE}/{file}")).unwrap_or_default().trim().to_owned()
}

/// Runs a task with one step, and returns how it ended.
fn apply(machine: &Machine, runner: &mut Runner, step: Step) -> StepExit {
    let id = format!("apply-{}", runner.exits().len());
    runner.order_apply(&id, vec![step]);
    runner.talk(machine, |runner| runner.is_done(&id));
    runner.exits().last().unwrap().1.clone()
}

fn refused(exit: &StepExit) -> (Refusal, &str) {
    match exit {
        StepExit::NotStarted { refusal: Some(refusal), detail, .. } => (*refusal, detail),
        other => panic!("{other:?}"),
    }
}

sandboxed! {
    /// The codes of the vendors contradict each other; each has to arrive as it is. The machine must not be
    /// rebooted by the installer, must not be asked anything, and nothing of the installer may stay.
    fn every_code_of_the_vendors_arrives_and_nothing_stays() {
        shell("mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /var/tmp");
        let temporary = || shell("ls -A /tmp /var/tmp");
        let before = temporary();
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let cases: [(Installer, Vec<u8>, &str, &[i32]); 3] = [
            (Installer::DellDup, of(DUP, "2.0"), "-q", &[0, 1, 2, 3, 4, 5, 6, 9]),
            (Installer::HpeSmartComponent, of(COMPONENT, "2.0"), "-s", &[0, 1, 2, 3, 4, 5, 6, 7]),
            (Installer::HpeSmartComponent, package("2.0", &["setup", "hpsetup"]), "-s", &[0, 1, 3]),
        ];
        for (installer, bytes, arguments, codes) in cases {
            let step = runner.payload("bios", installer, bytes);
            for &code in codes {
                device("1.0", Some(code));
                let exit = apply(&machine, &mut runner, step.clone());
                assert_eq!(exit, StepExit::Exited { code }, "{installer:?}");
                assert_eq!((state("arguments").as_str(), state("rebooted").as_str()), (arguments, ""));
                assert_eq!(state("version"), if code == 0 { "2.0" } else { "1.0" }, "{installer:?} {code}");
            }
            // An older and the same version need force, and get it only on request.
            for (installed, downgrade, rewrite) in [("3.0", true, false), ("2.0", false, true)] {
                device(installed, None);
                let code = if installer == Installer::DellDup { 3 } else { 2 };
                assert_eq!(apply(&machine, &mut runner, step.clone()), StepExit::Exited { code });
                let forced = Step { downgrade, rewrite, ..step.clone() };
                assert_eq!(apply(&machine, &mut runner, forced), StepExit::Exited { code: 0 });
                assert_eq!(state("version"), "2.0");
                assert_eq!(state("arguments"), format!("{arguments}\n{arguments} -f"));
            }
        }
        assert_eq!(runner.output("bios").lines().last(), Some("The update completed successfully."));
        runner.finish(&machine);
        assert_eq!(temporary(), before, "what the installers have unpacked");
        machine.assert_clean();
    }
}

sandboxed! {
    /// A file of another kind must not be executed line by line, nor firmware of an unknown program be installed.
    fn what_is_no_installer_is_refused() {
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        device("1.0", None);
        for (installer, bytes, words) in [
            (Installer::DellDup, b"MZ a program for Windows".to_vec(), "no Dell update package for Linux"),
            (Installer::HpeSmartComponent, b"MZ a program for Windows".to_vec(), "neither a program"),
            (Installer::HpeSmartComponent, package("2.0", &[]), "without a program that installs firmware"),
            (Installer::HpeSmartComponent, package("2.0", &["setup", "b/setup"]), "several programs"),
            (Installer::HpeSmartComponent, b"\xed\xab\xee\xdb cut off".to_vec(), "cannot be unpacked"),
        ] {
            let step = runner.payload("bios", installer, bytes);
            let exit = apply(&machine, &mut runner, step);
            let (refusal, detail) = refused(&exit);
            assert_eq!(refusal, Refusal::ImageRefused);
            assert!(detail.contains(words), "{detail}");
        }
        assert_eq!(state("arguments"), "");
        // The tools are hidden behind a device that cannot be executed.
        shell("mount --bind /dev/null $(command -v cpio)");
        let step = runner.payload("bios", Installer::HpeSmartComponent, package("2.0", &["setup"]));
        match apply(&machine, &mut runner, step) {
            StepExit::NotStarted { code: FailureCode::InstallerMissing, detail, .. } => {
                assert!(detail.contains("install its package cpio"), "{detail}");
            }
            other => panic!("{other:?}"),
        }
        runner.finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// A disk that stays locked after the update, or a battery that runs empty during it, costs the machine. Both
    /// are seen before anything is copied, and the other components are installed.
    fn a_key_in_a_module_and_a_battery_are_seen_before_anything_is_copied() {
        shell(
            "cd /mnt && mkdir etc work && mount -t overlay -o lowerdir=/etc,upperdir=etc,workdir=work etc /etc",
        );
        fs::write("/etc/crypttab", "root UUID=1 none luks,tpm2-device=auto\n").unwrap();
        device("1.0", None);
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let step = runner.payload("bios", Installer::DellDup, of(DUP, "2.0"));
        let script = runner.script("tool", "exit 0");
        runner.order_apply("first", vec![step.clone(), script]);
        runner.talk(&machine, |runner| runner.is_done("first"));
        let exits = runner.exits();
        let (refusal, detail) = refused(exits[0].1);
        assert_eq!(refusal, Refusal::TrustedModule);
        assert!(detail.contains("the disk root is unlocked by a trusted module"), "{detail}");
        assert_eq!(exits[1].1, &StepExit::Exited { code: 0 });
        assert_eq!(runner.gets.len(), 1, "only the script is fetched");

        let overridden = Step { overrides_trusted_module: true, ..step };
        shell("mount -t tmpfs tmpfs /sys/class/power_supply && cd /sys/class/power_supply && mkdir BAT0 AC");
        shell("cd /sys/class/power_supply && echo Battery >BAT0/type && echo Discharging >BAT0/status");
        shell("cd /sys/class/power_supply && echo Mains >AC/type && echo 0 >AC/online");
        let exit = apply(&machine, &mut runner, overridden.clone());
        let (refusal, detail) = refused(&exit);
        assert_eq!((refusal, detail), (Refusal::OnBattery, "the machine runs on its battery BAT0"));
        assert_eq!(runner.gets.len(), 1);

        shell("echo 1 >/sys/class/power_supply/AC/online");
        assert_eq!(apply(&machine, &mut runner, overridden), StepExit::Exited { code: 0 });
        assert_eq!(state("version"), "2.0");
        runner.finish(&machine);
        machine.assert_clean();
    }
}
