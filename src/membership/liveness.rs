//! Which runners live, from when their Leases were seen to change.

use super::{INFO_ANNOTATION, RunnerInfo, Runners};
use crate::lease::{duration, holder, mark};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// When each Lease was first seen as it is now.
#[derive(Debug, Default)]
pub(super) struct LivenessTracker {
    seen: BTreeMap<String, Observation>,
}

#[derive(Debug)]
struct Observation {
    mark: (Option<String>, Option<MicroTime>),
    since: Instant,
    /// Whether it was old already when it was seen first, and has not been renewed since.
    unconfirmed: bool,
}

/// What Leases say of their holders.
#[derive(Debug, Default)]
pub(super) struct Liveness<'a> {
    /// Who lives.
    pub(super) live: Runners,
    /// Who may live, and has not been seen to.
    pub(super) unconfirmed: BTreeSet<String>,
    /// What nobody has renewed for so long that nobody will.
    pub(super) dead: Vec<&'a Lease>,
}

/// After so many of its durations a Lease that is not renewed is left over from somebody who was
/// killed: a live one has tried to renew it a good many times.
const FORGOTTEN: u32 = 4;

impl LivenessTracker {
    /// Who lives, by Leases that were asked for at `asked`, `now` by the clock. One that is seen for
    /// the first time counts as alive: whether it is shows within its duration. If it looks as if
    /// nobody had renewed it for long, that is doubted until somebody does: clocks may differ.
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

/// Whether nobody has renewed it for long, by a clock that need not be the holder's.
fn looks_forgotten(lease: &Lease, now: Timestamp) -> bool {
    let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
    let age = renewed.and_then(|renewed| Duration::try_from(now.duration_since(renewed.0)).ok());
    age.is_some_and(|age| age > duration(lease) * FORGOTTEN)
}

/// The runner that holds a Lease.
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

    /// A runner whose clock is a day off is taken for dead, or for alive for ever.
    #[test]
    fn only_what_we_see_change_counts_not_what_a_clock_says() {
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

    /// After a restart machines are given to a pod that was killed long ago; or, because clocks
    /// differ, those of a live one are taken from it.
    #[test]
    fn who_seems_to_be_gone_for_long_is_doubted_until_it_is_seen_to_live() {
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

    /// Leases of pods that were killed pile up.
    #[test]
    fn what_nobody_renews_is_dead_after_several_durations_of_ours() {
        let mut tracker = LivenessTracker::default();
        let begun = Instant::now();
        let leases = [lease("a", -86_400)];
        let mut dead =
            |seconds| tracker.look(&leases, begun + Duration::from_secs(seconds), at(0)).dead.len();
        assert_eq!([dead(0), dead(59), dead(60)], [0, 0, 1]);
    }

    /// A reader that was away takes everybody for dead when it comes back.
    #[test]
    fn who_was_not_looked_at_is_not_dead() {
        let mut tracker = LivenessTracker::default();
        let begun = Instant::now();
        tracker.look(&[lease("a", 0)], begun, at(0));
        let late = begun + Duration::from_mins(10);
        assert_eq!(names(&tracker.look(&[lease("a", 599)], late, at(600)).live), ["a"]);
    }

    #[test]
    fn who_let_its_lease_go_or_cannot_be_read_is_gone_at_once() {
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
