//! The laws of `decide`, tested over a simulated fleet with failures, crashes and stale views.
//!
//! A story is a list of random steps. The laws that hold at any moment are checked after each
//! step. At the end of the story all failures stop, and the laws about the end of runs are
//! checked.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that panics has found something")]

#[path = "laws/law.rs"]
mod law;
#[path = "laws/order.rs"]
mod order;
#[path = "laws/rollout.rs"]
mod rollout;
#[path = "laws/sequence.rs"]
mod sequence;
#[path = "laws/story.rs"]
mod story;
#[path = "laws/work.rs"]
mod work;
#[path = "laws/world.rs"]
mod world;

use farrier_update::model::{Millis, NodeName, RunName, RunnerName};
use farrier_update::reason::Reason;
use farrier_update::run::{
    BaselineFacts, CondStatus, Decision, Desired, Effect, Observed, Operation, UpdatePhase, Wake, decide,
};
use law::Check;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use story::{ReplicaEvent, Step, run, step, ties};
use work::WorkResult;
use world::{DIGESTS, DelayedWrite, Opened, Run, World, Write};

/// The end that each run reported first, to be compared with its later reports.
type Ends = BTreeMap<RunName, String>;

/// Observes, decides, checks the laws, and carries out the effects before the crash.
fn reconcile(
    world: &mut World,
    seen: &Observed,
    name: &RunName,
    cut: Option<usize>,
) -> Result<Decision, TestCaseError> {
    let version = world.runs[name].version;
    let decision = decide(seen);
    prop_assert_eq!(&decision, &decide(seen), "not deterministic");
    law::decision(seen, &decision)?;
    for effect in decision.effects.iter().take(cut.unwrap_or(usize::MAX)) {
        world.apply(name, effect);
        law::world(world)?;
        law::effect(world, name, effect)?;
    }
    if cut.is_none() {
        if world.publish(name, version, &decision) {
            law::arrivals(world, name, seen, &decision)?;
        }
        law::world(world)?;
    }
    Ok(decision)
}

/// A leader decides and then loses its Lease: some of its writes arrive later, in any order.
fn lose_lease(world: &mut World, name: &RunName, delivered: usize) -> Check {
    let version = world.runs[name].version;
    let seen = world.observe(name);
    let decision = decide(&seen);
    law::decision(&seen, &decision)?;
    // A delayed opening or closing of paths is repaired by the next decision and by the sweep.
    let arrives_late = |effect: &&Effect| !matches!(effect, Effect::OpenPaths | Effect::ClosePaths);
    let effects = decision.effects.iter().filter(arrives_late).cloned().map(Write::Effect);
    let writes: Vec<Write> = effects.chain([Write::Status(Box::new(decision.clone()))]).collect();
    let mut writes = writes.into_iter().map(|what| DelayedWrite { run: name.clone(), version, what });
    for write in writes.by_ref().take(delivered) {
        deliver(world, &write)?;
    }
    world.delayed.extend(writes);
    world.take_over();
    Ok(())
}

fn deliver(world: &mut World, delayed: &DelayedWrite) -> Check {
    let delivered = world.deliver(delayed);
    law::world(world)?;
    match &delayed.what {
        Write::Effect(effect) if delivered => law::effect(world, &delayed.run, effect),
        Write::Effect(_) | Write::Status(_) => Ok(()),
    }
}

/// Work is reassigned from runners that are gone to live runners, and nothing else changes.
fn reassign(world: &mut World) -> Result<usize, TestCaseError> {
    let before = world.updates.clone();
    let handed = world.reassign();
    for (key, runner) in &handed {
        let was = &before[key];
        prop_assert!(was.needs_runner() && !world.live.contains(&was.runner), "{:?} had a runner", was);
        prop_assert!(world.live.contains(runner), "{} is gone, too", runner);
    }
    for (key, update) in &world.updates {
        let orphaned = update.needs_runner() && !world.live.contains(&update.runner);
        prop_assert!(!orphaned || world.live.is_empty(), "{:?} is left with {}", key, update.runner);
    }
    Ok(handed.len())
}

/// Plays an event among the replicas.
fn play_replica_event(world: &mut World, runs: &[RunName], replica_event: &ReplicaEvent) -> Check {
    match replica_event {
        ReplicaEvent::LoseLease { run, delivered } => {
            if let Some(name) = runs.get(*run).filter(|name| !world.runs[*name].gone) {
                lose_lease(world, name, *delivered)?;
            }
        }
        ReplicaEvent::Deliver { pick } => {
            if let Some(index) = pick.checked_rem(world.delayed.len()) {
                let delayed = world.delayed.remove(index);
                deliver(world, &delayed)?;
            }
        }
        ReplicaEvent::Lose { pick } => {
            if let Some(index) = pick.checked_rem(world.delayed.len()) {
                world.delayed.remove(index);
            }
        }
        ReplicaEvent::Runner { number, lives } => {
            let name = RunnerName(format!("r{number}"));
            if *lives {
                world.live.insert(name);
            } else {
                world.live.remove(&name);
            }
        }
        ReplicaEvent::Reassign => {
            reassign(world)?;
        }
    }
    Ok(())
}

/// Observes a run, with caches that are `stale` steps old.
fn observe(world: &World, history: &[World], name: &RunName, stale: Option<usize>) -> Observed {
    let old = stale.and_then(|back| history.len().checked_sub(back)).and_then(|index| history.get(index));
    match old {
        Some(old) => world.observe_stale(old, name),
        None => world.observe(name),
    }
}

/// Picks a NodeUpdate on which a live runner has work to do.
fn moving(world: &World, pick: usize) -> Option<(RunName, NodeName)> {
    let mut moving = world.moving();
    pick.checked_rem(moving.len()).map(|index| moving.swap_remove(index))
}

/// Changes a run, if there is one of this name.
fn of_run(world: &mut World, name: Option<&RunName>, change: impl FnOnce(&mut Run)) {
    if let Some(run) = name.and_then(|name| world.runs.get_mut(name)) {
        change(run);
    }
}

/// Half-open network paths become stuck, or stuck paths are released.
fn stick(run: &mut Run) {
    run.paths = match run.paths {
        Opened::Half => Opened::Stuck,
        Opened::Stuck => Opened::Half,
        other @ (Opened::No | Opened::Yes | Opened::Closing) => other,
    };
}

/// Plays one step.
fn play(world: &mut World, history: &[World], step: &Step) -> Check {
    let runs: Vec<RunName> = world.runs.keys().cloned().collect();
    let nodes: Vec<NodeName> = world.nodes.keys().cloned().collect();
    match step {
        Step::Reconcile { run, cut, stale } => {
            let Some(name) = runs.get(*run).filter(|name| !world.runs[*name].gone) else { return Ok(()) };
            let seen = observe(world, history, name, *stale);
            reconcile(world, &seen, name, *cut)?;
        }
        Step::Work { pick, work_result } => {
            if let Some(key) = moving(world, *pick) {
                world.work(&key, *work_result);
            }
        }
        Step::Fetch { pick, fetches } => {
            if let Some(key) = moving(world, *pick) {
                world.fetch(&key, *fetches);
            }
        }
        Step::Desire { run, wanted } => {
            if let Some(name) = runs.get(*run) {
                world.desire(name, *wanted);
            }
        }
        Step::Delete { run } => {
            if let Some(run) = runs.get(*run).and_then(|name| world.runs.get_mut(name)) {
                run.deleting = true;
            }
        }
        Step::Hold { node, hold } => {
            if let Some(node) = nodes.get(*node).and_then(|name| world.nodes.get_mut(name)) {
                node.hold = *hold;
            }
        }
        Step::Exist { node, exists } => {
            if let Some(name) = nodes.get(*node) {
                world.exist(name, *exists);
            }
        }
        Step::Baseline { run, facts } => {
            let run = runs.get(*run).and_then(|name| world.runs.get_mut(name));
            // Before the list of nodes is recorded, any baseline is the baseline of the run.
            let fits =
                |run: &&mut Run| run.recorded.is_some() || !matches!(facts, BaselineFacts::Replaced { .. });
            if let Some(run) = run.filter(fits) {
                run.baseline = facts.clone();
            }
        }
        Step::Approve { run, plan } => of_run(world, runs.get(*run), |run| run.approve(DIGESTS[*plan])),
        Step::Replan { run } => of_run(world, runs.get(*run), Run::replan),
        Step::Replicas(replica_event) => play_replica_event(world, &runs, replica_event)?,
        Step::Stick { run } => of_run(world, runs.get(*run), stick),
        Step::Tick { seconds } => world.now = world.now.after(Duration::from_secs(*seconds)),
    }
    law::world(world)
}

/// Advances the time until a run stops waiting for missing objects, for a stage or for its window; returns
/// false if no run waits.
fn pass(world: &mut World) -> bool {
    let open = |name: &RunName| world.runs[name].end.is_none();
    let decisions = world.alive().into_iter().filter(open).map(|name| {
        let waits = world.runs[&name].recorded.is_none();
        (waits, decide(&world.observe(&name)))
    });
    let waits = |waits: bool, decision: &Decision| {
        let by_time = [Reason::ManagerNotFound, Reason::Soaking, Reason::OutsideWindow];
        waits || decision.waiting.iter().any(|(_, on)| by_time.contains(&on.reason))
    };
    let wakes =
        decisions.filter(|(own, decision)| waits(*own, decision)).filter_map(|(_, decision)| match decision
            .wake
        {
            Wake::At(at) => Some(at),
            Wake::OnChange => None,
        });
    let Some(next) = wakes.min() else { return false };
    world.now = next;
    true
}

/// Lets all work succeed until nothing changes any more.
fn settle(world: &mut World, ends: &mut Ends) -> Check {
    for delayed in std::mem::take(&mut world.delayed) {
        deliver(world, &delayed)?;
    }
    if world.live.is_empty() {
        world.live.insert(RunnerName::from("r9"));
    }
    for run in world.runs.values_mut().filter(|run| run.paths == Opened::Stuck) {
        run.paths = Opened::Half;
    }
    for _ in 0..500 {
        let mut quiet = true;
        for name in world.alive() {
            let seen = world.observe(&name);
            let (ended, paths) = (world.runs[&name].end.is_some(), world.runs[&name].paths);
            let starting = world.runs[&name].starting.clone();
            let decision = reconcile(world, &seen, &name, None)?;
            let tends = |effect: &Effect| *effect == Effect::OpenPaths && paths == world.runs[&name].paths;
            quiet &= decision.effects.iter().all(tends) && ended == world.runs[&name].end.is_some();
            // A released turn lets another run start a node.
            quiet &= starting == world.runs[&name].starting;
            if let Some(end) = decision.status.end() {
                let said = ends.entry(name).or_insert_with(|| format!("{end:?}"));
                prop_assert_eq!(&*said, &format!("{end:?}"), "the end of a run changed");
            }
        }
        quiet &= reassign(world)? == 0;
        for key in world.moving() {
            quiet = false;
            world.work(&key, WorkResult::Good);
            law::world(world)?;
        }
        if quiet && !pass(world) {
            return Ok(());
        }
    }
    Err(TestCaseError::fail(format!("nothing comes to an end: {world:#?}")))
}

/// Everything is as it was when the story ended, except that nothing is worked on: the controller decides until
/// it has nothing more to do.
fn rest(world: &mut World) -> Check {
    for run in world.runs.values_mut().filter(|run| run.paths == Opened::Stuck) {
        run.paths = Opened::Half;
    }
    for _ in 0..8 {
        for name in world.alive() {
            let seen = world.observe(&name);
            reconcile(world, &seen, &name, None)?;
        }
    }
    law::paths(world)
}

/// Returns how many stories are told of each law: the default makes more than a million decisions in all, and
/// `hack/test --long` asks for more than ten million when it builds this test.
pub(crate) fn stories() -> u32 {
    option_env!("LAW_STORIES").and_then(|number| number.parse().ok()).unwrap_or(7_500)
}

/// Returns a run that succeeds: its baseline is there, its stages have all nodes and are approved.
fn without_faults(run: Run) -> Run {
    let mut run = Run { baseline: BaselineFacts::Ready, not_supported: vec![], selects_half: vec![], ..run };
    if let Some(last) = run.rollout.stages.last_mut() {
        last.count = None;
    }
    run.approve(run.digest);
    run
}

proptest! {
    #![proptest_config(ProptestConfig { cases: stories(), max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    /// Crashes, stale views, user actions and failures in any order: the laws hold at any
    /// moment, a run without progress waits for its user, and cancelling ends every run.
    #[test]
    fn the_laws_hold_in_every_story(
        nodes in 0..9_usize,
        ties in ties(),
        runs in proptest::collection::vec(run(), 1..4),
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let mut world = World::new(nodes, runs, &ties);
        let mut history = Vec::new();
        for step in &steps {
            history.push(world.clone());
            play(&mut world, &history, step)?;
        }
        rest(&mut world)?;
        let mut ends = Ends::new();
        settle(&mut world, &mut ends)?;
        law::waits_for_user(&world)?;
        for name in world.alive() {
            world.desire(&name, Desired::Cancel);
        }
        settle(&mut world, &mut ends)?;
        for name in world.alive() {
            prop_assert!(world.runs[&name].end.is_some(), "{} survives its cancellation", name);
            world.runs.get_mut(&name).unwrap().deleting = true;
        }
        settle(&mut world, &mut ends)?;
        prop_assert_eq!(world.alive(), Vec::<RunName>::new());
    }

    /// Without faults, every run succeeds on every node unless its order contradicts itself, and then does
    /// nothing until its TTL expires.
    #[test]
    fn a_world_without_faults_comes_to_rest(nodes in 1..9_usize, ties in ties(), run in run()) {
        let plain = without_faults(Run { desired: Desired::Run, ..run });
        let ttl = plain.ttl;
        let ordered = plain.operation == Operation::Update;
        let mut world = World::new(nodes, vec![plain], &ties);
        let name = RunName::from("run-0");
        settle(&mut world, &mut Ends::new())?;
        let circular = ordered && sequence::is_circular(&world.observe(&name));
        let (end, at) = world.runs[&name].end.clone().unwrap();
        prop_assert_eq!(end.reason, if circular { Reason::OrderCycle } else { Reason::AllSucceeded });
        prop_assert_eq!(world.created.len(), if circular { 0 } else { nodes });
        let wake = decide(&world.observe(&name)).wake;
        prop_assert_eq!(wake, ttl.map_or(Wake::OnChange, |ttl| Wake::At(at.after(ttl))));
        world.now = Millis(u64::MAX);
        settle(&mut world, &mut Ends::new())?;
        prop_assert_eq!(world.runs[&name].gone, ttl.is_some());
    }

    /// A plan changes nothing until it is carried out, and then continues with the same nodes.
    #[test]
    fn a_plan_waits_and_is_then_carried_out(nodes in 1..9_usize, ties in ties(), run in run()) {
        let plan = without_faults(Run { desired: Desired::Plan, ..run });
        let mut world = World::new(nodes, vec![plan], &ties);
        settle(&mut world, &mut Ends::new())?;
        prop_assume!(!sequence::is_circular(&world.observe(&RunName::from("run-0"))));
        let planned = |world: &World| {
            world.updates.values().filter(|update| update.phase == UpdatePhase::Planned).count()
        };
        prop_assert_eq!(planned(&world), nodes);
        let name = RunName::from("run-0");
        let status = decide(&world.observe(&name)).status;
        prop_assert_eq!(status.planned.status, CondStatus::True);
        world.desire(&name, Desired::Run);
        settle(&mut world, &mut Ends::new())?;
        prop_assert!(world.runs[&name].end.as_ref().is_some_and(|(end, _)| end.succeeded));
        prop_assert!(world.created.values().all(|&times| times == 1));
    }
}
