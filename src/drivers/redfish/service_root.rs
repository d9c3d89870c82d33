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
            ..Self::default()
        }
    }
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
}
