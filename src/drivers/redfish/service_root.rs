//! The root of a Redfish service.

use super::link::Link;
use super::resource::Resource;

/// The service root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceRoot {
    /// Vendor of the service.
    pub vendor: Option<String>,
    /// Product that the service belongs to.
    pub product: Option<String>,
    /// Version of the Redfish protocol.
    pub redfish_version: Option<String>,
    /// UUID of the service.
    pub uuid: Option<String>,
    /// The collection of sessions. `None`: the service has no sessions.
    pub sessions: Option<Link>,
    /// The collection of machines.
    pub systems: Option<Link>,
    /// The collection of management processors.
    pub managers: Option<Link>,
    /// The service that takes firmware.
    pub update_service: Option<Link>,
    /// The service of tasks.
    pub tasks: Option<Link>,
    /// The service of events.
    pub events: Option<Link>,
    /// The product that is in charge of the machine's firmware, if the device names one.
    pub managed_by: Option<String>,
}

impl ServiceRoot {
    /// Reads the service root.
    pub(super) fn read(resource: &Resource) -> Self {
        let link = |path| resource.link(path).ok().flatten();
        // The standard wants `Links/Sessions` even of services that have no sessions.
        let service = link("/SessionService");
        let sessions =
            service.map(|service| link("/Links/Sessions").unwrap_or_else(|| service.below("Sessions")));
        Self {
            vendor: resource
                .text("/Vendor")
                .or_else(|| resource.names("/Oem").first().map(|&name| name.to_owned())),
            product: resource.text("/Product"),
            redfish_version: resource.text("/RedfishVersion"),
            uuid: resource.text("/UUID"),
            sessions,
            systems: link("/Systems"),
            managers: link("/Managers"),
            update_service: link("/UpdateService"),
            tasks: link("/Tasks"),
            events: link("/EventService"),
            managed_by: managed_by(resource),
        }
    }

    /// The root of a service that shows it to nobody who is not signed in: the usual paths.
    pub(super) fn assumed() -> Self {
        let below = |name| Some(Link::root().below(name));
        Self {
            sessions: below("SessionService/Sessions"),
            systems: below("Systems"),
            managers: below("Managers"),
            update_service: below("UpdateService"),
            tasks: below("TaskService"),
            events: below("EventService"),
            ..Self::default()
        }
    }
}

/// Returns the product that is in charge of the machine's firmware. An iLO names the management console that it belongs
/// to, and what that console manages (`HpiLOServiceExt`, `IPManager`).
fn managed_by(resource: &Resource) -> Option<String> {
    let managers = resource.names("/Oem").into_iter().map(|vendor| format!("/Oem/{vendor}/Manager"));
    let consoles = managers.flat_map(|path| resource.parts(&path));
    consoles.into_iter().find_map(|manager| {
        let field = |name: &str| manager.text(&format!("/IPManager/{name}"));
        let product = field("ManagerProductName").or_else(|| field("ManagerType"))?;
        if manager.flag("/IPManager/FirmwareManaged") == Some(false) {
            return None;
        }
        let url = field("ManagerUrl/xref").map(|url| format!(" at {url}")).unwrap_or_default();
        Some(format!("{product}{url}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A service root of an iLO 5, as HPE documents it: no `Product` in old versions, `Vendor` below `Oem`.
    #[test]
    fn a_vendor_that_is_not_named_is_taken_from_its_extension() {
        let root = ServiceRoot::read(&Resource::new(json!({
            "@odata.id": "/redfish/v1/", "Id": "RootService", "RedfishVersion": "1.0.0",
            "Links": {"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions/"}},
            "SessionService": {"@odata.id": "/redfish/v1/SessionService/"},
            "Oem": {"Hpe": {"@odata.type": "#HpeiLOServiceExt.v2_1_0.HpeiLOServiceExt"}},
            "Systems": {"@odata.id": "/redfish/v1/Systems/"},
            "UUID": "d8dbbe1e-9d8e-5e3b-8a6e-6d4e8d5d3b5f",
        })));
        assert_eq!(root.vendor.as_deref(), Some("Hpe"));
        assert_eq!(root.sessions.unwrap().as_str(), "/redfish/v1/SessionService/Sessions/");
        assert_eq!(root.product, None);
        let old = json!({"SessionService": {"@odata.id": "/redfish/v1/SessionService"}});
        let sessions = ServiceRoot::read(&Resource::new(old)).sessions.unwrap();
        assert_eq!(sessions.as_str(), "/redfish/v1/SessionService/Sessions");
        let none = json!({"Links": {"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}}});
        assert_eq!(ServiceRoot::read(&Resource::new(none)).sessions, None);
    }

    /// Both managers would install firmware, and undo what the other one did.
    #[test]
    fn a_management_console_is_named_if_firmware_is_its_business() {
        let root = |console: serde_json::Value| {
            let manager = json!({"ManagerType": "iLO 5", "IPManager": console});
            ServiceRoot::read(&Resource::new(json!({"Oem": {"Hpe": {"Manager": [manager]}}}))).managed_by
        };
        let console = |managed: serde_json::Value| {
            json!({
                "FirmwareManaged": managed, "ManagerProductName": "HP OneView", "ManagerType": "OneView",
                "ManagerUrl": {"xref": "https://192.0.2.23"},
            })
        };
        let named = Some("HP OneView at https://192.0.2.23".to_owned());
        assert_eq!(root(console(json!(true))), named);
        assert_eq!(root(console(json!(null))), named, "it does not tell");
        assert_eq!(root(console(json!(false))), None);
        assert_eq!(root(json!(null)), None);
    }
}
