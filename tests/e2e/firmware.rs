//! Firmware on Linux machines: by the real fwupd, whose test device stands for hardware, and by the vendors' own
//! installers, for which doubles stand (tests/doubles/installers).

use crate::harness::payload::{Component, merge};
use crate::harness::run::{component, to};
use crate::harness::{Conditions, Machine, Site, e2e, outcome};
use farrier::api::NodeInventory;
use serde_json::json;

/// The test device of fwupd.
const WEBCAM: &str = "Integrated Webcam™";

/// Starts D-Bus, which starts fwupd on demand, or ends fwupd. `$1` has the options of the test device.
const START: &str = r#"
[ -e /run/dbus/pid ] || { mkdir -p /run/dbus; dbus-uuidgen --ensure; dbus-daemon --system --fork; }
while pkill -9 -x fwupd; do :; done
rm -rf /var/lib/fwupd/pending.db
printf '[fwupd]\nTestDevices=true\nOnlyTrusted=false\n[test]\n%s\n' "$1" >/etc/fwupd/fwupd.conf
"#;

/// Builds `/root/webcam.cab` with version 1.2.4 for the test device. It is not signed.
const CABINET: &str = r#"
cd /root
printf 0x1020004 >webcam.bin
cat >webcam.metainfo.xml <<XML
<?xml version="1.0" encoding="UTF-8"?>
<component type="firmware">
  <id>net.example.webcam.firmware</id><name>Webcam</name><summary>x</summary>
  <provides><firmware type="flashed">b585990a-003e-5270-89d5-3705a17f9a43</firmware></provides>
  <metadata_license>CC0-1.0</metadata_license><project_license>proprietary</project_license>
  <developer_name>x</developer_name>
  <custom>
    <value key="LVFS::VersionFormat">triplet</value>
    <value key="LVFS::UpdateProtocol">com.acme.test</value>
  </custom>
  <releases><release version="1.2.4" date="2026-01-21">
    <checksum filename="webcam.bin" target="content"/><description><p>x</p></description>
  </release></releases>
</component>
XML
fwupdtool build-cabinet webcam.cab webcam.bin webcam.metainfo.xml >/dev/null 2>&1
"#;

async fn start(machine: &Machine, options: &str) {
    machine.sh(&format!("set -- '{options}'\n{START}")).await;
}

fn webcam(site: &Site, machine: &Machine, entry: &str) -> Component {
    let cabinet = machine.bytes("/root/webcam.cab").expect("a cabinet");
    let detect = json!({"name": "webcam", "detect": {"firmware": entry}});
    site.payload("webcam.cab", "1.2.4", "Fwupd", &cabinet).with(detect)
}

/// Firmware would be reported as installed although the device has another version, or as failed although it waits
/// for a reboot.
#[test]
fn fwupd_updates_a_device_and_what_waits_for_a_reboot_is_said() {
    e2e("fwupd", async |site| {
        let db = site.machine("db").lab(&["--flavour", "firmware"]).up().await;
        db.sh(CABINET).await;
        start(&db, "").await;
        let dup = include_str!("../doubles/installers/dell-dup.sh").replace("@VERSION@", "2.0");
        let dup = site.payload("BIOS_2.0.BIN", "2.0", "DellDup", dup.as_bytes());
        let dup = dup.with(json!({"name": "bios", "detect": {"command": "cat /opt/firmware/version"}}));
        let elsewhere = webcam(site, &db, "BIOS").with(json!({"name": "elsewhere"}));
        site.baseline("spring", &[webcam(site, &db, WEBCAM), dup]).await;
        let run = site.run("r1", to("spring")).await;
        run.succeeds().await;
        let update = run.node("db").await;
        let told = component(&update, "webcam");
        assert_eq!((told.before.as_str(), told.after.as_str(), told.exit_code), ("1.2.2", "1.2.4", Some(0)));
        assert_eq!((outcome(&update, "webcam"), outcome(&update, "bios")), ("Updated", "Updated"));
        assert_eq!(db.sh("cat /opt/firmware/arguments").await, "-q\n");

        // The device keeps its version until the machine is rebooted, and is not written a second time.
        start(&db, "NeedsReboot=true").await;
        for (name, exit) in [("r2", Some(0)), ("r3", None)] {
            let run = site.run(name, to("spring")).await;
            run.succeeds().await;
            let update = run.node("db").await;
            let told = component(&update, "webcam");
            assert_eq!((outcome(&update, "webcam"), told.exit_code), ("RebootPending", exit), "{name}");
            assert_eq!((told.before.as_str(), told.after.as_str()), ("1.2.2", "1.2.2"));
            assert!(
                told.message.contains("1.2.4 is on the device and takes effect after"),
                "{}",
                told.message
            );
        }

        let mut inventory = to("spring");
        merge(&mut inventory, json!({"operation": "Inventory", "baselineRef": null}));
        let run = site.run("r4", inventory).await;
        run.succeeds().await;
        let found: NodeInventory = site.api().get("db").await.expect("an inventory");
        let firmware = found.status.expect("a status").firmware;
        let listed = firmware.iter().find(|entry| entry.name == WEBCAM).expect("the test device");
        assert_eq!(
            (listed.version.as_str(), listed.source.as_str(), listed.updateable),
            ("1.2.2", "fwupd", true)
        );

        site.baseline("autumn", &[elsewhere]).await;
        let run = site.run("r5", to("autumn")).await;
        run.fails().await;
        let message = run.node("db").await.words("Succeeded");
        assert!(message.contains(WEBCAM) && message.contains("BIOS"), "{message}");
    });
}
