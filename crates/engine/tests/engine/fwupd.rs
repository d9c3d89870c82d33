//! Firmware by fwupd: the real daemon, with its test devices.

use crate::machine::{Machine, until};
use crate::runner::Runner;
use crate::sandbox::shell;
use farrier_protocol::{
    Detect, EventBody, FailureCode, Holder, Installer, Pending, PendingUntil, Reading, Refusal, Step,
    StepExit, WaitFor, Work,
};
use std::fs;
use std::process::{Command, Stdio};

/// The test device: its id, its name, the GUID of its firmware.
const WEBCAM: &str = "08d460be0f1f9f128413f816022a6439e0078018";
const NAME: &str = "Integrated Webcam™";
const GUID: &str = "b585990a-003e-5270-89d5-3705a17f9a43";

/// GUID of the firmware of a part of the test device, which it has with the option `CompositeChild`.
const MODULE: &str = "7fddead7-12b5-4fb9-9fa0-6d30305df755";

/// Starts D-Bus, which starts the daemon on demand. `options` are those of the test devices.
fn start(options: &str) {
    for dir in ["/run", "/var/lib/fwupd", "/var/cache/fwupd", "/root", "/tmp"] {
        shell(&format!("mkdir -p {dir} && mount -t tmpfs tmpfs {dir}"));
    }
    shell(
        "cd /mnt && mkdir etc work && mount -t overlay -o lowerdir=/etc,upperdir=etc,workdir=work etc /etc",
    );
    configure("OnlyTrusted=false", options);
    shell("mkdir -p /run/dbus && dbus-uuidgen --ensure && dbus-daemon --system --fork --nopidfile");
}

/// Ends the daemon, whose test devices and history then know nothing any more.
fn restart(trust: &str, options: &str) {
    let daemon = || Command::new("pkill").args(["-9", "-x", "fwupd"]).status().unwrap();
    until("the end of fwupd", || !daemon().success());
    shell("rm -rf /var/lib/fwupd/*");
    configure(trust, options);
}

/// The cabinets of these tests are not signed, so `trust` is usually `OnlyTrusted=false`.
fn configure(trust: &str, options: &str) {
    let config = format!("[fwupd]\nTestDevices=true\n{trust}\n[test]\n{options}\n");
    fs::write("/etc/fwupd/fwupd.conf", config).unwrap();
}

/// Builds a cabinet with firmware of this version for these GUIDs.
fn cabinet(version: &str, guids: &[&str]) -> Vec<u8> {
    shell("rm -rf /mnt/cab && mkdir /mnt/cab");
    let mut files = String::new();
    let number: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
    for (index, guid) in guids.iter().enumerate() {
        let protocol = if *guid == MODULE { "com.acme" } else { "com.acme.test" };
        let content = format!("{:#x}", (number[0] << 24) | (number[1] << 16) | number[2]);
        fs::write(format!("/mnt/cab/{index}.bin"), content).unwrap();
        let metainfo = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<component type="firmware">
  <id>net.example.part{index}.firmware</id><name>Part {index}</name><summary>x</summary>
  <provides><firmware type="flashed">{guid}</firmware></provides>
  <metadata_license>CC0-1.0</metadata_license><project_license>proprietary</project_license>
  <developer_name>x</developer_name>
  <custom>
    <value key="LVFS::VersionFormat">triplet</value>
    <value key="LVFS::UpdateProtocol">{protocol}</value>
  </custom>
  <releases><release version="{version}" date="2026-01-21">
    <checksum filename="{index}.bin" target="content"/><description><p>x</p></description>
  </release></releases>
</component>"#
        );
        fs::write(format!("/mnt/cab/{index}.metainfo.xml"), metainfo).unwrap();
        files.extend([format!(" {index}.bin"), format!(" {index}.metainfo.xml")]);
    }
    shell(&format!("cd /mnt/cab && fwupdtool build-cabinet out.cab{files} 2>&1"));
    fs::read("/mnt/cab/out.cab").unwrap()
}

/// Returns a step that installs a cabinet to the test device.
fn step(runner: &mut Runner, bytes: Vec<u8>) -> Step {
    Step {
        firmware: Some(NAME.into()),
        interruptible: false,
        ..runner.payload("webcam", Installer::Fwupd, bytes)
    }
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

/// Runs a task with one step, which must succeed.
fn succeeds(machine: &Machine, runner: &mut Runner, step: Step) {
    let (exit, output) = apply(machine, runner, step);
    assert_eq!(exit, StepExit::Exited { code: 0 }, "{output}");
}

/// Reads an entry of the firmware list.
fn read(machine: &Machine, runner: &mut Runner, entry: &str) -> Reading {
    let id = format!("survey-{}", runner.dones.len());
    let detect = vec![("webcam".to_owned(), Detect::Firmware(entry.into()))];
    runner.order(&id, Work::Survey { packages: false, detect, fwupd: false, programs: Vec::new() });
    runner.talk(machine, |runner| runner.is_done(&id));
    let mut readings = runner.bodies().filter_map(|body| match body {
        EventBody::SurveyDone { task, readings, .. } if *task == id => Some(readings[0].1.clone()),
        _ => None,
    });
    readings.next().unwrap()
}

fn waits(version: &str, until: PendingUntil) -> Reading {
    let pending = Some(Pending { version: version.into(), until });
    Reading::Present { version: "1.2.2".into(), instances: Vec::new(), pending }
}

fn refused(exit: &StepExit) -> (Refusal, &str) {
    match exit {
        StepExit::NotStarted { refusal: Some(refusal), detail, .. } => (*refusal, detail),
        other => panic!("{other:?}"),
    }
}

sandboxed! {
    /// The whole way: read, update, downgrade and install again as the run allows, and refuse what is not meant for
    /// the device.
    fn firmware_is_installed_by_fwupd_and_read_from_it() {
        start("");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        for entry in [WEBCAM, NAME, GUID] {
            assert_eq!(read(&machine, &mut runner, entry), Reading::present("1.2.2"), "{entry}");
        }
        match read(&machine, &mut runner, "Integrated") {
            Reading::Unreadable { detail } => assert!(detail.contains(&format!("{NAME} ({WEBCAM})")), "{detail}"),
            other => panic!("{other:?}"),
        }
        let newer = step(&mut runner, cabinet("1.2.4", &[GUID]));
        let older = step(&mut runner, cabinet("1.2.3", &[GUID]));
        succeeds(&machine, &mut runner, newer.clone());
        assert_eq!(read(&machine, &mut runner, NAME), Reading::present("1.2.4"));

        // Numbers of FwupdError: 1 is "newer version installed", 2 is "same version installed".
        let (exit, output) = apply(&machine, &mut runner, older.clone());
        assert_eq!(exit, StepExit::Exited { code: 1 });
        assert!(output.starts_with("fwupd error 1: "), "{output}");
        succeeds(&machine, &mut runner, Step { downgrade: true, ..older.clone() });
        assert_eq!(read(&machine, &mut runner, NAME), Reading::present("1.2.3"));
        let (exit, output) = apply(&machine, &mut runner, older.clone());
        assert_eq!(exit, StepExit::Exited { code: 1 });
        assert!(output.starts_with("fwupd error 2: "), "{output}");
        succeeds(&machine, &mut runner, Step { rewrite: true, ..older.clone() });

        let foreign = step(&mut runner, cabinet("1.2.4", &[MODULE]));
        for (step, expected, words) in [
            (foreign.clone(), Refusal::NotForMachine, "has nothing for"),
            (Step { firmware: None, ..foreign }, Refusal::NotForMachine, "has nothing for a device of this machine"),
            (Step { firmware: Some("BIOS".into()), ..newer.clone() }, Refusal::NotForMachine, "no device BIOS"),
            (step(&mut runner, b"no cabinet".to_vec()), Refusal::ImageRefused, "fwupd error"),
        ] {
            let (exit, _) = apply(&machine, &mut runner, step);
            let (refusal, detail) = refused(&exit);
            assert_eq!(refusal, expected, "{detail}");
            assert!(detail.contains(words), "{detail}");
        }
        // Only cabinets that are signed are taken, unless the machine's owner has decided otherwise.
        restart("", "");
        let (exit, _) = apply(&machine, &mut runner, newer.clone());
        let (refusal, detail) = refused(&exit);
        assert_eq!(refusal, Refusal::ImageRefused);
        assert!(detail.contains("fwupd error 7"), "{detail}");
        restart("OnlyTrusted=false", "");
        // A cabinet that leaves no choice needs no name.
        succeeds(&machine, &mut runner, Step { firmware: None, ..newer.clone() });
        assert_eq!(read(&machine, &mut runner, NAME), Reading::present("1.2.4"));

        shell("mount --bind /dev/null $(command -v fwupdmgr)");
        runner.order_apply("missing", vec![newer]);
        runner.talk(&machine, |runner| runner.is_done("missing"));
        let (code, _, message) = runner.failure();
        assert_eq!(code, FailureCode::InstallerMissing);
        assert_eq!(message, "this machine has no fwupdmgr; install its package fwupd");
        runner.finish(&machine);
        let left = shell("find /var/lib/fwupd /var/cache/fwupd /run /root /tmp -name '*.cab' -o -name farrier-*");
        assert_eq!(left, "", "what is left of the cabinets");
        machine.assert_clean();
    }
}

sandboxed! {
    /// A version that waits for a reboot is not in effect, but must not be installed a second time either.
    fn a_version_that_waits_is_told_from_one_that_failed() {
        start("NeedsReboot=true");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let newer = step(&mut runner, cabinet("1.2.4", &[GUID]));
        succeeds(&machine, &mut runner, newer.clone());
        assert_eq!(read(&machine, &mut runner, NAME), waits("1.2.4", PendingUntil::Reboot));

        restart("OnlyTrusted=false", "NeedsActivation=true");
        succeeds(&machine, &mut runner, newer.clone());
        assert_eq!(read(&machine, &mut runner, NAME), waits("1.2.4", PendingUntil::Activation));

        restart("OnlyTrusted=false", "WriteSupported=false");
        let (exit, output) = apply(&machine, &mut runner, newer);
        assert_eq!(exit, StepExit::Exited { code: 1 });
        assert!(output.starts_with("fwupd error 10: ") && output.ends_with("not in supported mode"), "{output}");
        assert_eq!(read(&machine, &mut runner, NAME), Reading::present("1.2.2"));

        restart("OnlyTrusted=false", "CompositeChild=true");
        let both = step(&mut runner, cabinet("1.2.4", &[GUID, MODULE]));
        let (exit, _) = apply(&machine, &mut runner, Step { firmware: None, ..both.clone() });
        let (refusal, detail) = refused(&exit);
        assert_eq!(refusal, Refusal::AmbiguousDevice);
        assert!(detail.contains(WEBCAM) && detail.contains("Module1"), "{detail}");
        runner.finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// Two programs that flash the same device at once may destroy it; whoever waits must see for whom.
    fn another_fwupdmgr_is_waited_for_and_named() {
        start("WriteDelay=3000");
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        let newer = step(&mut runner, cabinet("1.2.4", &[GUID]));
        fs::write("/mnt/older.cab", cabinet("1.2.3", &[GUID])).unwrap();
        let arguments = ["install", "/mnt/older.cab", "--assume-yes", "--no-reboot-check"];
        let mut other = Command::new("fwupdmgr").args(arguments).stdout(Stdio::null()).spawn().unwrap();
        let (pid, name) = (other.id(), "fwupdmgr".to_owned());
        succeeds(&machine, &mut runner, Step { firmware: None, ..newer });
        let waits = runner.waits();
        let wait = waits[0].unwrap();
        assert_eq!((&wait.what, &wait.holder), (&WaitFor::Firmware, &Some(Holder { pid, name })));
        assert_eq!(waits.last(), Some(&None));
        assert!(other.wait().unwrap().success());
        assert_eq!(read(&machine, &mut runner, NAME), Reading::present("1.2.4"));
        runner.finish(&machine);
        machine.assert_clean();
    }
}
