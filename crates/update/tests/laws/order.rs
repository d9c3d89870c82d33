//! Tests with objects that are created in any order, as by tools that apply many manifests.

use crate::law::Check;
use crate::world::{Run, START, World};
use farrier_update::model::{Millis, RunName};
use farrier_update::reason::Reason;
use farrier_update::run::{BaselineFacts, Desired, Rollout, SETTLE, Wake, decide};
use proptest::prelude::*;
use std::time::Duration;

/// When an object is created, in milliseconds after the run; `None` means never.
type When = Option<u64>;

fn when() -> impl Strategy<Value = When> {
    prop_oneof![1 => Just(None), 6 => (0..10_000_u64).prop_map(Some), 2 => (0..120_000_u64).prop_map(Some)]
}

fn has_come(when: When, now: Millis) -> bool {
    when.is_some_and(|after| START.0 + after <= now.0)
}

/// Plays one run until its list is recorded or the run ends, and returns that time.
fn play(world: &mut World, name: &RunName, nodes: &[When], baseline: When) -> Result<Millis, TestCaseError> {
    let names: Vec<_> = world.nodes.keys().cloned().collect();
    for node in &names {
        world.exist(node, false);
    }
    for _ in 0..200 {
        for (node, &when) in names.iter().zip(nodes) {
            world.exist(node, has_come(when, world.now));
        }
        world.runs.get_mut(name).unwrap().baseline = if has_come(baseline, world.now) {
            BaselineFacts::Ready
        } else {
            BaselineFacts::Missing { name: "spring".to_owned() }
        };
        let decision = decide(&world.observe(name));
        world.publish(name, world.runs[name].version, &decision);
        if world.runs[name].recorded.is_some() || world.runs[name].end.is_some() {
            return Ok(world.now);
        }
        let comes = nodes.iter().chain([&baseline]).flatten().map(|after| Millis(START.0 + after));
        let wake = match decision.wake {
            Wake::At(at) => Some(at),
            Wake::OnChange => None,
        };
        let next = comes.filter(|&at| at > world.now).chain(wake).min();
        world.now = next.ok_or_else(|| TestCaseError::fail("waits for ever"))?;
    }
    Err(TestCaseError::fail("decides for ever"))
}

fn holds(arrival_timeout: u64, nodes: &[When], baseline: When, run: Run) -> Check {
    let run = Run {
        arrival_timeout: Duration::from_secs(arrival_timeout),
        desired: Desired::Run,
        not_supported: Vec::new(),
        rollout: Rollout::default(),
        ..run
    };
    let mut world = World::new(nodes.len(), vec![run], &[]);
    let name = RunName::from("run-0");
    let at = play(&mut world, &name, nodes, baseline)?;
    let deadline = START.after(Duration::from_secs(arrival_timeout));
    prop_assert!(at <= deadline, "decided after the deadline");
    let Some(recorded) = &world.runs[&name].recorded else {
        let (end, _) = world.runs[&name].end.clone().unwrap();
        prop_assert_eq!(at, deadline, "gives up before its deadline");
        let missing = if has_come(baseline, at) { Reason::NoNodesSelected } else { Reason::BaselineNotFound };
        prop_assert_eq!(end.reason, missing);
        let came = nodes.iter().any(|&when| has_come(when, at));
        prop_assert!(missing == Reason::BaselineNotFound || !came, "a node was there");
        return Ok(());
    };
    let came = nodes.iter().filter(|&&when| has_come(when, at)).count();
    prop_assert_eq!(recorded.len(), came, "a node that was there is left out");
    prop_assert!(has_come(baseline, at), "a list without a baseline");
    let last = nodes.iter().flatten().map(|after| Millis(START.0 + after)).filter(|&come| come <= at).max();
    let quiet = last.is_some_and(|last| last.after(SETTLE) <= at);
    prop_assert!(quiet || at == deadline, "fixed while nodes arrive");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::stories(), ..ProptestConfig::default() })]

    /// Objects that a tool applies together are part of the run in any order of arrival, and the
    /// deadline is kept.
    #[test]
    fn the_order_of_arrival_does_not_matter(
        arrival_timeout in 0..150_u64,
        nodes in proptest::collection::vec(when(), 0..9),
        baseline in when(),
        run in crate::story::run(),
    ) {
        holds(arrival_timeout, &nodes, baseline, run)?;
    }
}
