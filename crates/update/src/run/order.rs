//! The order of a run's nodes: which node is begun after which others, and which are never in flight
//! together.
//!
//! - `order/table.rs`: the order of types of machines, as data.
//! - `order/partners.rs`: which nodes are partners.
//! - `order/graph.rs`: the nodes of a run and what each is begun after, as a graph.
//! - `order/place.rs`: why a node may not be begun, and how that is said.
//! - `order/standing.rs`: for which nodes that is so, from the graph and the progress of the nodes.
//! - `order/steps.rs`: the graph, shortened for the run's status.
//!
//! docs/adr/0042-order.md explains the choices.

mod graph;
mod partners;
mod place;
mod standing;
mod steps;
mod table;
#[cfg(test)]
mod tests;

pub use partners::groups;
pub use steps::{OrderStep, OrderedNode};
pub use table::{BY_TYPE, IfUnreachable, MachineKind, TypeEdge};

pub(super) use partners::AtWork;
pub(super) use place::{Cause, Skip, Standing, Wait, cycle_message, no_manager};
pub(super) use standing::{Order, missing_manager};

use crate::model::{NodeName, RunName};

/// Whether the types of machines order the nodes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderPolicy {
    /// They do, as [`BY_TYPE`] lists.
    ByType,
    /// They do not. What a node is managed by still comes before it.
    None,
}

/// How a node is related to other nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relations {
    /// The kind of the machine; that of a node that does not exist is [`MachineKind::Other`].
    pub kind: MachineKind,
    /// The node that this one is managed by or reached through.
    pub managed_by: Option<Manager>,
    /// The name of the node's group of partners, see [`groups`].
    pub group: Option<NodeName>,
    /// A partner on which another run works or is about to, and that run. As
    /// [`claimed_by`](super::TargetFacts::claimed_by), this must not be stale.
    pub partner_at_work: Option<(NodeName, RunName)>,
}

/// The node that another node is managed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// Its name.
    pub name: NodeName,
    /// The kind of its machine; `None` if the node does not exist.
    pub kind: Option<MachineKind>,
}
