//! Firmware in surveys, read from a `/sys` made for the test: the machines that run the tests have no BIOS, BMC
//! or network card that states one.

use crate::machine::Machine;
use crate::packages::empty_database;
use crate::runner::Runner;
use crate::sandbox::shell;
use farrier_protocol::{Detect, EventBody, Firmware, Reading, Work};
use std::fs;
use std::path::Path;

/// Attributes as Linux 6.1 shows them on a server: `Documentation/ABI/*/sysfs-*`, `drivers/firmware/dmi-id.c`,
/// `drivers/char/ipmi/ipmi_msghandler.c`, `drivers/nvme/host/sysfs.c`.
const ATTRIBUTES: [(&str, &str); 13] = [
    ("class/dmi/id/bios_vendor", "HPE"),
    ("class/dmi/id/bios_version", "U30"),
    ("class/dmi/id/bios_release", "2.64"),
    ("class/dmi/id/ec_firmware_release", "2.72"),
    ("bus/platform/devices/ipmi_bmc.0/firmware_revision", "2.72"),
    ("bus/platform/devices/serial8250/uevent", "DRIVER=serial8250"),
    ("class/nvme/nvme0/address", "0000:5e:00.0"),
    ("class/nvme/nvme0/model", "SAMSUNG MZQLB960HAJR-00007              "),
    ("class/nvme/nvme0/firmware_rev", "EDA5402Q"),
    ("class/net/ens1f0/device/vendor", "0x15b3"),
    ("class/net/ens1f0v0/device/physfn/vendor", "0x15b3"),
    ("class/net/eth9/device/vendor", "0x1af4"),
    ("class/net/lo/flags", "0x9"),
];

/// Answers as `ethtool -i` of version 6.1 does, and writes down whom it was asked for.
const ETHTOOL: &str = r#"#!/bin/sh
[ "$1" = -i ] || exit 1
echo "$2" >>/mnt/asked
case $2 in
  ens1f0) driver=mlx5_core firmware='16.35.2000 (MT_0000000012)' bus=0000:3b:00.0 ;;
  *) driver=virtio_net firmware= bus=0000:00:03.0 ;;
esac
printf 'driver: %s\nversion: 6.1.0\nfirmware-version: %s\nexpansion-rom-version: \nbus-info: %s\n' $driver "$firmware" $bus
"#;

sandboxed! {
    /// Without it nobody sees which machines of a fleet still have the firmware that a bulletin names.
    fn the_firmware_of_all_devices_is_in_the_survey() {
        empty_database();
        shell("mount -t tmpfs tmpfs /sys && mount -t tmpfs tmpfs /usr/local/sbin");
        for (path, value) in ATTRIBUTES {
            let path = Path::new("/sys").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{value}\n")).unwrap();
        }
        let machine = Machine::new("s1").started();
        let mut runner = Runner::default();
        for (task, packages) in [("survey-1", true), ("survey-2", false)] {
            let entries = if packages { vec![] } else { vec!["bios", "BMC", "none"] };
            let detect = |entry: &str| (entry.to_owned(), Detect::Firmware(entry.into()));
            let detect = entries.into_iter().map(detect).collect();
            runner.order(task, Work::Survey { packages, detect, fwupd: false, programs: Vec::new() });
            runner.talk(&machine, |runner| runner.is_done(task));
        }
        let read = runner.bodies().find_map(|body| match body {
            EventBody::SurveyDone { task, readings, .. } if task == "survey-2" => Some(readings.clone()),
            _ => None,
        });
        let [(_, bios), (_, bmc), (_, none)] = &read.unwrap()[..] else { panic!() };
        assert_eq!([bios, bmc], [&Reading::present("U30 2.64"), &Reading::present("2.72")]);
        match none {
            Reading::Unreadable { detail } => assert!(detail.contains("HPE BIOS (bios)"), "{detail}"),
            other => panic!("{other:?}"),
        }
        // A machine on which the tool has been installed meanwhile.
        fs::write("/usr/local/sbin/ethtool", ETHTOOL).unwrap();
        shell("chmod 755 /usr/local/sbin/ethtool");
        runner.order("survey-3", Work::Survey { packages: true, detect: vec![], fwupd: false, programs: Vec::new() });
        runner.finish(&machine);
        let surveys: Vec<&Vec<Firmware>> = runner
            .bodies()
            .filter_map(|body| match body {
                EventBody::SurveyDone { firmware, .. } => Some(firmware),
                _ => None,
            })
            .collect();
        let [without, short, all] = surveys[..] else { panic!("{surveys:?}") };
        let lines = |firmware: &[Firmware]| -> Vec<String> {
            let line = |f: &Firmware| format!("{} {}: {} {}", f.source, f.id, f.name, f.version);
            firmware.iter().map(line).collect()
        };
        let dmi = ["dmi bios: HPE BIOS U30 2.64", "dmi ec: Embedded controller 2.72"];
        let network = ["ethtool 0000:3b:00.0: ens1f0 (mlx5_core) 16.35.2000 (MT_0000000012)"];
        let rest = ["ipmi ipmi_bmc.0: BMC 2.72", "nvme 0000:5e:00.0: SAMSUNG MZQLB960HAJR-00007 EDA5402Q"];
        // Where ethtool of the system would answer for a card that is not there, it says nothing.
        assert_eq!(lines(without), [&dmi[..], &rest[..]].concat());
        assert_eq!(lines(all), [&dmi[..], &network[..], &rest[..]].concat());
        assert_eq!(lines(short), [""; 0], "only an inventory needs it");
        assert_eq!(fs::read_to_string("/mnt/asked").unwrap(), "ens1f0\neth9\n", "no virtual interface is asked");
        machine.assert_clean();
    }
}
