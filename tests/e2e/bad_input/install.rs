//! Installers that fail, hang, or report success without installing anything. `waits` tests installers
//! that have to wait for others.

use super::{all_at_once, ends_with, only, said};
use crate::harness::payload::{Component, deb, ethtool, script};
use crate::harness::run::component;
use crate::harness::snapshot::{self, Allowed, LOG};
use crate::harness::{Site, e2e, outcome};
use farrier_update::Reason;
use futures::future::join_all;
use serde_json::json;

/// An update that did not happen would be reported as done, a half-installed package would not be reported,
/// or an installer that hangs would stay on the machine for ever.
#[test]
fn an_installer_that_does_not_do_its_work_is_reported() {
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
        assert_eq!(outcome(&run.node("msi").await, "msi"), "Skipped");
    });
}

/// Returns the component of the case that the machine is named after.
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
        "msi" => {
            made("package").with(json!({"installer": "Msi", "detect": {"file": null, "command": "false"}}))
        }
        _ => unreachable!("{name}"),
    }
}

/// Returns the paths that may differ on a machine afterwards, besides the log.
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
        // dpkg writes to these files whenever it is started.
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
    said("hang", Reason::InstallerTimedOut, &["hang exceeded its timeout", "was terminated", "status.logs"]),
    said(
        "liar",
        Reason::VersionNotReached,
        &["liar exited with 0", "is not installed, not 1.0", "all is well"],
    ),
    said("noprogram", Reason::InstallerFailed, &["noprogram", "neither a script", "could not be started"]),
    said("nopackage", Reason::InstallerFailed, &["nopackage", "dpkg-deb: error", "status.logs"]),
    said("msi", Reason::NotYetSupported, &["msi", "Msi", "leave the component out"]),
];
