//! Reboots the machine once after the installation, waits for it, and lets the second inventory follow.
//!
//! ```text
//! verify ─► needed? ─► the engine reboots the machine ─► the machine answers again ─► verify-2 ─► conclude
//! ```
//!
//! The engine requests the reboot and proves it by the boot id (`Work::Reboot`); here is what a runner does
//! meanwhile. The deadline is in the status before the machine goes down, so that another process that
//! continues the attempt waits as long as this one would have.

use super::record::{self, Surveyed};
use super::{Host, Session};
use crate::attempt::{self, End, Reboot, RecordedReboot, Step, Survey, Waiting};
use crate::failure::Failure;
use farrier_protocol::{EventBody, NoReboot, Reading, Work};
use farrier_update::reboot::{
    check_kernels, check_pending, conclude_without, is_needed, mark_effective, mark_pending, why_not,
};
use farrier_update::{ComponentResult, Millis, NodeName, NodePlan, Reason};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Name of the task.
pub(super) const TASK: &str = "reboot";

/// Name of the survey after the reboot.
const SURVEY: &str = "verify-2";

/// Pause after a rejected sign-in while the machine boots.
const REJECTED_INTERVAL: Duration = Duration::from_secs(20);

/// How often a machine that is going down or booting may reject the credentials that it accepted before: users
/// other than root are rejected then (`/run/nologin`). Few enough not to lock an account.
const MAX_REJECTIONS: u32 = 3;

/// Attempts to reach a machine that is being rebooted.
#[derive(Debug, Default)]
pub(super) struct Tries {
    count: u32,
    rejections: u32,
}

impl<H: Host> Session<'_, H> {
    /// Reboots the machine if the run asks for it and the results need it, and concludes the attempt.
    pub(super) async fn reboot_and_finish(
        &self,
        plan: &Arc<NodePlan>,
        results: Vec<ComponentResult>,
    ) -> Result<End, Failure> {
        let why = match self.reboot(plan, &results).await? {
            None => return Ok(self.end_with(results)),
            Some(Ok(())) => return self.verify_again(plan, &results).await,
            Some(Err(why)) => why,
        };
        let (reason, message) = why_not(&NodeName(self.job.node.clone()), &why);
        let (results, verdict) = conclude_without(results, reason, &message);
        self.view.send_modify(|v| {
            v.reboot = Some(Reboot::Failed(Failure::new(reason, message)));
            v.show_results(results);
        });
        Ok(End::Finished(verdict))
    }

    /// Reboots the machine. `None`: no reboot is asked for.
    async fn reboot(
        &self,
        plan: &NodePlan,
        results: &[ComponentResult],
    ) -> Result<Option<Result<(), NoReboot>>, Failure> {
        let order = &self.job.reboot;
        // A reboot that has begun is followed to its end, even if the run is cancelled.
        let has_begun = self.engine_api.knows_task(&self.task_id(TASK));
        if !has_begun {
            if !is_needed(order.policy, &self.without_rebooted(plan, results)) {
                return Ok(None);
            }
            if *self.stop.borrow() || self.drain_for_reboot(results).await? {
                return Ok(Some(Err(NoReboot::Cancelled)));
            }
        }
        self.step(Step::Rebooting);
        let since = attempt::now();
        let wait = Duration::from_secs(self.job.wait_seconds);
        let until = since.after(wait.saturating_add(order.delay).saturating_add(order.timeout));
        let boot_id = self.engine_api.peer().and_then(|peer| peer.boot_id);
        self.view.send_modify(|v| {
            // What is known now, if the machine does not come back.
            v.show_results(results.to_vec());
            v.reboot.get_or_insert(Reboot::Underway { since, until, requested: false, boot_id });
        });
        self.limit_to_recorded_boot();
        // Without a record, another process would not wait for the machine.
        let mut recorded = self.reboot_recorded.clone();
        tokio::select! {
            _ = recorded.wait_for(|is| *is) => {}
            () = self.stopped(), if !has_begun => return Ok(Some(Err(NoReboot::Cancelled))),
        }
        let work = Work::Reboot {
            delay_seconds: order.delay.as_secs(),
            message: order.message.clone(),
            wait_seconds: self.job.wait_seconds,
            ignore_inhibitors: order.ignore_inhibitors,
        };
        tokio::select! {
            performed = self.perform(TASK, work) => performed?,
            () = self.engine_api.forgotten_reboot() => return Err(self.forgotten_reboot()),
        }
        let id = self.task_id(TASK);
        let events = self.engine_api.events_after(0);
        #[expect(clippy::wildcard_enum_match_arm, reason = "exactly these end a reboot")]
        let end = events.iter().rev().find_map(|event| match &event.body {
            EventBody::Rebooted { task, .. } if *task == id => Some(Ok(())),
            EventBody::NotRebooted { task, why } if *task == id => Some(Err(why.clone())),
            _ => None,
        });
        let end = end.unwrap_or(Err(NoReboot::Unknown));
        if end.is_ok() {
            self.view.send_modify(|v| v.reboot = Some(Reboot::Done));
        }
        Ok(Some(end))
    }

    /// Drains the machine, if that was not done before the installation. Returns whether the run was cancelled meanwhile.
    async fn drain_for_reboot(&self, results: &[ComponentResult]) -> Result<bool, Failure> {
        let drained = self.drain().await.map(|end| end.is_some());
        if let Err(failure) = &drained {
            let (results, _) = conclude_without(results.to_vec(), failure.reason, &failure.message);
            self.view.send_modify(|v| {
                v.reboot = Some(Reboot::Failed(failure.clone()));
                v.show_results(results);
            });
        }
        drained
    }

    /// Returns the results without those for which the machine was rebooted already: an earlier attempt has installed
    /// the component.
    fn without_rebooted(&self, plan: &NodePlan, results: &[ComponentResult]) -> Vec<ComponentResult> {
        let events = self.engine_api.events_after(0);
        let history = record::StepHistory::by(&events, &self.task_id("apply"));
        let is_rebooted = |result: &ComponentResult| {
            let item = plan.items.iter().find(|item| item.component.name == result.name);
            item.is_some_and(|item| history.is_rebooted(item))
        };
        results.iter().filter(|result| !is_rebooted(result)).cloned().collect()
    }

    /// Takes the inventory after the reboot: the versions, and the running kernel. `before` are the results before
    /// the reboot.
    async fn verify_again(&self, plan: &Arc<NodePlan>, before: &[ComponentResult]) -> Result<End, Failure> {
        self.step(Step::Verifying);
        let detect = plan.detections();
        self.perform(SURVEY, Work::Survey { packages: true, detect, fwupd: false, programs: Vec::new() })
            .await?;
        let Surveyed { survey, readings, programs: _ } = self.survey_of(SURVEY)?;
        let survey = Arc::new(survey);
        self.view.send_modify(|v| v.survey = Some(survey.clone()));
        let mut results = self.results(plan, &readings);
        mark_effective(&mut results, before);
        let item = |name: &str| plan.items.iter().find(|item| item.component.name == name);
        let reading = |name: &str| readings.get(name).cloned();
        check_kernels(&mut results, item, reading, &survey.packages, &survey.facts.kernel);
        // What is still pending now is firmware.
        check_pending(&mut results, before);
        Ok(self.end_with(results))
    }

    /// Returns the results of all components by what the engine has reported so far, and by the latest survey.
    pub(super) fn results(&self, plan: &NodePlan, after: &BTreeMap<String, Reading>) -> Vec<ComponentResult> {
        let events = self.engine_api.events_after(0);
        let history = record::StepHistory::by(&events, &self.task_id("apply"));
        let mut results: Vec<_> =
            plan.items.iter().map(|item| history.conclude(item, after.get(&item.component.name))).collect();
        if let Some(survey) = self.view.borrow().survey.clone() {
            let item = |name: &str| plan.items.iter().find(|item| item.component.name == name);
            let reading = |name: &str| after.get(name).cloned();
            let Survey { packages, facts, .. } = &*survey;
            mark_pending(&mut results, item, reading, packages, facts, &self.job.installed_earlier);
        }
        results
    }

    /// Shows the reboot that an earlier process had begun.
    pub(super) fn resume_reboot(&self) {
        if let Some(RecordedReboot { since, until, boot_id }) = self.job.rebooting.clone() {
            let underway = Reboot::Underway { since, until, requested: true, boot_id };
            self.view.send_modify(|v| v.reboot = Some(underway));
            self.limit_to_recorded_boot();
        }
    }

    /// Lets only engines have the reboot that are in the recorded boot, or remember it.
    fn limit_to_recorded_boot(&self) {
        if let Some(Reboot::Underway { boot_id: Some(boot_id), .. }) = &self.view.borrow().reboot {
            self.engine_api.reboot_ends(boot_id);
        }
    }

    /// Fails if the machine was rebooted by an earlier process and remembers nothing.
    pub(super) fn check_memory(&self) -> Result<(), Failure> {
        if self.engine_api.has_forgotten_reboot() { Err(self.forgotten_reboot()) } else { Ok(()) }
    }

    /// Ends the reboot of a machine that has lost everything by it.
    fn forgotten_reboot(&self) -> Failure {
        let node = &self.job.node;
        let failure = Failure::new(
            Reason::RebootFailed,
            format!(
                "{node} was rebooted, and has lost the engine's journal by it: what is written to it does not outlive \
                 a reboot; it is not rebooted again; put the components into the image from which it boots"
            ),
        );
        self.view.send_modify(|v| v.reboot = Some(Reboot::Failed(failure.clone())));
        failure
    }

    /// Shows that the machine was told to reboot: from now on it may be away.
    pub(super) fn reboot_requested(&self) {
        let until = attempt::now().after(self.job.reboot.timeout);
        self.view.send_modify(|v| {
            if let Some(Reboot::Underway { until: deadline, requested, .. }) = &mut v.reboot {
                (*deadline, *requested) = (until, true);
            }
        });
    }

    /// Returns since when the machine is being rebooted, and until when it is waited for.
    pub(super) fn reboot_under_way(&self) -> Option<(Millis, Millis)> {
        match self.view.borrow().reboot {
            Some(Reboot::Underway { since, until, .. }) => Some((since, until)),
            Some(Reboot::Done | Reboot::Failed(_)) | None => None,
        }
    }

    /// Returns the wait for the machine while it is being rebooted.
    pub(super) fn reboot_wait(&self) -> Option<Waiting> {
        let (since, until) = self.reboot_under_way()?;
        let what = format!("{} to come back from its reboot", self.job.node);
        let short = "the machine".into();
        Some(Waiting { reason: Reason::Rebooting, what, short, holder: None, since, until: Some(until) })
    }

    /// Decides after a failed attempt to reach a machine that is being rebooted: how long to pause before the next
    /// one, or the failure that ends the attempt. `None`: no reboot is under way.
    pub(super) fn after_failed_try(
        &self,
        failure: &Failure,
        tries: &mut Tries,
    ) -> Option<Result<Duration, Failure>> {
        let (since, until) = self.reboot_under_way()?;
        tries.count += 1;
        let rejected = matches!(
            failure.reason,
            Reason::PasswordRejected
                | Reason::KeyRejected
                | Reason::AccountLocked
                | Reason::AuthenticationFailed
        );
        tries.rejections += u32::from(rejected);
        let is_expected = failure.reason.retryable() || (rejected && tries.rejections < MAX_REJECTIONS);
        if !is_expected {
            return Some(Err(failure.clone()));
        }
        let (node, now) = (&self.job.node, attempt::now());
        if now >= until {
            let waited = now.since(since).as_secs();
            let timed_out = Failure::new(
                Reason::RebootTimedOut,
                format!(
                    "{node} did not come back from its reboot: Farrier has waited for {waited} s since {since}, until {until}, and tried {} times to sign in at its addresses; the last time: {}; look at the console of the machine, or raise spec.reboot.timeout",
                    tries.count, failure.message
                ),
            );
            self.view.send_modify(|v| {
                let results = std::mem::take(&mut v.results);
                (v.results, _) = conclude_without(results, timed_out.reason, &timed_out.message);
                v.reboot = Some(Reboot::Failed(timed_out.clone()));
            });
            return Some(Err(timed_out));
        }
        let words = format!(
            "{node} is being rebooted since {since}; Farrier waits for it until {until} at most; the last attempt to reach it: {}",
            failure.message
        );
        self.view.send_modify(|v| v.lost = Some(Failure::new(Reason::Rebooting, words)));
        Some(Ok(if rejected { REJECTED_INTERVAL } else { super::connect::RECONNECT_INTERVAL }))
    }
}
