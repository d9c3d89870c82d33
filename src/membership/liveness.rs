//! Derives the liveness of runners from observed changes of their Leases.

use super::{INFO_ANNOTATION, RunnerInfo, Runners};
use crate::lease::{duration, holder, mark};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// When each Lease was first seen in its present state.
#[derive(Debug, Default)]
pub(super) struct LivenessTracker {
    seen: BTreeMap<String, Observation>,
}

#[derive(Debug)]
struct Observation {
    mark: (Option<String>, Option<MicroTime>),
    since: Instant,
    /// The Lease was already old when it was first seen, and has not been renewed since.
    unconfirmed: bool,
}

/// The liveness of the holders of the Leases.
#[derive(Debug, Default)]
pub(super) struct Liveness<'a> {
    /// The live runners.
    pub(super) live: Runners,
    /// Runners that may be alive but have not been seen to renew their Leases.
    pub(super) unconfirmed: BTreeSet<String>,
    /// Leases that have not been renewed for so long that they never will be.
    pub(super) dead: Vec<&'a Lease>,
}

/// After this many of its durations, a Lease without a renewal belongs to a runner that was killed:
/// a live runner would have made many attempts to renew it.
const FORGOTTEN: u32 = 4;

impl LivenessTracker {
    /// Returns the liveness for Leases that were requested at `asked`, with `now` on the wall
    /// clock. A Lease that is seen for the first time counts as live: a renewal within its duration
    /// confirms that. A Lease that seems not to have been renewed for long is unconfirmed until a
    /// renewal is seen, because clocks may differ.
    pub(super) fn look<'a>(&mut self, leases: &'a [Lease], asked: Instant, now: Timestamp) -> Liveness<'a> {
        self.seen.retain(|name, _| leases.iter().any(|lease| lease.name_any() == *name));
        let mut liveness = Liveness::default();
        for lease in leases {
            let mark = mark(lease);
            let observation = self
                .seen
                .entry(lease.name_any())
                .and_modify(|seen| {
                    if seen.mark != mark {
                        *seen = Observation { mark: mark.clone(), since: asked, unconfirmed: false };
                    }
                })
                .or_insert_with(|| Observation {
                    mark: mark.clone(),
                    since: asked,
                    unconfirmed: looks_forgotten(lease, now),
                });
            let silent = asked.duration_since(observation.since);
            if silent >= duration(lease) * FORGOTTEN {
                liveness.dead.push(lease);
            }
            let Some((name, info)) = runner(lease).filter(|_| silent < duration(lease)) else { continue };
            if observation.unconfirmed {
                liveness.unconfirmed.insert(name);
            } else {
                liveness.live.insert(name, info);
            }
        }
        liveness
    }
}

/// Reports whether the Lease has not been renewed for long, by a clock that may differ from the
/// holder's.
fn looks_forgotten(lease: &Lease, now: Timestamp) -> bool {
    let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
    let age = renewed.and_then(|renewed| Duration::try_from(now.duration_since(renewed.0)).ok());
    age.is_some_and(|age| age > duration(lease) * FORGOTTEN)
}

/// Returns the runner that holds a Lease.
fn runner(lease: &Lease) -> Option<(String, RunnerInfo)> {
    let (name, _) = holder(lease)?.rsplit_once('_')?;
    let text = lease.annotations().get(INFO_ANNOTATION)?;
    match serde_json::from_str(text) {
        Ok(info) => Some((name.to_owned(), info)),
        Err(error) => {
            tracing::warn!(lease = %lease.name_any(), %error, "a runner's Lease cannot be read, perhaps it is of another version; it gets no work");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::LeaseConfig;
    use crate::membership::{RunnerLocation, claim};
    use k8s_openapi::api::coordination::v1::LeaseSpec;

    fn lease(runner: &str, renewed: i64) -> Lease {
        let location = RunnerLocation::Host { id: "h".into(), addresses: vec![] };
        let info = RunnerInfo { version: "0.1.0".into(), location };
        let LeaseConfig { name, annotations, .. } = claim("ns", runner, &info);
        let mut lease = Lease::default();
        lease.metadata.name = Some(name);
        lease.metadata.annotations = Some(annotations);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(format!("{runner}_0123")),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(jiff::Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        });
        lease
    }

    fn names(runners: &Runners) -> Vec<&str> {
        runners.keys().map(String::as_str).collect()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    /// If this fails, a runner whose clock is a day off counts as dead, or as alive for ever.
    #[test]
    fn only_observed_changes_count_and_not_clocks() {
        let mut tracker = LivenessTracker::default();
        let begun = Instant::now();
        let day = 86_400;
        let mut look = |a, b, seconds| {
            let leases = [lease("a", a), lease("b", b)];
            let liveness = tracker.look(&leases, begun + Duration::from_secs(seconds), at(0));
            (names(&liveness.live).join(" "), liveness.unconfirmed.into_iter().collect::<String>())
        };
        let both = |live: &str, unconfirmed: &str| (live.to_owned(), unconfirmed.to_owned());
        assert_eq!(look(day, -60, 0), both("a b", ""));
        assert_eq!(look(day, 1 - day, 14), both("a b", ""));
        assert_eq!(look(day, 1 - day, 15), both("b", ""));
        assert_eq!(look(day + 1, 1 - day, 30), both("a", ""));
    }

    /// If this fails, after a restart machines are given to a pod that was killed long ago; or,
    /// because clocks differ, those of a live runner are taken from it.
    #[test]
    fn an_old_lease_is_unconfirmed_until_a_renewal_is_seen() {
        let mut tracker = LivenessTracker::default();
        let begun = Instant::now();
        let mut look = |a, b, seconds| {
            let leases = [lease("a", a), lease("b", b)];
            let liveness = tracker.look(&leases, begun + Duration::from_secs(seconds), at(0));
            (names(&liveness.live).join(" "), liveness.unconfirmed.into_iter().collect::<String>())
        };
        let both = |live: &str, unconfirmed: &str| (live.to_owned(), unconfirmed.to_owned());
        assert_eq!(look(-61, -3600, 0), both("", "ab"));
        assert_eq!(look(-58, -3600, 3), both("a", "b"));
        assert_eq!(look(-46, -3600, 15), both("a", ""));
    }

    /// If this fails, Leases of killed pods accumulate.
    #[test]
    fn a_lease_without_renewals_is_dead_after_several_durations() {
        let mut tracker = LivenessTracker::default();
        let begun = Instant::now();
        let leases = [lease("a", -86_400)];
        let mut dead =
            |seconds| tracker.look(&leases, begun + Duration::from_secs(seconds), at(0)).dead.len();
        assert_eq!([dead(0), dead(59), dead(60)], [0, 0, 1]);
    }

    /// If this fails, a reader that was suspended considers all runners dead when it resumes.
    #[test]
    fn a_runner_that_was_not_observed_is_not_dead() {
        let mut tracker = LivenessTracker::default();
        let begun = Instant::now();
        tracker.look(&[lease("a", 0)], begun, at(0));
        let late = begun + Duration::from_mins(10);
        assert_eq!(names(&tracker.look(&[lease("a", 599)], late, at(600)).live), ["a"]);
    }

    #[test]
    fn a_runner_with_a_released_or_unreadable_lease_is_gone_at_once() {
        let mut tracker = LivenessTracker::default();
        let now = Instant::now();
        let mut free = lease("b", 0);
        free.spec.as_mut().unwrap().holder_identity = None;
        let mut odd = lease("c", 0);
        odd.metadata.annotations = Some(BTreeMap::from([(INFO_ANNOTATION.to_owned(), "{}".to_owned())]));
        assert_eq!(names(&tracker.look(&[lease("a", 0), free, odd], now, at(0)).live), ["a"]);
        assert_eq!(names(&tracker.look(&[], now, at(0)).live), Vec::<&str>::new());
    }
}
