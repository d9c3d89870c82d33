//! A Node of a cluster: cordoned, its pods evicted, and uncordoned.

use super::{Aim, Blocked, Clock, Next, Record, State, intent, reached};
use crate::model::Millis;
use crate::reason::Reason;
use std::time::Duration;

/// How many pods are evicted in one round: the API server works on one request of a client for each at a time.
const MAX_EVICTIONS: usize = 16;

/// Time between two tries to evict a pod whose budget did not allow it, as with `kubectl drain`.
const EVICTION_INTERVAL: Duration = Duration::from_secs(5);

/// Who has cordoned a Node, by its annotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CordonedBy {
    /// The Node has no annotation of Farrier's.
    Nobody,
    /// This NodeUpdate.
    Us,
    /// Another NodeUpdate, which exists.
    Other(String),
    /// A NodeUpdate that does not exist any more.
    Gone,
}

/// A Node, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Whether it takes no new pods.
    pub unschedulable: bool,
    /// Who has cordoned it.
    pub cordoned_by: CordonedBy,
}

/// Why a pod is there, as far as that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodKind {
    /// A controller replaces it elsewhere.
    Replaced,
    /// A `DaemonSet` replaces it here, whatever the Node is.
    OfDaemonSet,
    /// The mirror of a static pod, which only the Node itself can end.
    Mirror,
    /// Nothing replaces it.
    Alone,
}

/// A pod on the Node, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Why it is there.
    pub kind: PodKind,
    /// Whether all its containers have ended for good.
    pub is_finished: bool,
    /// Whether it is being deleted.
    pub is_leaving: bool,
    /// Whether it has data on the Node that are gone with it.
    pub has_local_data: bool,
    /// When its eviction was refused last, because of its budget.
    pub refused_at: Option<Millis>,
}

/// What the user allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Pods that nothing replaces may be evicted.
    pub alone: bool,
    /// Pods with local data may be evicted.
    pub local_data: bool,
}

impl Pod {
    /// Reports whether the pod has to leave before the machine is disrupted.
    const fn counts(&self) -> bool {
        !self.is_finished
            && match self.kind {
                PodKind::Replaced | PodKind::Alone => true,
                PodKind::OfDaemonSet | PodKind::Mirror => false,
            }
    }

    /// Reports whether the user forbids to evict the pod. One that leaves already is only waited for.
    fn is_forbidden(&self, allowed: Permissions) -> bool {
        let is_alone = self.kind == PodKind::Alone && !allowed.alone;
        self.counts() && !self.is_leaving && (is_alone || (self.has_local_data && !allowed.local_data))
    }
}

/// The Node and its pods, as they were read.
#[derive(Debug, Clone, Copy)]
pub struct NodeSeen<'a> {
    /// The Node; `None` if there is none.
    pub node: Option<&'a NodeFacts>,
    /// All pods on it. Not read to undrain it.
    pub pods: &'a [Pod],
    /// What the user allows.
    pub allowed: Permissions,
}

/// Decides what is done next with a Node.
pub fn next_of_node(record: Option<Record>, aim: Aim, clock: Clock, seen: NodeSeen<'_>) -> Next {
    match aim {
        Aim::Drain => drain(record, clock, seen),
        Aim::Undrain => undrain(record, clock, seen.node),
    }
}

fn drain(record: Option<Record>, clock: Clock, seen: NodeSeen<'_>) -> Next {
    let Some(record) = record.filter(|_| intent(record, Aim::Drain, clock).is_none()) else {
        return intent(record, Aim::Drain, clock).map_or(Next::Done, Next::Record);
    };
    let Some(node) = seen.node else { return Next::Fail(Reason::DrainFailed, Blocked::NoNode) };
    if let CordonedBy::Other(other) = &node.cordoned_by {
        return wait(record, clock, Blocked::Other(other.clone()));
    }
    let forbidden = positions(seen.pods, |pod| pod.is_forbidden(seen.allowed));
    if !forbidden.is_empty() {
        return Next::Fail(Reason::DrainFailed, Blocked::Forbidden(forbidden));
    }
    match (&node.cordoned_by, node.unschedulable) {
        // Somebody has uncordoned it meanwhile; or nobody has cordoned it yet.
        // What a NodeUpdate has cordoned that is gone would stay so.
        (CordonedBy::Us | CordonedBy::Nobody, false) | (CordonedBy::Gone, true | false) => {
            return Next::Cordon;
        }
        (CordonedBy::Us | CordonedBy::Nobody | CordonedBy::Other(_), true)
        | (CordonedBy::Other(_), false) => {}
    }
    let left = positions(seen.pods, Pod::counts);
    match (left.is_empty(), record.state) {
        (true, State::Drained) => return Next::Done,
        (true, State::Draining | State::Undraining | State::Undrained) => {
            return Next::Record(reached(record, State::Drained, clock));
        }
        // Pods have come since: somebody has uncordoned the Node meanwhile.
        (false, State::Drained) => {
            let until = clock.now.after(clock.timeout);
            return Next::Record(Record { until, ..reached(record, State::Draining, clock) });
        }
        (false, State::Draining | State::Undraining | State::Undrained) => {}
    }
    if clock.now >= record.until {
        return Next::Fail(Reason::DrainTimedOut, Blocked::Pods(left));
    }
    let is_due = |pod: &Pod| {
        let again = pod.refused_at.map(|refused| refused.after(EVICTION_INTERVAL));
        pod.counts() && !pod.is_leaving && again.is_none_or(|again| again <= clock.now)
    };
    let mut due = positions(seen.pods, is_due);
    due.truncate(MAX_EVICTIONS);
    if due.is_empty() { Next::Wait(Blocked::Pods(left)) } else { Next::Evict(due) }
}

fn undrain(record: Option<Record>, clock: Clock, node: Option<&NodeFacts>) -> Next {
    if let Some(intent) = intent(record, Aim::Undrain, clock) {
        return Next::Record(intent);
    }
    let Some(record) = record.filter(Record::is_open) else { return Next::Done };
    match node.map(|node| &node.cordoned_by) {
        Some(CordonedBy::Us) => Next::Uncordon,
        // The Node is gone, or was never cordoned by us.
        Some(CordonedBy::Nobody | CordonedBy::Other(_) | CordonedBy::Gone) | None => {
            Next::Record(reached(record, State::Undrained, clock))
        }
    }
}

fn wait(record: Record, clock: Clock, on: Blocked) -> Next {
    if clock.now >= record.until { Next::Fail(Reason::DrainTimedOut, on) } else { Next::Wait(on) }
}

fn positions(pods: &[Pod], is: impl Fn(&Pod) -> bool) -> Vec<usize> {
    pods.iter().enumerate().filter(|(_, pod)| is(pod)).map(|(at, _)| at).collect()
}
