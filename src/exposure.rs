//! The exposure of a run while it lasts: ports, Services, NetworkPolicies and the TLS identity.
//!
//! ```text
//! decide ─► OpenPaths ─► open:  the identity (a Secret), then ports for runners (status.callback),
//!                              policies, the Service and the address that it got
//!                       runners bind the ports and report Bound or Conflict (status.listeners)
//!          paths ◄───── observe: which of these exist
//! decide ─► ClosePaths ─► close: delete all of it; runners release the ports
//! ```
//!
//! Services and policies select the operator's own pods and therefore live in the operator's namespace,
//! labelled with the run's UID; `sweep` removes those whose run is gone. Outside a cluster there are
//! no pods to select, so only ports and identity remain.

mod act;
mod error;
#[cfg(test)]
mod fixtures;
mod host_keys;
mod make;
mod named;
mod objects;
mod paths;
mod policies;
mod ports;
mod resolver;
mod secret;
mod service;
mod services;
mod sweep;

pub use act::ExposeOutcome;
pub use host_keys::host_keys;
pub use named::{given_port, named_port, to_api};
pub use resolver::Resolver;
pub use secret::{identity, remove as remove_identity};

use crate::api::managed_node::Channel;
use crate::api::node_update::FetchProtocol;
use crate::api::update_run::ListenPort;
use crate::api::{ManagedNode, NodeUpdate, UpdateRun};
use crate::caches::{Caches, RunObjects};
use crate::membership::{Membership, RunnerLocation};
use crate::publish::Events;
use farrier_network::cidr;
use farrier_network::ledger::Pair;
use farrier_network::policy::{Finding, Ranges, check_machine};
use farrier_network::table::{ListenPorts, fetch_schemes};
use farrier_network::{FileService, Phase, Scheme};
use kube::{Client, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The location of the operator and the network it is in.
#[derive(Clone)]
pub struct Site {
    /// The operator's namespace.
    pub namespace: String,
    /// The location of this process.
    pub location: RunnerLocation,
    /// Address ranges of the cluster: no machine can have an address in them.
    pub ranges: Ranges,
    /// How long a load balancer may take before the status says that it is missing.
    pub balancer_timeout: Duration,
    /// Objects that were created for runs; `None` outside a cluster, where no objects are created.
    pub objects: Option<RunObjects>,
}

/// Opens and closes the network paths of runs.
pub struct Exposer {
    /// Client of the API server.
    pub client: Client,
    /// The caches of the cluster's objects.
    pub caches: Caches,
    /// The location of the operator.
    pub site: Site,
    /// Resolves the names of machines.
    pub names: Arc<Resolver>,
    /// The other runners.
    pub membership: Membership,
    /// Publishes events about changes that others made to our objects.
    pub events: Events,
    /// Progress by UID of the run, for one term as leader. After that and after a restart
    /// everything is checked again, which changes nothing.
    progress: Mutex<BTreeMap<String, Progress>>,
}

/// A machine that a run has not finished with.
#[derive(Clone)]
pub struct ActiveMachine {
    /// The machine.
    pub node: Arc<ManagedNode>,
    /// The phase of its update.
    pub phase: Phase,
    /// What it must be able to reach at present.
    pub way_back: Option<WayBack>,
    /// The ports of its engine; `None` if the runner connects to none.
    pub listen: Option<ListenPorts>,
}

/// What of Farrier's a machine must be able to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayBack {
    /// The run's port with TLS, for its engine.
    Engine,
    /// The run's port for this protocol, to fetch an image.
    Fetch(Scheme),
}

/// What this process has done for a run.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// When its identity was last seen to exist.
    identity: Option<Instant>,
    /// When its policies were first complete.
    policies: Option<Instant>,
    /// No policy is needed, because no machine has an address.
    nothing_to_open: bool,
    /// When the host keys of SFTP were last seen to exist.
    host_keys: Option<Instant>,
    /// The ports that ingress was opened for, and when.
    ingress_path: Option<(BoundPorts, Instant)>,
    /// Names of objects that were found in their desired state: if such an object is missing,
    /// another client deleted it.
    seen: BTreeSet<String>,
    /// When objects that another client had changed were repaired, by name.
    repaired: BTreeMap<String, Vec<Instant>>,
    /// Error of the last attempt, and when it failed.
    error_since: Option<(String, Instant)>,
}

/// Ports that runners listen on: pairs, and file services with their first ports.
type BoundPorts = (BTreeSet<Pair>, BTreeSet<(FileService, u16)>);

impl Exposer {
    /// Creates an exposer without any progress.
    pub fn new(
        client: Client,
        caches: Caches,
        site: Site,
        names: Arc<Resolver>,
        membership: Membership,
        events: Events,
    ) -> Self {
        Self { client, caches, site, names, membership, events, progress: Mutex::default() }
    }

    /// Drops the progress of all runs: meanwhile another replica decides, and deletes what is no
    /// longer needed.
    pub fn forget(&self) {
        self.progress().clear();
    }

    fn progress(&self) -> MutexGuard<'_, BTreeMap<String, Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Site {
    /// Reports whether a machine can have this address: it is usable and not in a range of the
    /// cluster.
    fn admits(&self, address: IpAddr) -> bool {
        check_machine(&[address], &self.ranges).is_empty()
    }

    /// Describes what is wrong with the addresses of a machine, for the user.
    pub fn misplaced(&self, node: &ManagedNode) -> Option<String> {
        let addresses: Vec<_> = node.spec.addresses.iter().filter_map(|text| cidr::parse(text)).collect();
        let wrong = check_machine(&addresses, &self.ranges).into_iter().find(|finding| match finding {
            Finding::InsidePodRange { .. } | Finding::InsideServiceRange { .. } => true,
            // An attempt to connect reports unusable addresses itself.
            Finding::Unusable { .. } | Finding::EqualPorts { .. } | Finding::Privileged { .. } => false,
        })?;
        let name = node.name_any();
        Some(format!(
            "ManagedNode {name}: {wrong}; no machine can have such an address; correct spec.addresses, or the address ranges in the operator's configuration"
        ))
    }
}

/// Returns what a machine must be able to reach in this run at present; `None` if it does not connect to
/// Farrier. `update` is the machine's NodeUpdate of the run.
///
/// The engine of a machine whose channel is `Callback` connects during the whole work. A machine without an
/// engine has no channel: it connects only to fetch an image, from the moment its attempt says so in
/// `status.fetchesBy`, and only if the table of ports lists the port for its type, or the run names the port of a file
/// service.
pub fn way_back(node: &ManagedNode, run: &UpdateRun, update: Option<&NodeUpdate>) -> Option<WayBack> {
    let type_ = node.spec.type_;
    if type_.carries_engine() {
        return (channel(node, run) == Channel::Callback).then_some(WayBack::Engine);
    }
    let scheme = scheme_of(update?.status.as_ref()?.fetches_by?);
    let is_named = scheme.service().is_none_or(|service| named_port(run, service).is_some());
    (is_named && fetch_schemes(type_).contains(&scheme)).then_some(WayBack::Fetch(scheme))
}

/// Returns the channel of the engine on this machine in this run: that of the machine, where it names one.
fn channel(node: &ManagedNode, run: &UpdateRun) -> Channel {
    node.spec.channel.unwrap_or(run.spec.channel)
}

/// Returns the ports of the engine on this machine; `None` if the runner does not connect to it. `session`: the UID
/// of the machine's NodeUpdate of the run.
pub fn listen_ports(node: &ManagedNode, run: &UpdateRun, session: &str) -> Option<ListenPorts> {
    let listens = node.spec.type_.carries_engine() && channel(node, run) == Channel::Listen;
    listens.then(|| match run.spec.listen.port {
        ListenPort::Next => ListenPorts::USUAL,
        ListenPort::Random => ListenPorts::random(session),
    })
}

fn scheme_of(protocol: FetchProtocol) -> Scheme {
    match protocol {
        FetchProtocol::HTTPS => Scheme::Https,
        FetchProtocol::HTTP => Scheme::Http,
        FetchProtocol::SFTP => Scheme::Sftp,
        FetchProtocol::SCP => Scheme::Scp,
        FetchProtocol::FTP => Scheme::Ftp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Otherwise ports are open for a machine that needs none, or a BMC waits for an image that it cannot reach.
    #[test]
    fn a_machine_reaches_what_its_engine_or_its_attempt_needs() {
        let run = |channel: &str| -> UpdateRun {
            let spec = json!({"selector": {}, "channel": channel});
            serde_json::from_value(json!({"metadata": {"name": "r1"}, "spec": spec})).unwrap()
        };
        let back = |type_: &str, channel: Option<&str>, fetches: Option<&str>| {
            let spec = json!({"type": type_, "addresses": ["192.0.2.1"], "credentialsRef": {"name": "s"}, "channel": channel});
            let node = json!({"metadata": {"name": "db"}, "spec": spec});
            let update = json!({
                "metadata": {"name": "r1-db"},
                "spec": {"runRef": {"name": "r1"}, "nodeRef": {"name": "db"}, "runner": "a", "intent": "Run"},
                "status": {"fetchesBy": fetches},
            });
            let update: NodeUpdate = serde_json::from_value(update).unwrap();
            way_back(&serde_json::from_value(node).unwrap(), &run("Callback"), Some(&update))
        };
        assert_eq!(back("Linux", None, None), Some(WayBack::Engine));
        assert_eq!(back("Linux", Some("Session"), Some("HTTP")), None);
        assert_eq!(back("ILO", Some("Callback"), None), None, "it takes a push, or fetches nothing yet");
        assert_eq!(back("ILO", None, Some("HTTP")), Some(WayBack::Fetch(Scheme::Http)));
        assert_eq!(back("ILO", None, Some("HTTPS")), None, "the table does not list it");
        assert_eq!(back("SuperdomeFlex", None, Some("HTTPS")), Some(WayBack::Fetch(Scheme::Https)));
        assert_eq!(back("Redfish", None, Some("HTTP")), Some(WayBack::Fetch(Scheme::Http)));
    }
}
