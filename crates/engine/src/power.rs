//! Whether the machine runs on a battery: firmware that is cut off halfway may make it unusable.

use std::fs;
use std::path::Path;

/// Where the kernel lists batteries and mains adapters.
pub(crate) const SUPPLIES: &str = "/sys/class/power_supply";

/// Returns why the machine may lose its power, for users; `None` if it is on mains, has no battery, or the kernel
/// does not say.
pub(crate) fn on_battery(supplies: &Path) -> Option<String> {
    let mut draining = None;
    for entry in fs::read_dir(supplies).ok()?.flatten() {
        let read = |name: &str| {
            let text = fs::read_to_string(entry.path().join(name)).unwrap_or_default();
            text.trim().to_owned()
        };
        match read("type").as_str() {
            // A battery in a mouse or another peripheral says nothing about the machine.
            "Battery" | "UPS" if read("scope") != "Device" && read("status") == "Discharging" => {
                let name = entry.file_name().to_string_lossy().into_owned();
                draining = Some(match read("capacity").as_str() {
                    "" => format!("the machine runs on its battery {name}"),
                    percent => format!("the machine runs on its battery {name}, which has {percent} % left"),
                });
            }
            // Batteries that share a load may discharge while the machine is on mains.
            "Mains" | "USB" if read("online") == "1" => return None,
            _ => {}
        }
    }
    draining
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supplies(test: &str, entries: &[(&str, &[(&str, &str)])]) -> Option<String> {
        let dir = std::env::temp_dir().join(format!("farrier-power-{}-{test}", std::process::id()));
        for (name, files) in entries {
            fs::create_dir_all(dir.join(name)).unwrap();
            for (file, text) in *files {
                fs::write(dir.join(name).join(file), format!("{text}\n")).unwrap();
            }
        }
        let found = on_battery(&dir);
        fs::remove_dir_all(&dir).unwrap();
        found
    }

    /// A laptop whose battery runs empty while its firmware is written does not start again.
    #[test]
    fn only_a_battery_of_the_machine_that_runs_empty_counts() {
        let battery: &[(&str, &str)] = &[("type", "Battery"), ("status", "Discharging"), ("capacity", "41")];
        let found = supplies("a", &[("BAT0", battery), ("AC", &[("type", "Mains"), ("online", "0")])]);
        assert_eq!(found.as_deref(), Some("the machine runs on its battery BAT0, which has 41 % left"));
        assert_eq!(supplies("b", &[("BAT0", battery), ("AC", &[("type", "Mains"), ("online", "1")])]), None);
        let mouse: &[(&str, &str)] = &[("type", "Battery"), ("status", "Discharging"), ("scope", "Device")];
        assert_eq!(supplies("c", &[("hidpp_battery_0", mouse)]), None);
        assert_eq!(supplies("d", &[("BAT0", &[("type", "Battery"), ("status", "Full")])]), None);
        assert_eq!(on_battery(Path::new("/no/such/directory")), None);
    }
}
