//! Metrics about objects, computed from the caches at each scrape.
//!
//! Only the leader exports them: each replica caches all objects, so a sum over replicas would count
//! every machine several times.

use crate::api::update_run::{Counts, DesiredState};
use crate::api::{ManagedNode, NodeUpdate, UpdateRun, condition};
use crate::caches::Caches;
use crate::metrics::{Gauge, catalogue as c, gauge, number};
use farrier_update::Reason;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use std::collections::BTreeMap;
use std::fmt;

/// Collector of the metrics about the cached objects.
pub struct Fleet {
    /// The caches of the cluster's objects.
    pub caches: Caches,
    /// 1 while this replica is the leader.
    pub leader: Gauge,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").finish_non_exhaustive()
    }
}

impl Collector for Fleet {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        if self.leader.get() == 0 {
            return Ok(());
        }
        let to = &mut encoder;
        let runs = self.caches.runs.state();
        by_state(to, &c::RUNS, RUN_STATES, runs.iter().map(|run| run_state(run)))?;
        let open = || runs.iter().filter(|run| !is_over(run_conditions(run)));
        let counts = open().filter_map(|run| run.status.as_ref()).map(|s| s.counts);
        gauge(to, &c::RUN_NODES, run_nodes(counts))?;
        let over = open().filter(|run| condition::is(run_conditions(run), "BudgetExceeded", "True"));
        gauge(to, &c::RUNS_OVER_BUDGET, [([], number(over.count()))])?;
        let nodes = self.caches.nodes.state();
        by_state(to, &c::MANAGED_NODES, NODE_STATES, nodes.iter().map(|node| node_state(node)))?;
        let updates = self.caches.updates.state();
        by_state(to, &c::NODE_UPDATES, UPDATE_STATES, updates.iter().map(|update| update_state(update)))?;
        gauge(
            to,
            &c::NODE_UPDATES_UNCLEAN,
            [([], number(updates.iter().filter(|u| is_unclean(u)).count()))],
        )?;
        let statuses = || updates.iter().filter_map(|u| u.status.as_ref());
        gauge(to, &c::LEFTOVERS, [([], number(statuses().map(|s| s.leftovers.len()).sum()))])?;
        gauge(to, &c::LEASES, [([], statuses().map(|s| f64::from(s.leases)).sum())])?;
        let oldest =
            updates.iter().filter(|u| u.status.is_none()).filter_map(|u| age(&**u)).fold(0.0, f64::max);
        gauge(to, &c::OLDEST_UNCLAIMED, [([], oldest)])
    }
}

pub(crate) const RUN_STATES: &[&str] =
    &["pending", "waiting", "running", "paused", "planned", "cancelling", "succeeded", "failed", "cancelled"];

pub(crate) const NODE_STATES: &[&str] = &["held", "unknown", "unreachable", "failing", "ready"];

pub(crate) const UPDATE_STATES: &[&str] =
    &["pending", "working", "retrying", "planned", "succeeded", "failed", "unreachable", "cancelled"];

/// Encodes the number of objects in each state. A state without objects is exported as 0, so that
/// graphs have no gaps.
fn by_state(
    encoder: &mut DescriptorEncoder,
    described: &c::MetricDescription<1>,
    states: &'static [&'static str],
    found: impl Iterator<Item = &'static str>,
) -> fmt::Result {
    let mut counts: BTreeMap<&'static str, usize> = states.iter().map(|state| (*state, 0)).collect();
    for state in found {
        *counts.entry(state).or_default() += 1;
    }
    gauge(encoder, described, counts.into_iter().map(|(state, count)| ([state], number(count))))
}

pub(crate) fn run_nodes(all: impl Iterator<Item = Counts>) -> [([&'static str; 1], f64); 7] {
    let mut sums = [
        (["pending"], 0.0),
        (["in_progress"], 0.0),
        (["succeeded"], 0.0),
        (["failed"], 0.0),
        (["unreachable"], 0.0),
        (["cancelled"], 0.0),
        (["skipped"], 0.0),
    ];
    for counts in all {
        let Counts { total: _, pending, in_progress, succeeded, failed, unreachable, cancelled, skipped } =
            counts;
        let parts = [pending, in_progress, succeeded, failed, unreachable, cancelled, skipped];
        for ((_, sum), part) in sums.iter_mut().zip(parts) {
            *sum += f64::from(part);
        }
    }
    sums
}

fn run_conditions(run: &UpdateRun) -> &[Condition] {
    run.status.as_ref().map_or(&[], |s| s.conditions.as_slice())
}

fn is_over(conditions: &[Condition]) -> bool {
    condition::is(conditions, "Succeeded", "True") || condition::is(conditions, "Succeeded", "False")
}

fn reason(conditions: &[Condition], type_: &str) -> Option<Reason> {
    condition::find(conditions, type_).and_then(|c| Reason::parse(&c.reason))
}

fn run_state(run: &UpdateRun) -> &'static str {
    let conditions = run_conditions(run);
    if condition::is(conditions, "Succeeded", "True") {
        return "succeeded";
    }
    let why = reason(conditions, "Succeeded");
    if condition::is(conditions, "Succeeded", "False") {
        return if why == Some(Reason::Cancelled) { "cancelled" } else { "failed" };
    }
    let Some(why) = why else { return "pending" };
    if why == Reason::Cancelling || run.metadata.deletion_timestamp.is_some() {
        return "cancelling";
    }
    match run.spec.desired_state {
        DesiredState::Cancel => "cancelling",
        DesiredState::Pause => "paused",
        DesiredState::Plan if why == Reason::PlanOnly => "planned",
        DesiredState::Run | DesiredState::Plan if condition::is(conditions, "Progressing", "False") => {
            "waiting"
        }
        DesiredState::Run | DesiredState::Plan => "running",
    }
}

fn node_state(node: &ManagedNode) -> &'static str {
    if node.spec.hold {
        return "held";
    }
    let conditions = node.status.as_ref().map_or(&[][..], |s| s.conditions.as_slice());
    if condition::is(conditions, "Ready", "True") {
        "ready"
    } else if condition::is(conditions, "Reachable", "False") {
        "unreachable"
    } else if condition::is(conditions, "Ready", "False") {
        "failing"
    } else {
        "unknown"
    }
}

fn update_state(update: &NodeUpdate) -> &'static str {
    let Some(status) = &update.status else { return "pending" };
    let why = reason(&status.conditions, "Succeeded");
    if condition::is(&status.conditions, "Succeeded", "True") {
        return "succeeded";
    }
    if condition::is(&status.conditions, "Succeeded", "False") {
        return match why {
            Some(Reason::Cancelled) => "cancelled",
            Some(why) if why.unreachable() => "unreachable",
            Some(_) | None => "failed",
        };
    }
    if status.next_attempt_at.is_some() {
        "retrying"
    } else if why == Some(Reason::PlanOnly) {
        "planned"
    } else {
        "working"
    }
}

/// Reports whether the NodeUpdate has ended without proof that the machine is clean: work was started
/// and the final check is missing, or found leftovers.
fn is_unclean(update: &NodeUpdate) -> bool {
    let Some(status) = &update.status else { return false };
    is_over(&status.conditions)
        && (!status.leftovers.is_empty() || condition::is(&status.conditions, "TornDown", "False"))
}

/// Seconds since the object was created.
fn age(object: &impl ResourceExt) -> Option<f64> {
    let created = object.creation_timestamp()?;
    Some(condition::now().0.duration_since(created.0).as_secs_f64().max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An alert on a guessed label value would never fire.
    #[test]
    fn values_of_labels_are_documented() {
        let run_nodes: Vec<&str> = run_nodes([].into_iter()).map(|([state], _)| state).into();
        let causes: Vec<&str> = crate::callback::Cause::ALL.map(crate::callback::Cause::label).into();
        for (help, values) in [
            (c::RUNS.help, RUN_STATES),
            (c::RUN_NODES.help, &run_nodes),
            (c::MANAGED_NODES.help, NODE_STATES),
            (c::NODE_UPDATES.help, UPDATE_STATES),
            (c::CALLBACK_REFUSED.help, &causes),
        ] {
            for value in values {
                assert!(help.contains(&format!("`{value}`")), "{value} is not in: {help}");
            }
            assert_eq!(
                help.matches('`').count() / 2,
                values.len() + help.matches("status.").count(),
                "{help}"
            );
        }
    }
}
