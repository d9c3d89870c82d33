//! The tasks of one attempt, in order.

use super::limits::{self, Limit};
use super::record::{self, Surveyed};
use super::{Host, Session};
use crate::attempt::{self, End, Goal, ReturnPath, Step, Survey, Waiting};
use crate::engine_api::TaskEnd;
use crate::failure::Failure;
use crate::payload::Stored;
use farrier_protocol::{Event, EventBody, FailureCode, Reading, Task, Work};
use farrier_update::plan::{detections, programs};
use farrier_update::reason::remedy;
use farrier_update::{
    Action, ComponentResult, Installers, NodePlan, PlanInput, PlanItem, Reason, conclude, plan_node,
    summarize,
};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

impl<H: Host> Session<'_, H> {
    /// Does the work, and then makes the engine remove everything, whatever the result. `EngineApi` knows
    /// whether the engine has retired. An engine that makes no progress is abandoned.
    pub(super) async fn work(&self) -> Result<End, Failure> {
        let last = self.greeting().await?;
        self.update_blocked();
        let worked = self.tasks().await;
        if worked.as_ref().is_err_and(|failure| failure.reason == Reason::EngineStalled) {
            // The engine performs one task at a time and has not finished this one.
            return worked;
        }
        self.step(Step::CleaningUp);
        // The number distinguishes this task from the retire task of an engine that was killed while
        // retiring.
        if let Err(stalled) = self.perform(&format!("retire-{last}"), Work::Retire).await {
            // The result of the work is valid all the same; `run` sees that the engine has not retired.
            tracing::warn!(reason = %stalled.reason, "{}", stalled.message);
        }
        worked
    }

    /// Waits for the engine's greeting; returns the number of the last event of its journal. The limit counts
    /// from the launch: the steps before it have limits of their own.
    async fn greeting(&self) -> Result<u64, Failure> {
        let mut view = self.view.subscribe();
        let launched = async { view.wait_for(|v| v.engine.is_some()).await.map(|_| ()) };
        tokio::select! {
            last = self.engine_api.greeted() => return Ok(last),
            _ = launched => {}
        }
        loop {
            let greeted = limits::within(limits::GREETING, &self.stop, self.engine_api.greeted()).await;
            match greeted {
                Some(last) => return Ok(last),
                // An incompatible engine has to exit before another engine can greet; `keep` limits that
                // wait.
                None if self.engine_api.incompatible().is_some() && !self.is_stopped() => {}
                None => return Err(self.stalled("greeting", limits::GREETING)),
            }
        }
    }

    /// Returns the failure for a task that the engine did not finish within its limit.
    pub(super) fn stalled(&self, name: &str, limit: Limit) -> Failure {
        let (node, run) = (&self.job.node, &self.job.run);
        let limit = if self.is_stopped() {
            format!("{} min of the cancel", limit.after_cancel.as_secs() / 60)
        } else {
            format!("{} min", limit.at_most.as_secs() / 60)
        };
        Failure::new(
            Reason::EngineStalled,
            format!(
                "the engine on {node} answers, but did not finish its task {name} within {limit}; check /var/log/farrier/{run} and the processes on the machine, and which other users have root access to {node}"
            ),
        )
    }

    async fn tasks(&self) -> Result<End, Failure> {
        if self.job.goal == Goal::CleanUp || (self.is_stopped() && !self.has_begun()) {
            return Ok(End::Cancelled);
        }
        self.check_memory()?;
        self.step(Step::Surveying);
        let node_type = self.job.node_type.to_string();
        let wanted = detections(&self.job.components, &node_type);
        // An inventory lists all that there is; otherwise fwupd is asked only for what the baseline names.
        let fwupd = self.job.goal == Goal::Inventory;
        let programs = programs(&self.job.components);
        self.perform("survey", Work::Survey { packages: true, detect: wanted, fwupd, programs }).await?;
        let Surveyed { survey, readings, programs } = self.survey_of("survey")?;
        let survey = Arc::new(survey);
        self.view.send_modify(|v| v.survey = Some(survey.clone()));
        if self.job.goal == Goal::Inventory {
            let comparison = self.job.compare(&survey.facts, &programs, &readings);
            self.view.send_modify(|v| v.comparison = comparison);
            return Ok(End::Inventoried);
        }
        let plan = Arc::new(plan_node(&PlanInput {
            components: &self.job.components,
            node_type: &node_type,
            installers: Installers { machine: self.job.installers, any: &self.job.all_installers },
            facts: &survey.facts,
            programs: &programs,
            readings: &readings,
            force: self.job.force,
            on_failed_dependency: self.job.on_failed_dependency,
        }));
        let approved =
            self.job.approved.as_ref().filter(|_| self.job.goal != Goal::Plan && !self.has_begun());
        if let Some(failure) = approved.and_then(|approved| approved.refuses(&plan, &self.job.node)) {
            return Err(failure);
        }
        let is_disrupted = plan.changes() > 0;
        self.view.send_modify(|v| (v.plan, v.is_disrupted) = (Some(plan.clone()), is_disrupted));
        if self.job.goal == Goal::Plan {
            self.simulate(&plan).await?;
            return Ok(End::Planned);
        }
        if self.is_staging() {
            return Box::pin(self.prepare_staging(&plan, readings)).await;
        }
        if plan.changes() == 0 {
            // Nothing is installed, so the first survey is also the final one. What was installed earlier may
            // wait for a reboot.
            let results = self.results(&plan, &readings);
            return Box::pin(self.reboot_and_finish(&plan, results)).await;
        }
        self.wait_for_return_path().await;
        if let Some(failure) = self.withheld() {
            if !self.has_begun() {
                return Ok(self.withhold(&plan, &readings, &failure));
            }
            // The installation began while the engine could connect; stopping it halfway helps nobody.
            self.view.send_modify(|v| v.return_path = ReturnPath::Blocked { failure, fallback: true });
        }
        self.install(&plan).await
    }

    /// Asks the machine what packages from its repositories would change besides.
    async fn simulate(&self, plan: &NodePlan) -> Result<(), Failure> {
        let steps = plan.repository_steps();
        if steps.is_empty() {
            return Ok(());
        }
        self.perform("simulate", Work::Simulate { steps }).await?;
        let id = self.task_id("simulate");
        let events = self.engine_api.events_after(0);
        let found = events.iter().rev().find_map(|event| record::match_simulation(event, &id));
        self.view.send_modify(|v| v.simulations = found.unwrap_or_default());
        Ok(())
    }

    async fn install(&self, plan: &Arc<NodePlan>) -> Result<End, Failure> {
        let mut sizes: BTreeMap<String, u64> =
            self.fetch(plan).await?.into_iter().map(|(digest, stored)| (digest, stored.size)).collect();
        if self.is_stopped() && !self.has_begun() {
            return Ok(End::Cancelled);
        }
        let staged: BTreeMap<String, u64> = plan
            .installs()
            .filter_map(|item| self.staged(item.component.digest()?))
            .map(|staged| (staged.digest.clone(), staged.size))
            .collect();
        self.view.send_modify(|v| v.payloads_staged = staged.len());
        sizes.extend(staged);
        // What has begun goes on: stopping it halfway helps nobody.
        if !self.has_begun()
            && let Some(end) = self.drain().await?
        {
            return Ok(end);
        }
        self.step(Step::Applying { component: String::new() });
        let (steps, wait_seconds) = (plan.steps(&sizes), self.job.wait_seconds);
        self.perform("apply", Work::Apply { steps, wait_seconds }).await?;
        self.view.send_modify(|v| v.applied = true);
        self.step(Step::Verifying);
        let detect = plan.detections();
        self.perform("verify", Work::Survey { packages: true, detect, fwupd: false, programs: Vec::new() })
            .await?;
        let Surveyed { survey, readings, programs: _ } = self.survey_of("verify")?;
        self.view.send_modify(|v| v.survey = Some(Arc::new(survey)));
        let results = self.results(plan, &readings);
        Box::pin(self.reboot_and_finish(plan, results)).await
    }

    /// Fetches the payloads of what is installed from their sources, by digest, except those that are staged on the
    /// machine. Fetches no more after a cancel.
    pub(super) async fn fetch(&self, plan: &NodePlan) -> Result<BTreeMap<String, Stored>, Failure> {
        self.step(Step::Fetching);
        let mut fetched = BTreeMap::new();
        for item in plan.installs() {
            let Some(payload) = &item.component.payload else { continue };
            if self.staged(&payload.digest).is_some() {
                continue;
            }
            let source = self.job.source(&item.component, payload)?;
            let what = format!("the payload of component {}", source.component);
            let waiting = Waiting::new(Reason::InProgress, what, "the payload", source.limit());
            let ensured = Box::pin(self.tools.store.ensure(&source));
            let stored = tokio::select! {
                stored = self.shown(waiting, ensured) => stored,
                () = self.stopped() => break,
            };
            let stored = stored.map_err(|failure| self.explain_changed(&payload.digest, failure))?;
            fetched.insert(payload.digest.clone(), stored);
        }
        Ok(fetched)
    }

    /// Drains the machine before it is disrupted. Returns the end of an attempt that is cancelled meanwhile.
    pub(super) async fn drain(&self) -> Result<Option<End>, Failure> {
        if !self.drain.is_wanted() {
            return Ok(None);
        }
        match self.drain.before(self.view, self.stop.clone()).await {
            Ok(()) => Ok(None),
            Err(failure) if failure.reason == Reason::Cancelled => Ok(Some(End::Cancelled)),
            Err(failure) => Err(failure),
        }
    }

    /// Returns the results when nothing may be installed: only what the survey shows.
    fn withhold(&self, plan: &NodePlan, readings: &BTreeMap<String, Reading>, failure: &Failure) -> End {
        let blocked = Action::Blocked { why: failure.message.clone(), reason: failure.reason };
        let results: Vec<_> = plan
            .items
            .iter()
            .map(|item| {
                let installs = matches!(item.action, Action::Install { .. });
                let item =
                    if installs { &PlanItem { action: blocked.clone(), ..item.clone() } } else { item };
                conclude(item, None, readings.get(&item.component.name))
            })
            .collect();
        let verdict = summarize(&results);
        self.view.send_modify(|v| v.show_results(results));
        End::Finished(verdict)
    }

    /// Ends with these results.
    pub(super) fn end_with(&self, results: Vec<ComponentResult>) -> End {
        let verdict = summarize(&results);
        self.view.send_modify(|v| v.show_results(results));
        End::Finished(verdict)
    }

    #[tracing::instrument(name = "step", skip_all, fields(step = name))]
    pub(super) async fn perform(&self, name: &str, work: Work) -> Result<(), Failure> {
        let task = Task { id: self.task_id(name), work };
        if task.work != Work::Retire {
            self.ensure_own_engine(&task).await?;
        }
        let limit = limits::of(&task.work, &self.engine_api.events_after(0), &self.job.components);
        // The machine may be away for this long, in a reboot of this attempt or of an earlier one.
        let is_reboot = matches!(task.work, Work::Reboot { .. }) || self.reboot_under_way().is_some();
        let limit = if is_reboot { limit.longer_by(self.job.reboot.timeout) } else { limit };
        self.until(limit);
        let performed = self.engine_api.perform(task);
        let ended = limits::within(limit, &self.stop, performed).await;
        match ended.ok_or_else(|| self.stalled(name, limit))? {
            TaskEnd::Done => Ok(()),
            TaskEnd::Failed { code, component, message } => Err(self.task_failed(code, &component, &message)),
        }
    }

    /// Sets the deadline of the current task.
    fn until(&self, limit: Limit) {
        let until = attempt::now().after(limit.at_most);
        self.view.send_modify(|v| {
            v.task_until = Some(until);
            v.transfer = (v.step == Step::Applying { component: String::new() }).then(|| {
                let what = format!("the payloads to arrive on {}", self.job.node);
                Waiting::new(Reason::InProgress, what, "the payloads", limit.at_most)
            });
            if let Some(waiting) = &mut v.engine_waiting {
                waiting.until = waiting.until.or(Some(until));
            }
        });
    }

    /// Returns the id of a task; equal ids mean the same work. May be called only after the engine's journal
    /// is known.
    pub(super) fn task_id(&self, name: &str) -> String {
        let series = self.series.get_or_init(|| {
            let open = record::unfinished_series(&self.engine_api.events_after(0));
            open.unwrap_or_else(|| format!("a{}", self.job.attempt))
        });
        format!("{series}-{name}")
    }

    pub(super) fn survey_of(&self, name: &str) -> Result<Surveyed, Failure> {
        let id = self.task_id(name);
        let events = self.engine_api.events_after(0);
        let found = events.iter().rev().find_map(|event| record::match_survey(event, &id));
        drop(events);
        let surveyed = found.ok_or_else(|| {
            Failure::new(
                Reason::EngineFailed,
                format!("the engine on {} ended a survey without a result", self.job.node),
            )
        })?;
        let packages = self.engine_api.take_packages(&id);
        let survey = Survey { packages, ..surveyed.survey };
        Ok(Surveyed { survey, ..surveyed })
    }

    fn task_failed(&self, code: FailureCode, component: &str, message: &str) -> Failure {
        let what = if component.is_empty() { String::new() } else { format!(" (component {component})") };
        let (node, next) = (&self.job.node, remedy(code));
        Failure::new(Reason::from(code), format!("{node}{what}: {message}; nothing was installed; {next}"))
    }

    pub(super) fn step(&self, step: Step) {
        self.view.send_modify(|v| v.step = step);
    }

    fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Whether an installation or a reboot has begun, perhaps under an earlier operator process. Its result must
    /// then be reported even if the run is cancelled.
    pub(super) fn has_begun(&self) -> bool {
        let (apply, reboot) = (self.task_id("apply"), self.task_id(super::reboot::TASK));
        let events = self.engine_api.events_after(0);
        #[expect(clippy::wildcard_enum_match_arm, reason = "exactly these change the machine")]
        events.iter().any(|event| match &event.body {
            EventBody::TaskStarted { task, .. } => *task == apply,
            EventBody::RebootBegun { task, .. } => *task == reboot,
            _ => false,
        })
    }

    pub(super) async fn stopped(&self) {
        if self.stop.clone().wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Forwards the cancellation to the engine, and the engine's reports to the view.
    pub(super) async fn follow(&self) -> Infallible {
        let mut stop = self.stop.clone();
        let mut seen = 0;
        let mut cancelled = false;
        let (mut greeted, mut warned) = (false, false);
        loop {
            tokio::select! {
                stopped = stop.wait_for(|stop| *stop), if !cancelled => {
                    cancelled = true;
                    if stopped.is_ok() {
                        self.engine_api.cancel();
                    }
                }
                _ = self.engine_api.greeted(), if !greeted => greeted = true,
                dial = self.engine_api.untrusted_peer(), if !warned => {
                    warned = true;
                    self.report_untrusted_peer(&dial);
                }
                () = self.engine_api.wait_for_events_after(seen), if greeted => {
                    for event in self.engine_api.events_after(seen) {
                        seen = event.seq;
                        self.show(&event);
                    }
                }
            }
        }
    }

    fn show(&self, event: &Event) {
        if matches!(event.body, EventBody::RebootRequested { .. }) && !self.engine_api.is_replayed(event.seq)
        {
            self.reboot_requested();
        }
        let apply = self.task_id("apply");
        let leases = u32::try_from(self.engine_api.leases()).unwrap_or(u32::MAX);
        // The clock of the machine may have been set since the hello. An old event says nothing about that.
        let ahead = if self.engine_api.is_replayed(event.seq) {
            self.engine_api.peer().map_or(0, |peer| peer.ahead)
        } else {
            attempt::ahead_at_arrival(event.at)
        };
        self.view.send_modify(|v| {
            v.leases = leases;
            #[expect(clippy::wildcard_enum_match_arm, reason = "the view shows exactly these")]
            match &event.body {
                // An operator that takes over receives old events again; their steps may have ended.
                EventBody::StepStarted { task, component, .. } if *task == apply && !v.applied => {
                    v.step = Step::Applying { component: component.clone() };
                }
                EventBody::PayloadVerified { task, .. } if *task == apply => v.payloads_verified += 1,
                EventBody::StepOverdue { task, component, ended: false } if *task == apply => {
                    let waiting = Waiting::overdue(component, event.at, ahead, v.task_until);
                    (v.overdue, v.engine_waiting) = (Some(component.clone()), Some(waiting));
                }
                EventBody::StepFinished { task, .. } if *task == apply => {
                    (v.overdue, v.engine_waiting) = (None, None);
                }
                EventBody::Waiting { wait } => {
                    let until = v.task_until;
                    v.engine_waiting = wait.as_ref().map(|wait| Waiting::of_engine(wait, ahead, until));
                }
                _ => {}
            }
        });
    }
}
