//! Between attempts: retries, the clean-up of a machine that was lost, and waits.

use super::{Next, UpdateWorker};
use crate::api::condition;
use crate::api::node_update::Intent;
use crate::attempt::{self, End, Goal, Job, View};
use crate::convert::millis;
use crate::failure::Failure;
use crate::runner::clean_up::is_missing;
use crate::runner::count;
use crate::runner::load::Attempt;
use crate::runner::render::Phase;
use farrier_update::{Millis, NodeVerdict, Reason, Retry, after_failure, backoff};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use std::time::Duration;
use tokio::sync::watch;

/// Maximum number of clean-up attempts on a machine that was lost with an engine on it. After that, the
/// engine's own lease removes the engine.
const CLEANING_ATTEMPTS: u32 = 3;

/// Maximum time between two looks at the clock while an attempt waits for its time: the time of a window may be days
/// ahead, and clocks are set meanwhile.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_mins(1);

impl UpdateWorker<'_> {
    /// Returns the failure of an attempt, and whether another attempt follows. `None`: the attempt did not
    /// fail.
    pub(super) fn retry(&mut self, end: &End, number: u32, goal: Goal) -> Option<(Failure, Retry)> {
        let failure = match end {
            End::Failed(failure) => failure.clone(),
            End::Finished(NodeVerdict::Failed { reason, message }) => Failure::new(*reason, message.clone()),
            End::Finished(NodeVerdict::Succeeded { .. } | NodeVerdict::Cancelled { .. })
            | End::Planned
            | End::Inventoried
            | End::Cancelled => return None,
        };
        if self.ownership.yields(failure.reason) {
            return Some((failure, Retry::At(now())));
        }
        let tries = tries(number, goal, self.shown.planning_attempts, self.ownership.yielded());
        let retry = after_failure(failure.reason, tries, self.retries(), self.seed(), now());
        Some((failure, retry))
    }

    fn retries(&self) -> u32 {
        self.known_run().map_or(0, |run| run.spec.strategy.retries)
    }

    /// Seed that spreads the retries of machines that failed together.
    pub(super) fn seed(&self) -> u64 {
        self.update
            .uid()
            .unwrap_or_default()
            .bytes()
            .fold(0, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)))
    }

    /// Reconnects to a machine that was lost with an engine on it and cleans it, with a limited number of
    /// attempts. `last` is the attempt that has just ended. It is used if its objects are gone: a user who deletes everything at once does not want engines to stay on machines.
    pub(super) async fn clean_up(&mut self, number: u32, last: Option<Attempt>) {
        self.view = cleaning(&self.view, &View::default());
        self.publish(&Phase::Working, number).await;
        let last = last.map(|Attempt { job, driver }| Attempt {
            job: Job { goal: Goal::CleanUp, touched: true, callback: None, listen: None, ..job },
            driver,
        });
        for attempt in 1..=CLEANING_ATTEMPTS {
            let loaded =
                match self.context.load_clean_up(&self.update, self.known_run().as_deref(), number).await {
                    Err(failure) if is_missing(&failure) => last.clone().ok_or(failure),
                    loaded => loaded,
                };
            let failure = match &loaded {
                Ok(attempt) => match self.own(number, Goal::CleanUp, true).await {
                    Ok(_) => Box::pin(self.clean_once(attempt, number)).await,
                    Err(failure) => Some(failure),
                },
                Err(failure) => Some(failure.clone()),
            };
            // A user may create a missing object again. Offering a wrong password again would lock the
            // account.
            let lasting = failure.as_ref().is_some_and(|f| !f.reason.retryable() && !is_missing(f));
            let over = lasting || attempt == CLEANING_ATTEMPTS;
            if let (Err(failure), true) = (&loaded, over) {
                self.view.clean = Some(Err(self.context.left_behind(&self.update, failure, self.abilities)));
            }
            if over || matches!(self.view.clean, Some(Ok(()))) || self.control.borrow().abandon {
                return;
            }
            // sleep: a lost machine does not report when it is back.
            tokio::time::sleep(backoff(attempt, self.seed())).await;
        }
    }

    /// Cleans the machine, and keeps the results of the attempt before. Returns the failure, if any.
    async fn clean_once(&mut self, attempt: &Attempt, number: u32) -> Option<Failure> {
        let first = View { deploying: true, ..View::default() };
        let (_stop, stop) = watch::channel(true);
        let kept = std::mem::take(&mut self.view);
        let visible = |seen: &View| cleaning(&kept, seen);
        let (end, seen) = self.published(attempt, number, stop, first, visible).await;
        count::looked(&self.context.metrics, seen.clean.as_ref());
        let (clean, leftovers) = match seen.clean {
            Some(clean) => (Some(clean), seen.leftovers),
            None => (kept.clean.clone(), kept.leftovers.clone()),
        };
        self.view = View { clean, leases: seen.leases, leftovers, ..kept };
        match end {
            End::Failed(failure) => Some(failure),
            End::Finished(_) | End::Planned | End::Inventoried | End::Cancelled => None,
        }
    }

    /// Waits for the time of the next attempt, or for the cancellation of the run.
    pub(super) async fn wait(&mut self, failure: Failure, number: u32, at: Time) -> Next {
        let phase = Phase::Retrying { failure: failure.clone(), at: at.clone() };
        self.release_machine(&phase, number).await;
        if self.old.next_attempt_at.as_ref() != Some(&at) {
            self.publish(&phase, number).await;
            self.context.announce_retry(&self.update, &failure, number, &at.0.to_string()).await;
        }
        self.failed = Some(failure).filter(|failure| failure.reason != Reason::WaitingForRetry);
        self.wait_until(&at, number).await
    }

    /// Waits for the time of the attempt after attempt `number`, or for the cancellation of the run.
    pub(super) async fn wait_until(&mut self, at: &Time, number: u32) -> Next {
        let mut stop = self.stop.clone();
        let mut cancelled = false;
        while !cancelled {
            let left = at.0.duration_since(condition::now().0);
            let left = Duration::try_from(left).unwrap_or_default();
            if left.is_zero() {
                return Next::Attempt { number: number + 1, goal: self.goal(), touched: !self.was_clean() };
            }
            // A closed channel means that no cancellation will follow.
            cancelled = tokio::select! {
                // sleep: until the next attempt, whose time is in the status; a cancellation ends it.
                () = tokio::time::sleep(left.min(CLOCK_CHECK_INTERVAL)) => false,
                Ok(_) = stop.wait_for(|stop| *stop) => true,
            };
        }
        self.cancel(number).await
    }

    /// Decides what follows a cancellation between attempts. A machine that is not clean is cleaned first.
    async fn cancel(&mut self, number: u32) -> Next {
        if self.was_clean() {
            self.end(End::Cancelled, number).await
        } else {
            Next::Attempt { number, goal: Goal::CleanUp, touched: true }
        }
    }

    /// Waits for the approval of the plan, or for the cancellation of the run.
    pub(super) async fn wait_for_approval(&mut self, number: u32) -> Next {
        let mut control = self.control.clone();
        let intent = control.wait_for(|w| w.intent != Intent::Plan).await.map(|w| w.intent);
        match intent {
            Ok(Intent::Run) => {
                self.approved = Some(now());
                self.ownership.forget_yields();
                // Unset if the plan was made by an operator version that did not record the number.
                self.shown.planning_attempts.get_or_insert(number);
                // What the plan took says nothing about the update.
                self.shown.attempt_started_at = None;
                Next::Attempt { number: number + 1, goal: Goal::Update, touched: !self.was_clean() }
            }
            Ok(Intent::Cancel) => self.cancel(number).await,
            // The runner shuts down.
            Ok(Intent::Plan) | Err(_) => Next::Over,
        }
    }
}

/// Returns the view to show during a clean-up: the results of the attempt, and what the clean-up waits for.
fn cleaning(kept: &View, seen: &View) -> View {
    View {
        step: attempt::Step::CleaningUp,
        lost: seen.lost.clone(),
        waits: seen.waits.clone(),
        engine_waiting: seen.engine_waiting.clone(),
        ..kept.clone()
    }
}

/// Returns how many attempts at this goal were made. Attempts to make the plan do not count as attempts to
/// apply it, and those that ended because the Lease was lost, `yielded`, not at all.
fn tries(number: u32, goal: Goal, planning_attempts: Option<u32>, yielded: u32) -> u32 {
    let made = match goal {
        Goal::Plan => number,
        Goal::Inventory | Goal::Update | Goal::CleanUp => {
            number.saturating_sub(planning_attempts.unwrap_or(0))
        }
    };
    made.saturating_sub(yielded)
}

pub(super) fn now() -> Millis {
    millis(&condition::now())
}

pub(super) fn time(at: Millis) -> Time {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    Time(jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise a clean-up that waits for another engine for an hour looks as if it hung, or the results of
    /// the attempt disappear meanwhile.
    #[test]
    fn a_clean_up_shows_its_waits_beside_the_results_of_the_attempt() {
        let waits = vec![attempt::Waiting {
            reason: Reason::MachineBusy,
            what: "another engine to leave db".into(),
            short: "another engine".into(),
            holder: None,
            since: Millis(1),
            until: None,
        }];
        let kept = View { applied: true, address: Some("192.0.2.1".into()), ..View::default() };
        let seen = View { waits: waits.clone(), step: attempt::Step::Connecting, ..View::default() };
        let shown = cleaning(&kept, &seen);
        assert_eq!((&shown.waits, &shown.step), (&waits, &attempt::Step::CleaningUp));
        assert_eq!(cleaning(&shown, &View::default()).waits, []);
        assert_eq!((shown.applied, shown.address), (true, kept.address));
    }

    /// Otherwise a plan that took two attempts leaves no retry to its installation, or planning is retried
    /// without a limit.
    #[test]
    fn attempts_to_plan_and_to_apply_are_counted_separately() {
        assert_eq!([1, 2].map(|number| tries(number, Goal::Plan, Some(number), 0)), [1, 2]);
        assert_eq!([3, 4].map(|number| tries(number, Goal::Update, Some(2), 0)), [1, 2]);
        assert_eq!(tries(2, Goal::Inventory, None, 0), 2);
    }

    /// Otherwise a machine whose Lease was taken twice has no retry left when its network fails once.
    #[test]
    fn attempts_that_ended_because_the_lease_was_lost_do_not_count() {
        assert_eq!(tries(3, Goal::Update, None, 2), 1);
        assert_eq!(tries(5, Goal::Update, Some(2), 2), 1);
    }
}
