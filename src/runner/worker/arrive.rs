//! Waits for objects that an attempt needs and that do not exist yet.
//!
//! Secrets are read once a second instead of being watched. A watch would need permission to watch every
//! Secret of the namespace; the operator may only read those whose names it knows.

use super::UpdateWorker;
use super::retry::now;
use crate::api::UpdateRun;
use crate::failure::Failure;
use crate::runner::render::Phase;
use crate::session::{Goal, Job, Step, View};
use farrier_update::{Millis, Reason};
use std::time::Duration;

/// Time between two checks. Each check costs one request for each Secret that the attempt needs.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

impl UpdateWorker<'_> {
    /// Loads the input of an attempt, and waits until the run's deadline for missing objects.
    pub(super) async fn load(
        &mut self,
        run: Option<&UpdateRun>,
        goal: Goal,
        number: u32,
        touched: bool,
    ) -> Result<Job, Failure> {
        let begun = now();
        loop {
            // Read before the spec, so that the status does not claim an edit that happens in between.
            self.generation = self.context.generation(&self.update);
            let loaded = tokio::select! {
                loaded = self.read(run, goal, number, touched) => loaded,
                () = self.cancelled_untouched(touched) => {
                    Err(Failure::new(Reason::Cancelled, "cancelled before anything was put on the machine"))
                }
            };
            let Some((missing, until)) = self.awaits(&loaded, goal, begun) else {
                self.view = View { step: Step::default(), awaited: None, ..self.view.clone() };
                return loaded;
            };
            let message = format!("{}; waiting until {until}", missing.message);
            self.view.step = Step::Awaiting;
            self.view.awaited = Some(Failure { message, ..missing });
            self.publish(&Phase::Working, number).await;
            let mut stop = self.stop.clone();
            let pause = POLL_INTERVAL.min(until.since(now()));
            tokio::select! {
                // sleep: the interval between checks; a cancellation ends it.
                () = tokio::time::sleep(pause) => {}
                Ok(_) = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Returns the missing object and the deadline of the wait. `begun`: time of the first check.
    fn awaits(&self, loaded: &Result<Job, Failure>, goal: Goal, begun: Millis) -> Option<(Failure, Millis)> {
        if goal == Goal::CleanUp || self.is_cancelled() {
            return None;
        }
        let missing = match loaded {
            Err(failure) => Some(failure),
            // Which machines need a payload is known only after the inventory, when the engine is already on
            // the machine.
            Ok(job) if goal == Goal::Update => job.access.values().find_map(|access| access.as_ref().err()),
            Ok(_) => None,
        };
        let missing = missing.filter(|failure| failure.reason.may_arrive())?;
        let until = deadline(&*self.known_run()?, begun);
        (until > now()).then(|| (missing.clone(), until))
    }
}

/// Returns the deadline until which a run waits for missing objects. The run's status contains the deadline
/// before the first machine begins. If the cache does not show that status yet, the timeout counts from
/// `begun`.
fn deadline(run: &UpdateRun, begun: Millis) -> Millis {
    let recorded = run.status.as_ref().and_then(|status| status.arrival_deadline.as_ref());
    let recorded = recorded.and_then(|at| u64::try_from(at.0.as_millisecond()).ok()).map(Millis);
    recorded.unwrap_or_else(|| begun.after(run.spec.arrival_timeout.duration().unwrap_or_default()))
}
