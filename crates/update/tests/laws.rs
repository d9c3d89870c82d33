//! The laws of `decide`, each over a simulated fleet with bad luck, crashes and stale views.
//!
//! A story is a list of random steps. After each of them the laws that hold at any moment
//! are checked; at its end the luck turns good, and the laws about ends are.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that panics has found something")]

#[path = "laws/story.rs"]
mod story;
#[path = "laws/world.rs"]
mod world;

use farrier_update::model::{Millis, NodeName, RunName, RunnerName};
use farrier_update::run::{
    BaselineFacts, CondStatus, Decision, Desired, Effect, Intent, NodeEnd, Observed, UpdateFacts,
    UpdatePhase, Wake, decide,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use story::{Step, Upset, run, step};
use world::{Late, Luck, Opened, Run, World, Write};

type Check = Result<(), TestCaseError>;

/// What one run said at its end, to be compared with what it says later.
type Ends = BTreeMap<RunName, String>;

/// Looks, decides, checks, and carries out what the crash lets through.
fn reconcile(
    world: &mut World,
    seen: &Observed,
    name: &RunName,
    cut: Option<usize>,
) -> Result<Decision, TestCaseError> {
    let version = world.runs[name].version;
    let decision = decide(seen);
    prop_assert_eq!(&decision, &decide(seen), "not deterministic");
    check_decision(seen, &decision)?;
    for effect in decision.effects.iter().take(cut.unwrap_or(usize::MAX)) {
        world.apply(name, effect);
        check_world(world)?;
        check_effect(world, name, effect)?;
    }
    if cut.is_none() {
        world.publish(name, version, &decision);
        check_world(world)?;
    }
    Ok(decision)
}

/// Laws of a single decision.
fn check_decision(seen: &Observed, decision: &Decision) -> Check {
    let status = &decision.status;
    let counts = status.counts;
    let sum = counts.pending + counts.in_progress + counts.succeeded + counts.failed + counts.unreachable;
    prop_assert_eq!(counts.total, sum + counts.cancelled, "counts do not add up");
    let records = decision.effects.iter().any(|effect| matches!(effect, Effect::RecordTargets { .. }));
    prop_assert!(!records || decision.effects.len() == 1, "an effect beside the record of the intent");
    let begins = decision.effects.iter().any(|effect| match effect {
        Effect::Start { node: _, intent, runner: _ } | Effect::SetIntent { node: _, intent } => {
            *intent != Intent::Cancel
        }
        Effect::RecordTargets { .. }
        | Effect::RecordStarts { .. }
        | Effect::OpenWays
        | Effect::CloseWays
        | Effect::ReleaseRun
        | Effect::DeleteRun => false,
    });
    let gives = decision.effects.iter().any(|effect| matches!(effect, Effect::RecordStarts { .. }));
    let ended = seen.run.finished.is_some() || status.end().is_some();
    let stopped = seen.run.desired == Desired::Cancel || seen.run.deleting || ended;
    let broken = matches!(seen.baseline, BaselineFacts::Invalid { .. }) || !seen.run.not_supported.is_empty();
    prop_assert!(!(begins || gives) || (!stopped && !broken), "begins what it must not");
    let braked = seen.run.desired == Desired::Pause || seen.baseline != BaselineFacts::Ready;
    prop_assert!(!gives || !braked, "gives a node its turn although {:?}", seen.run.desired);
    prop_assert!(!(begins || gives) || seen.run.targets_recorded, "begins before the list is recorded");
    check_targets(seen, decision)?;
    check_not_silent(seen, decision)?;
    if let Some(end) = &seen.run.finished {
        let says = status.end();
        prop_assert_eq!(says.as_ref(), Some(end), "something follows the end");
        let only_leaves =
            |effect: &Effect| matches!(effect, Effect::CloseWays | Effect::ReleaseRun | Effect::DeleteRun);
        prop_assert!(decision.effects.iter().all(only_leaves), "{:?}", decision.effects);
    }
    if let Wake::At(at) = decision.wake {
        prop_assert!(at > seen.now, "wakes in the past, which is a busy loop");
    }
    Ok(())
}

/// Nodes are begun only where they may be, and told nothing that they know.
fn check_targets(seen: &Observed, decision: &Decision) -> Check {
    for effect in &decision.effects {
        match effect {
            Effect::RecordStarts { nodes } => {
                for node in nodes {
                    let facts = &seen.targets[node];
                    let idle = facts.update.as_ref().is_none_or(UpdateFacts::is_planned);
                    // A plan for a node that is gone is carried out, and says so.
                    let exists = facts.exists || facts.update.is_some();
                    let free = exists && !facts.hold && facts.claimed_by.is_none() && idle;
                    prop_assert!(free, "gives {} its turn although {:?}", node, facts);
                }
            }
            Effect::Start { node, intent: _, runner } => {
                let facts = &seen.targets[node];
                let due = facts.update.is_none() && seen.run.starting.contains(node);
                prop_assert!(due, "starts {} although {:?}", node, facts);
                prop_assert!(seen.runners.has(runner), "hands {} to {}, who is gone", node, runner);
            }
            Effect::SetIntent { node, intent } => {
                let due = *intent == Intent::Cancel || seen.run.starting.contains(node);
                prop_assert!(due, "sets {} going although its turn is not recorded", node);
                let update = seen.targets[node].update.as_ref().unwrap();
                prop_assert!(update.intent < *intent && !update.is_done(), "{:?} from {:?}", effect, update);
            }
            Effect::RecordTargets { .. }
            | Effect::OpenWays
            | Effect::CloseWays
            | Effect::ReleaseRun
            | Effect::DeleteRun => {}
        }
    }
    Ok(())
}

/// Whatever is not at its end says what it waits for.
fn check_not_silent(seen: &Observed, decision: &Decision) -> Check {
    let status = &decision.status;
    let named: BTreeSet<&NodeName> = decision.waiting.iter().map(|(node, _)| node).collect();
    prop_assert_eq!(named.len(), decision.waiting.len(), "a node waits twice");
    prop_assert!(decision.waiting.iter().all(|(_, waiting_on)| !waiting_on.message.is_empty()));
    for cond in [
        &status.planned,
        &status.progressing,
        &status.exposed,
        &status.budget,
        &status.succeeded,
        &status.ready,
        &status.reconciling,
        &status.stalled,
    ] {
        prop_assert!(!cond.message.is_empty(), "silent: {:?}", status);
    }
    prop_assert!(status.failing.iter().all(|failing| !failing.message.is_empty()));
    if status.end().is_some() {
        prop_assert_eq!(status.reconciling.status, CondStatus::False);
        prop_assert!(seen.run.finished.is_some() || decision.waiting.is_empty(), "ends while nodes wait");
        return Ok(());
    }
    prop_assert_eq!(status.stalled.status, CondStatus::False);
    let open = status.counts.pending + status.counts.in_progress;
    prop_assert_eq!(open as usize, named.len(), "{:?} but {:?}", status.counts, decision.waiting);
    Ok(())
}

/// Laws of the world, at any moment.
fn check_world(world: &World) -> Check {
    for (key, &times) in &world.created {
        prop_assert!(times <= 1, "{:?} was started {} times", key, times);
    }
    for (name, run) in &world.runs {
        let total = run.recorded.as_ref().map_or(0, Vec::len);
        let in_flight = world.in_flight(name);
        prop_assert!(in_flight <= run.limit.of(total), "{} of {:?} nodes in flight", in_flight, run.limit);
        if run.end.as_ref().is_some_and(|(end, _)| end.succeeded) {
            let good = |node: &NodeName| {
                let update = world.updates.get(&(name.clone(), node.clone()));
                update.is_some_and(|update| update.phase == UpdatePhase::Done(NodeEnd::Succeeded))
            };
            prop_assert!(run.recorded.iter().flatten().all(good), "{} claims a success that is none", name);
        }
        if run.end.is_some() || run.gone {
            prop_assert_eq!(run.ways, Opened::No, "{} left ways open", name);
            let open = world
                .updates
                .iter()
                .filter(|((owner, _), update)| owner == name && !update.is_done())
                .count();
            prop_assert_eq!(open, 0, "{} left nodes behind", name);
        }
    }
    let busy = world.busy();
    let nodes: BTreeSet<&NodeName> = busy.iter().map(|(_, node)| node).collect();
    prop_assert_eq!(nodes.len(), busy.len(), "a node is in flight for two runs: {:?}", busy);
    Ok(())
}

/// Laws of an effect that was carried out.
fn check_effect(world: &World, name: &RunName, effect: &Effect) -> Check {
    let run = &world.runs[name];
    match effect {
        Effect::DeleteRun => prop_assert!(run.end.is_some(), "deletes a run that is not at its end"),
        Effect::Start { node, intent, .. } => {
            let recorded = run.recorded.as_ref().is_some_and(|nodes| nodes.contains(node));
            prop_assert!(recorded, "starts a node that is not on the list");
            let needs_way = run.guarded || world.observe(name).targets[node].calls_back;
            let needs_way = needs_way && *intent != Intent::Cancel;
            prop_assert!(!needs_way || run.ways == Opened::Yes, "starts {} behind closed doors", node);
        }
        Effect::RecordTargets { .. }
        | Effect::RecordStarts { .. }
        | Effect::SetIntent { .. }
        | Effect::OpenWays
        | Effect::CloseWays
        | Effect::ReleaseRun => {}
    }
    Ok(())
}

/// The names of the runs that are still there.
fn alive(world: &World) -> Vec<RunName> {
    world.runs.iter().filter(|(_, run)| !run.gone).map(|(name, _)| name.clone()).collect()
}

/// A leader decides, and loses its Lease: some of what it has sent arrives later, in any order.
fn depose(world: &mut World, name: &RunName, landed: usize) -> Check {
    let version = world.runs[name].version;
    let seen = world.observe(name);
    let decision = decide(&seen);
    check_decision(&seen, &decision)?;
    // What is opened and closed late is put right by the next decision and by the sweep.
    let arrives_late = |effect: &&Effect| !matches!(effect, Effect::OpenWays | Effect::CloseWays);
    let effects = decision.effects.iter().filter(arrives_late).cloned().map(Write::Effect);
    let writes: Vec<Write> = effects.chain([Write::Status(Box::new(decision.clone()))]).collect();
    let mut writes = writes.into_iter().map(|what| Late { run: name.clone(), version, what });
    for write in writes.by_ref().take(landed) {
        land(world, &write)?;
    }
    world.late.extend(writes);
    world.take_over();
    Ok(())
}

fn land(world: &mut World, late: &Late) -> Check {
    let landed = world.land(late);
    check_world(world)?;
    match &late.what {
        Write::Effect(effect) if landed => check_effect(world, &late.run, effect),
        Write::Effect(_) | Write::Status(_) => Ok(()),
    }
}

/// Work goes from runners that are gone to some that live, and nothing else changes.
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

/// Plays what happens among the replicas.
fn play_upset(world: &mut World, runs: &[RunName], upset: &Upset) -> Check {
    match upset {
        Upset::Depose { run, landed } => {
            if let Some(name) = runs.get(*run).filter(|name| !world.runs[*name].gone) {
                depose(world, name, *landed)?;
            }
        }
        Upset::Land { pick } => {
            if let Some(index) = pick.checked_rem(world.late.len()) {
                let late = world.late.remove(index);
                land(world, &late)?;
            }
        }
        Upset::Lose { pick } => {
            if let Some(index) = pick.checked_rem(world.late.len()) {
                world.late.remove(index);
            }
        }
        Upset::Runner { number, lives } => {
            let name = RunnerName(format!("r{number}"));
            if *lives {
                world.live.insert(name);
            } else {
                world.live.remove(&name);
            }
        }
        Upset::Reassign => {
            reassign(world)?;
        }
    }
    Ok(())
}

/// Plays one step.
fn play(world: &mut World, history: &[World], step: &Step) -> Check {
    let runs: Vec<RunName> = world.runs.keys().cloned().collect();
    let nodes: Vec<NodeName> = world.nodes.keys().cloned().collect();
    match step {
        Step::Reconcile { run, cut, stale } => {
            let Some(name) = runs.get(*run).filter(|name| !world.runs[*name].gone) else { return Ok(()) };
            let old =
                stale.and_then(|back| history.len().checked_sub(back)).and_then(|index| history.get(index));
            let seen = match old {
                Some(old) => world.observe_stale(old, name),
                None => world.observe(name),
            };
            reconcile(world, &seen, name, *cut)?;
        }
        Step::Work { pick, luck } => {
            let moving = world.moving();
            if let Some(key) = pick.checked_rem(moving.len()).and_then(|index| moving.get(index)) {
                world.work(key, *luck);
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
            if let Some(node) = nodes.get(*node).and_then(|name| world.nodes.get_mut(name)) {
                node.exists = *exists;
            }
        }
        Step::Baseline { run, facts } => {
            if let Some(run) = runs.get(*run).and_then(|name| world.runs.get_mut(name)) {
                run.baseline = facts.clone();
            }
        }
        Step::Replicas(upset) => play_upset(world, &runs, upset)?,
        Step::Stick { run } => {
            if let Some(run) = runs.get(*run).and_then(|name| world.runs.get_mut(name)) {
                run.ways = match run.ways {
                    Opened::Half => Opened::Stuck,
                    Opened::Stuck => Opened::Half,
                    other @ (Opened::No | Opened::Yes | Opened::Closing) => other,
                };
            }
        }
        Step::Tick { seconds } => world.now = world.now.after(Duration::from_secs(*seconds)),
    }
    check_world(world)
}

/// Good luck from now on, until nothing moves any more.
fn settle(world: &mut World, ends: &mut Ends) -> Check {
    for late in std::mem::take(&mut world.late) {
        land(world, &late)?;
    }
    if world.live.is_empty() {
        world.live.insert(RunnerName::from("r9"));
    }
    for run in world.runs.values_mut().filter(|run| run.ways == Opened::Stuck) {
        run.ways = Opened::Half;
    }
    for _ in 0..500 {
        let mut quiet = true;
        for name in alive(world) {
            let seen = world.observe(&name);
            let (ended, ways) = (world.runs[&name].end.is_some(), world.runs[&name].ways);
            let starting = world.runs[&name].starting.clone();
            let decision = reconcile(world, &seen, &name, None)?;
            let tends = |effect: &Effect| *effect == Effect::OpenWays && ways == world.runs[&name].ways;
            quiet &= decision.effects.iter().all(tends) && ended == world.runs[&name].end.is_some();
            // A turn that is given back lets another run begin.
            quiet &= starting == world.runs[&name].starting;
            if let Some(end) = decision.status.end() {
                let said = ends.entry(name).or_insert_with(|| format!("{end:?}"));
                prop_assert_eq!(&*said, &format!("{end:?}"), "the end of a run changed");
            }
        }
        quiet &= reassign(world)? == 0;
        for key in world.moving() {
            quiet = false;
            world.work(&key, Luck::Good);
            check_world(world)?;
        }
        if quiet {
            return Ok(());
        }
    }
    Err(TestCaseError::fail(format!("nothing comes to an end: {world:#?}")))
}

/// Runs that are not at their end although nothing moves must wait for their user.
fn check_waits_for_user(world: &World) -> Check {
    for name in alive(world) {
        let run = &world.runs[&name];
        let waits = matches!(run.desired, Desired::Plan | Desired::Pause)
            || matches!(run.baseline, BaselineFacts::Missing { .. });
        let done = |node: &NodeName| {
            world.updates.get(&(name.clone(), node.clone())).is_some_and(UpdateFacts::is_done)
        };
        let all_done = run.recorded.as_ref().is_some_and(|nodes| nodes.iter().all(done));
        let waits = waits && !all_done;
        prop_assert!(
            run.end.is_some() || waits,
            "{} does nothing: {:#?}",
            name,
            decide(&world.observe(&name))
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    /// Crashes, stale views, users and bad luck in any order: the laws hold at any moment,
    /// whatever stops waits for its user, and cancelling ends everything.
    #[test]
    fn the_laws_hold_in_every_story(
        nodes in 0..9_usize,
        runs in proptest::collection::vec(run(), 1..4),
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let mut world = World::new(nodes, runs);
        let mut history = Vec::new();
        for step in &steps {
            history.push(world.clone());
            play(&mut world, &history, step)?;
        }
        let mut ends = Ends::new();
        settle(&mut world, &mut ends)?;
        check_waits_for_user(&world)?;
        for name in alive(&world) {
            world.desire(&name, Desired::Cancel);
        }
        settle(&mut world, &mut ends)?;
        for name in alive(&world) {
            prop_assert!(world.runs[&name].end.is_some(), "{} survives its cancellation", name);
            world.runs.get_mut(&name).unwrap().deleting = true;
        }
        settle(&mut world, &mut ends)?;
        prop_assert_eq!(alive(&world), Vec::<RunName>::new());
    }

    /// Without faults every run succeeds on every node, and then says nothing more until
    /// its time is over.
    #[test]
    fn a_world_without_faults_comes_to_rest(nodes in 1..9_usize, run in run()) {
        let plain = Run { baseline: BaselineFacts::Ready, not_supported: vec![], desired: Desired::Run, ..run };
        let ttl = plain.ttl;
        let mut world = World::new(nodes, vec![plain]);
        settle(&mut world, &mut Ends::new())?;
        let name = RunName::from("run-0");
        let (end, at) = world.runs[&name].end.clone().unwrap();
        prop_assert!(end.succeeded, "{:?}", end);
        prop_assert_eq!(world.created.len(), nodes);
        let wake = decide(&world.observe(&name)).wake;
        prop_assert_eq!(wake, ttl.map_or(Wake::OnChange, |ttl| Wake::At(at.after(ttl))));
        world.now = Millis(u64::MAX);
        settle(&mut world, &mut Ends::new())?;
        prop_assert_eq!(world.runs[&name].gone, ttl.is_some());
    }

    /// A plan changes nothing until it is carried out, and then goes on with the same nodes.
    #[test]
    fn a_plan_waits_and_is_then_carried_out(nodes in 1..9_usize, run in run()) {
        let plan = Run { baseline: BaselineFacts::Ready, not_supported: vec![], desired: Desired::Plan, ..run };
        let mut world = World::new(nodes, vec![plan]);
        settle(&mut world, &mut Ends::new())?;
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
