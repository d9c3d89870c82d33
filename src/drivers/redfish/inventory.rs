//! What was read of a device: the machine, its management processor, how it takes firmware, and which firmware
//! it has.
//!
//! A resource that cannot be read costs that resource and a [`Note`]. Only what concerns the device as a whole,
//! such as a lost connection, ends the reading.

use super::link::Link;
use super::resource::Resource;
use super::service_root::ServiceRoot;
use super::session::Session;
use super::trouble::Trouble;
use crate::failure::Failure;
use farrier_update::Reason;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::time::Duration;

/// Timeout of a whole reading. An iDRAC with sixty entries takes two minutes, of one or two seconds each.
const READING_LIMIT: Duration = Duration::from_mins(15);

mod collection;
mod firmware;
mod update_service;
mod work;

pub use firmware::Entry;
pub use update_service::{Bundle, Repository, SimpleUpdate, UpdateService, Ways};
pub(super) use work::Work;

/// Everything that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    /// The service root.
    pub root: ServiceRoot,
    /// The machines that the device manages: one, or the partitions of a large one.
    pub systems: Vec<System>,
    /// The management processors.
    pub managers: Vec<Manager>,
    /// How the device takes firmware. `None`: it does not.
    pub update: Option<UpdateService>,
    /// Its firmware.
    pub firmware: Vec<Entry>,
    /// Whether all of its firmware was read. If not, firmware that is missing here may still be there.
    pub complete: bool,
    /// What could not be read.
    pub notes: Vec<Note>,
}

/// A machine (`ComputerSystem`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The resource.
    pub link: Link,
    /// Manufacturer.
    pub manufacturer: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// UUID, as SMBIOS has it.
    pub uuid: Option<String>,
    /// `On`, `Off`, `PoweringOn` or `PoweringOff`; other words are possible.
    pub power: Option<String>,
    /// How far its start is, in the words of the standard (`BootProgress`) or of the vendor (`PostState`).
    pub boot: Option<String>,
    /// `OK`, `Warning` or `Critical`; other words are possible.
    pub health: Option<String>,
    /// Version of its firmware, as the machine names it.
    pub bios_version: Option<String>,
    /// Host name of the operating system, if the device knows it.
    pub host_name: Option<String>,
    /// When it was last reset, as the device writes it.
    pub last_reset: Option<String>,
    /// How it is reset. `None`: not over Redfish.
    pub reset: Option<Reset>,
}

/// A management processor (`Manager`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// The resource.
    pub link: Link,
    /// Model.
    pub model: Option<String>,
    /// Version of its firmware.
    pub firmware_version: Option<String>,
    /// `OK`, `Warning` or `Critical`; other words are possible.
    pub health: Option<String>,
    /// Its clock when it was read.
    pub date_time: Option<Timestamp>,
    /// How far its clock is ahead of the operator's.
    pub ahead: Option<SignedDuration>,
    /// When it was last reset, as it writes it.
    pub last_reset: Option<String>,
    /// How it is reset. `None`: not over Redfish.
    pub reset: Option<Reset>,
    /// The settings of the vendor's, where they are apart (iDRAC).
    pub settings: Vec<Link>,
}

/// An action that resets something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// Where the action is run.
    pub target: Link,
    /// The types of reset, such as `GracefulRestart`. `None`: the device does not tell.
    pub types: Option<Vec<String>>,
}

impl Reset {
    fn read(resource: &Resource, action: &str) -> Option<Self> {
        let at = |name: &str| format!("/Actions/#{action}/{name}");
        let target = resource.link(&at("target")).ok().flatten()?;
        Some(Self { target, types: resource.texts(&at("ResetType@Redfish.AllowableValues")) })
    }
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The resource.
    pub link: Link,
    /// What is missing and why.
    pub words: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Inventory {
    /// Reads the inventory of a device.
    ///
    /// # Errors
    /// What concerns the device as a whole: the reasons of a [`Trouble`].
    pub async fn read(session: &Session) -> Result<Self, Failure> {
        match tokio::time::timeout(READING_LIMIT, Self::read_all(session)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new(
                Reason::ConnectionTimedOut,
                format!(
                    "the inventory of {} was not complete within {} min; reset its management processor if it is always this slow",
                    session.client().node(),
                    READING_LIMIT.as_secs() / 60
                ),
            )),
        }
    }

    /// Reads a collection, and tells whether all of it was read.
    pub(super) async fn collection(
        session: &Session,
        link: &Link,
    ) -> Result<(Vec<(Link, Resource)>, bool), Trouble> {
        let mut reader = Reader { session, notes: Vec::new() };
        let members = reader.members_of(link).await?;
        Ok((members, reader.notes.is_empty()))
    }

    async fn read_all(session: &Session) -> Result<Self, Failure> {
        let mut reader = Reader { session, notes: Vec::new() };
        let root = match reader.get(&Link::root()).await? {
            Some(resource) => ServiceRoot::read(&resource),
            None => session.root().clone(),
        };
        let systems = reader.all(root.systems.as_ref(), System::read).await?;
        let managers = reader.all(root.managers.as_ref(), Manager::read).await?;
        let noted = reader.notes.len();
        let update = match &root.update_service {
            Some(link) => UpdateService::read(&mut reader, link).await?,
            None => None,
        };
        let firmware = match update.as_ref().and_then(|service| service.firmware.as_ref()) {
            Some(link) => reader.all(Some(link), Entry::read).await?,
            None => Vec::new(),
        };
        let complete = reader.notes.len() == noted;
        reader.notes.extend(firmware.iter().filter_map(Entry::note));
        Ok(Self { root, systems, managers, update, firmware, complete, notes: reader.notes })
    }
}

/// Reads resources and notes what cannot be read.
struct Reader<'a> {
    session: &'a Session,
    notes: Vec<Note>,
}

impl Reader<'_> {
    /// Reads a resource; `None` and a note if that is not possible.
    async fn get(&mut self, link: &Link) -> Result<Option<Resource>, Trouble> {
        match self.session.get(link).await {
            Ok(resource) => Ok(Some(resource)),
            Err(trouble) if trouble.is_about_resource() => {
                self.note(link, trouble.to_string());
                Ok(None)
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Reads all members of a collection.
    async fn all<T>(
        &mut self,
        link: Option<&Link>,
        read: impl Fn(Link, &Resource) -> T,
    ) -> Result<Vec<T>, Trouble> {
        let mut found = Vec::new();
        let Some(link) = link else { return Ok(found) };
        for member in self.members(link).await? {
            if let Some(resource) = self.get(&member).await? {
                found.push(read(member, &resource));
            }
        }
        Ok(found)
    }

    fn note(&mut self, link: &Link, words: String) {
        self.notes.push(Note { link: link.clone(), words });
    }
}

impl System {
    pub(super) fn read(link: Link, resource: &Resource) -> Self {
        Self {
            link,
            manufacturer: resource.text("/Manufacturer"),
            model: resource.text("/Model"),
            serial: resource.text("/SerialNumber"),
            uuid: resource.text("/UUID"),
            power: resource.text("/PowerState"),
            boot: boot(resource),
            health: resource.text("/Status/Health").or_else(|| resource.text("/Status/HealthRollup")),
            bios_version: resource.text("/BiosVersion"),
            host_name: resource.text("/HostName"),
            last_reset: resource.text("/LastResetTime"),
            reset: Reset::read(resource, "ComputerSystem.Reset"),
        }
    }
}

impl Manager {
    fn read(link: Link, resource: &Resource) -> Self {
        let date_time = date_time(resource);
        Self {
            link,
            model: resource.text("/Model"),
            firmware_version: resource.text("/FirmwareVersion"),
            health: resource.text("/Status/Health").or_else(|| resource.text("/Status/HealthRollup")),
            date_time,
            ahead: date_time.map(|time| time.duration_since(Timestamp::now())),
            last_reset: resource.text("/LastResetTime"),
            reset: Reset::read(resource, "Manager.Reset"),
            settings: resource.links("/Links/Oem/Dell/DellAttributes"),
        }
    }
}

/// Returns how far the start of a machine is. What the vendor says is more exact than what the standard has.
fn boot(resource: &Resource) -> Option<String> {
    let places = ["/Oem/Hpe/PostState", "/Oem/Hp/PostState", "/BootProgress/LastState"];
    places.into_iter().find_map(|path| resource.text(path))
}

/// Reads the clock of a management processor. Some write it without the offset, which is in another field.
fn date_time(resource: &Resource) -> Option<Timestamp> {
    let text = resource.text("/DateTime")?;
    let offset = resource.text("/DateTimeLocalOffset").unwrap_or_else(|| "+00:00".to_owned());
    text.parse().or_else(|_| format!("{text}{offset}").parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn clocks_are_read_with_and_without_their_offset() {
        let read = |value| date_time(&Resource::new(value)).map(|time| time.to_string());
        let expected = Some("2026-11-29T15:00:00Z".to_owned());
        assert_eq!(read(json!({"DateTime": "2026-11-29T10:00:00-05:00"})), expected);
        assert_eq!(read(json!({"DateTime": "2026-11-29T15:00:00Z"})), expected);
        let apart = json!({"DateTime": "2026-11-29T10:00:00", "DateTimeLocalOffset": "-05:00"});
        assert_eq!(read(apart), expected);
        assert_eq!(read(json!({"DateTime": "00:00", "DateTimeLocalOffset": null})), None);
    }
}
