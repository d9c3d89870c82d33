//! Waits for objects that an attempt needs and that do not exist yet.
//!
//! Secrets are read every few seconds instead of being watched. A watch would need permission to watch every
//! Secret of the namespace; the operator may only read those whose names it knows.

use super::UpdateWorker;
use super::retry::now;
use crate::api::UpdateRun;
use crate::attempt::{Goal, Step, View};
use crate::convert::millis;
use crate::failure::Failure;
use crate::runner::load::Attempt;
use crate::runner::render::Phase;
use farrier_update::{Millis, Reason};
use std::time::Duration;

/// Time between the first two checks. Each check costs one request for each Secret that the attempt needs.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum time between two checks. A thousand machines that wait for the same Secret then cost the API
/// server a few hundred requests a second instead of thousands.
const MAX_INTERVAL: Duration = Duration::from_secs(5);

impl UpdateWorker<'_> {
    /// Loads the input of an attempt, and waits until the run's deadline for missing objects.
    pub(super) async fn load(
        &mut self,
        run: Option<&UpdateRun>,
        goal: Goal,
        number: u32,
        touched: bool,
    ) -> Result<Attempt, Failure> {
        let begun = now();
        let mut checks = 0;
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
            checks += 1;
            let pause = pause(checks, self.seed()).min(until.since(now()));
            tokio::select! {
                // sleep: the interval between checks; a cancellation ends it.
                () = tokio::time::sleep(pause) => {}
                Ok(_) = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Returns the missing object and the deadline of the wait. `begun`: time of the first check.
    fn awaits(
        &self,
        loaded: &Result<Attempt, Failure>,
        goal: Goal,
        begun: Millis,
    ) -> Option<(Failure, Millis)> {
        if goal == Goal::CleanUp || self.is_cancelled() {
            return None;
        }
        let missing = missing(loaded)?;
        let until = deadline(&*self.known_run()?, begun, self.approved);
        (until > now()).then(|| (missing.clone(), until))
    }
}

/// Returns the first failure to load a job that a missing object explains.
fn missing(loaded: &Result<Attempt, Failure>) -> Option<&Failure> {
    match loaded {
        Err(failure) => Some(failure).filter(|failure| failure.reason.may_arrive()),
        // Which machines need a payload is known only after the inventory, when the engine is already on the
        // machine.
        Ok(Attempt { job, .. }) if job.goal == Goal::Update => missing_access(job.access.values()),
        Ok(_) => None,
    }
}

/// Returns the first payload source that a missing object makes unusable. Sources that are unusable for
/// another reason fail the components that need them, and do not shorten the wait.
fn missing_access<'a, T: 'a>(
    access: impl IntoIterator<Item = &'a Result<T, Failure>>,
) -> Option<&'a Failure> {
    let failures = access.into_iter().filter_map(|access| access.as_ref().err());
    failures.into_iter().find(|failure| failure.reason.may_arrive())
}

/// Returns the time between check number `check` (from 1) and the next one. It grows, and `seed` spreads the
/// machines of a run that wait for the same Secret.
pub(super) fn pause(check: u32, seed: u64) -> Duration {
    let interval = FIRST_INTERVAL.saturating_mul(check).min(MAX_INTERVAL);
    // Jitter: 800 to 1200 thousandths.
    let spread = seed.wrapping_add(u64::from(check).wrapping_mul(97)) % 401;
    interval.saturating_mul(800 + u32::try_from(spread).unwrap_or(200)) / 1000
}

/// Returns the deadline until which a run waits for missing objects. The run's status contains the deadline
/// before the first machine begins. If the cache does not show that status yet, the timeout counts from
/// `begun`. An approved plan waits from its approval: its run may have been planned long before.
fn deadline(run: &UpdateRun, begun: Millis, approved: Option<Millis>) -> Millis {
    let recorded = run.status.as_ref().and_then(|status| status.arrival_deadline.as_ref());
    let recorded = recorded.map(millis);
    let timeout = run.spec.arrival_timeout.duration().unwrap_or_default();
    let until = recorded.unwrap_or_else(|| begun.after(timeout));
    approved.map_or(until, |approved| until.max(approved.after(timeout)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Otherwise a component whose fingerprints are unusable ends the wait for the Secret of another one.
    #[test]
    fn a_missing_secret_is_waited_for_beside_another_failure() {
        let failed = |reason| Err(Failure::new(reason, "x"));
        let access = [Ok(()), failed(Reason::PayloadUntrusted), failed(Reason::SecretNotFound)];
        assert_eq!(missing_access(&access).map(|failure| failure.reason), Some(Reason::SecretNotFound));
        assert_eq!(missing_access(&access[..2]), None);
    }

    /// Otherwise a fleet that waits for one Secret sends thousands of requests a second.
    #[test]
    fn checks_become_rare_and_differ_between_machines() {
        let first: Vec<_> = (0..1000).map(|seed| pause(1, seed)).collect();
        assert!(first.iter().all(|pause| (800..=1200).contains(&pause.as_millis())), "{first:?}");
        let later: std::collections::BTreeSet<_> = (0..1000).map(|seed| pause(9, seed)).collect();
        assert!(later.len() > 100 && later.iter().all(|pause| (4000..=6000).contains(&pause.as_millis())));
    }

    /// Otherwise the Secret of a plan that is approved an hour later is not waited for.
    #[test]
    fn an_approved_plan_waits_from_its_approval() {
        let run = json!({
            "metadata": {"name": "r"},
            "spec": {"selector": {}, "arrivalTimeout": "2m"},
            "status": {"arrivalDeadline": "1970-01-01T01:00:00Z"},
        });
        let run: UpdateRun = serde_json::from_value(run).unwrap();
        let until = |minute: u64, approved: Option<u64>| {
            let minutes = |minute: u64| Millis(minute * 60_000);
            deadline(&run, minutes(minute), approved.map(minutes)).0 / 60_000
        };
        assert_eq!((until(59, None), until(120, None)), (60, 60));
        assert_eq!((until(120, Some(120)), until(121, Some(120)), until(30, Some(30))), (122, 122, 60));
    }
}
