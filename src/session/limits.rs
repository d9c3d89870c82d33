//! How long an engine may take, however lively it is meanwhile.
//!
//! An engine that answers is not one that gets on: whoever is root on the machine speaks in its name,
//! and could keep a run from ever ending. Each limit is longer than an honest engine needs; one that
//! exceeds it is left to itself, and takes everything back when its lease ends.

use farrier_protocol::{Event, EventBody, Step, Work};
use farrier_update::Component;
use std::time::Duration;
use tokio::sync::watch;

/// From the launch to the end of the greeting: a journal of the greatest length at 28 kB a second, or
/// a machine that was lost and called back in between.
pub(super) const GREETING: Limit = Limit::of(Duration::from_mins(10), Duration::from_mins(3));

/// Once it has retired an engine ends, and with it the stream.
pub(super) const LEAVING: Limit = Limit::of(Duration::from_mins(5), Duration::from_mins(1));

/// For one component in a survey: the engine ends its command after 30 s.
const DETECTION: Duration = Duration::from_secs(40);

/// For one component beside its installer: the package manager is asked what the package needs (2 min
/// for each question). Waits for others on the machine come on top.
const PREPARATION: Duration = Duration::from_mins(10);

/// How much longer than its timeout an installer is waited for that may not be interrupted.
const OVERTIME: Duration = Duration::from_hours(6);

/// For an installer whose baseline is not known any more, as in a clean-up after the run is gone: the
/// ten minutes that a component has unless it says otherwise, and its preparation.
const UNKNOWN_INSTALLER: Duration = Duration::from_mins(20);

/// The slowest line, in bytes a second, and as many machines beside this one.
const SLOWEST: u64 = 32 * 1024;

/// A machine that reboots, or is lost and called back some times.
const SLACK: Duration = Duration::from_mins(30);

/// The same for what is short.
const SHORT_SLACK: Duration = Duration::from_mins(10);

/// How long something may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    /// In all.
    pub(super) at_most: Duration,
    /// Since the run was cancelled.
    pub(super) after_cancel: Duration,
}

impl Limit {
    const fn of(at_most: Duration, after_cancel: Duration) -> Self {
        Self { at_most, after_cancel }
    }

    fn longer_by(self, more: Duration) -> Self {
        Self::of(self.at_most.saturating_add(more), self.after_cancel.saturating_add(more))
    }
}

/// How long a task may take after these events, with these components.
pub(super) fn of(work: &Work, events: &[Event], components: &[Component]) -> Limit {
    match work {
        Work::Survey { detect, packages: _ } => {
            let detections = u32::try_from(detect.len()).unwrap_or(u32::MAX);
            Limit::of(SLACK, SHORT_SLACK).longer_by(DETECTION.saturating_mul(detections))
        }
        Work::Apply { steps, wait_seconds } => {
            // For room before the first step; for room and the package manager before each.
            let waits = u64::try_from(steps.len()).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(1);
            let waiting = Duration::from_secs(wait_seconds.saturating_mul(waits));
            let at_most = applying(steps).saturating_add(waiting);
            Limit::of(at_most, longest(components).saturating_add(SHORT_SLACK))
        }
        // An installer that an earlier attempt has begun ends first.
        Work::Retire if is_busy(events) => Limit::of(SLACK, SHORT_SLACK).longer_by(longest(components)),
        Work::Retire => Limit::of(SLACK, SHORT_SLACK),
    }
}

/// For an engine that cannot be talked to, to end the step in progress and to leave.
pub(super) fn leaving(components: &[Component], lease: Duration) -> Duration {
    lease.saturating_add(longest(components))
}

/// The payloads, then one step after the other.
fn applying(steps: &[Step]) -> Duration {
    let installer = |step: &Step| Duration::from_secs(step.timeout_seconds).saturating_add(PREPARATION);
    let bytes = steps.iter().fold(0_u64, |sum, step| sum.saturating_add(step.payload.size));
    let overtime = if steps.iter().all(|step| step.interruptible) { Duration::ZERO } else { OVERTIME };
    steps
        .iter()
        .fold(Duration::from_secs(bytes / SLOWEST), |sum, step| sum.saturating_add(installer(step)))
        .saturating_add(overtime)
        .saturating_add(SLACK)
}

/// The longest that one of them may take: the one in progress is brought to its end.
fn longest(components: &[Component]) -> Duration {
    let one = |component: &Component| {
        let overtime = if component.interruptible { Duration::ZERO } else { OVERTIME };
        component.timeout.saturating_add(PREPARATION).saturating_add(overtime)
    };
    components.iter().map(one).max().unwrap_or(UNKNOWN_INSTALLER)
}

/// Whether an installation was begun, and not ended.
fn is_busy(events: &[Event]) -> bool {
    let mut busy = false;
    for event in events {
        #[expect(clippy::wildcard_enum_match_arm, reason = "exactly these begin and end an installation")]
        match &event.body {
            EventBody::TaskStarted { .. } => busy = true,
            EventBody::SurveyDone { .. }
            | EventBody::TaskDone { .. }
            | EventBody::TaskFailed { .. }
            | EventBody::Retired { .. } => busy = false,
            _ => {}
        }
    }
    busy
}

/// Waits for something as long as it may take; `None`: it took longer.
pub(super) async fn within<T>(
    limit: Limit,
    stop: &watch::Receiver<bool>,
    something: impl Future<Output = T>,
) -> Option<T> {
    let mut stop = stop.clone();
    let cancelled = async {
        if stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(limit.after_cancel).await;
    };
    tokio::select! {
        biased;
        done = something => Some(done),
        () = tokio::time::sleep(limit.at_most) => None,
        () = cancelled => None,
    }
}

#[cfg(test)]
mod tests;
