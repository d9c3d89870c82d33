//! Converts the caches into the input of a decision.

use super::super::Context;
use super::super::assign;
use super::super::baseline::problems;
use super::facts::{facts, is_of, reason};
use super::namespace;
use super::relations::Neighbours;
use crate::api::node_update;
use crate::api::update_run::{Operation as ApiOperation, UpdateRunSpec};
use crate::api::{ManagedNode, NodeUpdate, UpdateRun, condition, quantity};
use crate::convert::{self, millis};
use crate::drivers::Class;
use crate::exposure::{self, ActiveMachine};
use crate::runner;
use farrier_network::Phase;
use farrier_update::run::{
    Arrivals, BaselineFacts, BaselineId, Limit, Observed, RunEnd, RunFacts, TargetFacts,
};
use farrier_update::{Millis, NodeName, Reason, RunName};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{Selector, SelectorExt};
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The input of a decision, and what else the rendering of its status needs.
pub(super) struct View {
    pub(super) observed: Observed,
    /// Plan digests by machine, for machines that have a plan digest.
    pub(super) plan_digests: BTreeMap<NodeName, String>,
    /// The baseline that the run uses, if it exists and is valid.
    pub(super) baseline: Option<BaselineId>,
    /// The machines that the run has not finished.
    pub(super) machines: Vec<ActiveMachine>,
}

/// Observes a run. Reads the caches only. `confirmed` means that the caches were just compared with the API
/// server.
pub(super) fn observe(context: &Context, run: &UpdateRun, confirmed: bool) -> View {
    let namespace = namespace(run);
    let updates = context.own_writes.updates(&context.caches, &namespace);
    let mut nodes = context.caches.nodes.state();
    nodes.retain(|node| node.namespace().as_deref() == Some(&namespace));
    let neighbours = Neighbours::new(run, &nodes, &updates, &context.own_writes.runs(&context.caches));
    let now = millis(&condition::now());
    let (names, selector_error) = target_names(context, run, &namespace);
    let mut targets = BTreeMap::new();
    let mut plan_digests = BTreeMap::new();
    let mut machines = Vec::new();
    let arrivals = arrivals(context, run, &names, now, confirmed);
    let mut with_engine = None;
    for name in names {
        let node = context.caches.nodes.get(&ObjectRef::new(&name).within(&namespace));
        let own = updates.iter().find(|u| is_of(u, run) && u.spec.node_ref.name == name);
        if let Some(digest) = own.and_then(|u| u.status.as_ref()?.plan_digest.clone()) {
            plan_digests.insert(NodeName(name.clone()), digest);
        }
        let claimed_by = neighbours.claimed_by(&name);
        let way_back = node.as_ref().and_then(|n| exposure::way_back(n, run, at_work(own.map(|u| &**u))));
        let unfit = node.as_ref().and_then(|n| context.exposer.site.misplaced(n));
        let unfit = unfit.map(|message| (Reason::AddressInClusterRange, message));
        if let Some(node) = &node
            && needs_paths(node, own.map(|u| &**u), claimed_by.is_some() || unfit.is_some())
        {
            let phase = phase_of(own.map(|u| &**u));
            let session = own.and_then(|update| update.uid()).unwrap_or_default();
            let listen = exposure::listen_ports(node, run, &session);
            machines.push(ActiveMachine { node: node.clone(), phase, way_back, listen });
        }
        if node.as_ref().and_then(|n| class_of(context, n)).is_some_and(|c| c.abilities().takes_engine) {
            with_engine.get_or_insert_with(|| name.clone());
        }
        targets.insert(
            NodeName(name.clone()),
            TargetFacts {
                exists: node.is_some(),
                created: node.as_ref().map(|n| created(n.meta())).unwrap_or_default(),
                hold: node.as_ref().is_some_and(|n| n.spec.hold),
                claimed_by,
                unfit,
                relations: neighbours.relations(&name),
                calls_back: way_back.is_some(),
                update: own.map(|u| facts(u)),
            },
        );
    }
    machines.extend(managers(context, &machines));
    let (facts_of_baseline, baseline) = baseline_facts(context, run, &namespace);
    let observed = Observed {
        now,
        run: run_facts(run, selector_error, with_engine.as_deref()),
        baseline: facts_of_baseline,
        arrivals,
        paths: context.exposer.observe(run, &context.own_writes.runs(&context.caches), &machines, now),
        runners: assign::runners(context),
        targets,
    };
    View { observed, plan_digests, baseline, machines }
}

fn class_of(context: &Context, node: &ManagedNode) -> Option<&'static dyn Class> {
    context.register.class(node.spec.type_, node.spec.product.as_deref())
}

/// Returns the managers that machines are reached through, which need network paths in their place. One that the run
/// works on itself has the paths that it needs.
fn managers(context: &Context, machines: &[ActiveMachine]) -> Vec<ActiveMachine> {
    let is_known = |name: &str| machines.iter().any(|machine| machine.node.name_any() == name);
    let found =
        machines.iter().filter_map(|machine| Some((manager_of(context, &machine.node)?, machine.phase)));
    let by_name: BTreeMap<String, (Arc<ManagedNode>, Phase)> =
        found.map(|(manager, phase)| (manager.name_any(), (manager, phase))).collect();
    let new = by_name.into_iter().filter(|(name, _)| !is_known(name));
    new.map(|(_, (node, phase))| ActiveMachine { node, phase, way_back: None, listen: None }).collect()
}

/// Returns the manager that a machine is reached through.
fn manager_of(context: &Context, node: &ManagedNode) -> Option<Arc<ManagedNode>> {
    let types = class_of(context, node)?.managers(node.spec.type_, node.spec.product.as_deref());
    let named = ObjectRef::new(&node.spec.managed_by.as_ref()?.name).within(&node.namespace()?);
    context.caches.nodes.get(&named).filter(|manager| types.contains(&manager.spec.type_))
}

/// Returns how long the run waits for missing objects.
fn arrivals(context: &Context, run: &UpdateRun, names: &[String], now: Millis, confirmed: bool) -> Arrivals {
    let key = (namespace(run), run.name_any());
    let changed = if run.status.as_ref().is_some_and(|s| s.nodes.is_some()) {
        context.selections.forget(&key);
        now
    } else {
        let uid = run.uid().unwrap_or_default();
        context.selections.see(&key, &uid, names.iter().cloned().collect(), now)
    };
    Arrivals {
        created: created(run.meta()),
        timeout: run.spec.arrival_timeout.duration().unwrap_or_default(),
        deadline: run.status.as_ref().and_then(|s| s.arrival_deadline.as_ref()).map(millis),
        changed,
        confirmed,
    }
}

/// Returns when an object was created, by the API server's clock.
fn created(meta: &ObjectMeta) -> Millis {
    meta.creation_timestamp.as_ref().map(millis).unwrap_or_default()
}

/// Reports whether a machine needs network paths: the run works on it, or may start it at any moment.
fn needs_paths(node: &ManagedNode, update: Option<&NodeUpdate>, kept: bool) -> bool {
    match update {
        Some(update) => !runner::is_finished(update),
        None => !node.spec.hold && !kept,
    }
}

/// Returns the NodeUpdate if its work has not ended.
fn at_work(update: Option<&NodeUpdate>) -> Option<&NodeUpdate> {
    update.filter(|update| !runner::is_finished(update))
}

/// Returns the phase that a machine's ports are opened for.
fn phase_of(update: Option<&NodeUpdate>) -> Phase {
    match update.and_then(|u| u.status.as_ref()?.phase) {
        Some(node_update::Phase::Deployment) => Phase::Deployment,
        Some(node_update::Phase::Inventory) | None => Phase::Inventory,
    }
}

/// Returns the machines of a run: the recorded machines, or those that the selector matches now.
fn target_names(context: &Context, run: &UpdateRun, namespace: &str) -> (Vec<String>, Option<String>) {
    if let Some(nodes) = run.status.as_ref().and_then(|s| s.nodes.clone()) {
        return (nodes, None);
    }
    let selector: Selector = match run.spec.selector.clone().try_into() {
        Ok(selector) => selector,
        Err(error) => return (Vec::new(), Some(error.to_string())),
    };
    let matches = |node: &Arc<ManagedNode>| {
        node.namespace().as_deref() == Some(namespace)
            && node.metadata.deletion_timestamp.is_none()
            && selector.matches(node.labels())
    };
    (context.caches.nodes.state().iter().filter(|n| matches(n)).map(|n| n.name_any()).collect(), None)
}

/// Returns the NodeUpdates of a run.
pub(super) fn own_updates(context: &Context, run: &UpdateRun) -> Vec<Arc<NodeUpdate>> {
    let mut updates = context.own_writes.updates(&context.caches, &namespace(run));
    updates.retain(|u| is_of(u, run));
    updates
}

/// `with_engine` is a machine of the run that takes an engine, if there is one.
fn run_facts(run: &UpdateRun, selector_error: Option<String>, with_engine: Option<&str>) -> RunFacts {
    let spec = &run.spec;
    let status = run.status.clone().unwrap_or_default();
    let succeeded = condition::find(&status.conditions, "Succeeded").filter(|_| super::is_finished(run));
    RunFacts {
        name: RunName(run.name_any()),
        desired: convert::desired(spec.desired_state),
        operation: convert::operation(spec.operation),
        order: convert::order(spec.order),
        max_concurrent: quantity::limit(&spec.strategy.max_concurrent).unwrap_or(Limit::Count(1)),
        retries: spec.strategy.retries,
        deleting: run.metadata.deletion_timestamp.is_some(),
        finished: succeeded.map(|c| RunEnd {
            succeeded: c.status == "True",
            reason: reason(&c.reason),
            message: c.message.clone(),
        }),
        finished_at: status.finished_at.as_ref().map(millis),
        ttl: spec.ttl_after_finished.as_ref().and_then(quantity::Span::duration),
        not_supported: not_supported(spec, with_engine),
        targets_recorded: status.nodes.is_some(),
        starting: status.starting.iter().map(|n| NodeName(n.clone())).collect(),
        planning: status.planning.iter().map(|n| NodeName(n.clone())).collect(),
        left_out: status.left_out.iter().map(|n| NodeName(n.clone())).collect(),
        selector_error,
    }
}

/// Returns the fields that request something this version does not implement. Ignoring them would execute a
/// different run than the requested one.
fn not_supported(spec: &UpdateRunSpec, with_engine: Option<&str>) -> Vec<String> {
    let stages = with_engine.filter(|_| spec.operation == ApiOperation::Stage);
    let stages = stages.map(|node| format!("spec.operation: Stage for machines such as {node}"));
    let asked = [
        (!spec.strategy.stages.is_empty(), "spec.strategy.stages"),
        (spec.strategy.failure_budget.is_some(), "spec.strategy.failureBudget"),
    ];
    let asked = asked.into_iter().filter(|(asked, _)| *asked).map(|(_, field)| field.to_owned());
    asked.chain(stages).collect()
}

/// Returns the facts about the baseline of a run, and the baseline if the run can use it.
fn baseline_facts(
    context: &Context,
    run: &UpdateRun,
    namespace: &str,
) -> (BaselineFacts, Option<BaselineId>) {
    let Some(reference) =
        run.spec.baseline_ref.as_ref().filter(|_| run.spec.operation != ApiOperation::Inventory)
    else {
        return (BaselineFacts::NotNeeded, None);
    };
    let Some(baseline) = context.caches.baselines.get(&ObjectRef::new(&reference.name).within(namespace))
    else {
        return (BaselineFacts::Missing { name: reference.name.clone() }, None);
    };
    let id = convert::baseline_id(&baseline);
    if !convert::is_baseline_of(run, &id) {
        return (BaselineFacts::Replaced { name: reference.name.clone() }, None);
    }
    // An unsupported component affects only the machines that need it; the other machines continue.
    let wrong: Vec<String> = problems(&context.register, &baseline)
        .iter()
        .filter(|p| p.reason() == Reason::BaselineInvalid)
        .map(|p| format!("Baseline {}: {p}", reference.name))
        .collect();
    if !wrong.is_empty() {
        return (BaselineFacts::Invalid { message: wrong.join("; ") }, None);
    }
    (BaselineFacts::Ready, Some(id))
}
