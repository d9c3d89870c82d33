//! Drivers from source, which the real DKMS of a machine compiles with the headers of Debian's kernel.

use crate::harness::payload::Component;
use crate::harness::run::{component, to};
use crate::harness::{Conditions, Machine, Site, e2e, outcome, snapshot};
use serde_json::json;

/// Builds `/root/probe.tar.xz` with version `$1` of a module that has the line `$2` in it.
const ARCHIVE: &str = r#"
rm -rf /root/probe && mkdir /root/probe && cd /root/probe
cat >dkms.conf <<CONF
PACKAGE_NAME="probe_dkms"
PACKAGE_VERSION="$1"
BUILT_MODULE_NAME[0]="farrier_probe"
DEST_MODULE_LOCATION[0]="/extra"
AUTOINSTALL="yes"
MAKE[0]="make -C /lib/modules/\${kernelver}/build M=\${dkms_tree}/\${PACKAGE_NAME}/\${PACKAGE_VERSION}/build modules"
CONF
echo 'obj-m := farrier_probe.o' >Makefile
printf '#include <linux/module.h>\n%s\nMODULE_VERSION("%s");\nMODULE_LICENSE("GPL");\n' "$2" "$1" >farrier_probe.c
tar -cJf ../probe.tar.xz -C .. probe
rm -r ../probe
"#;

/// Adds a link that leads out of the tree to the archive.
const CLIMB: &str = "cd /root && tar -xf probe.tar.xz && ln -s ../../../etc/passwd probe/notes && \
                     tar -cJf probe.tar.xz probe && rm -r probe";

/// Returns the component with a version of the module; `more` is done to the archive on the machine.
async fn driver(site: &Site, machine: &Machine, version: &str, code: &str, more: &str) -> Component {
    machine.sh(&format!("set -- '{version}' '{code}'\n{ARCHIVE}\n{more}")).await;
    let archive = machine.bytes("/root/probe.tar.xz").expect("an archive");
    let name = format!("probe-{version}.tar.xz");
    let detect = json!({"name": "probe", "detect": {"module": "probe_dkms"}, "timeout": "5m"});
    site.payload(&name, version, "Tar", &archive).with(detect)
}

/// A machine would lose the driver of its network card to one that does not compile, or keep half of it.
#[test]
fn a_driver_is_compiled_and_replaced_and_one_that_does_not_compile_changes_nothing() {
    e2e("dkms", async |site| {
        let db = site.machine("db").lab(&["--flavour", "dkms"]).up().await;
        let one = driver(site, &db, "1.0", "", "").await;
        let two = driver(site, &db, "2.0", "", "").await;
        let bad = driver(site, &db, "3.0", "#error no such card", "").await;
        for (name, parts) in [("one", one), ("two", two), ("bad", bad)] {
            site.baseline(name, &[parts]).await;
        }
        for (name, baseline, wanted, before, exit) in [
            ("r1", "one", "Updated", "", Some(0)),
            ("r2", "one", "UpToDate", "1.0", None),
            ("r3", "two", "Updated", "1.0", Some(0)),
        ] {
            let run = site.run(name, to(baseline)).await;
            run.succeeds().await;
            let update = run.node("db").await;
            let told = component(&update, "probe");
            assert_eq!(
                (outcome(&update, "probe"), told.exit_code),
                (wanted, exit),
                "{name}: {}",
                told.message
            );
            assert_eq!(told.before, before, "{name}");
        }
        let status = "dkms status; ls -d /usr/src/probe*; modinfo -F version \
                      /lib/modules/$(uname -r)/updates/dkms/farrier_probe.ko";
        let installed = db.sh(status).await;
        assert!(installed.contains("probe_dkms/2.0, ") && installed.contains(": installed\n"), "{installed}");
        assert!(installed.ends_with("/usr/src/probe_dkms-2.0\n2.0\n"), "{installed}");

        let before = db.snapshot().await;
        let run = site.run("r4", to("bad")).await;
        run.fails().await;
        let update = run.node("db").await;
        let told = component(&update, "probe");
        assert_eq!(
            (outcome(&update, "probe"), told.exit_code, told.after.as_str()),
            ("Failed", Some(10), "2.0")
        );
        assert!(told.message.contains("error: #error no such card"), "{}", told.message);
        assert_eq!(db.sh(status).await, installed);
        before.same_but(&db.snapshot().await, &[snapshot::LOG]);
        db.is_clean().await;
    });
}

/// A tree would be copied to a machine that cannot compile it, or written over the machine's own files.
#[test]
fn a_driver_for_a_machine_without_dkms_and_one_that_leaves_its_tree_change_nothing() {
    e2e("dkms-refused", async |site| {
        let plain = site.machine("plain").up().await;
        let db = site.machine("db").lab(&["--flavour", "dkms"]).up().await;
        let (on_plain, on_db) = (plain.sh("hostname").await, db.sh("hostname").await);
        let only =
            |name: &str, host: &str| json!({"name": name, "appliesTo": {"match": {"hostname": host.trim()}}});
        let good = driver(site, &db, "1.0", "", "").await.with(only("good", &on_plain));
        let evil = driver(site, &db, "2.0", "", CLIMB).await.with(only("evil", &on_db));
        site.baseline("spring", &[good, evil]).await;
        let before = [plain.snapshot().await, db.snapshot().await];
        let run = site.run("r1", to("spring")).await;
        run.fails().await;

        let update = run.node("plain").await;
        let told = component(&update, "good");
        assert_eq!((outcome(&update, "good"), told.exit_code), ("Skipped", None), "{}", told.message);
        assert_eq!(update.reason("Succeeded"), "PrerequisiteMissing");
        assert!(told.message.contains("install dkms, gcc"), "{}", told.message);
        before[0].same_but(&plain.snapshot().await, &[snapshot::LOG]);

        let update = run.node("db").await;
        let told = component(&update, "evil");
        assert_eq!(
            (outcome(&update, "evil"), update.reason("Succeeded")),
            ("Failed", "ImageRefused"),
            "{}",
            told.message
        );
        assert!(told.message.contains("notes\" is a link to ../../../etc/passwd"), "{}", told.message);
        before[1].same_but(&db.snapshot().await, &[snapshot::LOG]);
    });
}
