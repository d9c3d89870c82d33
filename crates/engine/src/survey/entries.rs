//! The machine's firmware list: what its kernel and its tools list, and the devices of fwupd.

use super::firmware;
use crate::fwupd::{self, Absence, Device};
use farrier_protocol::{Firmware, Reading};

/// Maximum number of entries that a message names.
const MAX_NAMED: usize = 12;

/// The list.
pub(super) struct Entries {
    listed: Vec<Firmware>,
    /// `None` if fwupd was not asked.
    devices: Option<Result<Vec<Device>, String>>,
}

impl Entries {
    /// Reads the list as far as it is needed. `wanted` are the entries that components name. fwupd is asked only for
    /// them, or if `fwupd` is set: its daemon takes a second or more to start, and probes the hardware.
    pub(super) fn read(all: bool, wanted: &[&str], fwupd: bool) -> Self {
        let listed = if all || !wanted.is_empty() { firmware::read() } else { Vec::new() };
        let is_id = |entry: &&str| listed.iter().any(|one| one.id == *entry);
        let devices = (fwupd || !wanted.iter().all(is_id)).then(fwupd::devices);
        Self { listed, devices }
    }

    /// Returns the version of one entry: by its id, its name or a GUID of its firmware. fwupd comes first for
    /// names, because it knows versions that wait for a reboot.
    pub(super) fn reading(&self, entry: &str) -> Reading {
        if let Some(one) = self.listed.iter().find(|one| one.id == entry) {
            return Reading::present(&one.version);
        }
        match self.devices.as_ref().map(|devices| devices.as_ref().map(|found| fwupd::find(found, entry))) {
            Some(Ok(Ok(device))) => return device.reading(),
            Some(Ok(Err(Absence::Several(detail)))) => return Reading::Unreadable { detail },
            Some(Ok(Err(Absence::None(_))) | Err(_)) | None => {}
        }
        let is_meant = |one: &&Firmware| !entry.is_empty() && (one.name == entry || one.software_id == entry);
        let found: Vec<&Firmware> = self.listed.iter().filter(is_meant).collect();
        match found.as_slice() {
            [one] => Reading::present(&one.version),
            [] => Reading::Unreadable { detail: self.without(entry) },
            several => {
                let ids: Vec<&str> = several.iter().map(|one| one.id.as_str()).collect();
                let detail =
                    format!("{entry} is the name of several entries: {}; give the id of one", ids.join(", "));
                Reading::Unreadable { detail }
            }
        }
    }

    /// Says that there is no such entry, and which there are.
    fn without(&self, entry: &str) -> String {
        let devices = self.devices.iter().flatten().flatten().map(Device::title);
        let listed = self.listed.iter().map(|one| format!("{} ({})", one.name, one.id));
        let names: Vec<String> = devices.chain(listed).take(MAX_NAMED).collect();
        let names = if names.is_empty() { "nothing".into() } else { names.join(", ") };
        let trouble = match &self.devices {
            Some(Err(trouble)) => format!("; {trouble}"),
            Some(Ok(_)) | None => String::new(),
        };
        format!("the machine has no firmware entry {entry}; it lists {names}{trouble}")
    }

    /// Returns the whole list.
    pub(super) fn into_list(self) -> Vec<Firmware> {
        let devices =
            self.devices.into_iter().flatten().flatten().filter(|device| !device.version.is_empty());
        let entry = |device: Device| Firmware {
            updateable: device.has("updatable"),
            id: device.id,
            name: device.name,
            version: device.version,
            source: "fwupd".into(),
            software_id: device.guids.into_iter().next().unwrap_or_default(),
        };
        self.listed.into_iter().chain(devices.map(entry)).collect()
    }
}
