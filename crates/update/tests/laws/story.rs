//! Stories: lists of random events in a fleet.

use crate::work::WorkResult;
use crate::world::{DIGESTS, Opened, Run, START, TieSpec};
use farrier_update::run::{
    Approval, BaselineFacts, Desired, Limit, MachineKind, Operation, OrderPolicy, Rollout, Spread, Stage,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One event.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// The controller observes, decides and acts; after `cut` effects, it crashes.
    Reconcile { run: usize, cut: Option<usize>, stale: Option<usize> },
    /// A runner performs a step of one of the NodeUpdates in progress.
    Work { pick: usize, work_result: WorkResult },
    /// A NodeUpdate in progress begins to fetch an image from the operator, or stops.
    Fetch { pick: usize, fetches: bool },
    /// The user changes the desired state.
    Desire { run: usize, wanted: Desired },
    /// The user deletes the run.
    Delete { run: usize },
    /// The user holds a node, or stops holding it.
    Hold { node: usize, hold: bool },
    /// A node is deleted or created again.
    Exist { node: usize, exists: bool },
    /// The baseline is created, becomes unusable, or is replaced.
    Baseline { run: usize, facts: BaselineFacts },
    /// The user approves all stages of a run, for one of the plans that it may have.
    Approve { run: usize, plan: usize },
    /// The plan of a run becomes another one.
    Replan { run: usize },
    /// An event among the replicas.
    Replicas(ReplicaEvent),
    /// Half-open network paths become stuck, or stuck paths are released.
    Stick { run: usize },
    /// Time passes.
    Tick { seconds: u64 },
}

/// Events among the replicas.
#[derive(Debug, Clone)]
pub(crate) enum ReplicaEvent {
    /// A leader decides and acts, but loses its Lease: its writes after the first `delivered` arrive
    /// later or never.
    LoseLease { run: usize, delivered: usize },
    /// A write of an earlier leader arrives.
    Deliver { pick: usize },
    /// A write of an earlier leader is lost.
    Lose { pick: usize },
    /// A runner starts or disappears.
    Runner { number: usize, lives: bool },
    /// The leader reassigns the nodes of runners that are gone.
    Reassign,
}

/// Generates a step; reconciling and working are the most frequent.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let work_result = prop_oneof![4 => Just(WorkResult::Good), 1 => Just(WorkResult::Bad), 1 => Just(WorkResult::Away), 1 => Just(WorkResult::Retry), 1 => Just(WorkResult::Missing)];
    let desired = prop_oneof![3 => Just(Desired::Run), 3 => Just(Desired::Pause), 1 => Just(Desired::Cancel)];
    let stale = proptest::option::weighted(0.3, 1..12_usize);
    prop_oneof![
        12 => (0..3_usize, proptest::option::weighted(0.3, 0..4_usize), stale)
            .prop_map(|(run, cut, stale)| Step::Reconcile { run, cut, stale }),
        12 => (any::<usize>(), work_result).prop_map(|(pick, work_result)| Step::Work { pick, work_result }),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(pick, fetches)| Step::Fetch { pick, fetches }),
        2 => (0..3_usize, desired).prop_map(|(run, wanted)| Step::Desire { run, wanted }),
        1 => (0..12_usize).prop_map(|run| Step::Delete { run }),
        1 => (0..9_usize, any::<bool>()).prop_map(|(node, hold)| Step::Hold { node, hold }),
        1 => (0..9_usize, any::<bool>()).prop_map(|(node, exists)| Step::Exist { node, exists }),
        1 => (0..6_usize, later_baseline()).prop_map(|(run, facts)| Step::Baseline { run, facts }),
        2 => (0..3_usize, 0..2_usize).prop_map(|(run, plan)| Step::Approve { run, plan }),
        1 => (0..3_usize).prop_map(|run| Step::Replan { run }),
        8 => replica_event().prop_map(Step::Replicas),
        1 => (0..3_usize).prop_map(|run| Step::Stick { run }),
        1 => (1..100_u64).prop_map(|seconds| Step::Tick { seconds }),
    ]
}

fn replica_event() -> impl Strategy<Value = ReplicaEvent> {
    prop_oneof![
        2 => (0..3_usize, 0..4_usize).prop_map(|(run, delivered)| ReplicaEvent::LoseLease { run, delivered }),
        2 => any::<usize>().prop_map(|pick| ReplicaEvent::Deliver { pick }),
        1 => any::<usize>().prop_map(|pick| ReplicaEvent::Lose { pick }),
        1 => (0..4_usize, any::<bool>()).prop_map(|(number, lives)| ReplicaEvent::Runner { number, lives }),
        2 => Just(ReplicaEvent::Reassign),
    ]
}

fn baseline() -> impl Strategy<Value = BaselineFacts> {
    prop_oneof![
        10 => Just(BaselineFacts::Ready),
        2 => Just(BaselineFacts::Missing { name: "spring".to_owned() }),
        1 => Just(BaselineFacts::Invalid { message: "spring goes in a circle".to_owned() }),
    ]
}

/// As [`baseline`], for a run that may have recorded its baseline.
fn later_baseline() -> impl Strategy<Value = BaselineFacts> {
    prop_oneof![6 => baseline(), 1 => Just(BaselineFacts::Replaced { name: "spring".to_owned() })]
}

/// Generates the relations of nodes; some have none.
pub(crate) fn ties() -> impl Strategy<Value = Vec<TieSpec>> {
    use MachineKind::{
        Complex, HpuxServer, ManagementProcessor, OnboardAdministrator, Other, Server, VirtualConnect,
    };
    let kind = prop_oneof![
        3 => Just(Other),
        2 => Just(VirtualConnect),
        2 => Just(OnboardAdministrator),
        2 => Just(ManagementProcessor),
        2 => Just(Server),
        1 => Just(HpuxServer),
        1 => Just(Complex),
    ];
    let other = |likely| proptest::option::weighted(likely, 0..9_usize);
    proptest::collection::vec((kind, other(0.2), other(0.2)), 0..9)
}

/// Generates a number of nodes or a percentage.
fn limit(least: u32) -> impl Strategy<Value = Limit> {
    prop_oneof![(least..5).prop_map(Limit::Count), (least..101).prop_map(Limit::Percent)]
}

fn stage() -> impl Strategy<Value = Stage> {
    let budget = || proptest::option::weighted(0.3, limit(0));
    let numbers = (
        proptest::option::of(limit(1)),
        proptest::option::weighted(0.3, limit(1)),
        prop_oneof![Just(0), 1..60_u64],
    );
    (numbers, any::<bool>(), budget(), budget()).prop_map(
        |((count, max_concurrent, soak), manual, failure_budget, unreachable_budget)| Stage {
            name: String::new(),
            count,
            max_concurrent,
            soak: Duration::from_secs(soak),
            approval: if manual { Approval::Manual } else { Approval::Automatic },
            failure_budget,
            unreachable_budget,
        },
    )
}

/// Generates the manner of a run. The last stage usually has all nodes that are left.
fn rollout() -> impl Strategy<Value = Rollout> {
    let stages = prop_oneof![
        1 => Just(Vec::new()),
        2 => proptest::collection::vec(stage(), 1..4),
    ];
    let budget = || proptest::option::weighted(0.3, limit(0));
    let spread = proptest::option::weighted(0.3, 1..3_usize);
    (stages, proptest::bool::weighted(0.9), budget(), budget(), spread).prop_map(
        |(mut stages, has_rest, failure_budget, unreachable_budget, spread)| {
            for (number, stage) in stages.iter_mut().enumerate() {
                stage.name = format!("stage-{number}");
            }
            if let Some(last) = stages.last_mut().filter(|_| has_rest) {
                last.count = None;
            }
            let spread = spread.map(|max_unavailable| Spread { label: "rack".to_owned(), max_unavailable });
            Rollout { stages, failure_budget, unreachable_budget, spread }
        },
    )
}

/// Generates a run that a user may have written.
pub(crate) fn run() -> impl Strategy<Value = Run> {
    let desired = prop_oneof![3 => Just(Desired::Run), 2 => Just(Desired::Plan)];
    let unsupported = prop_oneof![15 => Just(vec![]), 1 => Just(vec!["spec.operation".to_owned()])];
    let arrival_timeout = prop_oneof![1 => Just(0), 2 => 1..200_u64].prop_map(Duration::from_secs);
    let operation = prop_oneof![8 => Just(Operation::Update), 1 => Just(Operation::Stage), 1 => Just(Operation::Inventory)];
    let order = prop_oneof![3 => Just(OrderPolicy::ByType), 1 => Just(OrderPolicy::None)];
    let window = proptest::option::weighted(0.2, (40..200_u64, 21..40_u64));
    let manner = (rollout(), proptest::collection::vec(proptest::bool::weighted(0.2), 0..3), window);
    let what = (operation, order, any::<bool>(), manner);
    (desired, limit(1), baseline(), unsupported, proptest::option::of(1..60_u64), arrival_timeout, what)
        .prop_map(|(desired, limit, baseline, not_supported, ttl, arrival_timeout, what)| Run {
            operation: what.0,
            order: what.1,
            arrival_timeout,
            created: START,
            deadline: None,
            desired,
            limit,
            baseline,
            not_supported,
            deleting: false,
            ttl: ttl.map(Duration::from_secs),
            restricted: what.2,
            paths: Opened::No,
            version: 0,
            starting: BTreeSet::new(),
            planning: BTreeSet::new(),
            recorded: None,
            rollout: what.3.0,
            selects_half: what.3.1,
            window: what.3.2,
            stages: Vec::new(),
            of_stage: BTreeMap::new(),
            approvals: Vec::new(),
            digest: DIGESTS[0],
            left_out: Vec::new(),
            end: None,
            gone: false,
        })
}
