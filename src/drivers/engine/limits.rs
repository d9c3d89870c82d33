//! Time limits for engines that are alive.
//!
//! An engine that answers does not necessarily make progress: any root process on the machine can speak in
//! the engine's name, and could keep a run from ever ending. Each limit is longer than an honest engine
//! needs. The session abandons an engine that exceeds its limit; the engine then removes everything when its
//! lease expires.

use farrier_protocol::{Event, EventBody, Step, Work};
use farrier_update::Component;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// From the launch to the end of the greeting: enough for a journal of the maximum length at 28 kB per
/// second, or for a machine that was lost and reconnected in between.
pub(super) const GREETING: Limit = Limit::of(Duration::from_mins(10), Duration::from_mins(3));

/// After it has retired, an engine exits, which ends the stream.
pub(super) const LEAVING: Limit = Limit::of(Duration::from_mins(5), Duration::from_mins(1));

/// A stream that ends within this time after it was established counts as failed.
pub(super) const SHORT_STREAM: Duration = Duration::from_secs(2);

/// Maximum number of short streams in a row.
pub(super) const MAX_SHORT_STREAMS: u32 = 5;

/// For one component in a survey: the engine kills the detection command after 30 s.
const DETECTION: Duration = Duration::from_secs(40);

/// For one component in addition to its installer: the engine queries the package manager for requirements (2
/// min per query). Waits for others on the machine are added.
const PREPARATION: Duration = Duration::from_mins(10);

/// The same for a package from a repository of the machine: the metadata is fetched, the versions are listed,
/// perhaps once more without the owner's holds, and the installation is simulated (5 min each).
const REPOSITORY_PREPARATION: Duration = Duration::from_mins(25);

/// How long the session waits beyond the timeout of an installer that must not be interrupted.
const OVERTIME: Duration = Duration::from_hours(6);

/// For an installer whose baseline is not known any more, as in a clean-up after the run was deleted: the
/// default timeout of a component (ten minutes) and its preparation.
const UNKNOWN_INSTALLER: Duration = Duration::from_mins(20);

/// Lowest throughput that is allowed for, in bytes per second: a slow link, shared with other machines.
const SLOWEST: u64 = 32 * 1024;

/// Allows for a machine that reboots, or is lost and reconnected a few times.
const SLACK: Duration = Duration::from_mins(30);

/// The same allowance for short work.
const SHORT_SLACK: Duration = Duration::from_mins(10);

/// A time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    /// Maximum duration in total.
    pub(super) at_most: Duration,
    /// Maximum duration after the run was cancelled.
    pub(super) after_cancel: Duration,
}

impl Limit {
    const fn of(at_most: Duration, after_cancel: Duration) -> Self {
        Self { at_most, after_cancel }
    }

    pub(super) fn longer_by(self, more: Duration) -> Self {
        Self::of(self.at_most.saturating_add(more), self.after_cancel.saturating_add(more))
    }
}

/// Returns the limit of a task after these events, with these components.
pub(super) fn of(work: &Work, events: &[Arc<Event>], components: &[Component]) -> Limit {
    match work {
        Work::Survey { detect, packages: _, fwupd: _, programs: _ } => {
            let detections = u32::try_from(detect.len()).unwrap_or(u32::MAX);
            Limit::of(SLACK, SHORT_SLACK).longer_by(DETECTION.saturating_mul(detections))
        }
        Work::Simulate { steps } => {
            let steps = u32::try_from(steps.len()).unwrap_or(u32::MAX);
            Limit::of(SLACK, SHORT_SLACK).longer_by(REPOSITORY_PREPARATION.saturating_mul(steps))
        }
        Work::Apply { steps, wait_seconds } => {
            // One wait for disk space before the first step; before each step one wait for disk space and one
            // for the package manager.
            let waits = u64::try_from(steps.len()).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(1);
            let waiting = Duration::from_secs(wait_seconds.saturating_mul(waits));
            let at_most = applying(steps).saturating_add(waiting);
            Limit::of(at_most, longest(components).saturating_add(SHORT_SLACK))
        }
        // Inhibitors are waited for before and after the delay. The caller adds the time that the machine may be
        // away.
        Work::Reboot { delay_seconds, wait_seconds, .. } => {
            let seconds = wait_seconds.saturating_mul(2).saturating_add(*delay_seconds);
            Limit::of(SLACK, SLACK).longer_by(Duration::from_secs(seconds))
        }
        // An installer that an earlier attempt has started finishes first.
        Work::Retire if is_busy(events) => Limit::of(SLACK, SHORT_SLACK).longer_by(longest(components)),
        Work::Retire => Limit::of(SLACK, SHORT_SLACK),
    }
}

/// Returns the limit for an incompatible engine to finish the current step and to exit.
pub(super) fn leaving(components: &[Component], lease: Duration) -> Duration {
    lease.saturating_add(longest(components))
}

/// Duration of an installation: the transfer of all payloads, then the steps one after the other.
fn applying(steps: &[Step]) -> Duration {
    let preparation = |step: &Step| preparation(step.payload.is_some());
    let installer = |step: &Step| Duration::from_secs(step.timeout_seconds).saturating_add(preparation(step));
    let bytes = steps
        .iter()
        .fold(0_u64, |sum, step| sum.saturating_add(step.payload.as_ref().map_or(0, |payload| payload.size)));
    let overtime = if steps.iter().all(|step| step.interruptible) { Duration::ZERO } else { OVERTIME };
    steps
        .iter()
        .fold(Duration::from_secs(bytes / SLOWEST), |sum, step| sum.saturating_add(installer(step)))
        .saturating_add(overtime)
        .saturating_add(SLACK)
}

const fn preparation(has_payload: bool) -> Duration {
    if has_payload { PREPARATION } else { REPOSITORY_PREPARATION }
}

/// The longest time that one component may take: the component in progress is finished.
fn longest(components: &[Component]) -> Duration {
    let one = |component: &Component| {
        let overtime = if component.interruptible { Duration::ZERO } else { OVERTIME };
        component.timeout.saturating_add(preparation(component.payload.is_some())).saturating_add(overtime)
    };
    components.iter().map(one).max().unwrap_or(UNKNOWN_INSTALLER)
}

/// Whether an installation has started and not ended.
fn is_busy(events: &[Arc<Event>]) -> bool {
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

/// Waits for `something` within the limit; `None`: the limit was exceeded.
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
        // sleep: this is the time limit itself.
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
