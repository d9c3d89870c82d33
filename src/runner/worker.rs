//! The life of one NodeUpdate: attempts, waits between them, the end.

mod arrive;
mod credentials;
mod drain;
mod follow;
mod ownership;
mod pace;
mod retry;
mod status;
mod window;

use super::clean_up::is_missing;
use super::drain::MachineDrain;
use super::load::{Attempt, approved};
use super::machine_offers::MachineOffers;
use super::render::Phase;
use super::{Context, TaskControl, actions, count};
use crate::api::node_update::{Intent, NodeUpdateStatus};
use crate::api::{NodeUpdate, UpdateRun, condition};
use crate::attempt::{CallbackOptions, Desk, End, Goal, Job, Logbook, RecordedReboot, ReturnPath, View};
use crate::convert::millis;
use crate::drivers::Abilities;
use crate::failure::Failure;
use crate::inputs::MachineDriver;
use farrier_update::{Millis, Reason, Retry};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use ownership::Ownership;
use retry::time;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::Instrument as _;

/// The next action of a worker.
enum Next {
    /// Make the attempt with this number.
    Attempt { number: u32, goal: Goal, touched: bool },
    /// Wait, then make the attempt after this one.
    Wait { failure: Failure, number: u32, at: Time },
    /// Wait for the maintenance window, then make the attempt after this one.
    WaitForWindow { words: String, number: u32, opens: Time },
    /// Planned: wait for the approval.
    Planned { number: u32 },
    /// The NodeUpdate has ended.
    Over,
}

/// Works on one NodeUpdate until it ends, and then releases it.
pub(super) async fn run(
    context: &Arc<Context>,
    update: &Arc<NodeUpdate>,
    finished: bool,
    control: watch::Receiver<TaskControl>,
    stop: watch::Receiver<bool>,
) {
    let mut task = UpdateWorker {
        context,
        update: (**update).clone(),
        latest: Mutex::new((**update).clone()),
        old: update.status.clone().unwrap_or_default(),
        shown: update.status.clone().unwrap_or_default(),
        view: View::default(),
        control,
        stop,
        run: None,
        is_reached: false,
        approved: None,
        offers: Arc::new(MachineOffers::new(context.clone(), update)),
        run_is_gone: false,
        failed: None,
        abilities: context.abilities(update).or_else(|| of_actions(update)),
        generation: None,
        ownership: Ownership::default(),
        drain: Arc::new(MachineDrain::new(context, update)),
    };
    // A finished NodeUpdate only has to be released.
    let mut next = if finished { Next::Over } else { task.resume() };
    loop {
        next = match next {
            // Boxed: the state of an attempt has about 20 KiB, and most workers wait most of the time.
            Next::Attempt { number, goal, touched } => {
                let span = tracing::error_span!("attempt", attempt = number);
                Box::pin(task.attempt(number, goal, touched)).instrument(span).await
            }
            Next::Wait { failure, number, at } => task.wait(failure, number, at).await,
            Next::WaitForWindow { words, number, opens } => task.wait_for_window(words, number, opens).await,
            Next::Planned { number } => task.wait_for_approval(number).await,
            Next::Over => break,
        };
    }
    task.release().await;
}

/// Returns the abilities of a machine that is gone, from what its NodeUpdate has recorded: only machines without
/// an engine have actions.
fn of_actions(update: &NodeUpdate) -> Option<&'static Abilities> {
    let has_actions = update.status.as_ref().is_some_and(|status| !status.actions.is_empty());
    has_actions.then_some(&Abilities::OF_A_DEVICE)
}

struct UpdateWorker<'a> {
    context: &'a Arc<Context>,
    update: NodeUpdate,
    /// The object as the API server returned it last: each write names the version on which it is based.
    latest: Mutex<NodeUpdate>,
    /// The status that was written last.
    old: NodeUpdateStatus,
    /// The status that was rendered last. It may not be written yet, see `pace`. The next status is rendered
    /// from it, so that conditions keep their transition times.
    shown: NodeUpdateStatus,
    /// The view of the last attempt.
    view: View,
    control: watch::Receiver<TaskControl>,
    stop: watch::Receiver<bool>,
    /// The run when the last attempt began. The cache may not show it yet.
    run: Option<Arc<UpdateRun>>,
    /// Whether an earlier process reached the machine in the attempt that is resumed.
    is_reached: bool,
    /// When this process saw the approval of the plan.
    approved: Option<Millis>,
    /// Images that the machine fetches from this runner, over all attempts.
    offers: Arc<MachineOffers>,
    /// Whether the run was gone when an attempt began: nothing more is installed for it.
    run_is_gone: bool,
    /// The failure of the last attempt that this process has made.
    failed: Option<Failure>,
    /// What the machine's class can do; `None` if the machine is not known.
    abilities: Option<&'static Abilities>,
    /// Generation of the ManagedNode that the last attempt used.
    generation: Option<i64>,
    /// The machine's Lease.
    ownership: Ownership,
    /// The drain of the machine.
    drain: Arc<MachineDrain>,
}

impl UpdateWorker<'_> {
    /// Determines where an earlier process left off.
    fn resume(&mut self) -> Next {
        let number = self.old.attempt.unwrap_or(0);
        let succeeded = condition::find(&self.old.conditions, "Succeeded");
        let planned = succeeded.is_some_and(|c| c.reason == Reason::PlanOnly.as_str());
        if planned {
            return Next::Planned { number };
        }
        if let Some(at) = &self.old.next_attempt_at {
            let message = succeeded.map(|c| c.message.clone()).unwrap_or_default();
            return Next::Wait {
                failure: Failure::new(Reason::WaitingForRetry, message),
                number,
                at: at.clone(),
            };
        }
        self.is_reached = ["Reachable", "EngineDeployed"]
            .iter()
            .any(|type_| condition::is(&self.old.conditions, type_, "True"));
        Next::Attempt { number: number.max(1), goal: self.goal(), touched: number > 0 && !self.was_clean() }
    }

    fn goal(&self) -> Goal {
        match self.control.borrow().intent {
            Intent::Plan => Goal::Plan,
            Intent::Run | Intent::Cancel => Goal::Update,
        }
    }

    /// Whether the last status says that nothing of Farrier's is on the machine.
    fn was_clean(&self) -> bool {
        condition::is(&self.old.conditions, "TornDown", "True")
    }

    fn is_cancelled(&self) -> bool {
        *self.stop.borrow() || self.run_is_gone
    }

    /// Returns when the run is cancelled, if nothing can be on the machine.
    async fn cancelled_untouched(&self, touched: bool) {
        let mut stop = self.stop.clone();
        if touched || stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Makes an attempt and decides what follows it.
    async fn attempt(&mut self, number: u32, goal: Goal, touched: bool) -> Next {
        self.view = View::default();
        if self.is_cancelled() && !touched {
            return self.end(End::Cancelled, number).await;
        }
        let run = self.context.run_of(&self.update).await;
        self.run.clone_from(&run);
        if let Some(next) = self.outside_window(run.as_deref(), number, goal, touched).await {
            return next;
        }
        self.note_first_attempt();
        if goal == Goal::Plan {
            // What is carried out later is compared with the plan that is made now.
            self.shown.plan_digest = None;
        }
        if !touched || self.shown.attempt_started_at.is_none() {
            self.shown.attempt_started_at = Some(condition::now());
        }
        let awaited = self.context.awaited(&self.update, run.as_deref(), goal);
        if let Some(wait) = awaited.as_ref().and_then(|awaited| awaited.begun.as_ref()) {
            self.view.return_path = ReturnPath::Pending { waiting: wait.waiting.clone() };
            self.view.waits = vec![wait.waiting.clone()];
        }
        // Written before the attempt does anything: after a restart, the runner must know that something may
        // be on the machine.
        self.publish(&Phase::Working, number).await;
        let begun = Instant::now();
        let active = self.context.metrics.sessions.hold();
        self.run_is_gone = run.is_none();
        let loaded = self.load_and_own(run.as_deref(), goal, number, touched).await;
        // The wait for the Lease or for a Secret may have lasted beyond the end of the window.
        if loaded.is_ok()
            && let Some(next) = self.outside_window(run.as_deref(), number, goal, touched).await
        {
            return next;
        }
        let resumed = touched && std::mem::take(&mut self.is_reached);
        let loaded = loaded.map(|Attempt { job, driver }| {
            let callback = job.callback.map(|calls| CallbackOptions { awaited, ..calls });
            let rebooting = self.recorded_reboot();
            let approved = run.as_deref().and_then(|run| approved(&self.shown, run));
            Attempt { job: Job { resumed, approved, rebooting, callback, ..job }, driver }
        });
        let end = match &loaded {
            Ok(attempt) => {
                self.abilities = Some(attempt.driver.abilities);
                tracing::info!("the attempt begins");
                Box::pin(self.session(attempt, number)).await
            }
            Err(failure) => End::Failed(failure.clone()),
        };
        drop(active);
        count::attempt(&self.context.metrics, &end, begun.elapsed());
        count::looked(&self.context.metrics, self.view.clean.as_ref());
        if let Ok(attempt) = &loaded
            && self.has_new_credentials(&end, attempt).await
        {
            tracing::info!("the Secret has changed; the attempt continues with its current content");
            return Next::Attempt { number, goal, touched: touched || self.view.deploying };
        }
        self.after(end, number, goal, touched, loaded.ok()).await
    }

    /// Loads the input of an attempt. If the run is gone, only a clean-up remains to be done.
    async fn read(
        &self,
        run: Option<&UpdateRun>,
        goal: Goal,
        number: u32,
        touched: bool,
    ) -> Result<Attempt, Failure> {
        match (run, goal) {
            (Some(run), Goal::Inventory | Goal::Plan | Goal::Update) => {
                self.context.load(&self.update, run, goal, number, touched).await
            }
            (None, _) if !touched => {
                let run = &self.update.spec.run_ref.name;
                Err(Failure::new(
                    Reason::Cancelled,
                    format!("UpdateRun {run} is gone; nothing was put on the machine"),
                ))
            }
            (Some(_) | None, _) => self.context.load_clean_up(&self.update, run, number).await,
        }
    }

    /// Returns the newest known state of the run.
    fn known_run(&self) -> Option<Arc<UpdateRun>> {
        self.context.cached_run(&self.update).or_else(|| self.run.clone())
    }

    /// Returns the reboot that the status shows.
    fn recorded_reboot(&self) -> Option<RecordedReboot> {
        let reboot = self.old.rebooting.as_ref()?;
        let (since, until) = (millis(&reboot.since), millis(&reboot.until));
        Some(RecordedReboot { since, until, boot_id: reboot.boot_id.clone() })
    }

    /// Records how long the object waited for its first attempt.
    fn note_first_attempt(&self) {
        if self.old.started_at.is_none()
            // Not if it waited for the maintenance window.
            && self.old.next_attempt_at.is_none()
            && let Some(created) = self.update.creation_timestamp()
        {
            let waited = condition::now().0.duration_since(created.0);
            let waited = Duration::try_from(waited).unwrap_or_default();
            self.context.metrics.first_attempt_delay.observe([], waited);
        }
    }

    /// Runs the session of an attempt and writes statuses meanwhile.
    async fn session(&mut self, attempt: &Attempt, number: u32) -> End {
        let (stop, watching) = self.ending();
        let (end, view) = tokio::select! {
            ended = self.published(attempt, number, stop, View::default(), View::clone) => ended,
            never = watching => match never {},
        };
        self.view = view;
        self.after_loss(end)
    }

    /// Runs a session that begins with the view `first`, and writes meanwhile the statuses that `visible`
    /// makes of its views. Returns its end and its last view.
    async fn published(
        &mut self,
        attempt: &Attempt,
        number: u32,
        stop: watch::Receiver<bool>,
        first: View,
        visible: impl Fn(&View) -> View,
    ) -> (End, View) {
        let (send, receive) = watch::channel(first);
        let tools = self.context.tools.clone();
        let (logbook, entries) = Logbook::new();
        let (recorded, reboot_recorded) = watch::channel(false);
        let actions = actions::read(&self.shown.actions);
        let Attempt { job, driver: MachineDriver { driver, .. } } = attempt;
        let work = async {
            let (offers, drain) = (self.offers.clone(), self.drain.clone());
            let desk =
                Desk { tools: &tools, stop, view: &send, logbook, actions, offers, drain, reboot_recorded };
            let end = tokio::select! {
                end = driver.attempt(job, desk) => end,
                end = self.abandoned() => end,
            };
            let view = send.borrow().clone();
            // Ends `follow` after its write in progress. An aborted write might still reach the API server
            // and overwrite a later status.
            drop(send);
            (end, view)
        };
        let (ended, statuses) = tokio::join!(work, self.follow(receive, entries, &recorded, number, visible));
        (self.old, self.shown) = statuses;
        ended
    }

    /// Returns when the user has deleted the object without waiting for the machine.
    async fn abandoned(&self) -> End {
        let mut control = self.control.clone();
        if control.wait_for(|w| w.abandon).await.is_err() {
            std::future::pending::<()>().await;
        }
        let later = if Abilities::engine_cleans_up(self.abilities) {
            "its engine removes everything when its lease expires"
        } else {
            "what is on it stays"
        };
        let words = format!(
            "deleted with the annotation farrier.dev/abandon: the machine was not cleaned by the operator; {later}"
        );
        End::Failed(Failure::new(Reason::CleanupPending, words))
    }

    /// Decides what follows an attempt.
    async fn after(
        &mut self,
        end: End,
        number: u32,
        goal: Goal,
        touched: bool,
        made: Option<Attempt>,
    ) -> Next {
        if goal == Goal::Plan {
            self.shown.planning_attempts = Some(number);
        }
        let begun = self.shown.attempt_started_at.as_ref();
        self.context.record(&self.update, &self.view, &end, self.generation, begun).await;
        let abandoned = self.control.borrow().abandon;
        let dirty = match &self.view.clean {
            Some(Ok(())) => false,
            Some(Err(_)) => true,
            None => self.view.deploying || touched,
        };
        if self.is_cancelled() {
            if dirty && !abandoned {
                Box::pin(self.clean_up(number, made)).await;
            }
            return self.end(after_cancel(end), number).await;
        }
        if end == End::Planned {
            if dirty {
                Box::pin(self.clean_up(number, made)).await;
            }
            self.release_machine(&Phase::Planned, number).await;
            self.publish(&Phase::Planned, number).await;
            self.context.announce(&self.update, &self.view, &end).await;
            return Next::Planned { number };
        }
        match self.retry(&end, number, goal) {
            Some((failure, Retry::At(at))) => {
                // As with the Lease: a machine that is not clean may still be at work.
                let undrained = if dirty { Ok(()) } else { self.undrain(number).await };
                match undrained {
                    Ok(()) => Next::Wait { failure, number, at: time(at) },
                    Err(failure) => self.finish(End::Failed(failure), number).await,
                }
            }
            Some((_, Retry::GiveUp)) | None => {
                // Without a Lease nothing was begun, and what an earlier attempt has left is still there.
                let is_refused =
                    matches!(&end, End::Failed(failure) if failure.reason == Reason::LeaseRefused);
                if dirty && (self.view.deploying || is_refused) {
                    Box::pin(self.clean_up(number, made)).await;
                } else if let End::Failed(failure) = &end
                    && dirty
                    && is_missing(failure)
                {
                    self.view.clean =
                        Some(Err(self.context.left_behind(&self.update, failure, self.abilities)));
                }
                self.end(end, number).await
            }
        }
    }

    async fn end(&mut self, end: End, number: u32) -> Next {
        let end = self.undrain(number).await.map_or_else(End::Failed, |()| end);
        self.finish(end, number).await
    }

    async fn finish(&mut self, end: End, number: u32) -> Next {
        let phase = Phase::Ended(end.clone());
        // Before the status: who reads that the machine is done finds its Lease released.
        self.release_machine(&phase, number).await;
        self.publish(&phase, number).await;
        count::ended(&self.context.metrics, self.context.cached_run(&self.update).as_deref(), &end);
        let (result, reason) = count::result(&end);
        tracing::info!(result, %reason, "the NodeUpdate has ended");
        self.context.announce(&self.update, &self.view, &end).await;
        Next::Over
    }
}

/// Returns the end of a NodeUpdate whose run was cancelled during its last attempt. A result is a result; and a
/// machine that is lost because of the run has failed, whatever the user has asked for meanwhile.
fn after_cancel(end: End) -> End {
    match end {
        End::Finished(_) => end,
        End::Failed(ref failure) if failure.reason == Reason::RebootTimedOut => end,
        End::Planned | End::Inventoried | End::Cancelled | End::Failed(_) => End::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise nobody looks at a machine that has not returned from the reboot that the run has made.
    #[test]
    fn a_machine_that_is_lost_in_its_reboot_has_failed_even_if_the_run_is_cancelled() {
        let failed = |reason| End::Failed(Failure::new(reason, "x"));
        let lost = failed(Reason::RebootTimedOut);
        assert_eq!(after_cancel(lost.clone()), lost);
        assert_eq!(after_cancel(failed(Reason::ConnectionLost)), End::Cancelled);
    }
}
