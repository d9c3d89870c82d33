//! Stories: lists of random events in a fleet.

use crate::world::{Luck, Opened, Run, START};
use farrier_update::run::{BaselineFacts, Desired, Limit};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

/// One event.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// The controller observes, decides and acts; after `cut` effects, it crashes.
    Reconcile { run: usize, cut: Option<usize>, stale: Option<usize> },
    /// A runner performs a step of one of the NodeUpdates in progress.
    Work { pick: usize, luck: Luck },
    /// The user changes the desired state.
    Desire { run: usize, wanted: Desired },
    /// The user deletes the run.
    Delete { run: usize },
    /// The user holds a node, or stops holding it.
    Hold { node: usize, hold: bool },
    /// A node is deleted or created again.
    Exist { node: usize, exists: bool },
    /// The baseline is created, or becomes unusable.
    Baseline { run: usize, facts: BaselineFacts },
    /// An event among the replicas.
    Replicas(Upset),
    /// Half-open network paths become stuck, or stuck paths are released.
    Stick { run: usize },
    /// Time passes.
    Tick { seconds: u64 },
}

/// Events among the replicas.
#[derive(Debug, Clone)]
pub(crate) enum Upset {
    /// A leader decides and acts, but loses its Lease: its writes after the first `landed` arrive
    /// later or never.
    Depose { run: usize, landed: usize },
    /// A write of an earlier leader arrives.
    Land { pick: usize },
    /// A write of an earlier leader is lost.
    Lose { pick: usize },
    /// A runner starts or disappears.
    Runner { number: usize, lives: bool },
    /// The leader reassigns the nodes of runners that are gone.
    Reassign,
}

/// Generates a step; reconciling and working are the most frequent.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let luck = prop_oneof![4 => Just(Luck::Good), 1 => Just(Luck::Bad), 1 => Just(Luck::Away), 1 => Just(Luck::Retry), 1 => Just(Luck::Missing)];
    let desired = prop_oneof![3 => Just(Desired::Run), 3 => Just(Desired::Pause), 1 => Just(Desired::Cancel)];
    let stale = proptest::option::weighted(0.3, 1..12_usize);
    prop_oneof![
        12 => (0..3_usize, proptest::option::weighted(0.3, 0..4_usize), stale)
            .prop_map(|(run, cut, stale)| Step::Reconcile { run, cut, stale }),
        12 => (any::<usize>(), luck).prop_map(|(pick, luck)| Step::Work { pick, luck }),
        2 => (0..3_usize, desired).prop_map(|(run, wanted)| Step::Desire { run, wanted }),
        1 => (0..12_usize).prop_map(|run| Step::Delete { run }),
        1 => (0..9_usize, any::<bool>()).prop_map(|(node, hold)| Step::Hold { node, hold }),
        1 => (0..9_usize, any::<bool>()).prop_map(|(node, exists)| Step::Exist { node, exists }),
        1 => (0..6_usize, baseline()).prop_map(|(run, facts)| Step::Baseline { run, facts }),
        8 => upset().prop_map(Step::Replicas),
        1 => (0..3_usize).prop_map(|run| Step::Stick { run }),
        1 => (1..100_u64).prop_map(|seconds| Step::Tick { seconds }),
    ]
}

fn upset() -> impl Strategy<Value = Upset> {
    prop_oneof![
        2 => (0..3_usize, 0..4_usize).prop_map(|(run, landed)| Upset::Depose { run, landed }),
        2 => any::<usize>().prop_map(|pick| Upset::Land { pick }),
        1 => any::<usize>().prop_map(|pick| Upset::Lose { pick }),
        1 => (0..4_usize, any::<bool>()).prop_map(|(number, lives)| Upset::Runner { number, lives }),
        2 => Just(Upset::Reassign),
    ]
}

fn baseline() -> impl Strategy<Value = BaselineFacts> {
    prop_oneof![
        10 => Just(BaselineFacts::Ready),
        2 => Just(BaselineFacts::Missing { name: "spring".to_owned() }),
        1 => Just(BaselineFacts::Invalid { message: "spring goes in a circle".to_owned() }),
    ]
}

/// Generates a run that a user may have written.
pub(crate) fn run() -> impl Strategy<Value = Run> {
    let limit = prop_oneof![(1..5_u32).prop_map(Limit::Count), (1..101_u32).prop_map(Limit::Percent)];
    let desired = prop_oneof![3 => Just(Desired::Run), 2 => Just(Desired::Plan)];
    let unsupported = prop_oneof![15 => Just(vec![]), 1 => Just(vec!["spec.strategy.stages".to_owned()])];
    let patience = prop_oneof![1 => Just(0), 2 => 1..200_u64].prop_map(Duration::from_secs);
    (desired, limit, baseline(), unsupported, proptest::option::of(1..60_u64), patience, any::<bool>())
        .prop_map(|(desired, limit, baseline, not_supported, ttl, patience, guarded)| Run {
            patience,
            created: START,
            deadline: None,
            desired,
            limit,
            baseline,
            not_supported,
            deleting: false,
            ttl: ttl.map(Duration::from_secs),
            guarded,
            paths: Opened::No,
            version: 0,
            starting: BTreeSet::new(),
            recorded: None,
            left_out: Vec::new(),
            end: None,
            gone: false,
        })
}
