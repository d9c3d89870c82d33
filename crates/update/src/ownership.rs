//! Who may work on a machine: the decision about the Lease of a `ManagedNode`, which whoever works on the machine
//! holds. Nothing is read or written here.
//!
//! A Lease of another tool is taken only when it has expired. A Lease of this installation is taken at once where
//! its holder is known to have stopped: runners of one installation know which of them are alive.

use crate::model::Millis;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How far the clocks of two hosts may be apart before two of them work on one machine. Hosts of a cluster
/// are synchronized to within a second; a minute allows for one that has just booted.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(1);

/// Maximum time between two renewals: this is how late it is noticed that the Lease was taken by force. A
/// thousand machines that are worked on at once cost the API server 17 requests a second.
const MAX_INTERVAL: Duration = Duration::from_mins(1);

/// How many renewals fit into the duration of a Lease. With 900 s, the default, one is made each minute.
const RENEWALS: u32 = 15;

/// By how much a renewal of a worker that is alive may be late: the timeout of a request to the API server.
pub const RENEWAL_MARGIN: Duration = Duration::from_secs(30);

/// Returns the time between two renewals of a Lease of this duration.
pub fn renewal_interval(duration: Duration) -> Duration {
    (duration / RENEWALS).min(MAX_INTERVAL)
}

/// A worker of Farrier as it is recorded in the Lease of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Namespace of the operator. Runners of one namespace know which of them are alive.
    pub installation: String,
    /// Name of the runner.
    pub runner: String,
    /// Differs between two processes of the same name.
    pub process: String,
    /// Name of the `NodeUpdate`.
    pub update: String,
    /// UID of the `NodeUpdate`.
    pub session: String,
    /// The worker has stopped and something may be left on the machine: others wait until the Lease expires.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
}

impl Owner {
    /// Returns the holder's name in the Lease: `farrier/<operator's namespace>/<runner>/<NodeUpdate>`.
    pub fn identity(&self) -> String {
        format!("farrier/{}/{}/{}", self.installation, self.runner, self.update)
    }
}

/// The holder of a Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Nobody: the Lease was released.
    Nobody,
    /// A worker of Farrier, of this or another installation.
    Farrier(Owner),
    /// Another tool, or a person.
    Other(String),
}

impl Holder {
    /// Determines the holder. `record`: what Farrier has recorded beside the name of the holder, which does not
    /// count if another tool has put in its own name since.
    pub fn of(identity: &str, record: Option<Owner>) -> Self {
        match record {
            _ if identity.is_empty() => Self::Nobody,
            Some(owner) if owner.identity() == identity => Self::Farrier(owner),
            Some(_) | None => Self::Other(identity.to_owned()),
        }
    }
}

/// The Lease of a machine as it was just read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The holder.
    pub holder: Holder,
    /// When the holder renewed the Lease, by the holder's clock; if it never did, when it took or made it.
    pub renewed: Millis,
    /// How long the Lease is valid without a renewal. `None`: until it is released.
    pub duration: Option<Duration>,
    /// For how long the reader has seen the Lease unchanged, by its own clock.
    pub unchanged: Duration,
}

impl Sighting {
    /// Returns when the Lease expires by the holder's clock, unless it is renewed; `None`: never.
    pub fn until(&self) -> Option<Millis> {
        self.duration.map(|duration| self.renewed.after(duration))
    }

    /// Reports whether the Lease has not been renewed for its duration: as seen by the reader or, of a Lease
    /// that is long dead, by the two clocks.
    fn is_expired(&self, now: Millis) -> bool {
        let Some(duration) = self.duration else { return false };
        self.unchanged >= duration || now > self.renewed.after(duration).after(CLOCK_TOLERANCE)
    }

    /// Reports whether two renewals that a worker of Farrier would have made have not come.
    fn is_abandoned(&self) -> bool {
        let interval = self.duration.map_or(MAX_INTERVAL, renewal_interval);
        self.unchanged >= interval * 2 + RENEWAL_MARGIN
    }
}

/// Why a Lease may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nobody holds it.
    Free,
    /// The holder has worked on the same `NodeUpdate`, which is now this worker's.
    Succession,
    /// The holder has stopped.
    Stopped,
    /// The holder has not renewed it for its duration.
    Expired,
}

/// Whether a worker may take the Lease of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Take(Cause),
    /// It waits for the holder.
    Wait {
        /// Whether the holder is the worker's predecessor: a runner of this installation that had the same
        /// `NodeUpdate`. It stops as soon as it sees that the `NodeUpdate` was handed over.
        soon: bool,
    },
}

/// Decides whether `worker` may take the Lease of a machine. `is_gone` reports whether a runner of the worker's
/// installation is known to be dead; `now` is the worker's clock.
///
/// The worker's runner must hold its own Lease: then no other process works under its name. And the `NodeUpdate` must
/// be the runner's now: its predecessor has no right to the machine any more. If that one is alive, or was started
/// again under its name, the Lease is taken when the predecessor's worker does not renew it any more.
pub fn decide(worker: &Owner, seen: &Sighting, is_gone: impl Fn(&str) -> bool, now: Millis) -> Decision {
    let of_installation = match &seen.holder {
        Holder::Nobody => return Decision::Take(Cause::Free),
        Holder::Farrier(holder) if holder.installation == worker.installation => Some(holder),
        Holder::Farrier(_) | Holder::Other(_) => None,
    };
    let same_update = of_installation.is_some_and(|holder| holder.session == worker.session);
    let stopped = of_installation.is_some_and(|holder| {
        let same_runner = holder.runner == worker.runner;
        // A NodeUpdate has one worker in its runner; of another NodeUpdate there may be one in this process.
        let ended = same_runner && (same_update || holder.process != worker.process);
        let handed_over = same_update && seen.is_abandoned();
        holder.left || ended || handed_over || (!same_runner && is_gone(&holder.runner))
    });
    match (stopped, same_update) {
        (true, true) => Decision::Take(Cause::Succession),
        (true, false) => Decision::Take(Cause::Stopped),
        (false, _) if seen.is_expired(now) => Decision::Take(Cause::Expired),
        (false, soon) => Decision::Wait { soon },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_764_500_000_000);

    fn owner(installation: &str, runner: &str, process: &str, session: &str) -> Owner {
        Owner {
            installation: installation.into(),
            runner: runner.into(),
            process: process.into(),
            update: format!("{session}-db"),
            session: session.into(),
            left: false,
        }
    }

    fn us() -> Owner {
        owner("tools", "a", "p2", "r1")
    }

    /// A Lease that its holder has just renewed for a minute.
    fn held_by(holder: Holder) -> Sighting {
        let minute = Duration::from_mins(1);
        Sighting { holder, renewed: NOW, duration: Some(minute), unchanged: Duration::ZERO }
    }

    /// Decides in an installation whose runner `dead` is gone.
    fn decided(seen: &Sighting) -> Decision {
        decide(&us(), seen, |runner| runner == "dead", NOW)
    }

    const WAITS: Decision = Decision::Wait { soon: false };

    /// Otherwise Farrier would work on a machine beside another tool, or wait for a tool that died last week.
    #[test]
    fn another_tool_is_waited_for_until_its_lease_has_expired() {
        let fresh = held_by(Holder::Other("node-maintenance".into()));
        assert_eq!(decided(&fresh), WAITS);
        assert_eq!(fresh.until(), Some(NOW.after(Duration::from_mins(1))));
        let almost = Duration::from_millis(59_999);
        assert_eq!(decided(&Sighting { unchanged: almost, ..fresh.clone() }), WAITS);
        let silent = Sighting { unchanged: Duration::from_mins(1), ..fresh.clone() };
        assert_eq!(decided(&silent), Decision::Take(Cause::Expired));
        let ago = |seconds: u64| Sighting { renewed: Millis(NOW.0 - seconds * 1000), ..fresh.clone() };
        assert_eq!(decided(&ago(120)), WAITS, "the holder's clock may be a minute behind");
        assert_eq!(decided(&ago(121)), Decision::Take(Cause::Expired));
        let ahead = Sighting { renewed: NOW.after(Duration::from_hours(1)), ..silent };
        assert_eq!(decided(&ahead), Decision::Take(Cause::Expired), "only the reader's clock counts");
    }

    /// Otherwise a person who locks a machine for an afternoon would find it updated.
    #[test]
    fn a_lease_without_a_duration_is_held_until_it_is_released() {
        let held = held_by(Holder::Other("alice".into()));
        let year = Duration::from_hours(365 * 24);
        let held = Sighting { duration: None, renewed: Millis(0), unchanged: year, ..held };
        assert_eq!((decided(&held), held.until()), (WAITS, None));
        let released = Sighting { holder: Holder::of("", None), ..held };
        assert_eq!(decided(&released), Decision::Take(Cause::Free));
    }

    /// Otherwise a machine is left alone for minutes after each restart of the operator; or two runners work on it.
    #[test]
    fn a_successor_takes_over_as_soon_as_the_runner_is_gone() {
        let by = |owner: Owner| decided(&held_by(Holder::Farrier(owner)));
        let succession = Decision::Take(Cause::Succession);
        assert_eq!(by(us()), succession, "the same process, which had lost its runner's Lease");
        assert_eq!(by(owner("tools", "a", "p1", "r1")), succession, "killed and started again");
        assert_eq!(by(owner("tools", "dead", "p9", "r1")), succession);
        assert_eq!(by(owner("tools", "b", "p9", "r1")), Decision::Wait { soon: true });
    }

    /// Otherwise a NodeUpdate that was handed over by a runner that is alive again, or was started again, waits for
    /// the whole duration of the Lease; or two runners work on the machine.
    #[test]
    fn the_lease_of_a_predecessor_that_is_alive_is_taken_when_it_is_not_renewed() {
        let after = |session: &str, seconds: u64| {
            let holder = Holder::Farrier(owner("tools", "b", "p9", session));
            let (quarter, unchanged) = (Duration::from_mins(15), Duration::from_secs(seconds));
            decided(&Sighting { duration: Some(quarter), unchanged, ..held_by(holder) })
        };
        assert_eq!(after("r1", 149), Decision::Wait { soon: true }, "two renewals may be late");
        assert_eq!(after("r1", 150), Decision::Take(Cause::Succession));
        assert_eq!(after("r0", 899), WAITS, "another NodeUpdate, which is that runner's");
        assert_eq!(after("r0", 900), Decision::Take(Cause::Expired));
    }

    /// Otherwise a Lease is found stolen too late, or expires while its holder is alive.
    #[test]
    fn a_lease_is_renewed_each_minute_or_fifteen_times() {
        let seconds = |duration| renewal_interval(Duration::from_secs(duration)).as_secs();
        assert_eq!([15, 900, 86_400].map(seconds), [1, 60, 60]);
    }

    /// Otherwise a run waits for a run that has ended; or two NodeUpdates are in progress on one machine.
    #[test]
    fn another_run_of_the_installation_is_waited_for_while_it_may_be_at_work() {
        let by = |owner: Owner| decided(&held_by(Holder::Farrier(owner)));
        let stopped = Decision::Take(Cause::Stopped);
        assert_eq!(by(owner("tools", "b", "p9", "r0")), WAITS);
        assert_eq!(by(owner("tools", "a", "p2", "r0")), WAITS, "another worker of this process");
        assert_eq!(by(owner("tools", "a", "p1", "r0")), stopped, "a process before this one");
        assert_eq!(by(owner("tools", "dead", "p9", "r0")), stopped);
        assert_eq!(by(Owner { left: true, ..owner("tools", "b", "p9", "r0") }), stopped);
    }

    /// Otherwise two installations with runners of the same name would take machines from each other.
    #[test]
    fn another_installation_is_like_another_tool() {
        for theirs in [
            owner("others", "a", "p1", "r1"),
            owner("others", "dead", "p1", "r1"),
            Owner { left: true, ..owner("others", "a", "p1", "r0") },
        ] {
            assert_eq!(decided(&held_by(Holder::Farrier(theirs.clone()))), WAITS, "{theirs:?}");
            let silent =
                Sighting { unchanged: Duration::from_mins(1), ..held_by(Holder::Farrier(theirs.clone())) };
            assert_eq!(decided(&silent), Decision::Take(Cause::Expired), "{theirs:?}");
        }
    }

    /// Otherwise the Lease of a tool that has taken it by force, and left our annotation, would count as ours.
    #[test]
    fn the_name_of_the_holder_counts_and_not_what_is_recorded_beside_it() {
        assert_eq!(us().identity(), "farrier/tools/a/r1-db");
        assert_eq!(Holder::of("farrier/tools/a/r1-db", Some(us())), Holder::Farrier(us()));
        let thief = Holder::Other("thief".into());
        assert_eq!(Holder::of("thief", Some(us())), thief);
        assert_eq!(decided(&held_by(thief)), WAITS);
        let bare = Holder::of("farrier/tools/a/r1-db", None);
        assert_eq!(bare, Holder::Other("farrier/tools/a/r1-db".into()));
        assert_eq!(Holder::of("", Some(us())), Holder::Nobody);
    }

    /// A record that cannot be read by the next version would make its own Lease a stranger's.
    #[test]
    fn the_record_is_read_back() {
        for owner in [us(), Owner { left: true, ..us() }] {
            let text = serde_json::to_string(&owner).unwrap();
            assert_eq!(serde_json::from_str::<Owner>(&text).unwrap(), owner);
        }
    }
}
