//! Derives the result of a node from the results of its components.

use super::{ComponentResult, Outcome};
use crate::reason::Reason;
use std::collections::BTreeMap;

/// The result of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeVerdict {
    /// Every component is as the baseline requires, or does not apply to this machine.
    Succeeded {
        /// `Succeeded`, `AlreadyCurrent`, `Staged`, `RebootPending`, `PowerCyclePending` or `NothingToDo`.
        reason: Reason,
        /// Number of components per result, and what is left to do.
        message: String,
    },
    /// At least one component is not as the baseline requires.
    Failed {
        /// The most severe reason.
        reason: Reason,
        /// What happened to that component, and how many other components failed.
        message: String,
    },
    /// The run was cancelled before all components were processed, and no component failed.
    Cancelled {
        /// Number of components per result.
        message: String,
    },
}

/// Derives the result of a node from the results of its components.
pub fn summarize(results: &[ComponentResult]) -> NodeVerdict {
    let bad: Vec<&ComponentResult> = results.iter().filter(|result| !is_good(result.outcome)).collect();
    let failed = bad.iter().any(|result| result.outcome == Outcome::Failed);
    let cancelled = bad.iter().any(|result| result.outcome == Outcome::Cancelled);
    let Some(worst) = bad.iter().copied().min_by_key(|result| severity(result)) else {
        return NodeVerdict::Succeeded { reason: success(results), message: succeeded(results) };
    };
    if cancelled && !failed {
        return NodeVerdict::Cancelled { message: tally(results) };
    }
    let others = match bad.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more, see status.components)", count - 1),
    };
    let text = if worst.message.is_empty() {
        format!("{}: {}", worst.name, worst.outcome)
    } else {
        worst.message.clone()
    };
    NodeVerdict::Failed { reason: worst.reason, message: format!("{text}{others}") }
}

const fn is_good(outcome: Outcome) -> bool {
    match outcome {
        Outcome::UpToDate
        | Outcome::Updated
        | Outcome::Staged
        | Outcome::NotApplicable
        | Outcome::RebootPending => true,
        Outcome::Failed
        | Outcome::DependencyMissing
        | Outcome::Skipped
        | Outcome::Cancelled
        | Outcome::Unverified => false,
    }
}

/// Rank of a result: the lowest rank is reported. A result that caused other failures ranks first, and
/// among the failures those that another attempt cannot repair.
fn severity(result: &ComponentResult) -> (u8, bool) {
    let rank = match result.outcome {
        Outcome::Failed => 0,
        Outcome::Unverified => 1,
        Outcome::DependencyMissing => 2,
        Outcome::Skipped => 3,
        Outcome::Cancelled => 4,
        Outcome::Staged
        | Outcome::RebootPending
        | Outcome::Updated
        | Outcome::UpToDate
        | Outcome::NotApplicable => 5,
    };
    (rank, result.reason.retryable())
}

/// Describes a success. Of what waits for somebody, the first component is explained.
fn succeeded(results: &[ComponentResult]) -> String {
    let waits = |result: &&ComponentResult| {
        matches!(result.outcome, Outcome::Staged | Outcome::RebootPending) && !result.message.is_empty()
    };
    let mut waiting = results.iter().filter(waits);
    let Some(first) = waiting.next() else { return tally(results) };
    let others = match waiting.count() {
        0 => String::new(),
        count => format!(" (and {count} more, see status.components)"),
    };
    format!("{}: {}{others}", tally(results), first.message)
}

fn success(results: &[ComponentResult]) -> Reason {
    let any = |outcome| results.iter().any(|result| result.outcome == outcome);
    let waits_for_power_cycle = |result: &ComponentResult| {
        result.outcome != Outcome::RebootPending || result.reason == Reason::PowerCyclePending
    };
    if any(Outcome::RebootPending) {
        if results.iter().all(waits_for_power_cycle) {
            Reason::PowerCyclePending
        } else {
            Reason::RebootPending
        }
    } else if any(Outcome::Staged) {
        Reason::Staged
    } else if any(Outcome::Updated) {
        Reason::Succeeded
    } else if any(Outcome::UpToDate) {
        Reason::AlreadyCurrent
    } else {
        Reason::NothingToDo
    }
}

/// Formats the number of components per result, as `2 Updated, 1 UpToDate`.
fn tally(results: &[ComponentResult]) -> String {
    let mut counts: BTreeMap<Outcome, usize> = BTreeMap::new();
    for result in results {
        *counts.entry(result.outcome).or_default() += 1;
    }
    if counts.is_empty() {
        return "no component applies to this node".to_owned();
    }
    counts.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect::<Vec<_>>().join(", ")
}
