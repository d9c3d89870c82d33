//! Converts the caches into the input of a decision.

use super::super::Context;
use super::super::assign;
use super::super::baseline::problems;
use super::facts::{all_with_facts, is_of, reason};
use super::members::{self, Members};
use super::namespace;
use super::relations::Neighbours;
use crate::api::node_update;
use crate::api::update_run::{Operation as ApiOperation, StageStatus, UpdateRunStatus};
use crate::api::{APPROVE_ANNOTATION, ManagedNode, NodeUpdate, UpdateRun, condition, quantity};
use crate::convert::{self, millis};
use crate::drivers::Class;
use crate::exposure::{self, ActiveMachine};
use crate::runner;
use farrier_network::Phase;
use farrier_update::plan::combined_digest;
use farrier_update::run::{
    ApprovalGiven, Arrivals, BaselineFacts, BaselineId, Limit, Observed, RunEnd, RunFacts, StageRecord,
    TargetFacts, UpdateFacts,
};
use farrier_update::{Millis, NodeName, Reason, RunName, Window, WindowState};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use std::collections::{BTreeMap, HashMap};
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
    // Each of these is read once: a run may have ten thousand machines, and its namespace more.
    let mut updates = all_with_facts(context);
    let runners = assign::runners(context, updates.iter().map(|(_, facts)| facts));
    updates.retain(|(update, _)| update.metadata.namespace.as_ref() == Some(&namespace));
    let mut nodes = context.caches.nodes.state();
    nodes.retain(|node| node.metadata.namespace.as_ref() == Some(&namespace));
    let runs = context.own_writes.runs(&context.caches);
    let neighbours = Neighbours::new(run, &nodes, &updates, &runs);
    let now = millis(&condition::now());
    let mut members = Members::of(run, &nodes, updates.iter().map(|(update, _)| &**update), &runs);
    let (own, facts): (Vec<_>, Vec<_>) = updates.into_iter().filter(|(update, _)| is_of(update, run)).unzip();
    let names = own.iter().map(|update| update.spec.node_ref.name.as_str());
    let mut own: HashMap<&str, Own<'_>> = names.zip(own.iter().map(|update| &**update).zip(facts)).collect();
    let arrivals = arrivals(context, run, &members.names, now, confirmed);
    let mut seen = Seen::default();
    for (name, stage) in members.names.iter().zip(members::recorded_stages(run)) {
        let selected_by = members.selected_by(neighbours.node(name).map(|node| &**node));
        let target = seen.add(context, run, &neighbours, name, own.remove(name.as_str()));
        seen.targets.push((NodeName::from(name.as_str()), TargetFacts { stage, selected_by, ..target }));
    }
    let Seen { targets, plan_digests, mut machines } = seen;
    // Faster from a list that is mostly sorted than one by one.
    let (targets, plan_digests) = (targets.into_iter().collect(), plan_digests.into_iter().collect());
    machines.extend(managers(context, &machines));
    let (facts_of_baseline, baseline) = baseline_facts(context, run, &namespace);
    if let (Some(id), Some(earlier)) = (&baseline, members::repeated(context, run)) {
        members.compare_baseline(&earlier, id);
    }
    let observed = Observed {
        now,
        run: run_facts(run, members, digest_of_plans(&plan_digests), now),
        baseline: facts_of_baseline,
        arrivals,
        paths: context.exposer.observe(run, &runs, &machines, now),
        runners,
        targets,
        busy_elsewhere: neighbours.busy(|node| domain(run, node)),
    };
    View { observed, plan_digests, baseline, machines }
}

/// What was seen of the machines of a run.
#[derive(Default)]
struct Seen {
    targets: Vec<(NodeName, TargetFacts)>,
    plan_digests: Vec<(NodeName, String)>,
    machines: Vec<ActiveMachine>,
}

/// A NodeUpdate of the run, with its facts.
type Own<'a> = (&'a NodeUpdate, UpdateFacts);

impl Seen {
    /// Records what is needed of a machine besides its facts, and returns the facts.
    fn add(
        &mut self,
        context: &Context,
        run: &UpdateRun,
        neighbours: &Neighbours<'_>,
        name: &str,
        own: Option<Own<'_>>,
    ) -> TargetFacts {
        let (update, facts) = own.unzip();
        let node = neighbours.node(name);
        if let Some(digest) = update.and_then(|u| u.status.as_ref()?.plan_digest.clone()) {
            self.plan_digests.push((NodeName::from(name), digest));
        }
        let claimed_by = neighbours.claimed_by(name);
        let way_back = node.and_then(|n| exposure::way_back(n, run, at_work(update)));
        let unfit = node.and_then(|n| context.exposer.site.misplaced(n));
        let unfit = unfit.map(|message| (Reason::AddressInClusterRange, message));
        if let Some(node) = node
            && needs_paths(node, update, claimed_by.is_some() || unfit.is_some())
        {
            let phase = phase_of(update);
            let session = update.and_then(ResourceExt::uid).unwrap_or_default();
            let listen = exposure::listen_ports(node, run, &session);
            self.machines.push(ActiveMachine { node: node.clone(), phase, way_back, listen });
        }
        TargetFacts {
            unfit,
            calls_back: way_back.is_some(),
            ..target(run, neighbours, name, node.map(|node| &**node), facts)
        }
    }
}

/// Returns the facts about a machine that follow from the objects alone: not whether it has to call back, nor whether
/// the operator's site forbids to work on it.
pub(super) fn target(
    run: &UpdateRun,
    neighbours: &Neighbours<'_>,
    name: &str,
    node: Option<&ManagedNode>,
    update: Option<UpdateFacts>,
) -> TargetFacts {
    TargetFacts {
        exists: node.is_some(),
        created: node.map(|n| created(n.meta())).unwrap_or_default(),
        hold: node.is_some_and(|n| n.spec.hold),
        claimed_by: neighbours.claimed_by(name),
        unfit: None,
        relations: neighbours.relations(name),
        stage: 0,
        selected_by: Vec::new(),
        expected: node.and_then(convert::expected),
        domain: node.and_then(|node| domain(run, node)),
        calls_back: false,
        update,
    }
}

/// Returns the fault domain of a machine, if the run is spread and the machine has the label.
fn domain(run: &UpdateRun, node: &ManagedNode) -> Option<String> {
    node.labels().get(&run.spec.strategy.spread.as_ref()?.label).cloned()
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

/// Returns the NodeUpdates of a run.
pub(super) fn own_updates(context: &Context, run: &UpdateRun) -> Vec<Arc<NodeUpdate>> {
    let mut updates = context.own_writes.updates(&context.caches, &namespace(run));
    updates.retain(|u| is_of(u, run));
    updates
}

fn digest_of_plans(digests: &BTreeMap<NodeName, String>) -> Option<String> {
    (!digests.is_empty()).then(|| combined_digest(digests))
}

pub(super) fn run_facts(
    run: &UpdateRun,
    members: Members,
    plan_digest: Option<String>,
    now: Millis,
) -> RunFacts {
    let spec = &run.spec;
    let window = convert::window(spec);
    // Not copied: it has the names of all machines.
    let none = UpdateRunStatus::default();
    let status = run.status.as_ref().unwrap_or(&none);
    let succeeded = condition::find(&status.conditions, "Succeeded").filter(|_| super::is_finished(run));
    RunFacts {
        name: RunName(run.name_any()),
        desired: convert::desired(spec.desired_state),
        operation: convert::operation(spec.operation),
        order: convert::order(spec.order),
        max_concurrent: quantity::limit(&spec.strategy.max_concurrent).unwrap_or(Limit::Count(1)),
        rollout: convert::rollout(&spec.strategy),
        stages: status.stages.iter().map(stage_record).collect(),
        approvals: run.annotations().get(APPROVE_ANNOTATION).map(|text| approvals(text)).unwrap_or_default(),
        plan_digest,
        window: window_at(&window, now),
        window_error: window.err(),
        names_nodes: spec.selector.is_none(),
        retry: members.retry,
        retries: spec.strategy.retries,
        deleting: run.metadata.deletion_timestamp.is_some(),
        finished: succeeded.map(|c| RunEnd {
            succeeded: c.status == "True",
            reason: reason(&c.reason),
            message: c.message.clone(),
        }),
        finished_at: status.finished_at.as_ref().map(millis),
        ttl: spec.ttl_after_finished.as_ref().and_then(quantity::Span::duration),
        // Every field of a run has its machinery.
        not_supported: Vec::new(),
        targets_recorded: status.nodes.is_some(),
        starting: status.starting.iter().map(|n| NodeName(n.clone())).collect(),
        planning: status.planning.iter().map(|n| NodeName(n.clone())).collect(),
        left_out: status.left_out.iter().map(|n| NodeName(n.clone())).collect(),
        selector_error: members.selector_error,
    }
}

/// Returns whether the window of a run is open; one that cannot be used is not.
fn window_at(window: &Result<Option<Window>, String>, now: Millis) -> Option<WindowState> {
    match window {
        Ok(window) => window.as_ref().map(|window| window.at(now)),
        Err(_) => Some(WindowState::Closed { next: None }),
    }
}

fn stage_record(stage: &StageStatus) -> StageRecord {
    StageRecord {
        started_at: stage.started_at.as_ref().map(millis),
        finished_at: stage.finished_at.as_ref().map(millis),
        approved: stage.approved_plan.clone(),
    }
}

/// Reads approvals: `<stage>@<digest>`, several of them separated by commas.
fn approvals(text: &str) -> Vec<ApprovalGiven> {
    let pairs = text.split(',').filter_map(|pair| pair.trim().split_once('@'));
    pairs
        .map(|(stage, digest)| ApprovalGiven {
            stage: stage.trim().to_owned(),
            digest: digest.trim().to_owned(),
        })
        .collect()
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
