//! What was read of a device, as decisions and users need it.

use super::super::inventory::{Entry as Firmware, Inventory as Everything, System};
use crate::attempt::{self, Survey};
use farrier_protocol::Facts;
use farrier_update::device::{Entry, Part};
use std::collections::{BTreeMap, BTreeSet};

/// Words by which the names of management processors begin, where a device does not say what an entry belongs
/// to.
const MANAGERS: &[&str] =
    &["iLO", "iDRAC", "Integrated Dell Remote Access Controller", "BMC", "RMC", "OpenBMC"];

/// How the ids of entries begin that are not in effect: an iDRAC lists what it can go back to, and what it was
/// given and has not installed, under the names of what is installed.
const NOT_IN_EFFECT: &[&str] = &["Previous-", "Available-"];

/// Returns the entries by id, name and software id. A name that several entries have identifies none.
pub(super) fn entries(firmware: &[Firmware]) -> BTreeMap<String, Entry> {
    let mut found: BTreeMap<String, Option<Entry>> = BTreeMap::new();
    let is_in_effect = |piece: &&Firmware| !NOT_IN_EFFECT.iter().any(|word| piece.id.starts_with(word));
    for piece in firmware.iter().filter(is_in_effect) {
        let entry = entry(piece);
        let names = [Some(&piece.id), piece.name.as_ref(), piece.software_id.as_ref()];
        let names: BTreeSet<&String> = names.into_iter().flatten().collect();
        for name in names {
            let is_new = !found.contains_key(name);
            found.insert(name.clone(), is_new.then(|| entry.clone()));
        }
    }
    // An id is unique whatever other entries are called.
    for piece in firmware {
        found.insert(piece.id.clone(), Some(entry(piece)));
    }
    found.into_iter().filter_map(|(name, entry)| Some((name, entry?))).collect()
}

fn entry(piece: &Firmware) -> Entry {
    let is_related = piece.related.iter().any(|link| link.as_str().contains("/Managers/"));
    let name = piece.name.as_deref().unwrap_or(&piece.id);
    let is_manager = is_related || MANAGERS.iter().any(|word| name.starts_with(word));
    let part = if is_manager { Part::Manager } else { Part::Host };
    Entry { version: piece.version.clone().unwrap_or_default(), part, pending: None, members: Vec::new() }
}

/// Returns what users see of a reading.
pub(super) fn survey(everything: &Everything) -> Survey {
    let system = everything.systems.first();
    let of = |value: fn(&System) -> &Option<String>| system.and_then(|system| value(system).clone());
    let facts = Facts {
        vendor: of(|system| &system.manufacturer).or(everything.root.vendor.clone()).unwrap_or_default(),
        model: of(|system| &system.model).unwrap_or_default(),
        serial: of(|system| &system.serial).unwrap_or_default(),
        hostname: of(|system| &system.host_name).unwrap_or_default(),
        bios_version: of(|system| &system.bios_version).unwrap_or_default(),
        ..Facts::default()
    };
    let firmware = everything.firmware.iter().map(|piece| attempt::Firmware {
        id: piece.id.clone(),
        name: piece.name.clone().unwrap_or_default(),
        source: "redfish".into(),
        software_id: piece.software_id.clone().unwrap_or_default(),
        version: piece.version.clone().unwrap_or_default(),
        updateable: piece.updateable.unwrap_or_default(),
        health: piece.health.clone().unwrap_or_default(),
    });
    let notes = everything.notes.iter().map(ToString::to_string).collect();
    Survey { facts, firmware: firmware.collect(), notes, ..Survey::default() }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Link, Resource};
    use super::*;
    use serde_json::json;

    fn piece(id: &str, name: &str, version: &str) -> Firmware {
        let link = Link::parse(&format!("/redfish/v1/UpdateService/FirmwareInventory/{id}")).unwrap();
        Firmware::read(link, &Resource::new(json!({"Id": id, "Name": name, "Version": version})))
    }

    /// The id of an entry of an iDRAC contains the version, so that users need its name.
    #[test]
    fn what_is_not_in_effect_has_no_name() {
        let found = entries(&[
            piece("Previous-159-1.6.6__BIOS.Setup.1-1", "BIOS", "1.6.6"),
            piece("Installed-159-1.7.0__BIOS.Setup.1-1", "BIOS", "1.7.0"),
            piece("1", "Disk", "a"),
            piece("2", "Disk", "b"),
        ]);
        assert_eq!(found["BIOS"].version, "1.7.0");
        assert_eq!(found["Previous-159-1.6.6__BIOS.Setup.1-1"].version, "1.6.6");
        assert!(!found.contains_key("Disk"), "two have this name");
    }
}
