//! The controller: to UpdateRuns what the scheduler is to Pods.
//!
//! One loop decides all runs, one after the other, so that two runs that select the same machine are never
//! decided at the same time. The objects that a decision has created are kept until the caches show them,
//! so that a stale cache starts nothing twice.

mod assign;
mod baseline;
mod dependents;
mod inventories;
mod lead;
mod log_requests;
mod managed_node;
mod own_writes;
mod selections;
mod update_run;

use crate::caches::{Caches, Change};
use crate::drivers::Register;
use crate::exposure::Exposer;
use crate::failure::chain;
use crate::heartbeat::{HEARTBEAT_INTERVAL, Heartbeat};
use crate::lease::Hold;
use crate::membership::Membership;
use crate::metrics::Metrics;
use crate::publish::Events;
use dependents::{Dependents, waits_for_ports};
use kube::{Client, ResourceExt};
pub use lead::lead;
pub use log_requests::LogRequests;
pub(crate) use own_writes::OwnWrites;
pub(crate) use selections::Selections;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Instrument as _;
pub(crate) use update_run::{plans_of, rehearsed};

/// Changes within this time are handled by one decision.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// Delay before a run is decided again after an error.
const AFTER_ERROR: Duration = Duration::from_secs(5);

/// Delay before a failed handover is retried.
const HAND_OVER_RETRY: Duration = Duration::from_secs(1);

/// Interval of the search for leftovers of finished runs, for LogRequests that are left, and for inventories that are due.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// Maximum number of changes that are handled together.
const CHANGES: usize = 256;

/// Number of objects that are written at the same time. An API server that is ten milliseconds away would otherwise
/// take ten seconds for the start of a thousand machines.
const PARALLEL_WRITES: usize = 16;

/// What the controller works with.
pub struct Context {
    /// Client of the API server.
    pub client: Client,
    /// Caches of the cluster's objects.
    pub caches: Caches,
    /// The classes of machines.
    pub register: Register,
    /// Writes events.
    pub events: Events,
    /// Name of this replica.
    pub name: String,
    /// Whether this replica is the leader.
    pub leads: Hold,
    /// The live runners.
    pub members: Membership,
    /// Counts decisions.
    pub metrics: Metrics,
    /// The heartbeat of the loop.
    pub heartbeat: Heartbeat,
    /// Opens and closes the network paths of runs.
    pub exposer: Exposer,
    /// Objects that were written and are not in the caches yet.
    pub(crate) own_writes: OwnWrites,
    /// The nodes selected by runs whose list of nodes is not recorded yet.
    pub(crate) selections: Selections,
}

/// Namespace and name.
type Key = (String, String);

/// Decides whenever something changes or a deadline has passed, until `changes` ends.
async fn run(context: &Context, changes: &mut mpsc::UnboundedReceiver<Change>) {
    let mut members = context.members.clone();
    let mut hand_over = Some(Instant::now());
    let mut due: BTreeMap<Key, Instant> = BTreeMap::new();
    let mut dependents = Dependents::default();
    for run in context.caches.runs.state() {
        due.insert(key(&*run), Instant::now());
        dependents.ports_are_freed(&key(&*run), Some(&run));
    }
    baseline::review_all(context).await;
    managed_node::review_all(context, context.caches.nodes.state()).await;
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    let mut log_requests = LogRequests::default();
    let mut batch = Vec::with_capacity(CHANGES);
    loop {
        context.heartbeat.heartbeat();
        let next = due.values().min().copied();
        tokio::select! {
            received = changes.recv_many(&mut batch, CHANGES) => {
                if received == 0 {
                    return;
                }
                review(context, &batch).await;
                for change in batch.drain(..) {
                    if concerns_orphan(context, &change) {
                        hand_over = hand_over.or(Some(Instant::now() + DEBOUNCE));
                    }
                    mark_affected(context, change, &mut dependents, &mut due);
                }
            }
            () = members.changed() => {
                hand_over = Some(Instant::now());
                // Nodes may have waited for a runner or for its ports.
                for run in context.caches.runs.state().iter().filter(|run| !update_run::is_finished(run)) {
                    due.insert(key(&**run), Instant::now());
                }
            }
            () = until(hand_over) => {
                hand_over = if assign::hand_over(context).await { None } else { Some(Instant::now() + HAND_OVER_RETRY) };
            }
            () = until(next) => decide_due(context, &mut due).await,
            _ = sweep.tick() => {
                inventories::create_due(context).await;
                if let Err(error) = context.exposer.sweep().await {
                    tracing::warn!(error = %chain(&error), "objects of ended runs could not be deleted; it is retried");
                }
                let (apis, leads) = (context.caches.apis(&context.client), || context.leads.is_held());
                if let Err(error) = log_requests.sweep(&context.client, &apis, leads, Instant::now()).await {
                    tracing::warn!(error = %chain(&error), "old LogRequests could not be removed; it is retried");
                }
            }
            () = tokio::time::sleep(HEARTBEAT_INTERVAL) => {}
        }
    }
}

/// Writes the statuses of the nodes and baselines that have changed.
async fn review(context: &Context, changes: &[Change]) {
    let nodes = changes.iter().filter_map(|change| match change {
        Change::Node(node) => context.caches.nodes.get(node),
        Change::Update(_) | Change::Baseline(_) | Change::Run(_) | Change::RunObject(_) => None,
    });
    managed_node::review_all(context, nodes.collect()).await;
    let baselines = changes.iter().filter_map(|change| match change {
        Change::Baseline(baseline) => context.caches.baselines.get(baseline),
        Change::Update(_) | Change::Node(_) | Change::Run(_) | Change::RunObject(_) => None,
    });
    for baseline in baselines {
        baseline::review(context, &baseline).await;
    }
}

/// Reports whether the change concerns a machine whose runner is gone.
fn concerns_orphan(context: &Context, change: &Change) -> bool {
    match change {
        Change::Update(update) => {
            context.caches.updates.get(update).is_some_and(|update| assign::is_orphaned(context, &update))
        }
        Change::Node(_) | Change::Baseline(_) | Change::Run(_) | Change::RunObject(_) => false,
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// Marks the runs that a change affects as due.
fn mark_affected(
    context: &Context,
    change: Change,
    dependents: &mut Dependents,
    due: &mut BTreeMap<Key, Instant>,
) {
    let soon = Instant::now() + DEBOUNCE;
    let mut mark = |key: Key| {
        let at = due.entry(key).or_insert(soon);
        *at = (*at).min(soon);
    };
    match change {
        Change::Run(run) => {
            let namespace = run.namespace.clone().unwrap_or_default();
            let found = context.caches.runs.get(&run);
            if found.is_none() {
                context.own_writes.forget_run(&namespace, &run.name);
            }
            let key = (namespace, run.name);
            if found.is_none() {
                context.selections.forget(&key);
            }
            if dependents.ports_are_freed(&key, found.as_deref()) {
                waiting_for_ports(context).into_iter().for_each(&mut mark);
            }
            mark(key);
        }
        Change::Update(update) => {
            let namespace = update.namespace.clone().unwrap_or_default();
            let found = context.caches.updates.get(&update);
            if found.is_none() {
                context.own_writes.forget_update(&namespace, &update.name);
            }
            let key = (namespace.clone(), update.name);
            if dependents.availability_changes(&key, found.as_deref()) {
                open_runs(context, &namespace).into_iter().for_each(&mut mark);
            }
            if let Some(update) = found {
                mark((namespace, update.spec.run_ref.name.clone()));
            }
        }
        Change::Node(node) => {
            for key in open_runs(context, &node.namespace.unwrap_or_default()) {
                mark(key);
            }
        }
        Change::RunObject(uid) => {
            let run = context.caches.runs.state().into_iter().find(|run| run.uid().as_deref() == Some(&uid));
            if let Some(run) = run {
                mark(key(&*run));
            }
        }
        Change::Baseline(baseline) => {
            for key in open_runs(context, &baseline.namespace.unwrap_or_default()) {
                mark(key);
            }
        }
    }
}

/// Returns the runs that have requested ports and do not have all of them.
fn waiting_for_ports(context: &Context) -> Vec<Key> {
    let runners = context.members.live().len();
    let runs = context.own_writes.runs(&context.caches);
    runs.iter().filter(|run| waits_for_ports(run, runners)).map(|run| key(&**run)).collect()
}

/// Returns the runs of a namespace that have not ended.
fn open_runs(context: &Context, namespace: &str) -> Vec<Key> {
    let runs = context.caches.runs.state();
    runs.iter()
        .filter(|r| {
            r.namespace().as_deref() == Some(namespace)
                && (r.metadata.deletion_timestamp.is_some() || !update_run::is_finished(r))
        })
        .map(|r| key(&**r))
        .collect()
}

async fn decide_due(context: &Context, due: &mut BTreeMap<Key, Instant>) {
    let now = Instant::now();
    let ready: Vec<Key> = due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
    for key in ready {
        due.remove(&key);
        context.heartbeat.heartbeat();
        let begun = Instant::now();
        let span = tracing::error_span!("reconcile", namespace = %key.0, run = %key.1);
        let decided = update_run::reconcile(context, &key.0, &key.1).instrument(span.clone()).await;
        context.metrics.reconcile_duration.observe([], begun.elapsed());
        context.metrics.reconciles.count([result(&decided)]);
        match decided {
            Ok(Some(after)) => {
                due.insert(key, Instant::now() + after);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(parent: &span, error = %chain(&error), "a run could not be reconciled; it is retried");
                due.insert(key, Instant::now() + AFTER_ERROR);
            }
        }
    }
}

fn result<T>(decided: &Result<T, kube::Error>) -> &'static str {
    match decided {
        Ok(_) => "ok",
        Err(error) if crate::publish::is_conflict(error) => "conflict",
        Err(_) => "error",
    }
}

fn key(object: &impl ResourceExt) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}
