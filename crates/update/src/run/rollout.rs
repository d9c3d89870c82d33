//! The rollout of a run: stages one after the other, budgets for failures, and fault domains.
//!
//! - `rollout/assign.rs`: to which stage each node belongs, which is recorded once with the list of nodes.
//! - `rollout/halt.rs`: why a run starts no further nodes: a budget that is passed, or a stage that did not succeed.
//! - `rollout/progress.rs`: how far each stage is, and which nodes may be begun at present.
//! - `rollout/domains.rs`: how many nodes of each fault domain are in flight.
//!
//! A run without stages has one stage with all its nodes, which needs no approval. docs/adr/0045-rollouts.md
//! explains the choices.

mod assign;
mod domains;
mod halt;
mod progress;
#[cfg(test)]
mod tests;

pub(super) use assign::assign;
pub(super) use domains::Domains;
pub(super) use halt::Halt;
pub(super) use progress::Stages;

use super::Limit;
use crate::model::Millis;
use std::time::Duration;

/// In which manner the nodes of a run are brought to its baseline. The default has no stages and no budgets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Groups of nodes that are updated one after the other.
    pub stages: Vec<Stage>,
    /// How many nodes of the run may fail before no further node is started; `None` for any number.
    pub failure_budget: Option<Limit>,
    /// How many nodes of the run may be unreachable before no further node is started; `None` for any number.
    pub unreachable_budget: Option<Limit>,
    /// How nodes in progress are spread over fault domains.
    pub spread: Option<Spread>,
}

/// How nodes in progress are spread over fault domains: groups of nodes that fail together, such as those of a rack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    /// The label of a ManagedNode whose value is its fault domain. The nodes without the label are one domain.
    pub label: String,
    /// The maximum number of nodes of one domain in flight, over all runs.
    pub max_unavailable: usize,
}

/// A group of nodes that are updated together, before those of the next stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The name of the stage.
    pub name: String,
    /// How many of the nodes that its selector selects belong to it; `None` for all.
    pub count: Option<Limit>,
    /// The maximum number of its nodes in progress at the same time, beside that of the run.
    pub max_concurrent: Option<Limit>,
    /// How long the next stage waits after this one has ended.
    pub soak: Duration,
    /// Whether a user has to approve it.
    pub approval: Approval,
    /// How many of its nodes may fail; `None` for the budget of the run, a percentage being of the stage's nodes.
    pub failure_budget: Option<Limit>,
    /// How many of its nodes may be unreachable; `None` as for `failure_budget`.
    pub unreachable_budget: Option<Limit>,
}

/// Whether a user has to approve a stage before its first node is started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Approval {
    /// Nobody has to.
    #[default]
    Automatic,
    /// A user has to, for a plan that is named by its digest. All nodes of the run are planned first.
    Manual,
}

/// An approval that a user has given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalGiven {
    /// The name of the approved stage.
    pub stage: String,
    /// The digest of the approved plan.
    pub digest: String,
}

/// What the status of a run contains about a stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StageRecord {
    /// When its first node was given its turn.
    pub started_at: Option<Millis>,
    /// When all its nodes were first seen to have ended.
    pub finished_at: Option<Millis>,
    /// The digest of the plan for which its approval was given.
    pub approved: Option<String>,
}
