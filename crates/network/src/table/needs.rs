//! The ports that must be open for a machine: by Farrier's own rules, or by the text of one
//! generation.

use super::{CatalogueEntry, Generation, ListenPorts, NodeKind, Range, Row, table};
use crate::words::{Channel, Direction, FileService, MachineType, Phase, Scheme, Transport};

/// Usual port of a machine's HTTPS server, which `spec.port` of a ManagedNode changes.
pub const API_PORT: u16 = 443;

/// A port that must be open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// The side that opens the connection.
    pub direction: Direction,
    /// The port on which the other side listens.
    pub port: PortOf,
    /// TCP or UDP.
    pub transport: Transport,
    /// The protocol.
    pub protocol: String,
    /// Only some machines of the type need the port. In the texts such a port is in parentheses: our
    /// interpretation is that only devices without HTTPS need it.
    pub optional: bool,
    /// The purpose.
    pub purpose: String,
}

/// A port before its number in this run is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortOf {
    /// A fixed number.
    Fixed(u16),
    /// The machine's SSH server, usually 22.
    Ssh,
    /// The run's port for devices without TLS, usually 63001.
    Http,
    /// The run's port with TLS, usually 63002.
    Https,
    /// The run's ports of a file service. There are no usual ones.
    Service(FileService),
    /// The engine's ports, usually [`ListenPorts::USUAL`]: it listens on one of them.
    Listen,
    /// A range of ports. The upper end is soft if `overflow` is set.
    Range {
        /// The lowest port.
        first: u16,
        /// The highest port that is expected.
        last: u16,
        /// Whether there may be higher ports.
        overflow: bool,
    },
}

/// The port numbers of one machine in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actual {
    /// The port of the machine's SSH server.
    pub ssh: u16,
    /// The port of the machine's HTTPS server.
    pub api: u16,
    /// The run's port for devices without TLS.
    pub http: u16,
    /// The run's port with TLS.
    pub https: u16,
    /// The run's port for SFTP and SCP; 0 if the run names none.
    pub sftp: u16,
    /// The first of the run's ports for FTP; 0 if the run names none.
    pub ftp: u16,
    /// The engine's ports.
    pub listen: ListenPorts,
}

impl Default for Actual {
    fn default() -> Self {
        let crate::ledger::Pair { http, https } = crate::ledger::Pair::USUAL;
        Self { ssh: 22, api: API_PORT, http, https, sftp: 0, ftp: 0, listen: ListenPorts::USUAL }
    }
}

/// Port numbers, from the lowest to the highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resolved {
    /// The lowest port.
    pub first: u16,
    /// The highest port; equals `first` for a single port.
    pub last: u16,
    /// Whether there may be higher ports.
    pub overflow: bool,
}

impl PortOf {
    /// Returns the run's port for a protocol.
    pub const fn of(scheme: Scheme) -> Self {
        match scheme {
            Scheme::Https => Self::Https,
            Scheme::Http => Self::Http,
            Scheme::Sftp | Scheme::Scp => Self::Service(FileService::Sftp),
            Scheme::Ftp => Self::Service(FileService::Ftp),
        }
    }

    /// Returns the port numbers for these actual ports.
    pub fn resolve(self, actual: &Actual) -> Resolved {
        let one = |port| Resolved { first: port, last: port, overflow: false };
        match self {
            Self::Fixed(API_PORT) => one(actual.api),
            Self::Fixed(port) => one(port),
            Self::Ssh => one(actual.ssh),
            Self::Http => one(actual.http),
            Self::Https => one(actual.https),
            Self::Listen => {
                let ListenPorts { first, last } = actual.listen;
                Resolved { first, last, overflow: false }
            }
            Self::Service(service) => {
                let first = match service {
                    FileService::Sftp => actual.sftp,
                    FileService::Ftp => actual.ftp,
                };
                Resolved { first, last: service.ports(first).last().unwrap_or(first), overflow: false }
            }
            Self::Range { first, last, overflow } => Resolved { first, last, overflow },
        }
    }
}

/// The error that a generation does not list a type of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{generation} does not list {machine}; {}", instead(*.machine))]
pub struct Unlisted {
    /// The type.
    pub machine: MachineType,
    /// The generation.
    pub generation: Generation,
}

fn instead(machine: MachineType) -> String {
    let listed: Vec<&str> = Generation::ALL
        .into_iter()
        .filter(|generation| seed_needs(machine, *generation, Phase::Deployment).is_ok())
        .map(Generation::id)
        .collect();
    match listed.as_slice() {
        [] => "no generation lists it: omit the generation to use Farrier's own rules".to_owned(),
        listed => format!("these do: {}", listed.join(", ")),
    }
}

/// Returns the ports that must be open for a machine of this type in this phase, by Farrier's own
/// rules.
///
/// Devices: the cells of the generation that [`Generation::of`] names, whatever the channel, since
/// no engine runs on them. iDRAC and other Redfish services: 443 towards them, and 63002 back to
/// pull an image (DMTF DSP0266, `SimpleUpdate`), or 63001 instead if they speak HTTP only, which is
/// therefore optional. A device that accepts a push needs no return path.
///
/// Linux and Windows:
/// - `Session`: the cells of 7.3.0 and later, which have no return path.
/// - `Callback`: the cells of 7.2.1 and earlier, but only the HTTPS port of the return path,
///   because Farrier's engine speaks nothing else. (The old one also posted its state by plain
///   HTTP.)
/// - `Listen`: as `Session`, and the ports on which the engine may listen ([`ListenPorts`]).
pub fn needs(machine: MachineType, channel: Channel, phase: Phase) -> Vec<Need> {
    let Some(newest) = Generation::of(machine) else { return redfish(phase) };
    let called_back = machine.carries_engine() && channel == Channel::Callback;
    let generation = if called_back { Generation::HpsumLe721 } else { newest };
    let mut needs = seed_needs(machine, generation, phase).unwrap_or_default();
    if called_back {
        needs.retain(|need| need.direction == Direction::ToTarget || need.port == PortOf::Https);
    }
    for need in &mut needs {
        if let Some(purpose) = own_purpose(need.port, machine) {
            purpose.clone_into(&mut need.purpose);
        }
    }
    if machine.carries_engine() && channel == Channel::Listen {
        needs.push(Need {
            direction: Direction::ToTarget,
            port: PortOf::Listen,
            transport: Transport::Tcp,
            protocol: "https".to_owned(),
            optional: false,
            purpose: "Farrier dials the engine".to_owned(),
        });
    }
    needs
}

/// Returns what must be open for a machine of this type in this phase if the run names the port of a file service.
///
/// No table has such a port: HP SUM's FTP service was off, and had no default. Any machine without an engine may use
/// it, in deployment, since whether it can is known of the single machine and not of its type.
pub fn service_need(service: FileService, machine: MachineType, phase: Phase) -> Option<Need> {
    let (protocol, purpose) = match service {
        FileService::Sftp => ("ssh", "the machine fetches what is installed on it, by SFTP or SCP"),
        FileService::Ftp => {
            ("ftp", "the machine fetches what is installed on it, by FTP: control, then data")
        }
    };
    (!machine.carries_engine() && phase == Phase::Deployment).then(|| Need {
        direction: Direction::FromTarget,
        port: PortOf::Service(service),
        transport: Transport::Tcp,
        protocol: protocol.to_owned(),
        optional: false,
        purpose: purpose.to_owned(),
    })
}

/// Reports whether a machine of this type without an engine connects to Farrier in every phase, by the table, and not
/// only to fetch an image in deployment.
pub fn calls_back_always(machine: MachineType) -> bool {
    let is_back = |need: &Need| need.direction == Direction::FromTarget;
    !machine.carries_engine() && needs(machine, Channel::Session, Phase::Inventory).iter().any(is_back)
}

/// Returns the protocols by which a machine of this type may fetch its image, the better one first:
/// those whose port is among its [`needs`], and those whose port a run may name ([`service_need`]). Empty
/// for machines with an engine, which fetches payloads itself.
pub fn fetch_schemes(machine: MachineType) -> Vec<Scheme> {
    if machine.carries_engine() {
        return Vec::new();
    }
    let back = needs(machine, Channel::Session, Phase::Deployment)
        .into_iter()
        .filter(|need| need.direction == Direction::FromTarget);
    let ports: Vec<PortOf> = back.map(|need| need.port).collect();
    let may = |scheme: &Scheme| scheme.service().is_some() || ports.contains(&PortOf::of(*scheme));
    Scheme::ALL.into_iter().filter(may).collect()
}

/// Returns Farrier's purpose of a port, if the old tools used the port for something else.
fn own_purpose(port: PortOf, machine: MachineType) -> Option<&'static str> {
    match port {
        PortOf::Ssh => Some("Farrier signs in"),
        PortOf::Https if machine.carries_engine() => {
            Some("the engine fetches its orders and payloads, and reports")
        }
        PortOf::Http | PortOf::Https => Some("the machine fetches what is installed on it"),
        PortOf::Fixed(80) => Some("web interface, if there is none with HTTPS"),
        PortOf::Fixed(_) | PortOf::Listen | PortOf::Service(_) | PortOf::Range { .. } => None,
    }
}

/// Redfish: `SimpleUpdate` names a URI and the service fetches it (DSP0266, clause on
/// `UpdateService`).
fn redfish(phase: Phase) -> Vec<Need> {
    let need = |direction, port, purpose: &str| Need {
        direction,
        port,
        transport: Transport::Tcp,
        protocol: "https".to_owned(),
        optional: false,
        purpose: purpose.to_owned(),
    };
    let api = need(Direction::ToTarget, PortOf::Fixed(API_PORT), "Redfish API");
    match phase {
        Phase::Inventory => vec![api],
        Phase::Deployment => {
            let https = need(Direction::FromTarget, PortOf::Https, "the BMC fetches its image");
            let http = Need {
                protocol: "http".to_owned(),
                optional: true,
                ..need(Direction::FromTarget, PortOf::Http, "the BMC fetches its image, if it has no HTTPS")
            };
            vec![api, https, http]
        }
    }
}

/// Returns the ports that must be open according to one generation, with nothing added and nothing
/// left out.
///
/// The ports of the old HTTP and HTTPS servers are those of the run, because they were
/// configurable.
pub fn seed_needs(machine: MachineType, generation: Generation, phase: Phase) -> Result<Vec<Need>, Unlisted> {
    let unlisted = Unlisted { machine, generation };
    let kind = NodeKind::of(machine).ok_or(unlisted)?;
    let of_kind = |row: &&Row| row.node == kind && row.generations.contains(&generation);
    if !table().rows.iter().any(|row| of_kind(&row)) {
        return Err(unlisted);
    }
    let rows = table().rows.iter().filter(|row| row.applies_to(kind, generation, phase));
    Ok(rows.flat_map(of_row).collect())
}

fn of_row(row: &Row) -> Vec<Need> {
    let mut needs = Vec::new();
    for direction in row.direction.directions() {
        if let Some(range) = row.range.as_deref().and_then(|id| table().range(id)) {
            needs.extend(of_range(range, *direction));
        }
        for port in row.ports.iter().flatten() {
            let entry = table().entry(*port);
            needs.extend(entry.map(|entry| of_port(entry, *direction, row.optional.contains(port))));
        }
    }
    needs
}

fn of_port(entry: &CatalogueEntry, direction: Direction, optional: bool) -> Need {
    let port = match (entry.port, direction) {
        (22, Direction::ToTarget) => PortOf::Ssh,
        (63001, Direction::FromTarget) => PortOf::Http,
        (63002, Direction::FromTarget) => PortOf::Https,
        (other, Direction::ToTarget | Direction::FromTarget) => PortOf::Fixed(other),
    };
    Need {
        direction,
        port,
        transport: entry.transport,
        protocol: entry.protocol.clone(),
        optional,
        purpose: entry.role.clone(),
    }
}

/// Returns the needs of a range and of its preferred port.
///
/// The direction is the cell's. For `controller_to_target` the text says both that its messages go
/// to the machine and that its ports are the controller's; the purpose repeats that.
fn of_range(range: &Range, direction: Direction) -> Vec<Need> {
    let need = |port| Need {
        direction,
        port,
        transport: Transport::Tcp,
        protocol: range.protocol.clone(),
        optional: false,
        purpose: range.purpose.clone(),
    };
    let overflow = range.overflow == super::Overflow::Allowed;
    let all = PortOf::Range { first: range.first, last: range.soft_last, overflow };
    range.prefer.map(PortOf::Fixed).into_iter().chain([all]).map(need).collect()
}
