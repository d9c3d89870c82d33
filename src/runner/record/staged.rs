//! What a machine has of staged payloads: pure.

use crate::api::managed_node::StagedPayload;
use crate::attempt::{StagedUntil, View};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;

/// More are not listed. A baseline has fewer components.
const MAX_STAGED: usize = 1000;

/// Returns what is staged after an attempt. The later lease of a payload counts; one that has ended does not.
pub(super) fn payloads(recorded: &[StagedPayload], view: &View, now: &Time) -> Vec<StagedPayload> {
    let mut staged: BTreeMap<&str, &Time> = BTreeMap::new();
    let new: Vec<(String, Time)> = view.staged.iter().filter_map(read).collect();
    let recorded = if view.has_none_staged { &[] } else { recorded };
    let recorded = recorded.iter().map(|payload| (payload.digest.as_str(), &payload.until));
    for (digest, until) in recorded.chain(new.iter().map(|(digest, until)| (digest.as_str(), until))) {
        let latest = staged.entry(digest).or_insert(until);
        *latest = until.max(latest);
    }
    let is_there =
        |(digest, until): &(&str, &Time)| **until > *now && !view.unstaged.iter().any(|d| d == digest);
    let staged = staged.into_iter().filter(is_there).take(MAX_STAGED);
    staged.map(|(digest, until)| StagedPayload { digest: digest.to_owned(), until: until.clone() }).collect()
}

fn read(staged: &StagedUntil) -> Option<(String, Time)> {
    Some((staged.digest.clone(), super::super::render::time(staged.until)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_update::Millis;

    fn minute(minute: i64) -> Time {
        Time(jiff::Timestamp::from_second(minute * 60).unwrap())
    }

    fn recorded(list: &[(&str, i64)]) -> Vec<StagedPayload> {
        let one = |(digest, until): &(&str, i64)| StagedPayload {
            digest: (*digest).to_owned(),
            until: minute(*until),
        };
        list.iter().map(one).collect()
    }

    fn after(old: &[(&str, i64)], staged: &[(&str, u64)], unstaged: &[&str]) -> Vec<StagedPayload> {
        let one = |(digest, until): &(&str, u64)| StagedUntil {
            digest: (*digest).to_owned(),
            until: Millis(until * 60_000),
        };
        let view = View {
            staged: staged.iter().map(one).collect(),
            unstaged: unstaged.iter().map(|&digest| digest.to_owned()).collect(),
            ..View::default()
        };
        payloads(&recorded(old), &view, &minute(10))
    }

    /// Otherwise users rely on payloads that are not there any more, or that go earlier than the status says.
    #[test]
    fn the_later_lease_counts_until_it_ends_or_the_payload_is_installed() {
        let old = [("a", 20), ("b", 30), ("c", 10), ("d", 40)];
        let now = after(&old, &[("a", 50), ("b", 25), ("e", 60)], &["d"]);
        assert_eq!(now, recorded(&[("a", 50), ("b", 30), ("e", 60)]));
        assert_eq!(
            after(&old, &[], &[]),
            recorded(&[("a", 20), ("b", 30), ("d", 40)]),
            "an attempt that did nothing"
        );
        let staged = vec![StagedUntil { digest: "a".into(), until: Millis(50 * 60_000) }];
        let replaced = View { has_none_staged: true, staged, ..View::default() };
        assert_eq!(
            payloads(&recorded(&old), &replaced, &minute(10)),
            recorded(&[("a", 50)]),
            "a new machine"
        );
    }
}
