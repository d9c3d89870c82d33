//! How long updates of a machine took, for maintenance windows: pure.

use crate::api::managed_node::RecentUpdate;
use crate::api::quantity::Span;
use crate::attempt::End;
use farrier_update::{ComponentResult, NodeVerdict, Outcome};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;

/// Number of updates of a machine that are remembered. One that took unusually long determines for as many further
/// updates how long the next one is expected to take.
const MAX_RECENT: usize = 5;

/// Returns the recent updates of a machine after an attempt of `run` that began at `begun`: those that are recorded,
/// and this one if it has changed the machine and succeeded. An attempt that failed, or had nothing to install, says
/// nothing about how long an update takes.
pub(super) fn updates(
    recorded: &[RecentUpdate],
    results: &[ComponentResult],
    end: &End,
    run: &str,
    begun: Option<&Time>,
    now: &Time,
) -> Vec<RecentUpdate> {
    let mut recent = recorded.to_vec();
    let succeeded = matches!(end, End::Finished(NodeVerdict::Succeeded { .. }));
    if let Some(begun) = begun.filter(|_| succeeded && results.iter().any(is_change)) {
        let took = Duration::try_from(now.0.duration_since(begun.0)).unwrap_or_default();
        let update =
            RecentUpdate { run: run.to_owned(), started_at: begun.clone(), duration: Span::of(took) };
        recent.insert(0, update);
        recent.truncate(MAX_RECENT);
    }
    recent
}

/// Reports whether a component was installed.
fn is_change(result: &ComponentResult) -> bool {
    match result.outcome {
        Outcome::Updated | Outcome::RebootPending => true,
        Outcome::Staged
        | Outcome::UpToDate
        | Outcome::Failed
        | Outcome::NotApplicable
        | Outcome::DependencyMissing
        | Outcome::Skipped
        | Outcome::Cancelled
        | Outcome::Unverified => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_update::Reason;

    fn time(minute: i64) -> Time {
        Time(jiff::Timestamp::from_second(minute * 60).unwrap())
    }

    fn succeeded() -> End {
        End::Finished(NodeVerdict::Succeeded { reason: Reason::Updated, message: String::new() })
    }

    fn result(outcome: Outcome) -> ComponentResult {
        ComponentResult {
            name: "a".into(),
            outcome,
            reason: Reason::Updated,
            before: "1".into(),
            after: "2".into(),
            exit_code: None,
            started_at: None,
            finished_at: None,
            message: String::new(),
            parts: Vec::new(),
        }
    }

    fn durations(recent: &[RecentUpdate]) -> Vec<&str> {
        recent.iter().map(|update| update.duration.0.as_str()).collect()
    }

    /// Otherwise a machine that takes an hour is begun a quarter of an hour before its window closes.
    #[test]
    fn an_update_that_changed_the_machine_is_remembered_with_its_duration() {
        let updated = [result(Outcome::UpToDate), result(Outcome::Updated)];
        let mut recent = Vec::new();
        for minutes in 1..=7 {
            let (begun, now) = (time(100), time(100 + minutes));
            recent = updates(&recent, &updated, &succeeded(), "r1", Some(&begun), &now);
        }
        assert_eq!(durations(&recent), ["7m", "6m", "5m", "4m", "3m"]);
        assert_eq!((recent[0].run.as_str(), &recent[0].started_at), ("r1", &time(100)));
    }

    /// Otherwise an attempt that had nothing to do makes the next update look short.
    #[test]
    fn attempts_that_say_nothing_about_an_update_are_not_remembered() {
        let failed =
            End::Finished(NodeVerdict::Failed { reason: Reason::InstallerFailed, message: "x".into() });
        let begun = time(0);
        for (outcome, end) in [
            (Outcome::UpToDate, succeeded()),
            (Outcome::Staged, succeeded()),
            (Outcome::Updated, failed),
            (Outcome::Updated, End::Cancelled),
            (Outcome::Updated, End::Planned),
        ] {
            let recent = updates(&[], &[result(outcome)], &end, "r1", Some(&begun), &time(5));
            assert_eq!(recent, [], "{outcome:?} {end:?}");
        }
        assert_eq!(updates(&[], &[result(Outcome::Updated)], &succeeded(), "r1", None, &time(5)), []);
    }

    /// A clock that is set back meanwhile must not make an attempt fail.
    #[test]
    fn a_clock_that_is_set_back_makes_no_negative_duration() {
        let recent = updates(&[], &[result(Outcome::Updated)], &succeeded(), "r", Some(&time(9)), &time(5));
        assert_eq!(durations(&recent), ["0s"]);
    }
}
