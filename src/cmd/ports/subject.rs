//! A machine of the query: its endpoints, its channel, and the ports that it calls.

use crate::api::managed_node::AddressFamily;
use crate::api::update_run::{CallbackStatus, ListenPort, Operation};
use crate::api::{ManagedNode, UpdateRun};
use crate::convert::{self, forwarded_port};
use crate::drivers::{HandOver, Register};
use crate::exposure::{given_port, named_port};
use anyhow::Context as _;
use farrier_network::cidr;
use farrier_network::ledger::Pair;
use farrier_network::table::{API_PORT, ListenPorts};
use farrier_network::{Channel, FileService, MachineType, Phase, Scheme, UnknownWord};
use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

/// The ports of a callback server.
pub(super) type Ports = Pair;

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// Returns the family of an address.
    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Returns the name, as users write it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

impl FromStr for Family {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word.to_ascii_lowercase().as_str() {
            "ipv4" => Ok(Self::V4),
            "ipv6" => Ok(Self::V6),
            _ => Err(UnknownWord {
                word: word.to_owned(),
                what: "address family",
                known: "IPv4, IPv6".to_owned(),
            }),
        }
    }
}

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    /// The text as the user wrote it, with the zone.
    pub(super) text: String,
    /// The address; `None` for a name.
    pub(super) address: Option<IpAddr>,
}

impl Endpoint {
    /// Parses an address or a name. Accepted text is safe inside comments and quotes.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let address = cidr::parse(text);
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let zone = |c: char| named(c) || matches!(c, ':' | '%' | '@');
        let like_a_number = text.chars().all(|c| c.is_ascii_digit() || c == '.');
        let good = match address {
            Some(_) => text.chars().all(zone),
            None => !text.is_empty() && text.len() <= 253 && text.chars().all(named) && !like_a_number,
        };
        anyhow::ensure!(good, "{text:?} is neither an address nor a name; example: 10.0.12.7");
        Ok(Self { text: text.to_owned(), address })
    }

    /// Reports whether the endpoint may be used for this family; names match every family.
    pub(super) fn is_of(&self, family: Family) -> bool {
        self.address.is_none_or(|address| Family::of(address) == family)
    }

    /// Reports whether the address is valid on one link only.
    pub(super) fn is_link_local(&self) -> bool {
        match self.address {
            Some(IpAddr::V4(address)) => address.is_link_local(),
            Some(IpAddr::V6(address)) => address.is_unicast_link_local(),
            None => false,
        }
    }
}

/// What a ManagedNode says of how its machine gets images.
#[derive(Debug, Clone)]
pub(super) struct Described {
    /// The product, if it names one.
    pub(super) product: Option<String>,
    /// The way, if it names one.
    pub(super) hand_over: Option<HandOver>,
}

/// A machine of the query.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// Name of the machine, or its type if it has no name.
    pub(super) node: String,
    /// Run of the machine.
    pub(super) run: Option<String>,
    /// Type of the machine.
    pub(super) kind: MachineType,
    /// What its ManagedNode says of how it gets images; `None` if only its type is asked about.
    pub(super) described: Option<Described>,
    /// Channel of the engine.
    pub(super) channel: Channel,
    /// Addresses and names; `None` if none were given.
    pub(super) places: Option<Vec<Endpoint>>,
    /// Port of its SSH server.
    pub(super) ssh_port: u16,
    /// Port of its HTTPS server.
    pub(super) api_port: u16,
    /// The ports of its engine, on channel Listen.
    pub(super) listen: ListenPorts,
    /// Phases of the run.
    pub(super) phases: Vec<Phase>,
    /// Addresses of the callback server, if known.
    pub(super) callback: Vec<Endpoint>,
    /// The ports that the machine calls, one pair for each runner with distinct ports.
    pub(super) called: Vec<Ports>,
    /// Whether these are ports of its `callbackAddress` which something forwards, so that no other ones take their place.
    pub(super) is_forwarded: bool,
    /// The ports of the runners' pods, which may differ.
    pub(super) pods: Vec<Ports>,
    /// The file services that the run turns on, with the ports that the machine calls.
    pub(super) called_services: BTreeSet<(FileService, u16)>,
    /// The same with the ports of the runners' pods.
    pub(super) pod_services: BTreeSet<(FileService, u16)>,
}

impl Subject {
    /// Reports whether images are sent to the machine whatever it offers, so that it connects to nothing.
    pub(super) fn is_sent(&self) -> bool {
        self.described.as_ref().is_some_and(|described| described.hand_over == Some(HandOver::Push))
    }

    /// Replaces the run's ports.
    pub(super) fn use_ports(&mut self, http: Option<u16>, https: Option<u16>) -> anyhow::Result<()> {
        let called = self.called.iter_mut().filter(|_| !self.is_forwarded);
        for ports in called.chain(&mut self.pods) {
            ports.http = http.unwrap_or(ports.http);
            ports.https = https.unwrap_or(ports.https);
            anyhow::ensure!(
                ports.http != ports.https,
                "port {} is that of HTTP and of HTTPS; name two ports with --http-port and --https-port",
                ports.http
            );
        }
        self.called.dedup();
        self.pods.dedup();
        Ok(())
    }

    /// Replaces the run's ports of file services.
    pub(super) fn use_services(&mut self, sftp: Option<u16>, ftp: Option<u16>) {
        for (service, port) in [(FileService::Sftp, sftp), (FileService::Ftp, ftp)] {
            let Some(port) = port else { continue };
            let called = Some(&mut self.called_services).filter(|_| !self.is_forwarded);
            for services in called.into_iter().chain([&mut self.pod_services]) {
                services.retain(|(of, _)| *of != service);
                services.insert((service, port));
            }
        }
    }

    /// Replaces names by their current addresses.
    pub(super) async fn resolve(&mut self) -> anyhow::Result<()> {
        for places in self.places.iter_mut().chain([&mut self.callback]) {
            let mut resolved = Vec::new();
            for place in places.drain(..) {
                if place.address.is_some() {
                    resolved.push(place);
                    continue;
                }
                let found = tokio::net::lookup_host((place.text.as_str(), 0)).await.with_context(|| {
                    format!(
                        "failed to look up {} of {}; leave --resolve out, or write addresses",
                        place.text, self.node
                    )
                })?;
                let found: BTreeSet<IpAddr> = found.map(|socket| socket.ip().to_canonical()).collect();
                resolved
                    .extend(found.into_iter().map(|ip| Endpoint { text: ip.to_string(), address: Some(ip) }));
            }
            *places = resolved;
        }
        Ok(())
    }
}

/// Machines and runs, from files or from a cluster.
#[derive(Debug, Default)]
pub(in crate::cmd) struct Input {
    /// The machines.
    pub(in crate::cmd) nodes: Vec<ManagedNode>,
    /// The runs. A machine without a run is treated on its own.
    pub(in crate::cmd) runs: Vec<UpdateRun>,
    /// Whether machines without a run are ignored.
    pub(super) of_runs_only: bool,
}

impl Input {
    /// Returns one subject for each machine in each run, and notes about them.
    pub(super) fn subjects(self, channel: Option<Channel>) -> anyhow::Result<(Vec<Subject>, Vec<String>)> {
        let mut subjects = Vec::new();
        let mut notes = Vec::new();
        let mut in_a_run = BTreeSet::new();
        for run in &self.runs {
            let members = members(run, &self.nodes)?;
            for node in &members {
                in_a_run.insert(key(*node));
                if node.spec.hold {
                    notes.push(format!(
                        "{} is left out of {}: spec.hold is set",
                        node.name_any(),
                        run.name_any()
                    ));
                } else {
                    subjects.push(subject(node, Some(run), channel)?);
                }
            }
            notes.extend(notes_of(run, &members));
        }
        if !self.of_runs_only {
            for node in self.nodes.iter().filter(|node| !in_a_run.contains(&key(*node))) {
                subjects.push(subject(node, None, channel)?);
            }
        }
        notes.extend(self.nodes.iter().filter(|node| !node.spec.hold).filter_map(|node| self.way_to(node)));
        Ok((subjects, notes))
    }

    /// Says through what a machine is reached, whose address is dialled instead of the machine's own.
    fn way_to(&self, node: &ManagedNode) -> Option<String> {
        let name = &node.spec.managed_by.as_ref()?.name;
        let class = Register::default().class(node.spec.type_, node.spec.product.as_deref())?;
        let types = class.managers(node.spec.type_, node.spec.product.as_deref());
        let mut known = self.nodes.iter().filter(|other| other.namespace() == node.namespace());
        let manager = known.find(|other| other.name_any() == *name)?;
        types.contains(&manager.spec.type_).then(|| {
            format!(
                "{} is reached through {name}: SSH goes to port {} of {name}, and not to {}",
                node.name_any(),
                manager.spec.ssh.port,
                node.name_any()
            )
        })
    }
}

fn key(object: &impl kube::ResourceExt) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Returns the machines of a run: those recorded in its status, or those that it names or selects now.
fn members<'a>(run: &UpdateRun, nodes: &'a [ManagedNode]) -> anyhow::Result<Vec<&'a ManagedNode>> {
    let here = nodes.iter().filter(|node| node.namespace() == run.namespace());
    if let Some(recorded) = run.status.as_ref().and_then(|status| status.nodes.as_ref()) {
        return Ok(here.filter(|node| recorded.contains(&node.name_any())).collect());
    }
    let Some(selector) = run.spec.selector.clone() else {
        return Ok(here.filter(|node| run.spec.nodes.contains(&node.name_any())).collect());
    };
    let selector: Selector =
        selector.try_into().with_context(|| format!("spec.selector of {}", run.name_any()))?;
    Ok(here.filter(|node| selector.matches(node.labels())).collect())
}

fn notes_of(run: &UpdateRun, members: &[&ManagedNode]) -> Vec<String> {
    let name = run.name_any();
    let mut notes = Vec::new();
    if members.is_empty() {
        notes.push(format!("{name} has no machines"));
    }
    if called(run).is_none() {
        let Pair { http, https } = asked(run);
        let over = run.status.as_ref().is_some_and(|status| status.finished_at.is_some());
        notes.push(if over {
            format!("{name} is over and nothing is open for it: {http} and {https} are those that it asked for")
        } else {
            format!("{name} has no ports yet: {http} and {https} are those that it asks for, and may become the next free pair")
        });
    }
    notes
}

fn subject(node: &ManagedNode, run: Option<&UpdateRun>, channel: Option<Channel>) -> anyhow::Result<Subject> {
    let name = node.name_any();
    // Also those that such machines do not have: a file may name an address that is then left out with a note.
    let families: Vec<Family> = (node.spec.address_families.iter())
        .map(|family| match family {
            AddressFamily::IPv4 => Family::V4,
            AddressFamily::IPv6 => Family::V6,
        })
        .collect();
    let places = |texts: &[String], field: &str| {
        texts
            .iter()
            .map(|text| Endpoint::parse(text).with_context(|| format!("ManagedNode {name}, {field}")))
            .collect::<anyhow::Result<Vec<Endpoint>>>()
    };
    let usable = |place: &Endpoint| families.iter().any(|family| place.is_of(*family));
    let callback = match (&node.spec.callback_address, run.and_then(given)) {
        (Some(address), _) => places(std::slice::from_ref(address), "spec.callbackAddress")?,
        (None, Some(status)) => places(&status.addresses, "status.callback.addresses of its run")?,
        (None, None) => Vec::new(),
    };
    let usual = vec![run.map_or(Ports::USUAL, asked)];
    let forwarded = forwarded(node);
    let service = |(service, port)| (service, forwarded_port(node, scheme_of(service)).unwrap_or(port));
    let channel = channel
        .or(node.spec.channel.map(convert::channel))
        .or(run.map(|run| convert::channel(run.spec.channel)))
        .unwrap_or(Channel::Session);
    Ok(Subject {
        kind: node.spec.type_,
        described: Some(Described {
            product: node.spec.product.clone(),
            hand_over: node.spec.hand_over.map(convert::hand_over),
        }),
        channel,
        places: Some(places(&node.spec.addresses, "spec.addresses")?.into_iter().filter(usable).collect()),
        ssh_port: node.spec.ssh.port,
        api_port: node.spec.port.unwrap_or(API_PORT),
        listen: listen(run),
        phases: phases(run),
        callback: callback.into_iter().filter(usable).collect(),
        called_services: run.map(called_services).unwrap_or_default().into_iter().map(service).collect(),
        pod_services: run.map(pod_services).unwrap_or_default(),
        is_forwarded: forwarded.is_some(),
        called: match forwarded {
            Some(ports) => vec![ports],
            None => run.and_then(called).unwrap_or_else(|| usual.clone()),
        },
        pods: run.and_then(pods).unwrap_or(usual),
        run: run.map(kube::ResourceExt::name_any),
        node: name,
    })
}

/// Returns the ports of `spec.callbackAddress` that a machine calls, if something forwards them to those of the run. One
/// that uses a single service calls a single port, whichever service that is.
fn forwarded(node: &ManagedNode) -> Option<Ports> {
    node.spec.callback_address.as_ref()?;
    let (http, https) = (forwarded_port(node, Scheme::Http), forwarded_port(node, Scheme::Https));
    let any = http.or(https)?;
    Some(Ports { http: http.unwrap_or(any), https: https.unwrap_or(any) })
}

fn scheme_of(service: FileService) -> Scheme {
    match service {
        FileService::Sftp => Scheme::Sftp,
        FileService::Ftp => Scheme::Ftp,
    }
}

/// Returns the ports that must be open for engines that listen. Which of the random ones a machine gets is not known
/// before the run, so that these are all of them.
fn listen(run: Option<&UpdateRun>) -> ListenPorts {
    match run.map(|run| run.spec.listen.port).unwrap_or_default() {
        ListenPort::Next => ListenPorts::USUAL,
        ListenPort::Random => ListenPorts::DYNAMIC,
    }
}

fn phases(run: Option<&UpdateRun>) -> Vec<Phase> {
    match run.map(|run| run.spec.operation) {
        Some(Operation::Inventory) => vec![Phase::Inventory],
        Some(Operation::Stage | Operation::Update) | None => Phase::ALL.to_vec(),
    }
}

fn asked(run: &UpdateRun) -> Ports {
    Ports { http: run.spec.callback.http_port, https: run.spec.callback.https_port }
}

fn given(run: &UpdateRun) -> Option<&CallbackStatus> {
    run.status.as_ref()?.callback.as_ref()
}

/// Returns the ports of the runners, if the run has any.
fn pods(run: &UpdateRun) -> Option<Vec<Ports>> {
    let ports: BTreeSet<Ports> = given(run)?
        .ports
        .iter()
        .map(|runner| Ports { http: runner.http_port, https: runner.https_port })
        .collect();
    (!ports.is_empty()).then(|| ports.into_iter().collect())
}

/// Returns the ports of the runners for file services; those that the run names, while there are none.
fn pod_services(run: &UpdateRun) -> BTreeSet<(FileService, u16)> {
    let of = |service: FileService| {
        let ports = given(run).into_iter().flat_map(|status| &status.ports);
        let ports: Vec<u16> = ports.filter_map(|ports| given_port(ports, service)).collect();
        let ports = if ports.is_empty() { named_port(run, service).into_iter().collect() } else { ports };
        ports.into_iter().map(move |port| (service, port))
    };
    FileService::ALL.into_iter().flat_map(of).collect()
}

/// Returns the ports that machines call for file services.
fn called_services(run: &UpdateRun) -> BTreeSet<(FileService, u16)> {
    let outer = given(run).and_then(|status| status.sftp_port);
    let called = |(service, port)| match service {
        FileService::Sftp => (service, outer.unwrap_or(port)),
        FileService::Ftp => (service, port),
    };
    pod_services(run).into_iter().map(called).collect()
}

/// Returns the ports that machines call: those of the Service if there is one.
fn called(run: &UpdateRun) -> Option<Vec<Ports>> {
    let status = given(run)?;
    let ports = pods(run)?.into_iter().map(|ports| Ports {
        http: status.http_port.unwrap_or(ports.http),
        https: status.https_port.unwrap_or(ports.https),
    });
    Some(ports.collect::<BTreeSet<_>>().into_iter().collect())
}
