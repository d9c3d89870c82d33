//! What keeps a device from taking work, as it shows before it is asked.

use super::super::inventory::{Inventory as Everything, System};
use super::super::{Link, Session, Trouble};
use farrier_update::device::Obstacle;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// States of a start that belong to the power-on self-test: `BootProgress` of the standard (`ComputerSystem`, DSP8010),
/// `PostState` of HPE (`HpeComputerSystemExt`).
const IN_POST: &[&str] = &[
    "PrimaryProcessorInitializationStarted",
    "BusInitializationStarted",
    "MemoryInitializationStarted",
    "SecondaryProcessorInitializationStarted",
    "PCIResourceConfigStarted",
    "SystemHardwareInitializationComplete",
    "SetupEntered",
    "Reset",
    "InPost",
    "InPostDiscoveryComplete",
];

/// The setting of an iDRAC that locks its configuration, and with it all updates.
const LOCKDOWN: &str = "/Attributes/Lockdown.1.SystemLockdown";

/// How long a setting is believed. The resource that it is in has hundreds of others, and takes seconds.
const SETTINGS_AGE: Duration = Duration::from_secs(30);

/// The lock of a device's configuration, as it was last read.
#[derive(Debug, Default)]
pub(super) struct Lock {
    read: Option<(Instant, bool)>,
}

impl Lock {
    /// Reads whether the configuration is locked, unless that was done just now. A setting that cannot be read locks
    /// nothing.
    ///
    /// # Errors
    /// What concerns the device as a whole.
    pub(super) async fn read(&mut self, session: &Session, everything: &Everything) -> Result<bool, Trouble> {
        if let Some((at, is_locked)) = self.read.filter(|(at, _)| at.elapsed() < SETTINGS_AGE) {
            tracing::trace!(?at, "the settings are not read again");
            return Ok(is_locked);
        }
        let settings: Vec<&Link> = everything.managers.iter().flat_map(|manager| &manager.settings).collect();
        let mut is_locked = false;
        for link in settings {
            match session.get(link).await {
                Ok(resource) => is_locked |= resource.flag(LOCKDOWN) == Some(true),
                Err(error) if error.is_about_resource() => {}
                Err(error) => return Err(error),
            }
        }
        self.read = Some((Instant::now(), is_locked));
        Ok(is_locked)
    }
}

/// Returns what keeps a device from taking work, with the next step.
pub(super) fn of(node: &str, everything: &Everything, is_locked: bool) -> BTreeMap<Obstacle, String> {
    let mut found = BTreeMap::new();
    if let Some(product) = &everything.root.managed_by {
        let words = format!(
            "{product} manages the firmware of {node}; update it there, or release the machine from it (edit its server profile so that firmware is managed manually)"
        );
        found.insert(Obstacle::Managed, words);
    }
    if is_locked {
        let words = format!(
            "{node} is in System Lockdown Mode, in which it takes no firmware; end the lockdown on the iDRAC, or in the OpenManage Enterprise that has set it"
        );
        found.insert(Obstacle::Locked, words);
    }
    // Of several partitions it is not known which one a component belongs to.
    let [host] = &everything.systems[..] else { return found };
    if is_off(host) {
        let words = format!(
            "the host of {node} is off, and has to start for this update; power it on, or start a run with reboot.policy: Never, which leaves that to the next start"
        );
        found.insert(Obstacle::HostOff, words);
    } else if let Some(state) = host.boot.as_deref().filter(|state| IN_POST.contains(state)) {
        let words = format!(
            "the host of {node} is in its power-on self-test ({state}); if that lasts, look at its console"
        );
        found.insert(Obstacle::HostInPost, words);
    }
    found
}

fn is_off(host: &System) -> bool {
    host.power.as_deref() == Some("Off")
}

#[cfg(test)]
mod tests {
    use super::super::super::{Resource, ServiceRoot};
    use super::*;
    use serde_json::{Value, json};

    fn found(system: Value) -> Vec<Obstacle> {
        let link = Link::parse("/redfish/v1/Systems/1").unwrap();
        let everything = Everything {
            root: ServiceRoot::default(),
            systems: vec![System::read(link, &Resource::new(system))],
            managers: Vec::new(),
            update: None,
            firmware: Vec::new(),
            complete: true,
            notes: Vec::new(),
        };
        of("ilo-3", &everything, false).into_keys().collect()
    }

    /// Firmware that is written while the host starts may leave it without a start.
    #[test]
    fn a_host_in_its_self_test_is_recognised_in_every_dialect() {
        let dmtf = |state| json!({"PowerState": "On", "BootProgress": {"LastState": state}});
        let hpe = |state| json!({"PowerState": "On", "Oem": {"Hpe": {"PostState": state}}});
        for post in [
            dmtf("MemoryInitializationStarted"),
            dmtf("SystemHardwareInitializationComplete"),
            hpe("InPost"),
            hpe("InPostDiscoveryComplete"),
        ] {
            assert_eq!(found(post.clone()), [Obstacle::HostInPost], "{post}");
        }
        for over in [dmtf("OSRunning"), dmtf("OSBootStarted"), dmtf("OEM"), dmtf("None"), hpe("FinishedPost")]
        {
            assert_eq!(found(over.clone()), [], "{over}");
        }
        let both = json!({
            "PowerState": "On", "BootProgress": {"LastState": "OSRunning"}, "Oem": {"Hpe": {"PostState": "InPost"}},
        });
        assert_eq!(found(both), [Obstacle::HostInPost], "the vendor knows more");
    }

    /// A host that is off is in no self-test, whatever its last state was.
    #[test]
    fn a_host_that_is_off_is_off() {
        let off = json!({"PowerState": "Off", "BootProgress": {"LastState": "SetupEntered"}});
        assert_eq!(found(off), [Obstacle::HostOff]);
        assert_eq!(found(json!({"PowerState": "PoweringOn"})), []);
        assert_eq!(found(json!({})), []);
    }
}
