//! Installers that fail, hang, lie, or find the machine in use.

use super::{all_at_once, ends_with, only, said};
use crate::harness::payload::{Component, deb, digest, ethtool, script};
use crate::harness::run::{component, to};
use crate::harness::snapshot::{self, Allowed, DPKG, ETHTOOL, LOG};
use crate::harness::{Conditions, Machine, Site, e2e, operator, outcome};
use farrier_update::Reason;
use futures::future::join_all;
use serde_json::json;

/// An update that did not happen is reported as done, a half-installed package as nothing, or a
/// hanging installer stays on the machine for ever.
#[test]
fn an_installer_that_does_not_do_its_work_is_told_honestly() {
    e2e("install", async |site| {
        let good = site.machine("good").up().await;
        let machines = join_all(EXPECTED.iter().map(|said| site.machine(said.node).up())).await;
        let before = snapshot::of_all(&machines).await;
        let mut components = vec![only(ethtool(), &good)];
        components.extend(machines.iter().map(|machine| only(faulty(site, &machine.name), machine)));
        site.baseline("spring", &components).await;
        let run = site.run("r1", all_at_once("spring")).await;
        ends_with(site, &run, EXPECTED).await;
        let after = snapshot::of_all(&machines).await;
        for (machine, (before, after)) in machines.iter().zip(before.iter().zip(&after)) {
            before.same_but(after, &[LOG, changed(&machine.name)]);
        }
        let update = run.node("broken").await;
        let told = component(&update, "farrier-failing");
        assert_eq!((told.outcome.as_str(), told.after.as_str()), ("Failed", "1.0 (half-configured)"));
        assert_eq!(outcome(&run.node("missing").await, "farrier-needs-missing"), "DependencyMissing");
        assert_eq!(component(&run.node("fail").await, "fail").exit_code, Some(7));
        assert_eq!(outcome(&run.node("fwupd").await, "fwupd"), "Skipped");
    });
}

/// The component that a machine gets, by its name.
fn faulty(site: &Site, name: &str) -> Component {
    let made = |text: &str| {
        let component = site.payload(&format!("{name}.sh"), "1.0", "Script", text.as_bytes());
        component.with(json!({"name": name, "detect": {"file": format!("/etc/{name}.version")}}))
    };
    match name {
        "missing" => deb("farrier-needs-missing", "1.0"),
        "fail" => script("fail", "1.0"),
        "broken" => deb("farrier-failing", "1.0"),
        "hang" => script("hang", "1.0").with(json!({"timeout": "3s"})),
        "liar" => made("#!/bin/sh\necho all is well\n"),
        "noprogram" => made("echo this would be run line by line\n"),
        "nopackage" => {
            let component = site.payload("nopackage.deb", "1.0", "Deb", b"no package at all");
            component.with(json!({"name": "nopackage"}))
        }
        "fwupd" => {
            made("firmware").with(json!({"installer": "Fwupd", "detect": {"file": null, "command": "false"}}))
        }
        _ => unreachable!("{name}"),
    }
}

/// What may differ on a machine afterwards, beside the log.
fn changed(name: &str) -> Allowed<'static> {
    match name {
        "broken" => &[
            "/usr/bin/farrier-failing",
            "/var/lib/dpkg/info/farrier-failing.*",
            "/var/lib/dpkg/status",
            "/var/lib/dpkg/status-old",
            "/var/log/dpkg.log",
        ],
        "hang" => &["/var/log/hang.started"],
        // dpkg notes that it was started.
        "nopackage" => &["/var/lib/dpkg/status-old", "/var/log/dpkg.log"],
        _ => &[],
    }
}

const EXPECTED: &[super::Said] = &[
    said("missing", Reason::DependencyMissing, &["farrier-needs-missing", "farrier-does-not-exist"]),
    said(
        "fail",
        Reason::InstallerFailed,
        &["fail exited with 7", "the device refused the image", "status.logs"],
    ),
    said(
        "broken",
        Reason::InstallerFailed,
        &["farrier-failing", "half-configured", "cannot configure", "status.logs"],
    ),
    said("hang", Reason::InstallerTimedOut, &["hang exceeded its timeout", "was ended", "status.logs"]),
    said(
        "liar",
        Reason::VersionNotReached,
        &["liar exited with 0", "is not installed, not 1.0", "all is well"],
    ),
    said("noprogram", Reason::InstallerFailed, &["noprogram", "neither a script", "could not be started"]),
    said("nopackage", Reason::InstallerFailed, &["nopackage", "dpkg-deb: error", "status.logs"]),
    said("fwupd", Reason::NotYetSupported, &["fwupd", "Fwupd", "leave the component out"]),
];

/// Two package managers at once damage the machine's database, or a run fails because somebody
/// else was at work for a moment.
#[test]
fn a_package_manager_that_is_in_use_is_waited_for() {
    e2e("lock", async |site| {
        let machine = site.machine("shared").up().await;
        let before = machine.snapshot().await;
        machine.sh(HOLD).await;
        site.baseline("spring", &[ethtool()]).await;
        let run = site.run("r1", to("spring")).await;
        let at_it = |update: &farrier::api::NodeUpdate| {
            update
                .status
                .as_ref()
                .is_some_and(|s| s.step.as_deref().is_some_and(|step| step.starts_with("Applying")))
        };
        run.node_until("shared", "the installation to be due", at_it).await;
        crate::harness::wait::pass(std::time::Duration::from_secs(2)).await;
        assert!(!machine.processes().iter().any(|(_, args)| args[0].ends_with("dpkg")), "dpkg was started");
        assert_eq!(run.get().await.state("Succeeded"), "Unknown");
        machine.sh("rm /run/hold").await;
        run.succeeds().await;
        before.same_but(&machine.snapshot().await, &[LOG, DPKG, ETHTOOL]);
    });
}

/// Holds dpkg's lock as apt does, until /run/hold is gone.
const HOLD: &str = r#"touch /run/hold
    perl -MFcntl -e '
        open(my $lock, "+<", "/var/lib/dpkg/lock-frontend") or die;
        my $all = pack("s s x4 q q l x4", F_WRLCK, 0, 0, 0, 0);
        fcntl($lock, F_SETLK, $all) or die;
        open(my $held, ">", "/run/held") or die;
        select(undef, undef, undef, 0.05) while -e "/run/hold";
        unlink "/run/held"' </dev/null >/dev/null 2>&1 &
    for n in $(seq 100); do [ ! -e /run/held ] || exit 0; sleep 0.05; done
    exit 1"#;

/// Two operators work on one machine at the same time, or one gives up although the other is about
/// to be done.
#[test]
fn a_machine_that_another_operator_works_on_is_left_alone() {
    e2e("busy", async |site| {
        let machine = site.machine("busy").up().await;
        let before = machine.snapshot().await;
        foreign_engine(&machine).await;
        site.baseline("spring", &[ethtool()]).await;
        let run = site.run("r1", to("spring")).await;
        let expected =
            said("busy", Reason::MachineBusy, &["busy", "run other", "/var/lib/farrier-foreign", "wait"]);
        ends_with(site, &run, &[expected]).await;
        assert_eq!(machine.engines().len(), 1, "the foreign engine must not be touched");
        let mut patient = to("spring");
        patient["strategy"] = json!({"retries": 5});
        let run = site.run("r2", patient).await;
        let waits = |update: &farrier::api::NodeUpdate| update.reason("Succeeded") == "WaitingForRetry";
        run.node_until("busy", "the wait for the other engine", waits).await;
        machine.sh("kill -TERM $(pidof -x farrier-engine || pgrep -f 'farrier-engine run')").await;
        run.succeeds().await;
        before.same_but(&machine.snapshot().await, &[LOG, DPKG, ETHTOOL]);
    });
}

/// An engine of another operator, launched by hand.
async fn foreign_engine(machine: &Machine) {
    let engine = operator::engines().join("farrier-engine-x86_64-linux");
    let bytes = std::fs::read(engine).expect("an engine");
    let init = machine.init().expect("a machine that is on");
    let dir = "/var/lib/farrier-foreign";
    machine.sh(&format!("mkdir -m 711 {dir}")).await;
    std::fs::write(format!("/proc/{init}/root{dir}/engine"), &bytes).expect("an engine on the machine");
    let digest = digest(&bytes);
    machine
        .sh(&format!(
            "chmod 755 {dir}/engine
             {dir}/engine launch --dir {dir} --session foreign --run other --peer-uid 0 --digest {digest} --lease 600"
        ))
        .await;
}
