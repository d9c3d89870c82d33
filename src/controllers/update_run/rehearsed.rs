//! Converts objects into the input of a rehearsal: the same machines, stages and relations as those of a decision.

use super::members::Members;
use super::observe::{run_facts, target};
use super::relations::Neighbours;
use crate::api::node_update::PlannedComponent;
use crate::api::update_run::Operation;
use crate::api::{ManagedNode, NodeUpdate, UpdateRun};
use farrier_update::run::{Arrivals, BaselineFacts, NetworkPaths, Observed, Runners};
use farrier_update::{Millis, NodeName};
use kube::ResourceExt as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Returns what a run would observe that begins now. Whatever it has done is left out, except that machines which are
/// planned and have nothing to install take no time; its baseline is taken as valid. `nodes` and `updates` are those of
/// its namespace, `runs` its other runs.
pub(crate) fn rehearsed(
    run: &UpdateRun,
    nodes: &[Arc<ManagedNode>],
    updates: &[Arc<NodeUpdate>],
    runs: &[Arc<UpdateRun>],
    now: Millis,
) -> Observed {
    let run = &UpdateRun { status: None, ..run.clone() };
    let members = Members::of(run, nodes, updates.iter().map(|update| &**update), runs);
    let neighbours = Neighbours::new(run, nodes, &[], &[]);
    let by_name: BTreeMap<String, &ManagedNode> =
        nodes.iter().map(|node| (node.name_any(), &**node)).collect();
    let plans = plans_of(run, updates);
    let mut targets = BTreeMap::new();
    for name in &members.names {
        let node = by_name.get(name).copied();
        let mut facts = target(run, &neighbours, name, node, None);
        facts.selected_by = members.selected_by(node);
        if plans.get(name.as_str()).is_some_and(|plan| !plan.iter().any(PlannedComponent::installs)) {
            facts.expected = Some(Duration::ZERO);
        }
        targets.insert(NodeName::from(name.as_str()), facts);
    }
    let needs_baseline = run.spec.operation != Operation::Inventory;
    Observed {
        now,
        run: run_facts(run, members, None, now),
        baseline: if needs_baseline { BaselineFacts::Ready } else { BaselineFacts::NotNeeded },
        arrivals: Arrivals {
            created: now,
            timeout: Duration::ZERO,
            deadline: None,
            changed: now,
            confirmed: true,
        },
        paths: NetworkPaths::free(),
        runners: Runners::default(),
        targets,
        busy_elsewhere: BTreeMap::new(),
    }
}

/// Returns what the run has planned, by machine. A machine without a plan is missing.
pub(crate) fn plans_of<'a>(
    run: &UpdateRun,
    updates: &'a [Arc<NodeUpdate>],
) -> BTreeMap<&'a str, &'a [PlannedComponent]> {
    let run = run.name_any();
    let own = updates.iter().filter(|update| update.spec.run_ref.name == run);
    let plan = |update: &'a Arc<NodeUpdate>| Some(update.status.as_ref()?.plan.as_slice());
    own.filter_map(|update| Some((update.spec.node_ref.name.as_str(), plan(update)?)))
        .filter(|(_, plan)| !plan.is_empty())
        .collect()
}
