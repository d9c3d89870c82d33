//! Maintenance windows: an attempt that changes the machine begins only inside the window of its run.

use super::retry::{now, time};
use super::{Next, UpdateWorker};
use crate::api::UpdateRun;
use crate::api::quantity::Span;
use crate::attempt::{End, Goal};
use crate::convert;
use crate::failure::Failure;
use crate::runner::actions;
use crate::runner::render::Phase;
use farrier_update::{Millis, Reason, Window, WindowState};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::time::Duration;

impl UpdateWorker<'_> {
    /// Returns what follows instead of attempt `number`, if the window of the run keeps it from beginning.
    ///
    /// An attempt that continues work on the machine begins nothing: it may always be made, so that what is in progress
    /// when the window closes is finished. After a restart of the operator, this includes an attempt of which it is
    /// not known whether it had reached the machine.
    pub(super) async fn outside_window(
        &mut self,
        run: Option<&UpdateRun>,
        number: u32,
        goal: Goal,
        touched: bool,
    ) -> Option<Next> {
        if goal != Goal::Update || touched || self.has_work_under_way() {
            return None;
        }
        let window = match convert::window(&run?.spec) {
            Ok(window) => window?,
            Err(message) => {
                let failure = Failure::new(Reason::WindowInvalid, message);
                return Some(self.end(End::Failed(failure), number).await);
            }
        };
        let machine = &self.update.spec.node_ref.name;
        let outside = outside(&window, machine, self.expected(), now())?;
        let words = match &self.failed {
            Some(failure) => {
                format!(
                    "{}; the last attempt failed ({}: {})",
                    outside.words, failure.reason, failure.message
                )
            }
            None => outside.words,
        };
        Some(Next::WaitForWindow { words, number: number.saturating_sub(1), opens: time(outside.opens) })
    }

    /// Waits until the window opens, or for the cancellation of the run. `number` is that of the last attempt.
    pub(super) async fn wait_for_window(&mut self, words: String, number: u32, opens: Time) -> Next {
        if self.old.next_attempt_at.as_ref() != Some(&opens) {
            let phase = Phase::OutsideWindow { words: words.clone(), opens: opens.clone() };
            self.release_machine(&phase, number).await;
            self.publish(&phase, number).await;
            self.context.announce_window(&self.update, &words).await;
        }
        self.wait_until(&opens, number).await
    }

    /// Reports whether a request that changes a machine without an engine is under way.
    fn has_work_under_way(&self) -> bool {
        actions::read(&self.old.actions).iter().any(|action| action.is_open() && action.verb.is_work())
    }

    /// Returns how long the update of the machine is expected to take.
    fn expected(&self) -> Option<Duration> {
        let node = ObjectRef::new(&self.update.spec.node_ref.name);
        let node = self.context.caches.nodes.get(&node.within(&self.update.namespace().unwrap_or_default()));
        convert::expected(node.as_deref()?)
    }
}

/// A window that keeps an attempt from beginning.
#[derive(Debug, PartialEq, Eq)]
struct Outside {
    /// Why, and when it opens next.
    words: String,
    /// When it opens next.
    opens: Millis,
}

/// Returns why an update of `machine` that is expected to take `expected` must not begin now; `None` if it may.
fn outside(window: &Window, machine: &str, expected: Option<Duration>, now: Millis) -> Option<Outside> {
    let state = window.at(now);
    if state.fits(expected, now) {
        return None;
    }
    let (why, next) = match state {
        WindowState::Closed { next } => ("the maintenance window is closed".to_owned(), next),
        WindowState::Open { until } => {
            let expected = expected.unwrap_or_default();
            let lasts = Span::of(expected).0;
            let why = format!(
                "the maintenance window closes at {}, and an update of {machine} is expected to take {lasts}, as status.recentUpdates of its ManagedNode shows",
                window.in_words(until)
            );
            let longer = expected > window.duration();
            let remedy = if longer {
                "; that is longer than the window: start a run with a longer one, or delete status.recentUpdates"
            } else {
                ""
            };
            (format!("{why}{remedy}"), window.next_after(until))
        }
    };
    let (then, opens) = match next {
        Some(next) => (format!("it opens next at {}", window.in_words(next)), next),
        None => ("it does not open again".to_owned(), Millis(u64::MAX)),
    };
    Some(Outside { words: format!("{why}; {then}"), opens })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    /// Returns what the window of Saturday nights in Berlin says this many hours after it has opened.
    fn after(hours: i64, expected: Option<Duration>) -> Option<Outside> {
        let window = Window::new("0 22 * * 6", Duration::from_hours(4), Some("Europe/Berlin")).unwrap();
        let opened = window.next_after(Millis(1_796_000_000_000)).unwrap();
        let now = opened.0.checked_add_signed(hours * i64::try_from(HOUR).unwrap()).unwrap();
        outside(&window, "db", expected, Millis(now))
    }

    /// Otherwise a machine is changed at noon, or the user does not learn when it will be.
    #[test]
    fn an_attempt_waits_for_the_next_opening_in_the_zone_of_the_window() {
        let hours = |hours| Some(Duration::from_hours(hours));
        for expected in [None, hours(1), hours(2)] {
            assert_eq!(after(0, expected), None);
            assert_eq!(after(2, expected), None);
        }
        let before = after(-1, None).unwrap();
        assert_eq!(
            before.words,
            "the maintenance window is closed; it opens next at 2026-12-05 22:00 Europe/Berlin (2026-12-05T21:00:00Z)"
        );
        assert_eq!(before.opens.to_string(), "2026-12-05T21:00:00Z");
        assert_eq!(after(4, None).unwrap().opens.to_string(), "2026-12-12T21:00:00Z");
    }

    /// Otherwise a machine that takes an hour reboots after the window has closed, or one that takes longer than the
    /// window waits for ever and nobody knows why.
    #[test]
    fn what_would_not_end_in_the_window_does_not_begin_in_it() {
        let late = after(3, Some(Duration::from_mins(61))).unwrap();
        assert_eq!(
            late.words,
            "the maintenance window closes at 2026-12-06 02:00 Europe/Berlin (2026-12-06T01:00:00Z), and an update of db is expected to take 1h1m, as status.recentUpdates of its ManagedNode shows; it opens next at 2026-12-12 22:00 Europe/Berlin (2026-12-12T21:00:00Z)"
        );
        let never = after(0, Some(Duration::from_hours(5))).unwrap();
        assert!(
            never.words.contains("longer than the window: start a run with a longer one"),
            "{}",
            never.words
        );
        assert_eq!(never.opens.to_string(), "2026-12-12T21:00:00Z");
    }
}
