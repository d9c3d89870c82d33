//! Tests: the times of small fleets are computed by hand.

use super::*;
use crate::model::{Millis, NodeName, RunName};
use crate::reason::Reason;
use crate::run::{
    Approval, Arrivals, BaselineFacts, Desired, Limit, MachineKind, Manager, NetworkPaths, Observed,
    Operation, OrderPolicy, Relations, Rollout, RunFacts, Runners, Stage, TargetFacts,
};
use crate::window::Window;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// 2026-11-30, 12:00 UTC.
const NOON: Millis = Millis(1_796_040_000_000);

const MODEL: Model =
    Model { duration: Duration::from_mins(20), failing: 0, unreachable: 0, seed: 1, approves: true };

fn run(limit: u32, stages: Vec<Stage>) -> RunFacts {
    RunFacts {
        name: RunName::from("r12-spring"),
        desired: Desired::Run,
        operation: Operation::Update,
        max_concurrent: Limit::Count(limit),
        rollout: Rollout { stages, ..Rollout::default() },
        stages: Vec::new(),
        approvals: Vec::new(),
        plan_digest: None,
        window: None,
        window_error: None,
        names_nodes: false,
        retry: None,
        order: OrderPolicy::ByType,
        retries: 2,
        deleting: false,
        finished: None,
        finished_at: None,
        ttl: None,
        not_supported: Vec::new(),
        targets_recorded: false,
        left_out: Vec::new(),
        starting: BTreeSet::new(),
        planning: BTreeSet::new(),
        selector_error: None,
    }
}

/// Returns a node that all stages select, and that is known to take so long.
fn node(minutes: Option<u64>) -> TargetFacts {
    TargetFacts {
        exists: true,
        created: Millis(0),
        hold: false,
        claimed_by: None,
        unfit: None,
        relations: Relations::default(),
        stage: 0,
        selected_by: (0..8).collect(),
        expected: minutes.map(Duration::from_mins),
        domain: None,
        calls_back: true,
        update: None,
    }
}

/// Creates a run over the nodes `n0000`, `n0001` …
fn observed(run: RunFacts, targets: impl IntoIterator<Item = TargetFacts>) -> Observed {
    let names = (0..10_000).map(|number| NodeName(format!("n{number:04}")));
    Observed {
        now: NOON,
        run,
        baseline: BaselineFacts::Ready,
        arrivals: Arrivals {
            created: NOON,
            timeout: Duration::ZERO,
            deadline: None,
            changed: NOON,
            confirmed: false,
        },
        paths: NetworkPaths::free(),
        runners: Runners::default(),
        targets: names.zip(targets).collect(),
        busy_elsewhere: BTreeMap::new(),
    }
}

fn stage(name: &str, count: Option<u32>, soak: u64) -> Stage {
    Stage {
        name: name.to_owned(),
        count: count.map(Limit::Count),
        max_concurrent: None,
        soak: Duration::from_mins(soak),
        approval: Approval::Automatic,
        failure_budget: None,
        unreachable_budget: None,
    }
}

/// Returns a time in minutes after noon.
fn minute(time: Millis) -> u64 {
    time.since(NOON).as_secs() / 60
}

/// Returns the critical path: each node with the minutes of its begin and its end.
fn path(rehearsal: &Rehearsal) -> Vec<(String, u64, u64)> {
    let spans = rehearsal.critical_path.iter();
    spans.map(|span| (span.node.0.clone(), minute(span.began), minute(span.ended))).collect()
}

fn reason(rehearsal: &Rehearsal) -> Reason {
    match &rehearsal.ending {
        Ending::Ended(end) => end.reason,
        Ending::Waits { reason, message: _ } => *reason,
    }
}

/// The times of stages decide when a maintenance is announced.
#[test]
fn stages_follow_each_other_after_their_soak() {
    let stages = vec![stage("canary", Some(1), 30), stage("rest", None, 60)];
    let targets = [node(Some(10)), node(None), node(None), node(None)];
    let played = rehearse(observed(run(2, stages), targets), None, &MODEL);
    let stages: Vec<_> =
        played.stages.iter().map(|s| (s.nodes, s.began.map(minute), s.ended.map(minute))).collect();
    assert_eq!(stages, [(1, Some(0), Some(10)), (3, Some(40), Some(80))]);
    assert_eq!((reason(&played), minute(played.ended)), (Reason::AllSucceeded, 80));
    assert_eq!((played.begun, played.known, played.most_in_progress), (4, 1, 2));
    let expected = [("n0000", 0, 10), ("n0001", 40, 60), ("n0003", 60, 80)];
    assert_eq!(path(&played), expected.map(|(node, from, to)| (node.to_owned(), from, to)));
    let pauses: Vec<_> = played.pauses.iter().map(|p| (minute(p.from), minute(p.until), p.reason)).collect();
    assert_eq!(pauses, [(10, 40, Reason::Soaking)]);
}

/// That is what a rehearsal is for: which budget would stop the run, when, and what it would leave.
#[test]
fn a_budget_stops_the_run() {
    let with = |failure_budget, unreachable_budget| {
        let mut run = run(2, Vec::new());
        run.rollout = Rollout { failure_budget, unreachable_budget, ..Rollout::default() };
        observed(run, vec![node(None); 10])
    };
    let all_fail = Model { failing: 1000, ..MODEL };
    let played = rehearse(with(Some(Limit::Percent(20)), None), None, &all_fail);
    let message = "4 nodes of the run failed, and its failureBudget tolerates 2".to_owned();
    assert_eq!(
        played.halted,
        Some(Halted { at: NOON.after(Duration::from_mins(40)), message, not_begun: 6 })
    );
    assert_eq!((reason(&played), minute(played.ended)), (Reason::FailureBudgetExceeded, 40));
    assert_eq!((played.stages[0].failed, played.stages[0].not_begun), (4, 6));
    let played = rehearse(with(Some(Limit::Count(10)), None), None, &all_fail);
    assert_eq!((played.halted.as_ref(), reason(&played)), (None, Reason::SomeFailed));
    let away = Model { unreachable: 1000, ..MODEL };
    let played = rehearse(with(Some(Limit::Count(0)), Some(Limit::Count(0))), None, &away);
    assert_eq!(reason(&played), Reason::UnreachableBudgetExceeded);
    assert_eq!((played.counts.unreachable, played.counts.skipped), (2, 8));
}

/// A canary that fails stops a run without budgets, too.
#[test]
fn a_stage_that_fails_lets_none_follow() {
    let stages = vec![stage("canary", Some(1), 0), stage("rest", None, 0)];
    let played =
        rehearse(observed(run(2, stages), vec![node(None); 4]), None, &Model { failing: 1000, ..MODEL });
    let halted = played.halted.as_ref().map(|halted| (halted.message.as_str(), halted.not_begun));
    assert_eq!(halted, Some(("1 nodes of stage canary did not succeed, so the next stage is not begun", 3)));
    assert_eq!((reason(&played), played.stages[1].began), (Reason::StageIncomplete, None));
}

/// In a window of two hours there is room for two nodes of 50 minutes, one after the other.
#[test]
fn nodes_wait_for_the_window() {
    let window = Window::new("0 22 * * *", Duration::from_hours(2), None).unwrap();
    let rehearse_with = |minutes: Option<u64>| {
        rehearse(observed(run(1, Vec::new()), vec![node(minutes); 3]), Some(&window), &MODEL)
    };
    let played = rehearse_with(Some(50));
    let expected = [("n0000", 600, 650), ("n0001", 650, 700), ("n0002", 2040, 2090)];
    assert_eq!(path(&played), expected.map(|(node, from, to)| (node.to_owned(), from, to)));
    let pauses: Vec<_> = played.pauses.iter().map(|p| (minute(p.from), minute(p.until))).collect();
    assert_eq!(pauses, [(0, 600), (700, 2040)]);
    assert_eq!(minute(rehearse_with(None).ended), 660);
    let played = rehearse_with(Some(121));
    assert_eq!((reason(&played), played.begun), (Reason::OutsideWindow, 0));
    assert!(matches!(played.ending, Ending::Waits { .. }));
}

/// Otherwise a rehearsal of a careful run ends before it begins.
#[test]
fn approvals_are_given_or_awaited() {
    let approved = Stage { approval: Approval::Manual, ..stage("rest", None, 0) };
    let seen = || observed(run(1, vec![stage("canary", Some(1), 0), approved.clone()]), vec![node(None); 3]);
    let played = rehearse(seen(), None, &MODEL);
    assert_eq!((reason(&played), minute(played.ended)), (Reason::AllSucceeded, 60));
    assert_eq!(played.approved, ["rest"]);
    let played = rehearse(seen(), None, &Model { approves: false, ..MODEL });
    assert_eq!((reason(&played), minute(played.ended)), (Reason::ApprovalNeeded, 20));
    assert_eq!((played.begun, played.approved.len()), (1, 0));
}

/// A node that somebody holds or that no runner may touch is nothing that time resolves.
#[test]
fn what_needs_a_user_is_said() {
    let mut seen = observed(run(1, Vec::new()), vec![node(None); 3]);
    let mut targets = seen.targets.values_mut();
    targets.next().unwrap().hold = true;
    targets.next().unwrap().unfit = Some((Reason::AddressInClusterRange, "in the cluster".to_owned()));
    let played = rehearse(seen, None, &MODEL);
    assert_eq!((reason(&played), minute(played.ended)), (Reason::AddressInClusterRange, 20));
    assert_eq!((played.stages[0].nodes, played.stages[0].not_begun), (2, 1));
    let played = rehearse(observed(run(1, Vec::new()), []), None, &MODEL);
    assert_eq!((reason(&played), played.critical_path.len()), (Reason::NoNodesSelected, 0));
}

/// Whoever compares two plans wants the same nodes to fail in both, and about as many as were asked for.
#[test]
fn fates_follow_rates_and_seed() {
    let names: Vec<NodeName> = (0..10_000).map(|number| NodeName(format!("db-{number}"))).collect();
    let fated = |model: Model, fate: Fate| -> BTreeSet<&NodeName> {
        names.iter().filter(|name| model.fate(name) == fate).collect()
    };
    let failing = |rate, seed| fated(Model { failing: rate, unreachable: 10, seed, ..MODEL }, Fate::Fails);
    let (two, five) = (failing(20, 1), failing(50, 1));
    assert!(
        (140..260).contains(&two.len()) && (400..600).contains(&five.len()),
        "{} {}",
        two.len(),
        five.len()
    );
    assert!(two.is_subset(&five));
    assert_ne!(two, failing(20, 2));
    assert_eq!(two, failing(20, 1));
    let away = fated(Model { failing: 20, unreachable: 10, ..MODEL }, Fate::IsUnreachable);
    assert!((50..150).contains(&away.len()), "{}", away.len());
}

proptest! {
    /// A run without failures reaches its end, and nothing makes it faster than its work allows.
    #[test]
    fn a_run_without_failures_takes_at_least_its_work(
        minutes in proptest::collection::vec((proptest::option::of(1_u64..90), 0_usize..8, any::<bool>()), 1..24),
        limit in 1_u32..6,
        canaries in 0_u32..5,
        soak in 0_u64..30,
        spread in any::<bool>(),
    ) {
        let name = |number: usize| NodeName(format!("n{number:04}"));
        let mut longest: Vec<u64> = Vec::new();
        let mut targets = Vec::new();
        for (number, (minutes, manager, is_managed)) in minutes.iter().enumerate() {
            let mut facts = node(*minutes);
            facts.domain = spread.then(|| format!("rack-{}", number % 3));
            let mut chain = minutes.unwrap_or(20);
            if *is_managed && *manager < number {
                facts.relations.managed_by =
                    Some(Manager { name: name(*manager), kind: Some(MachineKind::default()) });
                chain += longest[*manager];
            }
            longest.push(chain);
            targets.push(facts);
        }
        let stages = if canaries == 0 { Vec::new() } else {
            vec![stage("canary", Some(canaries), soak), stage("rest", None, soak)]
        };
        let mut run = run(limit, stages);
        run.rollout.spread =
            spread.then(|| crate::run::Spread { label: "rack".to_owned(), max_unavailable: 1 });
        let played = rehearse(observed(run, targets), None, &MODEL);
        prop_assert_eq!(reason(&played), Reason::AllSucceeded);
        let total = minute(played.ended);
        let work: u64 = minutes.iter().map(|(minutes, ..)| minutes.unwrap_or(20)).sum();
        prop_assert!(total >= work.div_ceil(u64::from(limit)), "{total} of {work}");
        prop_assert!(total >= longest.iter().copied().max().unwrap_or_default());
        prop_assert!(played.most_in_progress <= usize::try_from(limit).unwrap());
        let path = &played.critical_path;
        prop_assert_eq!(path.last().map(|span| span.ended), Some(played.ended));
        prop_assert_eq!(path.first().map(|span| span.began), Some(NOON));
        for (before, after) in path.iter().zip(path.iter().skip(1)) {
            let pause = played.pauses.iter().any(|p| p.from == before.ended && p.until == after.began);
            prop_assert!(before.ended == after.began || pause, "{:?} {:?}", before, after);
        }
    }
}
