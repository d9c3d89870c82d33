//! Which runners live, from when their Leases were seen to change.

use super::{INFO_ANNOTATION, RunnerInfo, Runners};
use crate::lease::{duration, holder, mark};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// When each Lease was first seen as it is now.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    seen: BTreeMap<String, Sighting>,
}

#[derive(Debug)]
struct Sighting {
    mark: (Option<String>, Option<MicroTime>),
    since: Instant,
}

impl Sightings {
    /// Who lives, by Leases that were asked for at `asked`. One that is seen for the first time
    /// counts as alive: whether it is shows within its duration.
    pub(super) fn live(&mut self, leases: &[Lease], asked: Instant) -> Runners {
        self.seen.retain(|name, _| leases.iter().any(|lease| lease.name_any() == *name));
        let mut live = Runners::new();
        for lease in leases {
            let mark = mark(lease);
            let sighting = self
                .seen
                .entry(lease.name_any())
                .and_modify(|seen| {
                    if seen.mark != mark {
                        *seen = Sighting { mark: mark.clone(), since: asked };
                    }
                })
                .or_insert_with(|| Sighting { mark: mark.clone(), since: asked });
            let silent = asked.duration_since(sighting.since);
            if let Some((name, info)) = runner(lease).filter(|_| silent < duration(lease)) {
                live.insert(name, info);
            }
        }
        live
    }
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
    use crate::lease::Claim;
    use crate::membership::{Home, claim};
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use std::time::Duration;

    fn lease(runner: &str, renewed: i64) -> Lease {
        let home = Home::Host { id: "h".into(), addresses: vec![] };
        let info = RunnerInfo { version: "0.1.0".into(), home };
        let Claim { name, annotations, .. } = claim("ns", runner, &info);
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

    /// A runner whose clock is a day off is taken for dead, or for alive for ever.
    #[test]
    fn only_what_we_see_change_counts_not_what_a_clock_says() {
        let mut sightings = Sightings::default();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let day = 86_400;
        assert_eq!(names(&sightings.live(&[lease("a", day), lease("b", -day)], at(0))), ["a", "b"]);
        assert_eq!(names(&sightings.live(&[lease("a", day), lease("b", 1 - day)], at(14))), ["a", "b"]);
        assert_eq!(names(&sightings.live(&[lease("a", day), lease("b", 1 - day)], at(15))), ["b"]);
        assert_eq!(names(&sightings.live(&[lease("a", day + 1), lease("b", 1 - day)], at(30))), ["a"]);
    }

    /// A reader that was away takes everybody for dead when it comes back.
    #[test]
    fn who_was_not_looked_at_is_not_dead() {
        let mut sightings = Sightings::default();
        let begun = Instant::now();
        sightings.live(&[lease("a", 0)], begun);
        let late = begun + Duration::from_mins(10);
        assert_eq!(names(&sightings.live(&[lease("a", 599)], late)), ["a"]);
    }

    #[test]
    fn who_let_its_lease_go_or_cannot_be_read_is_gone_at_once() {
        let mut sightings = Sightings::default();
        let now = Instant::now();
        let mut free = lease("b", 0);
        free.spec.as_mut().unwrap().holder_identity = None;
        let mut odd = lease("c", 0);
        odd.metadata.annotations = Some(BTreeMap::from([(INFO_ANNOTATION.to_owned(), "{}".to_owned())]));
        assert_eq!(names(&sightings.live(&[lease("a", 0), free, odd], now)), ["a"]);
        assert_eq!(names(&sightings.live(&[], now)), Vec::<&str>::new());
    }
}
