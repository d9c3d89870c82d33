//! What a fleet is planned by: the firmware of machines, and machines with other processors.

use crate::harness::payload::{bmc_tool, ethtool};
use crate::harness::run::to;
use crate::harness::{Conditions, e2e, outcome, snapshot};
use farrier::api::NodeInventory;
use serde_json::json;

/// A `/sys` as Linux shows it on a server: a BIOS of HPE, a BMC and a disk.
const SERVER: &str = "mount -t tmpfs tmpfs /sys && cd /sys &&
    mkdir -p class/dmi/id class/nvme/nvme0 bus/platform/devices/ipmi_bmc.0 &&
    echo HPE >class/dmi/id/bios_vendor && echo U30 >class/dmi/id/bios_version && echo 2.64 >class/dmi/id/bios_release &&
    echo 2.72 >bus/platform/devices/ipmi_bmc.0/firmware_revision &&
    echo 'SAMSUNG MZQLB960HAJR-00007  ' >class/nvme/nvme0/model && echo EDA5402Q >class/nvme/nvme0/firmware_rev";

/// Nobody could tell which machines of a fleet still have the firmware that a bulletin names.
#[test]
fn the_firmware_of_a_machines_devices_is_in_its_inventory() {
    e2e("firmware", async |site| {
        let db = site.machine("db").up().await;
        db.sh(SERVER).await;
        site.run("look", json!({"operation": "Inventory"})).await.succeeds().await;
        let inventory: NodeInventory = site.api().get("db").await.expect("an inventory");
        let status = inventory.status.expect("a status");
        let entries = status.firmware.iter();
        let entries = entries.map(|f| format!("{} {}: {} {}", f.source, f.id, f.name, f.version));
        let expected = [
            "dmi bios: HPE BIOS U30 2.64",
            "ipmi ipmi_bmc.0: BMC 2.72",
            "nvme nvme0: SAMSUNG MZQLB960HAJR-00007 EDA5402Q",
        ];
        assert_eq!(entries.collect::<Vec<_>>(), expected);
        let node = site.node("db").await;
        assert!(
            node.words("InventoryCurrent").contains("packages and 3 firmware entries"),
            "{}",
            node.words("InventoryCurrent")
        );
    });
}

/// An engine for another processor does not start, and such machines could not be updated at all.
#[test]
fn a_machine_with_a_32_bit_processor_gets_its_own_engine() {
    e2e("i686", async |site| {
        let old = site.machine("old").lab(&["--arch", "i686"]).up().await;
        let before = old.snapshot().await;
        site.baseline("spring", &[ethtool(), bmc_tool("3.1"), site.held()]).await;
        let run = site.run("r1", to("spring")).await;
        old.is_slow().await;
        let engine = std::fs::read(format!("/proc/{}/exe", old.engine().await)).expect("the engine");
        assert_eq!(engine.get(4), Some(&1), "the class of an ELF file for 32 bits");
        old.release_steps().await;
        run.succeeds().await;
        old.sh("rm /run/let-go").await;
        let update = run.node("old").await;
        for name in ["ethtool", "bmc-tool", "slow"] {
            assert_eq!(outcome(&update, name), "Updated", "{name}");
        }
        let allowed = [snapshot::LOG, snapshot::DPKG, snapshot::ETHTOOL, snapshot::BMC_TOOL, snapshot::SLOW];
        before.same_but(&old.snapshot().await, &allowed);
    });
}
