//! Creates the UpdateRuns that take scheduled inventories (`ManagedNode.spec.inventory`), as a `CronJob` creates Jobs.
//!
//! It creates runs with the operation Inventory and nothing else: what such a run finds is in the conditions of its
//! machines, and nobody acts on it here. It is called once a minute and reads the caches only.

use super::Context;
use crate::api::managed_node::{Channel, ManagedNodeStatus};
use crate::api::update_run::{
    Callback, DesiredState, Force, Listen, OnFailedDependency, Operation, OrderPolicy, RebootPolicy,
    Strategy, UpdateRunSpec,
};
use crate::api::{
    LABEL_SCHEDULED, ManagedNode, NodeUpdate, SCHEDULED_INVENTORY, UpdateRun, condition, is_scheduled,
};
use crate::convert::millis;
use crate::drivers::Register;
use crate::failure::chain;
use crate::publish;
use farrier_update::drift::schedule::{self, InventoryRun, Machine};
use farrier_update::{Millis, NodeName};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many machines of a run are looked at at a time. Nobody waits for these runs, and users' runs need the runners.
const MAX_CONCURRENT: i32 = 5;

/// How long an ended run is kept. While it exists, its machines count as looked at, whatever became of them.
const KEPT_FOR: &str = "1h";

/// Creates the runs that are due, if this replica leads.
pub(super) async fn create_due(context: &Context) {
    let nodes = context.caches.nodes.state();
    let scheduled: Vec<_> = nodes.into_iter().filter(|node| node.spec.inventory.is_some()).collect();
    if scheduled.is_empty() {
        return;
    }
    let runs = context.own_writes.runs(&context.caches);
    let updates = context.own_writes.all_updates(&context.caches);
    let now = millis(&condition::now());
    for (namespace, fleet) in observe(&context.register, &scheduled, &runs, &updates) {
        let Some(run) = schedule::decide(now, &fleet.machines, fleet.open) else { continue };
        if !context.leads.is_held() {
            return;
        }
        create(context, &namespace, &run).await;
    }
}

async fn create(context: &Context, namespace: &str, run: &InventoryRun) {
    let (name, machines) = (&run.name, run.nodes.len());
    match publish::create_run(&context.client, &build(namespace, run)).await {
        Ok(true) => tracing::info!(namespace, run = name, machines, "scheduled inventories are taken"),
        // Another leader, or this one before a restart, has created it.
        Ok(false) => tracing::debug!(namespace, run = name, "the run of scheduled inventories exists"),
        Err(error) if publish::is_of_dying_namespace(&error) => {}
        Err(error) => {
            let error = chain(&error);
            tracing::warn!(namespace, %error, "a run of scheduled inventories could not be created; it is retried in a minute. The operator needs the right to create UpdateRuns");
        }
    }
}

fn build(namespace: &str, run: &InventoryRun) -> UpdateRun {
    let spec = UpdateRunSpec {
        desired_state: DesiredState::Run,
        operation: Operation::Inventory,
        selector: None,
        nodes: run.nodes.iter().map(|name| name.0.clone()).collect(),
        retry_of: None,
        baseline_ref: None,
        channel: Channel::default(),
        strategy: Strategy { max_concurrent: IntOrString::Int(MAX_CONCURRENT), ..Strategy::default() },
        order: OrderPolicy::default(),
        reboot: RebootPolicy::default(),
        on_failed_dependency: OnFailedDependency::default(),
        force: Force::default(),
        accept_eula: false,
        callback: Callback::default(),
        listen: Listen::default(),
        arrival_timeout: "2m".into(),
        ttl_after_finished: Some(KEPT_FOR.into()),
    };
    let mut object = UpdateRun::new(&run.name, spec);
    object.metadata.namespace = Some(namespace.to_owned());
    object.metadata.labels = Some([(LABEL_SCHEDULED.to_owned(), SCHEDULED_INVENTORY.to_owned())].into());
    object
}

/// The machines with a schedule of a namespace.
#[derive(Debug, Default, PartialEq)]
struct Fleet {
    machines: Vec<Machine>,
    /// Number of scheduled runs that have not ended.
    open: usize,
}

/// Returns when a machine was last looked at, as far as its status says.
fn looked(status: Option<&ManagedNodeStatus>) -> Option<Millis> {
    let times = status?.inventory.as_ref()?;
    [times.taken_at.as_ref(), times.tried_at.as_ref()].into_iter().flatten().map(millis).max()
}

/// Returns a machine for the schedule; `None` if it has none.
fn machine(node: &ManagedNode) -> Option<Machine> {
    Some(Machine {
        name: NodeName(node.name_any()),
        uid: node.uid().unwrap_or_default(),
        every: node.spec.inventory.as_ref()?.every.duration()?,
        created: node.metadata.creation_timestamp.as_ref().map(millis).unwrap_or_default(),
        looked: looked(node.status.as_ref()),
        is_busy: node.spec.hold || node.metadata.deletion_timestamp.is_some(),
    })
}

/// Returns the machines with a schedule, by namespace.
fn observe(
    register: &Register,
    nodes: &[Arc<ManagedNode>],
    runs: &[Arc<UpdateRun>],
    updates: &[Arc<NodeUpdate>],
) -> BTreeMap<String, Fleet> {
    let mut busy: BTreeSet<(String, &str)> = updates
        .iter()
        .filter(|update| super::update_run::facts(update).in_flight())
        .map(|update| (update.namespace().unwrap_or_default(), update.spec.node_ref.name.as_str()))
        .collect();
    let mut fleets: BTreeMap<String, Fleet> = BTreeMap::new();
    // When a scheduled run of a machine was created.
    let mut asked: BTreeMap<(String, &str), Millis> = BTreeMap::new();
    for run in runs {
        let namespace = run.namespace().unwrap_or_default();
        let begun = run.status.iter().flat_map(|status| status.starting.iter().chain(&status.planning));
        busy.extend(begun.map(|name| (namespace.clone(), name.as_str())));
        if !is_scheduled(run) {
            continue;
        }
        let is_open = !super::update_run::is_finished(run);
        if is_open {
            fleets.entry(namespace.clone()).or_default().open += 1;
        }
        let created = run.metadata.creation_timestamp.as_ref().map(millis).unwrap_or_default();
        for name in &run.spec.nodes {
            let key = (namespace.clone(), name.as_str());
            if is_open {
                busy.insert(key.clone());
            }
            let last = asked.entry(key).or_insert(created);
            *last = (*last).max(created);
        }
    }
    for node in nodes {
        let Some(mut machine) = machine(node) else { continue };
        let namespace = node.namespace().unwrap_or_default();
        let key = (namespace.clone(), machine.name.0.as_str());
        let is_known = register.class(node.spec.type_, node.spec.product.as_deref()).is_some();
        machine.is_busy |= !is_known || busy.contains(&key);
        machine.looked = machine.looked.max(asked.get(&key).copied());
        fleets.entry(namespace).or_default().machines.push(machine);
    }
    fleets
}

#[cfg(test)]
mod tests;
