//! What keeps a worker from the Lease of its machine: for how long it is waited for, and in which words.

use super::super::retry::now;
use crate::attempt::Waiting;
use crate::failure::Failure;
use crate::machine_lease::{MachineLease, Occupant};
use farrier_update::Reason;
use std::time::Duration;

/// Maximum number of characters of a holder's name that are shown: others choose it.
const MAX_HOLDER_LEN: usize = 100;

/// The rights that the Leases of machines need.
const RIGHTS: &str = "the verbs get, create, update and delete on leases.coordination.k8s.io";

/// What keeps a worker from the Lease of its machine.
#[derive(Debug, Clone)]
pub(super) enum Obstacle {
    /// Another one holds it.
    Occupant(Occupant),
    /// The API server refuses the Lease, with this answer.
    Refused(String),
}

impl Obstacle {
    /// Whether the Lease is that of the worker's predecessor, which is about to stop.
    pub(super) fn is_predecessor(&self) -> bool {
        matches!(self, Self::Occupant(occupant) if occupant.soon)
    }

    /// Whether the words about this obstacle, shown earlier, are still right about `other`.
    pub(super) fn still_says(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Occupant(before), Self::Occupant(occupant)) => {
                before.holder == occupant.holder && before.until.is_none_or(|until| until > now())
            }
            (Self::Refused(before), Self::Refused(message)) => before == message,
            (Self::Occupant(_), Self::Refused(_)) | (Self::Refused(_), Self::Occupant(_)) => false,
        }
    }
}

/// For how long a worker still waits. The time of its predecessor does not count towards that of others.
#[derive(Debug)]
pub(super) struct Patience {
    /// For others: what the user has set, and what is left of it.
    others: (Duration, Duration),
    /// For the predecessor.
    predecessor: (Duration, Duration),
}

impl Patience {
    /// Begins to wait. `others`: the limit for other holders; `predecessor`: that for the predecessor.
    pub(super) fn new(others: Duration, predecessor: Duration) -> Self {
        Self { others: (others, others), predecessor: (predecessor, predecessor) }
    }

    /// Returns for how long the worker waits altogether.
    pub(super) fn limit(&self, for_predecessor: bool) -> Duration {
        if for_predecessor { self.predecessor.0 } else { self.others.0 }
    }

    /// Returns for how long the worker still waits.
    pub(super) fn rest(&self, for_predecessor: bool) -> Duration {
        if for_predecessor { self.predecessor.1 } else { self.others.1 }
    }

    /// Records a wait.
    pub(super) fn spend(&mut self, for_predecessor: bool, time: Duration) {
        let rest = if for_predecessor { &mut self.predecessor.1 } else { &mut self.others.1 };
        *rest = rest.saturating_sub(time);
    }
}

/// Whether a wait is one for the Lease of the machine.
pub(super) fn is_for_lease(waiting: &Waiting) -> bool {
    matches!(waiting.reason, Reason::NodeInUse | Reason::LeaseRefused)
}

/// Describes the wait for a Lease.
pub(super) fn waiting(lease: &MachineLease, obstacle: &Obstacle, rest: Duration) -> Waiting {
    match obstacle {
        Obstacle::Occupant(occupant) => waiting_for(lease.name(), occupant, rest),
        Obstacle::Refused(message) => {
            let what = format!("the right to write {}", refusal(lease.name(), lease.namespace(), message));
            Waiting::new(Reason::LeaseRefused, what, "the right to write its Lease", rest)
        }
    }
}

/// Returns the failure after a wait of `limit` that was in vain.
pub(super) fn in_vain(lease: &MachineLease, node: &str, obstacle: &Obstacle, limit: Duration) -> Failure {
    match obstacle {
        Obstacle::Occupant(occupant) => in_use(lease.name(), node, occupant, limit),
        Obstacle::Refused(message) => {
            let words = format!(
                "nothing was begun on {node}, because the API server refuses {}. It was waited for {} s",
                refusal(lease.name(), lease.namespace(), message),
                limit.as_secs()
            );
            Failure::new(Reason::LeaseRefused, words)
        }
    }
}

/// Describes a refusal of the API server, and the next step.
fn refusal(lease: &str, namespace: &str, message: &str) -> String {
    format!(
        "Lease {lease}: {message}. Farrier needs {RIGHTS} in namespace {namespace}: update its role (helm upgrade), or the ResourceQuota or webhook that refuses it"
    )
}

/// Describes the wait for the holder of a Lease.
fn waiting_for(lease: &str, occupant: &Occupant, rest: Duration) -> Waiting {
    let holder = shown_name(&occupant.holder);
    let what = format!("{holder} to release Lease {lease} ({})", terms(occupant));
    Waiting::new(Reason::NodeInUse, what, &holder, rest)
}

/// Describes since when and until when a Lease is held.
fn terms(occupant: &Occupant) -> String {
    let since = occupant.since.map(|since| format!("held since {since}, ")).unwrap_or_default();
    match occupant.until {
        Some(until) => format!("{since}valid until {until} unless it is renewed"),
        None => format!("{since}valid until it is deleted"),
    }
}

/// Returns the failure after a wait for the holder of a Lease that was in vain.
fn in_use(lease: &str, node: &str, occupant: &Occupant, limit: Duration) -> Failure {
    let words = format!(
        "{node} is in use: {} holds Lease {lease} ({}). It was waited for {} s; --wait-seconds of the operator sets how long. If the holder does not exist any more, delete the Lease",
        shown_name(&occupant.holder),
        terms(occupant),
        limit.as_secs()
    );
    Failure::new(Reason::NodeInUse, words)
}

/// Returns a holder's name without what could spoil a line.
pub(super) fn shown_name(holder: &str) -> String {
    holder.chars().filter(|c| !c.is_control()).take(MAX_HOLDER_LEN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_update::Millis;

    fn occupant(until: Option<Millis>) -> Occupant {
        let since = Some(Millis(1_764_500_000_000));
        Occupant { holder: "node-\nmaintenance".into(), since, until, soon: false }
    }

    /// Otherwise nobody would know whom to ask to leave a machine, or how long that may take.
    #[test]
    fn the_holder_is_named_with_its_terms_and_the_next_step() {
        let until = Some(Millis(1_764_503_600_000));
        let shown = waiting_for("managednode-db", &occupant(until), Duration::from_mins(1));
        assert_eq!((shown.reason, shown.short.as_str()), (Reason::NodeInUse, "node-maintenance"));
        let terms = "held since 2025-11-30T10:53:20Z, valid until 2025-11-30T11:53:20Z unless it is renewed";
        assert_eq!(shown.what, format!("node-maintenance to release Lease managednode-db ({terms})"));
        let failure = in_use("managednode-db", "db", &occupant(until), Duration::from_mins(1));
        for words in
            ["db is in use: node-maintenance holds", terms, "60 s", "--wait-seconds", "delete the Lease"]
        {
            assert!(failure.message.contains(words), "{words}: {}", failure.message);
        }
        let endless = waiting_for("managednode-db", &occupant(None), Duration::from_mins(1));
        assert!(endless.what.ends_with("valid until it is deleted)"), "{}", endless.what);
    }

    /// Otherwise a run ends because the operator was upgraded and its role was not, and nobody learns which right is
    /// missing.
    #[test]
    fn a_refused_lease_is_waited_for_and_names_the_rights() {
        let words = refusal("managednode-db", "fleet", "leases is forbidden: exceeded quota");
        for part in [
            "leases is forbidden",
            "get, create, update and delete on leases.coordination.k8s.io",
            "in namespace fleet",
            "helm upgrade",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
        assert!(Reason::LeaseRefused.retryable());
        let (refused, other) = (Obstacle::Refused("x".into()), Obstacle::Occupant(occupant(None)));
        assert!(refused.still_says(&refused) && other.still_says(&other));
        assert!(!refused.still_says(&other) && !other.still_says(&refused));
    }

    /// Otherwise a NodeUpdate that was handed over fails before its predecessor has stopped, or waits for another tool
    /// longer than the user has set.
    #[test]
    fn the_wait_for_the_predecessor_does_not_count_towards_that_for_others() {
        let seconds = Duration::from_secs;
        let mut patience = Patience::new(seconds(60), seconds(900));
        patience.spend(true, seconds(200));
        patience.spend(false, seconds(50));
        assert_eq!((patience.rest(false), patience.rest(true)), (seconds(10), seconds(700)));
        patience.spend(false, seconds(11));
        assert!(patience.rest(false).is_zero());
        assert_eq!((patience.limit(false), patience.limit(true)), (seconds(60), seconds(900)));
        let soon = Obstacle::Occupant(Occupant { soon: true, ..occupant(None) });
        assert!(soon.is_predecessor() && !Obstacle::Refused(String::new()).is_predecessor());
    }
}
