//! Packages that are installed more than once under one name: in several versions, or for several
//! architectures.

use crate::harness::payload::{Component, merge};
use crate::harness::run::{component, to};
use crate::harness::{Conditions, Machine, Site, e2e, outcome};
use farrier::api::NodeInventory;
use serde_json::json;

/// `rpm_package NAME VERSION HEADER SCRIPT` builds `/root/NAME-VERSION.rpm`. The package has one file that
/// depends on the version, and the files that SCRIPT creates in `$R`.
const RPM: &str = r"
rpm_package() {
  cat >/tmp/x.spec <<SPEC
Name: $1
Version: $2
Release: 1
Summary: test
License: none
BuildArch: noarch
AutoReqProv: no
$3
%description
test
%install
R=%{buildroot}; mkdir -p \$R/opt/$1; echo $2 >\$R/opt/$1/$2
$4
%files
/*
SPEC
  rpmbuild --quiet -bb --define '_topdir /tmp/rpm' --define '_build_id_links none' /tmp/x.spec >/dev/null 2>&1
  cp /tmp/rpm/RPMS/noarch/$1-$2-1.noarch.rpm /root/$1-$2.rpm
}
";

/// `deb NAME VERSION ARCHITECTURE MORE` builds `/root/NAME-VERSION-ARCHITECTURE.deb`.
const DEB: &str = r#"
deb() {
  rm -rf /tmp/deb; mkdir -p /tmp/deb/DEBIAN /tmp/deb/opt/$1; echo $2 >/tmp/deb/opt/$1/$3
  printf 'Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: x <x@x>\nDescription: x\n%b' "$@" >/tmp/deb/DEBIAN/control
  dpkg-deb --root-owner-group -b /tmp/deb /root/$1-$2-$3.deb >/dev/null
}
"#;

/// Returns a component whose payload is a file on the machine.
fn from(site: &Site, machine: &Machine, name: &str, version: &str, installer: &str, file: &str) -> Component {
    let bytes = machine.bytes(&format!("/root/{file}")).expect(file);
    site.payload(file, version, installer, &bytes).with(json!({"name": name}))
}

/// Returns version and architecture of each package of this name in the inventory.
async fn listed(site: &Site, node: &str, name: &str) -> Vec<String> {
    let inventory: NodeInventory = site.api().get(node).await.expect("an inventory");
    let packages = inventory.status.expect("a status").packages.into_iter();
    packages.filter(|p| p.name == name).map(|p| format!("{} {}", p.version, p.arch)).collect()
}

/// `rpm -U` removes every other version of the package that it installs. The machine would lose the kernel
/// that it runs, and would not start after its next reboot.
#[test]
fn a_third_version_leaves_the_two_others_and_the_booted_kernel_stays() {
    e2e("beside", async |site| {
        let db = site.machine("db").lab(&["--flavour", "rpm"]).up().await;
        let script = r"
for v in 1 2 3; do rpm_package fx $v '' ''; done
rpm_package kernel-core 1 '' 'mkdir $R/boot; echo x >$R/boot/vmlinuz-$(uname -r)'
rpm_package kernel-core 2 '' ''
rpm_package successor 1 'Obsoletes: kernel-core < 2' ''
rpm -i /root/fx-1.rpm /root/kernel-core-1.rpm; rpm -i /root/fx-2.rpm
";
        db.sh(&format!("{RPM}{script}")).await;
        let rpm = |name, version, file| from(site, &db, name, version, "Rpm", file);
        let (fx, kernel) = (rpm("fx", "3-1", "fx-3.rpm"), rpm("kernel-core", "2-1", "kernel-core-2.rpm"));
        site.baseline("spring", &[fx, kernel]).await;
        let run = site.run("r1", to("spring")).await;
        run.succeeds().await;
        let update = run.node("db").await;
        let told = component(&update, "fx");
        assert_eq!((told.before.as_str(), told.after.as_str()), ("2-1", "3-1"));
        assert_eq!(told.message, "installed side by side: 1-1, 2-1, 3-1");
        let told = component(&update, "kernel-core");
        assert_eq!((told.before.as_str(), told.after.as_str()), ("1-1", "2-1"));
        assert_eq!(outcome(&update, "kernel-core"), "RebootPending");
        let waits =
            told.message.starts_with("the kernel of kernel-core 2-1 is installed, and the machine runs");
        assert!(
            waits && told.message.ends_with("; installed side by side: 1-1 (running), 2-1"),
            "{}",
            told.message
        );
        assert_eq!(listed(site, "db", "fx").await, ["1-1 noarch", "2-1 noarch", "3-1 noarch"]);
        assert_eq!(db.sh("cat /opt/fx/*").await, "1\n2\n3\n");

        let (older, successor) = (rpm("fx", "1-1", "fx-1.rpm"), rpm("successor", "1-1", "successor-1.rpm"));
        site.baseline("summer", &[older, successor]).await;
        let run = site.run("r2", to("summer")).await;
        run.fails().await;
        let update = run.node("db").await;
        assert_eq!(outcome(&update, "fx"), "UpToDate");
        assert_eq!(update.reason("Succeeded"), "BootedPackageKept", "{}", update.words("Succeeded"));
        assert_eq!(listed(site, "db", "kernel-core").await, ["1-1 noarch", "2-1 noarch"]);
        assert_eq!(db.sh("ls /boot").await, format!("vmlinuz-{}", db.sh("uname -r").await));
    });
}

/// A package would be reported as installed because one for another architecture is, or would replace that
/// one.
#[test]
fn a_package_for_another_architecture_is_another_package() {
    e2e("arch", async |site| {
        let db = site.machine("db").up().await;
        let script = r"
dpkg --add-architecture i386
deb fx 2 i386; deb fx 1 amd64
for a in i386 amd64; do deb both 1 $a 'Multi-Arch: same\n'; done
dpkg -i /root/fx-2-i386.deb /root/both-1-i386.deb
";
        db.sh(&format!("{DEB}{script}")).await;
        let deb = |name, version, file| from(site, &db, name, version, "Deb", file);
        let (fx, both) = (deb("fx", "1", "fx-1-amd64.deb"), deb("both", "1", "both-1-amd64.deb"));
        site.baseline("spring", &[fx.clone(), both]).await;
        let run = site.run("r1", to("spring")).await;
        run.fails().await;
        let update = run.node("db").await;
        assert_eq!(update.reason("Succeeded"), "ArchitectureConflict", "{}", update.words("Succeeded"));
        assert_eq!((outcome(&update, "fx"), outcome(&update, "both")), ("Failed", "Updated"));
        assert_eq!(
            component(&update, "both").message,
            "both is also installed for another architecture: i386 1"
        );
        assert_eq!(listed(site, "db", "both").await, ["1 amd64", "1 i386"]);
        assert_eq!(listed(site, "db", "fx").await, ["2 i386"]);

        // The package for the other architecture counts only if `detect` names the architecture.
        let foreign = json!({"name": "foreign", "detect": {"package": "both", "architecture": "i386"}});
        let foreign = deb("both", "1", "both-1-i386.deb").with(foreign);
        let wrong = deb("fx", "2", "fx-2-i386.deb");
        site.baseline("summer", &[foreign, wrong]).await;
        let run = site.run("r2", to("summer")).await;
        run.fails().await;
        let update = run.node("db").await;
        assert_eq!(outcome(&update, "foreign"), "UpToDate");
        assert_eq!(update.reason("Succeeded"), "PackageMismatch", "{}", update.words("Succeeded"));

        db.sh("dpkg --purge fx:i386").await;
        let mut rewrite = to("spring");
        merge(&mut rewrite, json!({"force": {"rewrite": true}}));
        let run = site.run("r3", rewrite).await;
        run.succeeds().await;
        assert_eq!(outcome(&run.node("db").await, "fx"), "Updated");
        assert_eq!(db.sh("cat /opt/both/* /opt/fx/*").await, "1\n1\n1\n");
    });
}
