//! How a device takes firmware.

use super::super::words::{has_state, report};
use super::{Link, Reader, Resource, Trouble};
use farrier_update::device::Progress;
use std::collections::BTreeMap;

/// The service that takes firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateService {
    /// The resource.
    pub link: Link,
    /// Whether it is enabled. `None`: it does not tell.
    pub enabled: Option<bool>,
    /// Largest image that is accepted, in bytes.
    pub max_bytes: Option<u64>,
    /// Whether the device verifies the certificate of a server that it fetches from.
    pub verifies_server: Option<bool>,
    /// The authorities that such servers must have.
    pub certificates: Option<Link>,
    /// Whether it tells how far an update is (iLO).
    pub has_state: bool,
    /// Whether it says that it works on an update (iLO).
    pub is_busy: bool,
    /// The name that the client has given to the upload that is being taken in (iLO).
    pub uploading: Option<String>,
    /// The firmware inventory.
    pub firmware: Option<Link>,
    /// The ways in which it takes images.
    pub ways: Ways,
    /// All its actions by name, those of vendors too.
    pub actions: BTreeMap<String, Link>,
}

/// The ways in which a device takes images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ways {
    /// Where an image is pushed to with parameters (`MultipartHttpPushUri`).
    pub multipart: Option<Link>,
    /// Where an image is pushed to by itself (`HttpPushUri`); the form differs by vendor.
    pub push: Option<Link>,
    /// When a pushed image may be applied, such as `OnReset`. `None`: the device does not tell.
    pub apply_times: Option<Vec<String>>,
    /// The device fetches an image (`SimpleUpdate`).
    pub simple: Option<SimpleUpdate>,
    /// The device keeps components and works them off (iLO).
    pub repository: Option<Repository>,
    /// The device fetches a bundle for all of its parts (Superdome Flex).
    pub bundle: Option<Bundle>,
}

/// The action `SimpleUpdate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimpleUpdate {
    /// Where the action is run.
    pub target: Link,
    /// The protocols that images are fetched by, such as `HTTPS`. `None`: the device does not tell.
    pub protocols: Option<Vec<String>>,
    /// When an image may be applied, such as `OnReset`. `None`: the device does not tell.
    pub apply_times: Option<Vec<String>>,
}

/// The repository of an iLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// The components that are there.
    pub components: Link,
    /// The queue of tasks.
    pub queue: Option<Link>,
    /// The lists of components that are installed together.
    pub install_sets: Option<Link>,
    /// The action by which the iLO fetches a component.
    pub add_from_uri: Option<Link>,
}

/// The action that updates all parts of a machine from a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Where the action is run.
    pub target: Link,
}

impl UpdateService {
    /// Reads the service, and where it says so the description of its action.
    pub(super) async fn read(reader: &mut Reader<'_>, link: &Link) -> Result<Option<Self>, Trouble> {
        let Some(resource) = reader.get(link).await? else { return Ok(None) };
        let mut service = Self::of(link.clone(), &resource);
        let info = resource.link("/Actions/#UpdateService.SimpleUpdate/@Redfish.ActionInfo").ok().flatten();
        if let (Some(simple), Some(info)) = (&mut service.ways.simple, info)
            && simple.protocols.is_none()
            && let Some(info) = reader.get(&info).await?
        {
            simple.protocols = protocols(&info);
        }
        Ok(Some(service))
    }

    fn of(link: Link, resource: &Resource) -> Self {
        let actions = actions(resource);
        Self {
            link,
            enabled: resource.flag("/ServiceEnabled"),
            max_bytes: resource.number("/MaxImageSizeBytes"),
            verifies_server: resource.flag("/VerifyRemoteServerCertificate"),
            certificates: resource.link("/RemoteServerCertificates").ok().flatten(),
            has_state: has_state(resource),
            is_busy: has_state(resource) && report(resource).progress == Progress::Running,
            uploading: uploading(resource),
            firmware: resource.link("/FirmwareInventory").ok().flatten(),
            ways: Ways::of(resource, &actions),
            actions,
        }
    }
}

impl Ways {
    fn of(resource: &Resource, actions: &BTreeMap<String, Link>) -> Self {
        let link = |path: &str| resource.link(path).ok().flatten();
        let action = |suffix: &str| {
            actions.iter().find(|(name, _)| name.ends_with(suffix)).map(|(_, target)| target.clone())
        };
        let simple = |target| {
            let values = |name: &str| resource.texts(&format!("/Actions/#UpdateService.SimpleUpdate/{name}"));
            SimpleUpdate {
                target,
                protocols: values("TransferProtocol@Redfish.AllowableValues"),
                apply_times: values("@Redfish.OperationApplyTimeSupport/SupportedValues"),
            }
        };
        let repository = |vendor: &str| {
            let of_vendor = |name| link(&format!("/Oem/{vendor}/{name}"));
            Some(Repository {
                components: of_vendor("ComponentRepository")?,
                queue: of_vendor("UpdateTaskQueue"),
                install_sets: of_vendor("InstallSets"),
                add_from_uri: action(".AddFromUri"),
            })
        };
        Self {
            multipart: link("/MultipartHttpPushUri"),
            push: link("/HttpPushUri"),
            apply_times: resource
                .texts("/MultipartHttpPushUri@Redfish.OperationApplyTimeSupport/SupportedValues"),
            simple: actions.get("UpdateService.SimpleUpdate").cloned().map(simple),
            repository: resource.names("/Oem").into_iter().find_map(repository),
            bundle: action(".UpdateAll").map(|target| Bundle { target }),
        }
    }
}

/// Returns the name of the upload that is being taken in.
fn uploading(resource: &Resource) -> Option<String> {
    let tag = |vendor: &str| resource.text(&format!("/Oem/{vendor}/UploadCurrentEtag"));
    let tag = ["Hpe", "Hp"].into_iter().find_map(tag)?;
    (report(resource).progress == Progress::Running).then_some(tag)
}

/// Returns all actions. Vendors put theirs below `Actions/Oem`, with or without their name, or below
/// `Oem/<vendor>/Actions`.
fn actions(resource: &Resource) -> BTreeMap<String, Link> {
    let mut places = vec!["/Actions".to_owned(), "/Actions/Oem".to_owned()];
    places.extend(resource.names("/Actions/Oem").iter().map(|vendor| format!("/Actions/Oem/{vendor}")));
    places.extend(resource.names("/Oem").iter().map(|vendor| format!("/Oem/{vendor}/Actions")));
    let mut found = BTreeMap::new();
    for place in places {
        for name in resource.names(&place) {
            // Dell writes a version in front of the sign.
            let Some((_, plain)) = name.split_once('#') else { continue };
            if let Ok(Some(target)) = resource.link(&format!("{place}/{name}/target")) {
                found.insert(plain.to_owned(), target);
            }
        }
    }
    found
}

/// Returns the protocols in an `ActionInfo`.
fn protocols(info: &Resource) -> Option<Vec<String>> {
    let parameters = info.parts("/Parameters");
    parameters
        .iter()
        .find(|parameter| parameter.text("/Name").as_deref() == Some("TransferProtocol"))?
        .texts("/AllowableValues")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(value: serde_json::Value) -> UpdateService {
        UpdateService::of(Link::parse("/redfish/v1/UpdateService").unwrap(), &Resource::new(value))
    }

    /// Parts of what an iLO 5 sends; another way than the right one wastes an upload of gigabytes.
    #[test]
    fn an_ilo_has_a_repository_and_a_queue() {
        let ilo = service(json!({
            "Actions": {"#UpdateService.SimpleUpdate": {
                "target": "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate/",
            }},
            "FirmwareInventory": {"@odata.id": "/redfish/v1/UpdateService/FirmwareInventory/"},
            "HttpPushUri": "/cgi-bin/uploadFile",
            "Oem": {"Hpe": {
                "@odata.type": "#HpeiLOUpdateServiceExt.v2_2_0.HpeiLOUpdateServiceExt",
                "Accept3rdPartyFirmware": false,
                "Actions": {
                    "#HpeiLOUpdateServiceExt.AddFromUri": {
                        "target": "/redfish/v1/UpdateService/Actions/Oem/Hpe/HpeiLOUpdateServiceExt.AddFromUri/",
                    },
                },
                "ComponentRepository": {"@odata.id": "/redfish/v1/UpdateService/ComponentRepository/"},
                "InstallSets": {"@odata.id": "/redfish/v1/UpdateService/InstallSets/"},
                "State": "Idle",
                "UpdateTaskQueue": {"@odata.id": "/redfish/v1/UpdateService/UpdateTaskQueue/"},
            }},
            "ServiceEnabled": true,
        }));
        let ways = ilo.ways;
        assert_eq!((ilo.enabled, ways.multipart, ways.bundle), (Some(true), None, None));
        assert_eq!(ways.push.unwrap().as_str(), "/cgi-bin/uploadFile");
        assert_eq!(ways.simple.unwrap().protocols, None);
        let repository = ways.repository.unwrap();
        assert!(repository.queue.is_some() && repository.install_sets.is_some());
        assert!(repository.add_from_uri.unwrap().as_str().contains("AddFromUri"));
    }

    /// Parts of what an iDRAC 9 sends.
    #[test]
    fn an_idrac_takes_pushes_and_fetches() {
        let idrac = service(json!({
            "Actions": {
                "#UpdateService.SimpleUpdate": {
                    "@Redfish.OperationApplyTimeSupport": {"SupportedValues": ["Immediate", "OnReset"]},
                    "TransferProtocol@Redfish.AllowableValues": ["HTTP", "NFS", "CIFS", "TFTP", "HTTPS"],
                    "target": "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate",
                },
                "Oem": {"DellUpdateService.v1_1_0#DellUpdateService.Install": {"target": "/x"}},
            },
            "MaxImageSizeBytes": null, "MultipartHttpPushUri": "/redfish/v1/UpdateService/MultipartUpload",
            "HttpPushUri": "/redfish/v1/UpdateService/FirmwareInventory", "ServiceEnabled": true,
        }));
        assert_eq!(idrac.ways.multipart.unwrap().as_str(), "/redfish/v1/UpdateService/MultipartUpload");
        let simple = idrac.ways.simple.unwrap();
        assert!(simple.protocols.unwrap().contains(&"HTTPS".to_owned()));
        assert_eq!(simple.apply_times.unwrap(), ["Immediate", "OnReset"]);
        assert_eq!((idrac.max_bytes, idrac.ways.repository), (None, None));
        assert!(idrac.actions.contains_key("DellUpdateService.Install"));
    }

    #[test]
    fn a_bundle_is_found_wherever_the_vendor_puts_it() {
        for value in [
            json!({"Actions": {"Oem": {"Hpe": {"#SDFlexUpdateService.UpdateAll": {"target": "/all"}}}}}),
            json!({"Actions": {"Oem": {"#SDFlexUpdateService.UpdateAll": {"target": "/all"}}}}),
            json!({"Oem": {"Hpe": {"Actions": {"#SDFlexUpdateService.UpdateAll": {"target": "/all"}}}}}),
        ] {
            assert_eq!(service(value.clone()).ways.bundle.unwrap().target.as_str(), "/all", "{value}");
        }
        let nothing = service(json!({"Actions": null, "Oem": [], "HttpPushUri": ""}));
        assert_eq!(nothing.ways, Ways::default());
    }

    #[test]
    fn protocols_may_be_in_the_description_of_the_action() {
        let info = Resource::new(json!({"Parameters": [
            {"Name": "ImageURI", "Required": true}, null,
            {"Name": "TransferProtocol", "AllowableValues": ["HTTPS", "SCP"]},
        ]}));
        assert_eq!(protocols(&info).unwrap(), ["HTTPS", "SCP"]);
    }
}
