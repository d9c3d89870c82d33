//! Why a node may not be begun, and how that is said.

use crate::model::{Millis, NodeName, RunName};
use crate::reason::Reason;
use crate::run::WaitingOn;

/// Why a node may not be begun.
#[derive(Debug, Clone, Copy)]
pub(in crate::run) enum Standing<'a> {
    /// Not yet.
    Waits(Wait<'a>),
    /// Not in this run.
    Skipped(Skip<'a>),
}

/// What a node waits for before its turn can come.
#[derive(Debug, Clone, Copy)]
pub(in crate::run) struct Wait<'a> {
    /// The node that it waits for.
    pub(in crate::run) on: &'a NodeName,
    /// What that node is to it.
    pub(super) role: Role<'a>,
}

/// What the node that is waited for is to the node that waits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role<'a> {
    /// It comes before it, as do `more` others that have not ended.
    Predecessor { more: usize },
    /// It comes after it and was begun all the same, for example because this node was held.
    Successor,
    /// It manages it, and does not exist. The wait ends at a deadline.
    Manager { until: Millis },
    /// It is a partner, in this run or in another.
    Partner { run: Option<&'a RunName> },
}

/// Why a node is not begun in this run.
#[derive(Debug, Clone, Copy)]
pub(in crate::run) struct Skip<'a> {
    /// The node that it would have been begun after, or its partner; `None` if it is in a cycle.
    pub(super) by: Option<&'a NodeName>,
    /// The node with which it began.
    pub(super) root: &'a NodeName,
    /// What happened to `root`.
    pub(in crate::run) cause: Cause,
}

/// What happened to a node because of which others are not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::run) enum Cause {
    /// It failed.
    Failed,
    /// It was not reached.
    Unreachable,
    /// It was cancelled.
    Cancelled,
    /// It was deleted before work on it started.
    Gone,
    /// A partner did not succeed.
    Partner,
    /// It manages the node, and does not exist.
    NoManager,
    /// Its order goes in a circle.
    Cycle,
}

impl Wait<'_> {
    /// Returns the wait as it is reported.
    pub(in crate::run) fn waiting_on(&self) -> WaitingOn {
        let on = self.on;
        let (reason, message, until) = match self.role {
            Role::Predecessor { more: 0 } => {
                let message = format!("{on} comes before this node, which is begun when {on} has succeeded");
                (Reason::WaitingForPredecessor, message, None)
            }
            Role::Predecessor { more } => {
                let message = format!(
                    "{on} and {more} more come before this node, which is begun when they have succeeded"
                );
                (Reason::WaitingForPredecessor, message, None)
            }
            Role::Successor => {
                let message = format!(
                    "{on} comes after this node and is in progress already; this node is begun when {on} has ended"
                );
                (Reason::WaitingForPredecessor, message, None)
            }
            Role::Manager { until } => (
                Reason::ManagerNotFound,
                format!("{}; the run waits until {until}", no_manager(on)),
                Some(until),
            ),
            Role::Partner { run: None } => {
                let message =
                    format!("its partner {on} is in progress; this node is begun when {on} has ended");
                (Reason::PartnerAtWork, message, None)
            }
            Role::Partner { run: Some(run) } => {
                let message = format!(
                    "run {run} is working on its partner {on}; this node is begun when that has ended"
                );
                (Reason::PartnerAtWork, message, None)
            }
        };
        WaitingOn { reason, message, until }
    }
}

impl Skip<'_> {
    /// Returns the reason under which the node is reported.
    pub(in crate::run) const fn reason(&self) -> Reason {
        match self.cause {
            Cause::NoManager => Reason::ManagerNotFound,
            Cause::Cycle => Reason::OrderCycle,
            Cause::Failed | Cause::Unreachable | Cause::Cancelled | Cause::Gone | Cause::Partner => {
                Reason::Skipped
            }
        }
    }

    /// Returns the reason in words, with the next step. `cycle` is the drawn cycle.
    pub(in crate::run) fn message(&self, cycle: Option<&str>) -> String {
        let root = self.root;
        let fate = match self.cause {
            Cause::Failed => "failed",
            Cause::Unreachable => "was not reached",
            Cause::Cancelled => "was cancelled",
            Cause::Gone => "was deleted before work on it started",
            Cause::Partner => "did not succeed",
            Cause::NoManager => "does not exist",
            Cause::Cycle => return cycle_message(cycle.unwrap_or_default()),
        };
        let direct = self.by.filter(|by| *by != root);
        let why = match (direct, self.cause) {
            (Some(by), _) => format!("{by}, which comes before it, was not begun either: {root} {fate}"),
            (None, Cause::NoManager) => no_manager(root),
            (None, Cause::Partner) => format!("its partner {root} {fate}"),
            (None, Cause::Failed | Cause::Unreachable | Cause::Cancelled | Cause::Gone | Cause::Cycle) => {
                format!("{root}, which comes before it, {fate}")
            }
        };
        format!("not begun, because {why}; see to {root}, then start a new run")
    }
}

/// Returns what to do about a manager that does not exist.
pub(in crate::run) fn no_manager(name: &NodeName) -> String {
    format!("spec.managedBy names ManagedNode {name}, which does not exist; create it or correct the field")
}

/// Returns what to do about a cycle.
pub(in crate::run) fn cycle_message(cycle: &str) -> String {
    format!(
        "the order of the nodes goes in a circle: {cycle}; correct spec.managedBy of one of these ManagedNodes, then start a new run"
    )
}
