//! Packages from a repository that the machine has, what its owner has decided about them, and steps on the way to
//! a version.

use crate::harness::payload::{Component, merge, of_bytes};
use crate::harness::run::{component, to};
use crate::harness::{Conditions, Site, e2e, outcome, snapshot};
use serde_json::json;

/// `offer NAME VERSION MORE` adds a package to the repository `/srv/repo`, which is the only one of the machine.
const REPOSITORY: &str = r#"
offer() {
  rm -rf /tmp/deb; mkdir -p /tmp/deb/DEBIAN /tmp/deb/opt/$1 /srv/repo; echo $2 >/tmp/deb/opt/$1/version
  printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n%b' "$@" >/tmp/deb/DEBIAN/control
  f=$1-$2.deb
  dpkg-deb --root-owner-group -b /tmp/deb /srv/repo/$f >/dev/null
  cd /srv/repo
  { dpkg-deb -f $f; echo "Filename: ./$f"; echo "Size: $(stat -c %s $f)"; echo "SHA256: $(sha256sum $f | cut -d' ' -f1)"; echo; } >>Packages
}
rm -rf /etc/apt/sources.list.d /etc/apt/sources.list
echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list
"#;

/// What apt keeps, and the lists of files of packages.
const APT: &[&str] = &["/var/lib/apt", "/var/cache/apt", "/var/log/apt", "/var/lib/dpkg/info"];

/// Returns a component from the machine's repositories.
fn from_repository(name: &str, version: &str) -> Component {
    Component(json!({"name": name, "version": version, "installer": "Deb", "source": "Repository"}))
}

/// A package from a repository would take others with it, in another version than the baseline's, or against the
/// will of the machine's owner.
#[test]
fn a_package_from_the_machines_own_repository_is_planned_and_installed_exactly() {
    e2e("apt", async |site| {
        let db = site.machine("db").up().await;
        let offers = "for v in 1 2 3; do offer fx $v 'Depends: libnew\\n'; done; offer libnew 1; offer other 1; \
                      offer other 2; offer fy 2 'Depends: other (>= 2)\\n'; dpkg -i other-1.deb; rm -rf /tmp/deb";
        db.sh(&format!("{REPOSITORY}{offers}")).await;
        let before = db.snapshot().await;
        site.baseline("spring", &[from_repository("fx", "2"), from_repository("fy", "2")]).await;
        let mut spec = to("spring");
        merge(&mut spec, json!({"desiredState": "Plan"}));
        let run = site.run("r1", spec).await;
        run.until("a plan", |r| r.reason("Planned") == "PlanOnly").await;
        let plan = run.node("db").await.status.expect("a status").plan;
        let [fx, fy] = &plan[..] else { panic!("{plan:#?}") };
        assert_eq!((fx.action.as_str(), fx.message.as_str()), ("Install", "also installs libnew 1"));
        assert_eq!(fy.action, "Blocked");
        assert!(
            fy.message.starts_with("to install fy 2, apt-get would also upgrade other to 2; add"),
            "{}",
            fy.message
        );
        db.is_clean().await;
        before.same_but(&db.snapshot().await, &[snapshot::LOG]);

        run.desire("Run").await;
        run.fails().await;
        let update = run.node("db").await;
        assert_eq!((outcome(&update, "fx"), outcome(&update, "fy")), ("Updated", "Failed"));
        assert_eq!(update.reason("Succeeded"), "OtherPackagesAffected", "{}", update.words("Succeeded"));
        assert_eq!(db.sh("cat /opt/*/version").await, "2\n1\n1\n");
        before.same_but(&db.snapshot().await, &[snapshot::LOG, snapshot::DPKG, APT, &["/opt"]]);

        db.sh("apt-mark hold fx >/dev/null").await;
        site.baseline("summer", &[from_repository("fx", "3")]).await;
        let run = site.run("r2", to("summer")).await;
        run.fails().await;
        let update = run.node("db").await;
        assert_eq!(update.reason("Succeeded"), "PackageHeld");
        for words in ["fx is on hold on this machine", "apt-mark unhold fx", "spec.force.holds"] {
            assert!(update.words("Succeeded").contains(words), "{}", update.words("Succeeded"));
        }
        let mut forced = to("summer");
        merge(&mut forced, json!({"force": {"holds": true}}));
        run_succeeds(site, "r3", forced).await;
        assert_eq!(db.sh("cat /opt/fx/version; apt-mark showhold").await, "3\nfx\n");

        site.baseline("autumn", &[from_repository("fx", "4")]).await;
        let run = site.run("r4", to("autumn")).await;
        run.fails().await;
        let update = run.node("db").await;
        assert_eq!(update.reason("Succeeded"), "PackageHeld", "{}", update.words("Succeeded"));
        db.sh("apt-mark unhold fx >/dev/null").await;
        let run = site.run("r5", to("autumn")).await;
        run.fails().await;
        let update = run.node("db").await;
        assert_eq!(update.reason("Succeeded"), "VersionNotAvailable");
        assert!(
            update.words("Succeeded").contains("have fx 1, 2, 3, not 4"),
            "{}",
            update.words("Succeeded")
        );
    });
}

async fn run_succeeds(site: &Site, name: &str, spec: serde_json::Value) {
    site.run(name, spec).await.succeeds().await;
}

/// A device would be flashed with a version that it cannot take from where it is; and a driver would be copied to a
/// machine that cannot compile it.
#[test]
fn a_step_is_taken_by_machines_below_it_and_needs_are_checked_first() {
    e2e("steps", async |site| {
        let (db, web) = (site.machine("db").up().await, site.machine("web").up().await);
        db.sh("echo 1.20 >/etc/ilo.version").await;
        web.sh("echo 1.50 >/etc/ilo.version").await;
        let script =
            b"#!/bin/sh\necho \"$FARRIER_VERSION\" >/etc/ilo.version; cat /etc/ilo.version >>/root/flashed\n";
        site.payload("ilo.sh", "1", "Script", script);
        let ilo = |name: &str, version: &str, more: serde_json::Value| {
            let detect = json!({"detect": {"file": "/etc/ilo.version"}});
            of_bytes(name, version, "Script", "ilo.sh", script).with(detect).with(more)
        };
        let own = json!({"requires": [{"component": "ilo", "atLeast": "1.40"}]});
        let (last, step) = (ilo("ilo", "2.10", own), ilo("ilo-step", "1.40", json!({})));
        let needs = json!({"detect": {"file": "/etc/driver"}, "needs": {"programs": ["gcc", "ls"], "kernelHeaders": true}});
        let driver = of_bytes("driver", "1", "Script", "ilo.sh", script).with(needs);
        site.baseline("spring", &[last, step, driver]).await;
        let run = site.run("r1", to("spring")).await;
        run.fails().await;
        for (machine, flashed, outcomes) in
            [(&db, "1.40\n2.10\n", ["Updated", "Updated"]), (&web, "2.10\n", ["Updated", "UpToDate"])]
        {
            assert_eq!(machine.file("/root/flashed").as_deref(), Some(flashed));
            let update = run.node(&machine.name).await;
            assert_eq!([outcome(&update, "ilo"), outcome(&update, "ilo-step")], outcomes);
            assert_eq!(update.reason("Succeeded"), "PrerequisiteMissing");
            let told = &component(&update, "driver").message;
            for words in ["gcc and the headers of the running kernel", "install gcc, linux-headers-"] {
                assert!(told.contains(words), "{told}");
            }
        }
    });
}
