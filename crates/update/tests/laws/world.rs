//! A simulated fleet in memory: runs, nodes, NodeUpdates, and the events that affect them.
//!
//! The world simulates the API server (versions, intents that only move forward, "already
//! exists"), the runners, the users and failures. It decides nothing; it rejects only what
//! Kubernetes rejects, too.

use crate::work::{WorkResult, next_phase};
use farrier_update::model::{Millis, NodeName, RunName, RunnerName};
use farrier_update::reason::Reason;
use farrier_update::run::{
    ApprovalGiven, Arrivals, BaselineFacts, Decision, Desired, Effect, Intent, Limit, MachineKind, Manager,
    NetworkPaths, Observed, Operation, OrderPolicy, PathState, Relations, Rollout, RunEnd, RunFacts, Runners,
    Stage, StageRecord, TargetFacts, UpdateFacts, UpdatePhase, groups,
};
use farrier_update::window::WindowState;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The start time of every story.
pub(crate) const START: Millis = Millis(1_000_000);

/// The digests of plans.
pub(crate) const DIGESTS: [&str; 2] = ["sha256:aa", "sha256:bb"];

/// An UpdateRun, as stored by the API server.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) desired: Desired,
    pub(crate) limit: Limit,
    pub(crate) operation: Operation,
    pub(crate) order: OrderPolicy,
    pub(crate) baseline: BaselineFacts,
    pub(crate) not_supported: Vec<String>,
    pub(crate) deleting: bool,
    pub(crate) ttl: Option<Duration>,
    /// How long the run waits for missing objects.
    pub(crate) arrival_timeout: Duration,
    /// When the run was created.
    pub(crate) created: Millis,
    /// Whether policies close the network paths to machines.
    pub(crate) restricted: bool,
    /// The state of the network paths.
    pub(crate) paths: Opened,
    /// How many times the status was written.
    pub(crate) version: u64,
    /// The nodes whose turn is recorded in the status.
    pub(crate) starting: BTreeSet<NodeName>,
    /// The nodes whose turn to be planned is recorded in the status.
    pub(crate) planning: BTreeSet<NodeName>,
    pub(crate) recorded: Option<Vec<NodeName>>,
    pub(crate) rollout: Rollout,
    /// For each stage, whether it selects every second node only.
    pub(crate) selects_half: Vec<bool>,
    /// Seconds between the openings of the maintenance window, and how long it is open.
    pub(crate) window: Option<(u64, u64)>,
    /// The recorded stages, and the stage of each recorded node.
    pub(crate) stages: Vec<StageRecord>,
    pub(crate) of_stage: BTreeMap<NodeName, usize>,
    pub(crate) approvals: Vec<ApprovalGiven>,
    /// The digest of all plans.
    pub(crate) digest: &'static str,
    pub(crate) left_out: Vec<NodeName>,
    /// The deadline for missing objects.
    pub(crate) deadline: Option<Millis>,
    pub(crate) end: Option<(RunEnd, Millis)>,
    /// Whether the finalizer was removed.
    pub(crate) gone: bool,
}

/// The state of a run's network paths; opening and closing take one intermediate step each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opened {
    No,
    Half,
    /// A user must act first.
    Stuck,
    Yes,
    Closing,
}

/// A ManagedNode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub(crate) exists: bool,
    pub(crate) hold: bool,
    /// When the ManagedNode was last created.
    pub(crate) created: Millis,
    /// Whether it was ever deleted.
    pub(crate) disturbed: bool,
}

/// How a node is related to others, as its spec has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tie {
    pub(crate) kind: MachineKind,
    pub(crate) manager: Option<NodeName>,
    /// Partners name each other.
    pub(crate) partners: BTreeSet<NodeName>,
}

/// A kind, and the numbers of a manager and of a partner, for one node.
pub(crate) type TieSpec = (MachineKind, Option<usize>, Option<usize>);

/// The complete simulated state.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) now: Millis,
    pub(crate) runs: BTreeMap<RunName, Run>,
    pub(crate) nodes: BTreeMap<NodeName, Node>,
    pub(crate) ties: BTreeMap<NodeName, Tie>,
    pub(crate) updates: BTreeMap<(RunName, NodeName), UpdateFacts>,
    /// How many times each NodeUpdate was created.
    pub(crate) created: BTreeMap<(RunName, NodeName), u32>,
    /// The live runners.
    pub(crate) live: BTreeSet<RunnerName>,
    /// Writes of earlier leaders that have not arrived yet.
    pub(crate) delayed: Vec<DelayedWrite>,
    /// When a node was last created or deleted.
    pub(crate) changed: Millis,
    /// Nodes that fetch an image at present, if they are at work.
    pub(crate) fetching: BTreeSet<(RunName, NodeName)>,
}

/// A write in transit.
#[derive(Debug, Clone)]
pub(crate) struct DelayedWrite {
    pub(crate) run: RunName,
    /// The version of the run that the decision was based on.
    pub(crate) version: u64,
    pub(crate) what: Write,
}

/// The content of a write.
#[derive(Debug, Clone)]
pub(crate) enum Write {
    /// One effect.
    Effect(Effect),
    /// The status of the run.
    Status(Box<Decision>),
}

impl World {
    pub(crate) fn new(nodes: usize, runs: Vec<Run>, ties: &[TieSpec]) -> Self {
        let name = |i: usize| NodeName(format!("n{i:02}"));
        let mut all: BTreeMap<NodeName, Tie> = (0..nodes).map(|i| (name(i), Tie::default())).collect();
        for (i, (kind, manager, partner)) in ties.iter().enumerate().take(nodes) {
            let other =
                |number: &Option<usize>| number.map(|number| number % nodes).filter(|other| *other != i);
            let tie = all.get_mut(&name(i)).unwrap();
            tie.kind = *kind;
            tie.manager = other(manager).map(name);
            if let Some(partner) = other(partner).map(name) {
                tie.partners.insert(partner.clone());
                all.get_mut(&partner).unwrap().partners.insert(name(i));
            }
        }
        Self {
            ties: all,
            now: START,
            runs: runs.into_iter().enumerate().map(|(i, run)| (RunName(format!("run-{i}")), run)).collect(),
            nodes: (0..nodes)
                .map(|i| {
                    (
                        NodeName(format!("n{i:02}")),
                        Node { exists: true, hold: false, created: Millis(0), disturbed: false },
                    )
                })
                .collect(),
            updates: BTreeMap::new(),
            created: BTreeMap::new(),
            live: BTreeSet::from([RunnerName::from("r0"), RunnerName::from("r1")]),
            delayed: Vec::new(),
            changed: Millis(0),
            fetching: BTreeSet::new(),
        }
    }

    /// Creates or deletes a node.
    pub(crate) fn exist(&mut self, name: &NodeName, exists: bool) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(name).filter(|node| node.exists != exists) {
            *node = Node { exists, created: if exists { now } else { Millis(0) }, disturbed: true, ..*node };
            self.changed = now;
        }
    }

    /// Returns what the controller observes after it has compared its caches with the API server.
    pub(crate) fn observe(&self, name: &RunName) -> Observed {
        let run = &self.runs[name];
        let targets = self
            .nodes
            .iter()
            .filter(|(node, facts)| match &run.recorded {
                Some(recorded) => recorded.contains(node),
                None => facts.exists || self.updates.contains_key(&(name.clone(), (*node).clone())),
            })
            .map(|(node, facts)| (node.clone(), self.target(name, node, *facts)))
            .collect();
        Observed {
            now: self.now,
            run: RunFacts {
                name: name.clone(),
                desired: run.desired,
                operation: run.operation,
                order: run.order,
                max_concurrent: run.limit,
                rollout: run.rollout.clone(),
                stages: run.stages.clone(),
                approvals: run.approvals.clone(),
                plan_digest: Some(run.digest.to_owned()),
                window: run.window_at(self.now),
                names_nodes: false,
                retry: None,
                retries: 2,
                deleting: run.deleting,
                finished: run.end.as_ref().map(|(end, _)| end.clone()),
                finished_at: run.end.as_ref().map(|&(_, at)| at),
                ttl: run.ttl,
                not_supported: run.not_supported.clone(),
                targets_recorded: run.recorded.is_some(),
                starting: run.starting.clone(),
                planning: run.planning.clone(),
                left_out: run.left_out.clone(),
                window_error: None,
                selector_error: None,
            },
            baseline: run.baseline.clone(),
            arrivals: Arrivals {
                created: run.created,
                timeout: run.arrival_timeout,
                deadline: run.deadline,
                changed: self.changed,
                confirmed: true,
            },
            paths: run.network_paths(),
            runners: Runners::new(self.live.iter().cloned(), self.updates.values()),
            targets,
            busy_elsewhere: self.busy_elsewhere(name),
        }
    }

    /// Counts the nodes of each fault domain that other runs change, or may at any moment.
    fn busy_elsewhere(&self, run: &RunName) -> BTreeMap<Option<String>, usize> {
        let mut busy = BTreeMap::new();
        for node in self.nodes.keys() {
            let changes = |other: &&RunName| {
                let update = self.updates.get(&((*other).clone(), node.clone()));
                let turn = self.runs[*other].starting.contains(node);
                update.is_some_and(|u| u.in_flight() && u.intent != Intent::Plan)
                    || (turn && !update.is_some_and(UpdateFacts::is_done))
            };
            if self.runs.keys().filter(|other| *other != run).any(|other| changes(&other)) {
                *busy.entry(domain(node)).or_default() += 1;
            }
        }
        busy
    }

    fn target(&self, run: &RunName, node: &NodeName, facts: Node) -> TargetFacts {
        let claimed_by = self.claim(run, node);
        let update = self.updates.get(&(run.clone(), node.clone())).cloned();
        TargetFacts {
            exists: facts.exists,
            created: facts.created,
            hold: facts.hold,
            claimed_by,
            unfit: None,
            relations: self.relations(run, node, self),
            stage: self.runs[run].of_stage.get(node).copied().unwrap_or_default(),
            selected_by: self.runs[run].selected_by(node),
            expected: node.0.ends_with(['2', '5']).then(|| Duration::from_secs(20)),
            domain: domain(node),
            calls_back: node.0.ends_with(['1', '4', '7']) || self.is_fetching(run, node),
            update,
        }
    }

    /// Returns another run that works on a node, or is about to.
    fn claim(&self, run: &RunName, node: &NodeName) -> Option<RunName> {
        let claims = |other: &&RunName| {
            let update = self.updates.get(&((*other).clone(), node.clone()));
            let other = &self.runs[*other];
            let turn = other.starting.contains(node) || other.planning.contains(node);
            update.is_some_and(UpdateFacts::in_flight) || (turn && !update.is_some_and(UpdateFacts::is_done))
        };
        self.runs.keys().filter(|other| *other != run).find(claims).cloned()
    }

    /// Returns how a node is related to others. The work of other runs is that of `now`, which is later than this
    /// world if the specs are read from a cache that is behind.
    fn relations(&self, run: &RunName, node: &NodeName, now: &Self) -> Relations {
        let exists = |node: &NodeName| self.nodes.get(node).is_some_and(|node| node.exists);
        let named: Vec<(&str, Vec<String>)> = self
            .ties
            .iter()
            .filter(|(node, _)| exists(node))
            .map(|(node, tie)| (node.0.as_str(), tie.partners.iter().map(|p| p.0.clone()).collect()))
            .collect();
        let groups = groups(named.iter().map(|(node, partners)| (*node, partners.as_slice())));
        let group = groups.get(node.0.as_str()).copied();
        let others = groups.iter().filter(|(other, of)| Some(**of) == group && **other != node.0);
        let mut at_work = others.filter_map(|(other, _)| {
            Some((NodeName::from(*other), now.claim(run, &NodeName::from(*other))?))
        });
        let (group, partner_at_work) = (group.map(NodeName::from), at_work.next());
        let tie = &self.ties[node];
        if !exists(node) {
            return Relations { group, partner_at_work, ..Relations::default() };
        }
        let managed_by = tie.manager.clone().map(|name| {
            let kind = exists(&name).then(|| self.ties[&name].kind);
            Manager { name, kind }
        });
        Relations { kind: tie.kind, managed_by, group, partner_at_work }
    }

    /// A node without an engine needs the network paths only while it is at work and fetches.
    fn is_fetching(&self, run: &RunName, node: &NodeName) -> bool {
        let key = (run.clone(), node.clone());
        let works = |update: &UpdateFacts| matches!(update.phase, UpdatePhase::Working { .. });
        self.fetching.contains(&key) && self.updates.get(&key).is_some_and(works)
    }

    /// A node at work begins to fetch, or stops.
    pub(crate) fn fetch(&mut self, key: &(RunName, NodeName), fetches: bool) {
        if fetches {
            self.fetching.insert(key.clone());
        } else {
            self.fetching.remove(key);
        }
    }

    /// Returns what a controller observes whose caches are as old as `old`, except for its own
    /// writes, for claims and for network paths, which [`Observed`] requires to be fresh.
    pub(crate) fn observe_stale(&self, old: &Self, name: &RunName) -> Observed {
        let fresh = self.observe(name);
        let mut stale = old.observe(name);
        stale.paths.clone_from(&fresh.paths);
        stale.now = fresh.now;
        stale.run.window = fresh.run.window;
        stale.run.stages.clone_from(&fresh.run.stages);
        stale.busy_elsewhere.clone_from(&fresh.busy_elsewhere);
        stale.arrivals = Arrivals { confirmed: false, ..fresh.arrivals };
        stale.run.finished.clone_from(&fresh.run.finished);
        stale.run.finished_at = fresh.run.finished_at;
        stale.run.targets_recorded = fresh.run.targets_recorded;
        stale.run.left_out.clone_from(&fresh.run.left_out);
        stale.run.starting.clone_from(&fresh.run.starting);
        stale.run.planning.clone_from(&fresh.run.planning);
        if fresh.run.targets_recorded {
            stale.targets.retain(|node, _| fresh.targets.contains_key(node));
        }
        for (node, facts) in &fresh.targets {
            let was = stale.targets.entry(node.clone()).or_insert_with(|| facts.clone());
            was.claimed_by.clone_from(&facts.claimed_by);
            was.stage = facts.stage;
            was.relations.partner_at_work = old.relations(name, node, self).partner_at_work;
            was.update = match (&facts.update, was.update.take()) {
                (Some(now), Some(then)) => Some(UpdateFacts { intent: now.intent, ..then }),
                (now, _) => now.clone(),
            };
        }
        stale
    }

    /// Carries out one effect; returns false if the API server rejects it.
    pub(crate) fn apply(&mut self, name: &RunName, effect: &Effect) -> bool {
        let run = self.runs.get_mut(name).unwrap();
        match effect {
            // Written together with the status.
            Effect::RecordTargets { .. } | Effect::RecordStarts { .. } => true,
            Effect::Start { node, intent, runner } => {
                let key = (name.clone(), node.clone());
                if self.updates.contains_key(&key) {
                    return false;
                }
                *self.created.entry(key.clone()).or_default() += 1;
                let (intent, phase, runner) = (*intent, UpdatePhase::Pending, runner.clone());
                self.updates.insert(key, UpdateFacts { intent, phase, runner, kept: true });
                true
            }
            Effect::SetIntent { node, intent } => match self.updates.get_mut(&(name.clone(), node.clone())) {
                Some(update) if update.intent < *intent => {
                    update.intent = *intent;
                    true
                }
                Some(_) | None => false,
            },
            Effect::OpenPaths => {
                run.paths = match run.paths {
                    Opened::No | Opened::Closing => Opened::Half,
                    Opened::Half | Opened::Yes => Opened::Yes,
                    Opened::Stuck => Opened::Stuck,
                };
                true
            }
            Effect::ClosePaths => {
                run.paths = match run.paths {
                    Opened::Half | Opened::Stuck | Opened::Yes => Opened::Closing,
                    Opened::Closing | Opened::No => Opened::No,
                };
                true
            }
            Effect::ReleaseRun => {
                run.gone |= run.deleting;
                run.deleting
            }
            Effect::DeleteRun => {
                run.deleting = true;
                true
            }
        }
    }

    /// Writes the status of a run, based on one version of it; returns false if the API server
    /// rejects the write.
    pub(crate) fn publish(&mut self, name: &RunName, version: u64, decision: &Decision) -> bool {
        let now = self.now;
        let run = self.runs.get_mut(name).unwrap();
        if run.version != version {
            return false;
        }
        run.version += 1;
        for effect in &decision.effects {
            if let Effect::RecordTargets { nodes, left_out, stages } = effect {
                run.recorded = Some(nodes.clone());
                run.left_out.clone_from(left_out);
                let numbers = stages.iter().enumerate();
                let numbers = numbers.flat_map(|(number, count)| std::iter::repeat_n(number, *count));
                run.of_stage = nodes.iter().cloned().zip(numbers).collect();
            }
        }
        let stages = decision.status.stages.iter().map(|stage| StageRecord {
            started_at: stage.started_at,
            finished_at: stage.finished_at,
            approved: stage.approved.clone(),
        });
        run.stages = stages.collect();
        run.starting = decision.status.starting.iter().cloned().collect();
        run.planning = decision.status.planning.iter().cloned().collect();
        run.deadline = decision.status.arrival_deadline;
        if let (Some(end), None) = (decision.status.end(), &run.end) {
            run.end = Some((end, now));
        }
        true
    }

    /// The next leader first writes to every run, so that later writes of the previous leader are
    /// rejected.
    pub(crate) fn take_over(&mut self) {
        for run in self.runs.values_mut() {
            run.version += 1;
        }
    }

    /// A write of an earlier leader arrives.
    pub(crate) fn deliver(&mut self, delayed: &DelayedWrite) -> bool {
        match &delayed.what {
            Write::Effect(effect) => self.apply(&delayed.run, effect),
            Write::Status(decision) => self.publish(&delayed.run, delayed.version, decision),
        }
    }

    /// The leader reassigns to live runners the nodes of other runners.
    pub(crate) fn reassign(&mut self) -> Vec<((RunName, NodeName), RunnerName)> {
        let runners = Runners::new(self.live.iter().cloned(), self.updates.values());
        let updates = self.updates.iter().map(|(key, update)| (key.clone(), update));
        let handed = farrier_update::run::reassign(updates, runners);
        for (key, runner) in &handed {
            self.updates.get_mut(key).unwrap().runner = runner.clone();
        }
        handed
    }

    /// A runner performs the next step of a NodeUpdate.
    pub(crate) fn work(&mut self, key: &(RunName, NodeName), work_result: WorkResult) {
        let now = self.now;
        let exists = self.nodes[&key.1].exists;
        let Some(update) = self.updates.get_mut(key) else { return };
        if !self.live.contains(&update.runner) {
            return;
        }
        if update.is_done() {
            update.kept = false;
        }
        update.phase = next_phase(update, if exists { work_result } else { WorkResult::Bad }, now);
    }

    /// The user changes the desired state; returns false if validation rejects the change.
    pub(crate) fn desire(&mut self, name: &RunName, wanted: Desired) -> bool {
        let run = self.runs.get_mut(name).unwrap();
        let allowed = match run.desired {
            Desired::Plan => matches!(wanted, Desired::Run | Desired::Cancel),
            Desired::Run => matches!(wanted, Desired::Pause | Desired::Cancel),
            Desired::Pause => matches!(wanted, Desired::Run | Desired::Cancel),
            Desired::Cancel => false,
        };
        if allowed {
            run.desired = wanted;
        }
        allowed
    }

    /// Returns the names of the runs that are not gone.
    pub(crate) fn alive(&self) -> Vec<RunName> {
        self.runs.iter().filter(|(_, run)| !run.gone).map(|(name, _)| name.clone()).collect()
    }

    /// Returns the number of nodes of a run in flight.
    pub(crate) fn in_flight(&self, name: &RunName) -> usize {
        self.updates.iter().filter(|((run, _), update)| run == name && update.in_flight()).count()
    }

    /// Returns the NodeUpdates that are in flight.
    pub(crate) fn busy(&self) -> Vec<(RunName, NodeName)> {
        self.updates.iter().filter(|(_, update)| update.in_flight()).map(|(key, _)| key.clone()).collect()
    }

    /// Returns the NodeUpdates on which a live runner has work to do.
    pub(crate) fn moving(&self) -> Vec<(RunName, NodeName)> {
        let moves = |update: &UpdateFacts| {
            update.needs_runner() && !update.is_planned() && self.live.contains(&update.runner)
        };
        self.updates.iter().filter(|(_, update)| moves(update)).map(|(key, _)| key.clone()).collect()
    }
}

impl Run {
    fn selected_by(&self, node: &NodeName) -> Vec<usize> {
        let is_even = node.0.ends_with(['0', '2', '4', '6', '8']);
        let selects =
            |number: &usize| is_even || !self.selects_half.get(*number).copied().unwrap_or_default();
        (0..self.rollout.stages.len()).filter(selects).collect()
    }

    /// The window opens at regular intervals.
    fn window_at(&self, now: Millis) -> Option<WindowState> {
        let (every, open) = self.window?;
        let at = Millis(now.0 / (every * 1000) * (every * 1000));
        let until = at.after(Duration::from_secs(open));
        let next = Some(at.after(Duration::from_secs(every)));
        Some(if now < until { WindowState::Open { until } } else { WindowState::Closed { next } })
    }

    /// A machine is planned again, and its plan is another one.
    pub(crate) fn replan(&mut self) {
        self.digest = if self.digest == DIGESTS[0] { DIGESTS[1] } else { DIGESTS[0] };
    }

    /// The user approves all stages, for this plan.
    pub(crate) fn approve(&mut self, digest: &str) {
        let given = |stage: &Stage| ApprovalGiven { stage: stage.name.clone(), digest: digest.to_owned() };
        self.approvals = self.rollout.stages.iter().map(given).collect();
    }

    fn network_paths(&self) -> NetworkPaths {
        let message = String::from("63002");
        let back = match self.paths {
            Opened::No => PathState::Closed,
            Opened::Half => PathState::Opening { reason: Reason::Exposing, message, until: None },
            Opened::Stuck => PathState::Stuck { reason: Reason::LoadBalancerPending, message, until: None },
            Opened::Yes => PathState::Open { message },
            Opened::Closing => PathState::Closing { message },
        };
        let out = if self.restricted { back.clone() } else { PathState::Free };
        NetworkPaths { out, back, ..NetworkPaths::free() }
    }
}

/// Returns the fault domain of a node; some have none.
pub(crate) fn domain(node: &NodeName) -> Option<String> {
    let number: usize = node.0.trim_start_matches('n').parse().unwrap();
    (number % 4 != 3).then(|| format!("rack-{}", number % 4))
}
