//! What is open for a run while it lasts: ports, Services, NetworkPolicies, the identity on the wire.
//!
//! ```text
//! decide ─► OpenWays ─► open:  the identity (a Secret), then ports for runners (status.callback)
//!                              policies; the Service, and the address that it got
//!                       runners take the ports, and say Bound or Conflict (status.listeners)
//!           ways ◄───── observe: what of that is there
//! decide ─► CloseWays ─► close: delete all of it; runners give the ports back
//! ```
//!
//! Services and policies select the operator's own pods and so live in the operator's namespace,
//! marked with the run's UID; `sweep` removes those whose run is gone. Outside a cluster there is
//! nothing to select, and only ports and identity remain.

mod act;
mod error;
#[cfg(test)]
mod fixtures;
mod make;
mod objects;
mod paths;
mod policies;
mod ports;
mod resolver;
mod secret;
mod service;
mod sweep;

pub use act::ExposeOutcome;
pub use resolver::Resolver;
pub use secret::{identity, remove as remove_identity};

use crate::api::managed_node::Channel;
use crate::api::{ManagedNode, UpdateRun};
use crate::caches::{Caches, RunObjects};
use crate::membership::{Membership, RunnerLocation};
use crate::publish::Events;
use farrier_network::Phase;
use farrier_network::cidr;
use farrier_network::ledger::Pair;
use farrier_network::policy::{Finding, Ranges, check_machine};
use kube::{Client, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where the operator itself is.
#[derive(Clone)]
pub struct Site {
    /// The operator's namespace.
    pub namespace: String,
    /// Where this process is.
    pub location: RunnerLocation,
    /// Ranges that belong to the cluster: no machine can have an address there.
    pub ranges: Ranges,
    /// How long a load balancer may take before its absence is called by its name.
    pub balancer_patience: Duration,
    /// What was made for runs; `None` outside a cluster, where there is nothing to make.
    pub objects: Option<RunObjects>,
}

/// Opens and closes the ways of runs.
pub struct Exposer {
    /// The API server.
    pub client: Client,
    /// What is known of the cluster.
    pub caches: Caches,
    /// Where the operator is.
    pub site: Site,
    /// What names mean.
    pub names: Arc<Resolver>,
    /// Who else is there.
    pub membership: Membership,
    /// Tells of what somebody else did to what was made.
    pub events: Events,
    /// By UID of the run, for one term as leader. After that and after a restart everything is looked
    /// at once more, which changes nothing.
    progress: Mutex<BTreeMap<String, Progress>>,
}

/// A machine that a run is not done with.
#[derive(Clone)]
pub struct ActiveMachine {
    /// The machine.
    pub node: Arc<ManagedNode>,
    /// How far it is.
    pub phase: Phase,
}

/// What this process has done for a run.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// When its identity was seen to be there.
    identity: Option<Instant>,
    /// When its policies were first complete.
    policies: Option<Instant>,
    /// Whether no policy is needed, because no machine has an address.
    nothing_to_open: bool,
    /// The pairs that the way in was opened to, and when.
    way_in: Option<(BTreeSet<Pair>, Instant)>,
    /// Names of objects that were there as they should be: one that is missing was deleted by somebody.
    seen: BTreeSet<String>,
    /// When objects were put right that somebody had changed, by name.
    repaired: BTreeMap<String, Vec<Instant>>,
    /// Why the last attempt failed, and when.
    error_since: Option<(String, Instant)>,
}

impl Exposer {
    /// One that has done nothing yet.
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

    /// Forgets what was done for runs: somebody else decides meanwhile, and deletes what is not needed
    /// any more.
    pub fn forget(&self) {
        self.progress().clear();
    }

    fn progress(&self) -> MutexGuard<'_, BTreeMap<String, Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Site {
    /// Whether a machine can have this address: it is one, and not the cluster's own.
    fn admits(&self, address: IpAddr) -> bool {
        check_machine(&[address], &self.ranges).is_empty()
    }

    /// What is wrong with the addresses of a machine, for its owner.
    pub fn misplaced(&self, node: &ManagedNode) -> Option<String> {
        let addresses: Vec<_> = node.spec.addresses.iter().filter_map(|text| cidr::parse(text)).collect();
        let wrong = check_machine(&addresses, &self.ranges).into_iter().find(|finding| match finding {
            Finding::InsidePodRange { .. } | Finding::InsideServiceRange { .. } => true,
            // Where nothing can be reached, the attempt says so.
            Finding::Unusable { .. } | Finding::EqualPorts { .. } | Finding::Privileged { .. } => false,
        })?;
        let name = node.name_any();
        Some(format!(
            "ManagedNode {name}: {wrong}; no machine can be there, correct spec.addresses, or the ranges that the operator was told"
        ))
    }
}

/// Whether the engine on this machine calls back in this run.
pub fn calls_back(node: &ManagedNode, run: &UpdateRun) -> bool {
    node.spec.channel.unwrap_or(run.spec.channel) == Channel::Callback
}
