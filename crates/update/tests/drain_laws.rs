//! The laws of a drain, tested over a simulated Node, its pods, its users, and processes that die at any moment:
//!
//! - Nothing is disrupted before the machine is drained, and that is recorded.
//! - What was cordoned by us is uncordoned in the end, whatever happened; what a user has cordoned stays so.
//! - Nothing is done that is not recorded before.
//! - A pod that the user keeps from being evicted is never evicted, and its Node never cordoned.
//! - A hook is asked to take back what it was asked for, and is never asked for it again in one round after it was done.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that panics has found something")]

use farrier_update::drain::{
    Aim, Answer, Blocked, Clock, CordonedBy, Next, NodeFacts, NodeSeen, Permissions, Pod, PodKind, Record,
    State, next_of_hook, next_of_node,
};
use farrier_update::{Millis, Reason};
use proptest::prelude::*;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_mins(15);

/// What happens next in a story.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The process takes one step. If it dies, that is before (`false`) or after the effect.
    Go(Option<bool>),
    /// Seconds pass.
    Pass(u16),
    /// The run is cancelled.
    Cancel,
    /// A user makes the Node unschedulable, or schedulable.
    User(bool),
    /// A pod is started on the Node, if it takes any.
    Arrives,
    /// The budgets of pods allow evictions, or do not.
    Budgets(bool),
    /// A pod that is being deleted is gone.
    Leaves,
    /// The other NodeUpdate is gone, with its annotation still there.
    OtherDies,
    /// The hook begins to fail, or to work.
    Hook(u8),
}

/// What the worker is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Drain,
    Disrupt,
    Undrain,
    Over,
}

#[derive(Debug)]
struct World {
    now: Millis,
    node: NodeFacts,
    /// What the users want of the Node.
    user_cordoned: bool,
    pods: Vec<Pod>,
    budgets: bool,
    allowed: Permissions,
    record: Option<Record>,
    cancelled: bool,
    phase: Phase,
    failed: Option<Reason>,
}

impl World {
    fn clock(&self) -> Clock {
        Clock { now: self.now, timeout: TIMEOUT }
    }

    /// A new process begins: all that it knows is stored.
    fn crash(&mut self) {
        for pod in &mut self.pods {
            pod.refused_at = None;
        }
        if self.phase != Phase::Over {
            self.phase = if self.cancelled { Phase::Undrain } else { Phase::Drain };
        }
    }

    fn step(&mut self, dies: Option<bool>) -> Result<(), TestCaseError> {
        if dies == Some(false) {
            self.crash();
            return Ok(());
        }
        match self.phase {
            Phase::Over => {}
            Phase::Drain if self.cancelled => self.phase = Phase::Undrain,
            Phase::Disrupt => {
                prop_assert_eq!(self.record.map(|record| record.state), Some(State::Drained));
                self.phase = Phase::Undrain;
            }
            Phase::Drain => self.decide(Aim::Drain)?,
            Phase::Undrain => self.decide(Aim::Undrain)?,
        }
        if dies == Some(true) {
            self.crash();
        }
        Ok(())
    }

    fn decide(&mut self, aim: Aim) -> Result<(), TestCaseError> {
        let seen = NodeSeen { node: Some(&self.node), pods: &self.pods, allowed: self.allowed };
        let next = next_of_node(self.record, aim, self.clock(), seen);
        prop_assert_eq!(&next, &next_of_node(self.record, aim, self.clock(), seen), "not deterministic");
        let state = self.record.map(|record| record.state);
        match next {
            Next::Record(record) => {
                prop_assert_ne!(Some(record), self.record, "no progress");
                self.record = Some(record);
            }
            Next::Cordon => {
                prop_assert_eq!(state.map(|s| matches!(s, State::Draining | State::Drained)), Some(true));
                let is_free = !matches!(self.node.cordoned_by, CordonedBy::Other(_));
                prop_assert!(
                    is_free && (!self.node.unschedulable || self.node.cordoned_by == CordonedBy::Gone)
                );
                prop_assert!(!self.has_forbidden(), "it is refused before anything is done");
                self.node = NodeFacts { unschedulable: true, cordoned_by: CordonedBy::Us };
            }
            Next::Uncordon => {
                prop_assert_eq!((&self.node.cordoned_by, state), (&CordonedBy::Us, Some(State::Undraining)));
                self.node = NodeFacts { unschedulable: false, cordoned_by: CordonedBy::Nobody };
            }
            Next::Evict(pods) => {
                prop_assert!(self.node.unschedulable && state == Some(State::Draining) && !pods.is_empty());
                for at in pods {
                    let allowed = self.allowed;
                    let pod = &mut self.pods[at];
                    prop_assert!(!pod.is_leaving && matches!(pod.kind, PodKind::Replaced | PodKind::Alone));
                    prop_assert!(allowed.alone || pod.kind != PodKind::Alone);
                    prop_assert!(allowed.local_data || !pod.has_local_data);
                    if self.budgets { pod.is_leaving = true } else { pod.refused_at = Some(self.now) }
                }
            }
            Next::Wait(_) => {
                prop_assert!(self.now < self.record.unwrap().until, "a wait without an end");
                self.now = self.now.after(Duration::from_secs(1));
            }
            Next::Done if aim == Aim::Drain => {
                prop_assert!(self.node.unschedulable, "drained, and open for more pods");
                let left = self
                    .pods
                    .iter()
                    .filter(|pod| !pod.is_finished && matches!(pod.kind, PodKind::Replaced | PodKind::Alone));
                prop_assert_eq!(left.count(), 0);
                self.phase = Phase::Disrupt;
            }
            Next::Done => self.phase = Phase::Over,
            Next::Fail(reason, blocked) => {
                prop_assert_eq!(aim, Aim::Drain, "{:?}", blocked);
                prop_assert_ne!(blocked, Blocked::NoNode);
                self.failed = Some(reason);
                self.phase = Phase::Undrain;
            }
            Next::Call => prop_assert!(false, "a Node has no hook"),
        }
        Ok(())
    }

    fn has_forbidden(&self) -> bool {
        self.pods.iter().any(|pod| {
            let counts = !pod.is_finished && matches!(pod.kind, PodKind::Replaced | PodKind::Alone);
            let alone = pod.kind == PodKind::Alone && !self.allowed.alone;
            counts && !pod.is_leaving && (alone || (pod.has_local_data && !self.allowed.local_data))
        })
    }

    fn happens(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Go(dies) => self.step(dies)?,
            Step::Pass(seconds) => self.now = self.now.after(Duration::from_secs(seconds.into())),
            Step::Cancel => self.cancelled = true,
            Step::User(cordons) => {
                // Nobody can see that a Node with the annotation was cordoned once more by a user.
                self.node.unschedulable = cordons;
                self.user_cordoned = cordons && self.node.cordoned_by == CordonedBy::Nobody;
            }
            Step::Arrives if !self.node.unschedulable => self.pods.push(pod(PodKind::Replaced)),
            Step::Budgets(allow) => self.budgets = allow,
            Step::Leaves => {
                let leaving = self.pods.iter().position(|pod| pod.is_leaving);
                leaving.map(|at| self.pods.remove(at));
            }
            Step::OtherDies if matches!(self.node.cordoned_by, CordonedBy::Other(_)) => {
                self.node.cordoned_by = CordonedBy::Gone;
            }
            Step::Arrives | Step::OtherDies | Step::Hook(_) => {}
        }
        Ok(())
    }
}

fn pod(kind: PodKind) -> Pod {
    Pod { kind, is_finished: false, is_leaving: false, has_local_data: false, refused_at: None }
}

fn any_pod() -> impl Strategy<Value = Pod> {
    let kind = prop_oneof![
        6 => Just(PodKind::Replaced), 1 => Just(PodKind::OfDaemonSet), 1 => Just(PodKind::Mirror),
        1 => Just(PodKind::Alone)
    ];
    (kind, prop::bool::weighted(0.1), prop::bool::weighted(0.1), prop::bool::weighted(0.1)).prop_map(
        |(kind, is_finished, is_leaving, has_local_data)| Pod {
            is_finished,
            is_leaving,
            has_local_data,
            ..pod(kind)
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::option::weighted(0.15, any::<bool>()).prop_map(Step::Go),
        2 => (1_u16..600).prop_map(Step::Pass),
        1 => Just(Step::Cancel),
        1 => any::<bool>().prop_map(Step::User),
        1 => Just(Step::Arrives),
        1 => any::<bool>().prop_map(Step::Budgets),
        4 => Just(Step::Leaves),
        1 => Just(Step::OtherDies),
        2 => (0_u8..3).prop_map(Step::Hook),
    ]
}

fn any_node() -> impl Strategy<Value = NodeFacts> {
    prop_oneof![
        6 => Just((false, CordonedBy::Nobody)), 3 => Just((true, CordonedBy::Nobody)),
        1 => Just((true, CordonedBy::Gone)), 1 => Just((true, CordonedBy::Other("r0-db".into()))),
    ]
    .prop_map(|(unschedulable, cordoned_by)| NodeFacts { unschedulable, cordoned_by })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    /// A Node would stay cordoned after a crash, or one that its owner has cordoned for a repair would get pods again,
    /// or a machine would be rebooted with pods on it.
    #[test]
    fn a_node_is_given_back_as_it_was_whatever_happens(
        node in any_node(),
        pods in prop::collection::vec(any_pod(), 0..24),
        (alone, local_data, budgets) in (any::<bool>(), any::<bool>(), any::<bool>()),
        steps in prop::collection::vec(any_step(), 0..120),
    ) {
        let user_cordoned = node.unschedulable && node.cordoned_by == CordonedBy::Nobody;
        let mut world = World {
            now: Millis(1_764_500_000_000), node, user_cordoned, pods, budgets,
            allowed: Permissions { alone, local_data },
            record: None, cancelled: false, phase: Phase::Drain, failed: None,
        };
        for step in steps {
            world.happens(step)?;
        }
        // What is in the way stays, and nothing dies any more: it ends nevertheless.
        for turn in 0.. {
            if world.phase == Phase::Over { break }
            prop_assert!(turn < 3000, "it does not end: {world:?}");
            world.step(None)?;
        }
        let record = world.record;
        prop_assert!(record.is_none_or(|record| record.state == State::Undrained), "{record:?}");
        prop_assert_ne!(&world.node.cordoned_by, &CordonedBy::Us);
        if world.node.cordoned_by == CordonedBy::Nobody {
            prop_assert_eq!(world.node.unschedulable, world.user_cordoned);
        }
    }

    /// A load balancer would never let a machine back, or would not be told before the machine is disrupted.
    #[test]
    fn a_hook_is_called_for_both_and_not_repeated_once_it_is_done(
        steps in prop::collection::vec(any_step(), 0..120),
    ) {
        let mut world = Hooked { now: Millis(1), record: None, hook: 0, heard: None, phase: Phase::Drain,
            cancelled: false, drained: None, undrained: None, failed: None };
        for step in steps {
            match step {
                Step::Go(dies) => world.step(dies)?,
                Step::Pass(seconds) => world.now = world.now.after(Duration::from_secs(seconds.into())),
                Step::Cancel => world.cancelled = true,
                Step::Hook(hook) => world.hook = hook,
                Step::User(_) | Step::Arrives | Step::Budgets(_) | Step::Leaves | Step::OtherDies => {}
            }
        }
        world.hook = 0;
        for turn in 0.. {
            if world.phase == Phase::Over { break }
            prop_assert!(turn < 3000, "it does not end: {world:?}");
            world.step(None)?;
        }
        let record = world.record;
        if world.failed == Some(Reason::UndrainFailed) {
            prop_assert_eq!(record.map(|record| record.state), Some(State::Undraining), "nobody would know");
        } else {
            prop_assert!(record.is_none_or(|record| record.state == State::Undrained), "{record:?}");
            prop_assert!(world.drained.is_none() || world.undrained >= world.drained, "{world:?}");
        }
    }
}

/// A machine with a hook.
#[derive(Debug)]
struct Hooked {
    now: Millis,
    record: Option<Record>,
    /// 0: it works; 1: it is busy; 2: it fails.
    hook: u8,
    heard: Option<Answer>,
    phase: Phase,
    cancelled: bool,
    /// The last round in which the hook has drained, and undrained.
    drained: Option<u32>,
    undrained: Option<u32>,
    failed: Option<Reason>,
}

impl Hooked {
    fn step(&mut self, dies: Option<bool>) -> Result<(), TestCaseError> {
        let aim = match self.phase {
            _ if dies == Some(false) => {
                self.crash();
                return Ok(());
            }
            Phase::Over => return Ok(()),
            Phase::Drain if self.cancelled => {
                self.phase = Phase::Undrain;
                return Ok(());
            }
            Phase::Drain => Aim::Drain,
            Phase::Disrupt => {
                prop_assert_eq!(self.record.map(|record| record.state), Some(State::Drained));
                prop_assert_eq!(self.drained, self.record.map(|record| record.round));
                self.phase = Phase::Undrain;
                if dies.is_some() {
                    self.crash();
                }
                return Ok(());
            }
            Phase::Undrain => Aim::Undrain,
        };
        match next_of_hook(self.record, aim, Clock { now: self.now, timeout: TIMEOUT }, self.heard.as_ref()) {
            Next::Record(record) => {
                prop_assert_ne!(Some(record), self.record, "no progress");
                (self.record, self.heard) = (Some(record), None);
            }
            Next::Call => self.call(aim)?,
            Next::Wait(_) => {
                self.now = self.now.after(Duration::from_secs(1));
                self.heard = None;
            }
            Next::Done => {
                self.phase = if aim == Aim::Drain { Phase::Disrupt } else { Phase::Over };
                self.heard = None;
            }
            Next::Fail(reason, _) => {
                self.failed = Some(reason);
                self.phase = if aim == Aim::Drain { Phase::Undrain } else { Phase::Over };
                self.heard = None;
            }
            next @ (Next::Cordon | Next::Uncordon | Next::Evict(_)) => prop_assert!(false, "{next:?}"),
        }
        if dies.is_some() {
            self.crash();
        }
        Ok(())
    }

    fn crash(&mut self) {
        self.heard = None;
        if self.phase != Phase::Over {
            self.phase = if self.cancelled { Phase::Undrain } else { Phase::Drain };
        }
    }

    fn call(&mut self, aim: Aim) -> Result<(), TestCaseError> {
        let record = self.record.unwrap();
        let wanted = if aim == Aim::Drain { State::Draining } else { State::Undraining };
        prop_assert_eq!(record.state, wanted, "a call that is not recorded");
        self.heard = Some(match self.hook {
            0 => Answer::Done,
            1 => Answer::NotYet("busy".into()),
            _ => Answer::Failed("broken".into()),
        });
        if self.hook == 0 {
            match aim {
                Aim::Drain => self.drained = Some(record.round),
                Aim::Undrain => self.undrained = Some(record.round),
            }
        }
        Ok(())
    }
}
