//! The firmware of network interfaces, by `ethtool -i`.
//!
//! Only drivers know it, and the kernel tells it through an ioctl, which would need unsafe code.

use super::names;
use crate::command::{self, Bounds, Errors};
use farrier_protocol::Firmware;
use std::path::Path;
use std::time::Duration;

const INTERFACES: &str = "/sys/class/net";

/// Maximum number of interfaces that are asked. A switch under Linux has a hundred ports with one firmware.
const MAX_INTERFACES: usize = 64;

/// A driver answers within milliseconds; one that asks a card that hangs must not hold up the survey.
const ETHTOOL: Bounds = Bounds { time: Duration::from_secs(5), bytes: 64 * 1024 };

/// Returns the firmware of each physical interface. If `ethtool` is not installed, nothing is known.
pub(super) fn read() -> Vec<Firmware> {
    if command::find("ethtool").is_none() {
        return Vec::new();
    }
    let mut interfaces = names(Path::new(INTERFACES));
    interfaces.retain(|name| is_physical(name));
    interfaces.sort();
    interfaces.truncate(MAX_INTERFACES);
    interfaces.iter().filter_map(|name| ask(name)).collect()
}

/// Reports whether an interface is a device, and not one of the virtual functions of a device, of which there
/// may be hundreds.
fn is_physical(name: &str) -> bool {
    let device = Path::new(INTERFACES).join(name).join("device");
    // A name like `-s` would be taken for an option.
    !name.starts_with('-') && device.exists() && !device.join("physfn").exists()
}

fn ask(interface: &str) -> Option<Firmware> {
    let output = command::capture("ethtool", &["-i", interface], Errors::Discard, ETHTOOL).ok()?;
    output.status.success().then(|| parse(interface, &output.text))
}

/// Reads the answer: one `name: value` on each line.
fn parse(interface: &str, text: &str) -> Firmware {
    let value = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        // Drivers without a version say so.
        value.map(str::trim).filter(|value| *value != "N/A").unwrap_or_default().to_owned()
    };
    let (driver, address) = (value("driver"), value("bus-info"));
    Firmware {
        id: if address.is_empty() { interface.into() } else { address },
        name: format!("{interface} ({driver})"),
        version: value("firmware-version"),
        source: "ethtool".into(),
        ..Firmware::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of ethtool 6.1 for a card of NVIDIA and for one of a virtual machine.
    #[test]
    fn answers_are_read_whether_there_is_a_version_or_not() {
        let card = "driver: mlx5_core\nversion: 6.1.0-18-amd64\nfirmware-version: 16.35.2000 (MT_0000000012)\n\
            expansion-rom-version: \nbus-info: 0000:3b:00.0\nsupports-statistics: yes\n";
        let firmware = parse("ens1f0", card);
        assert_eq!((firmware.id.as_str(), firmware.name.as_str()), ("0000:3b:00.0", "ens1f0 (mlx5_core)"));
        assert_eq!(firmware.version, "16.35.2000 (MT_0000000012)");
        let none = "driver: virtio_net\nversion: 1.0.0\nfirmware-version: \nbus-info: 0000:00:03.0\n";
        assert_eq!(parse("eth0", none).version, "");
        assert_eq!(parse("eth0", "firmware-version: N/A\n").version, "");
    }
}
