//! Metrics about objects, computed from the caches at each scrape.
//!
//! Only the leader exports them: each replica caches all objects, so a sum over replicas would count
//! every machine several times.

use crate::api::update_run::{Counts, DesiredState};
use crate::api::{ManagedNode, NodeUpdate, UpdateRun, condition};
use crate::caches::Caches;
use crate::metrics::{Gauge, catalogue as c, gauge, number};
use farrier_update::Reason;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

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
        let baselines = nodes.iter().map(|node| baseline_state(node));
        by_state(to, &c::MANAGED_NODE_BASELINES, BASELINE_STATES, baselines)?;
        let now = condition::now();
        let overdue = nodes.iter().filter(|node| is_inventory_overdue(node, &now)).count();
        gauge(to, &c::INVENTORIES_OVERDUE, [([], number(overdue))])?;
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

pub(crate) const BASELINE_STATES: &[&str] = &["in_baseline", "behind", "unknown", "none"];

/// After how many intervals the lack of an inventory is reported: one and a tenth is usual, and a machine that is
/// off for a day is not worth an alert.
const OVERDUE_INTERVALS: u32 = 3;

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

fn baseline_state(node: &ManagedNode) -> &'static str {
    let conditions = node.status.as_ref().map_or(&[][..], |s| s.conditions.as_slice());
    match condition::find(conditions, "InBaseline") {
        None => "none",
        Some(told) if told.status == "True" => "in_baseline",
        Some(told) if told.status == "False" => "behind",
        Some(told) if told.reason == Reason::Unknown.as_str() => "none",
        Some(_) => "unknown",
    }
}

/// Reports whether the last inventory of a machine with a schedule is too old.
fn is_inventory_overdue(node: &ManagedNode, now: &Time) -> bool {
    let every = node.spec.inventory.as_ref().and_then(|schedule| schedule.every.duration());
    let Some(every) = every.filter(|_| !node.spec.hold) else { return false };
    let times = node.status.as_ref().and_then(|status| status.inventory.as_ref());
    let taken = times.and_then(|times| times.taken_at.as_ref());
    let Some(since) = taken.or(node.metadata.creation_timestamp.as_ref()) else { return false };
    let age = Duration::try_from(now.0.duration_since(since.0)).unwrap_or_default();
    age > every.saturating_mul(OVERDUE_INTERVALS)
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

    /// The alert about drift would stay silent, or fire for machines that no update has touched yet.
    #[test]
    fn machines_are_counted_by_their_baseline() {
        let state = |condition: Option<(&str, &str)>| {
            let conditions = condition.map(|(status, reason)| {
                serde_json::json!({"type": "InBaseline", "status": status, "reason": reason, "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"})
            });
            baseline_state(&node(
                &serde_json::json!({}),
                &serde_json::json!({"conditions": Vec::from_iter(conditions)}),
            ))
        };
        assert_eq!(state(None), "none");
        assert_eq!(state(Some(("Unknown", "Unknown"))), "none");
        assert_eq!(state(Some(("Unknown", "BaselineNotFound"))), "unknown");
        assert_eq!(state(Some(("False", "BehindBaseline"))), "behind");
        assert_eq!(state(Some(("True", "AlreadyCurrent"))), "in_baseline");
    }

    fn node(spec: &serde_json::Value, status: &serde_json::Value) -> ManagedNode {
        let mut node = serde_json::json!({
            "metadata": {"name": "db", "namespace": "n", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"type": "Linux", "addresses": ["10.0.0.1"], "credentialsRef": {"name": "db"}},
            "status": status,
        });
        let fields = spec.as_object().cloned().unwrap_or_default();
        node["spec"].as_object_mut().unwrap().extend(fields);
        serde_json::from_value(node).unwrap()
    }

    /// A schedule that does not work would not be noticed, or a machine that was off for a night would wake somebody.
    #[test]
    fn an_inventory_is_overdue_after_three_intervals() {
        let daily = || serde_json::json!({"inventory": {"every": "24h"}});
        let day = |day: u32| Time(format!("2026-01-{day:02}T00:00:01Z").parse().unwrap());
        let never = node(&daily(), &serde_json::json!({}));
        assert!(!is_inventory_overdue(&never, &day(3)) && is_inventory_overdue(&never, &day(4)));
        // That it was tried does not count.
        let times = serde_json::json!({"inventory": {"takenAt": "2026-01-05T00:00:00Z", "triedAt": "2026-01-09T00:00:00Z"}});
        let taken = node(&daily(), &times);
        assert!(!is_inventory_overdue(&taken, &day(7)) && is_inventory_overdue(&taken, &day(8)));
        let held = serde_json::json!({"inventory": {"every": "24h"}, "hold": true});
        for spec in [serde_json::json!({}), held] {
            assert!(!is_inventory_overdue(&node(&spec, &serde_json::json!({})), &day(20)));
        }
    }

    /// An alert on a guessed label value would never fire.
    #[test]
    fn values_of_labels_are_documented() {
        let run_nodes: Vec<&str> = run_nodes([].into_iter()).map(|([state], _)| state).into();
        let causes: Vec<&str> = crate::callback::Cause::ALL.map(crate::callback::Cause::label).into();
        for (help, values) in [
            (c::RUNS.help, RUN_STATES),
            (c::RUN_NODES.help, &run_nodes),
            (c::MANAGED_NODES.help, NODE_STATES),
            (c::MANAGED_NODE_BASELINES.help, BASELINE_STATES),
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
