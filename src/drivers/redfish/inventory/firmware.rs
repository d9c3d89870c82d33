//! The firmware inventory of a device.

use super::{Link, Note, Resource};

/// One piece of firmware (`SoftwareInventory`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The resource.
    pub link: Link,
    /// Its identifier, unique on this device.
    pub id: String,
    /// Its name, which need not be unique.
    pub name: Option<String>,
    /// Its version. `None`: the device does not tell.
    pub version: Option<String>,
    /// Whether the device can update it. `None`: it does not tell.
    pub updateable: Option<bool>,
    /// The vendor's number for this kind of firmware, the same on all devices.
    pub software_id: Option<String>,
    /// `OK`, `Warning` or `Critical`; other words are possible.
    pub health: Option<String>,
    /// The parts of the machine that it belongs to.
    pub related: Vec<Link>,
}

impl Entry {
    pub(in crate::drivers::redfish) fn read(link: Link, resource: &Resource) -> Self {
        Self {
            id: resource.text("/Id").unwrap_or_else(|| link.name().to_owned()),
            name: resource.text("/Name"),
            // `VersionString` is the word of iLO 4.
            version: resource.text("/Version").or_else(|| resource.text("/VersionString")),
            updateable: resource.flag("/Updateable"),
            software_id: resource.text("/SoftwareId"),
            health: resource.text("/Status/Health"),
            related: resource.links("/RelatedItem"),
            link,
        }
    }

    /// Returns a note about an entry without a version.
    pub(super) fn note(&self) -> Option<Note> {
        let name = self.name.as_deref().unwrap_or(&self.id);
        let words = || format!("{name} ({}) has no version", self.link);
        self.version.is_none().then(|| Note { link: self.link.clone(), words: words() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(value: serde_json::Value) -> Entry {
        let link = Link::parse("/redfish/v1/UpdateService/FirmwareInventory/Installed-1").unwrap();
        Entry::read(link, &Resource::new(value))
    }

    /// As iLO 5 and iDRAC 9 send them.
    #[test]
    fn entries_of_different_vendors_are_read() {
        let ilo = entry(json!({
            "@odata.context": "/redfish/v1/$metadata#SoftwareInventory.SoftwareInventory",
            "@odata.id": "/redfish/v1/UpdateService/FirmwareInventory/1/",
            "Id": "1", "Description": "SystemBMC", "Name": "iLO 5", "Updateable": true, "Version": "2.72 Sep 04 2022",
            "Oem": {"Hpe": {"DeviceContext": "System Board"}}, "Status": {"Health": "OK", "State": "Enabled"},
        }));
        assert_eq!((ilo.id.as_str(), ilo.name.as_deref()), ("1", Some("iLO 5")));
        assert_eq!((ilo.version.as_deref(), ilo.updateable), (Some("2.72 Sep 04 2022"), Some(true)));
        let idrac = entry(json!({
            "Id": "Installed-159-1.6.6__BIOS.Setup.1-1", "Name": "BIOS", "SoftwareId": 159, "Updateable": "true",
            "Version": "1.6.6", "RelatedItem": [{"@odata.id": "/redfish/v1/Systems/System.Embedded.1/Bios"}],
            "Status": {"Health": null, "State": "Enabled"},
        }));
        assert_eq!((idrac.software_id.as_deref(), idrac.updateable), (Some("159"), Some(true)));
        assert_eq!((idrac.related.len(), idrac.health), (1, None));
    }

    /// A null version would otherwise be compared with the wanted one.
    #[test]
    fn what_is_missing_is_missing() {
        let odd = entry(
            json!({"Name": null, "Version": null, "Updateable": null, "RelatedItem": {"@odata.id": "/a"}}),
        );
        assert_eq!(
            (odd.id.as_str(), odd.name, odd.version, odd.updateable),
            ("Installed-1", None, None, None)
        );
        assert_eq!(odd.related.len(), 1);
        assert_eq!(entry(json!({"Version": "N/A"})).version, None);
        assert_eq!(entry(json!({"Version": 3.4})).version.as_deref(), Some("3.4"));
    }
}
