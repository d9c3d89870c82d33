//! How an attempt ends.

use super::super::{Device, Reading, kept, outcome, parts};
use super::Walk;
use crate::attempt::logbook::Halt;
use crate::attempt::{End, Goal};
use crate::failure::Failure;
use farrier_update::device::{ComponentEnd, Conclusion, DeviceEnd, Progress};
use farrier_update::{ComponentResult, Reason, summarize};

impl<D: Device> Walk<'_, D> {
    /// Returns the end of an attempt that another runner continues, or nobody.
    pub(super) fn halted(&self, halt: Halt) -> End {
        match halt {
            Halt::Cancelled => End::Cancelled,
            Halt::OtherRunner | Halt::LeaseLost | Halt::Gone => {
                End::Failed(Failure::new(Reason::ConnectionLost, format!("{}: {halt}", self.job.node)))
            }
        }
    }

    pub(super) fn conclude(self, conclusion: &Conclusion) -> End {
        let results = self.results(conclusion);
        let clean = outcome::clean(&self.job.node, &conclusion.leftovers);
        self.desk.view.send_modify(|v| {
            v.applied = v.plan.is_some() && self.job.goal == Goal::Update;
            v.fetches_by = None;
            v.results.clone_from(&results);
            v.leases = u32::try_from(conclusion.leftovers.len()).unwrap_or(u32::MAX);
            v.leftovers = conclusion.leftovers.iter().map(outcome::in_words).collect();
            v.kept = conclusion.kept.iter().map(kept::in_words).collect();
            v.clean = Some(clean);
        });
        let unreached = || {
            let words = format!("{} does not answer", self.job.node);
            self.trouble.clone().unwrap_or_else(|| Failure::new(Reason::ConnectionLost, words))
        };
        if (conclusion.end, self.job.goal) == (DeviceEnd::Succeeded, Goal::Inventory)
            && let Some(latest) = &self.latest
        {
            let readings = outcome::readings(&self.job.components, latest);
            let comparison = self.job.compare(&latest.survey.facts, &[], &readings);
            self.desk.view.send_modify(|v| v.comparison = comparison);
        }
        let is_planned = self.plan.is_some();
        match (conclusion.end, self.job.goal) {
            (DeviceEnd::Away | DeviceEnd::Refused(_), _) => End::Failed(unreached()),
            (_, Goal::CleanUp) | (DeviceEnd::Cancelled, Goal::Inventory | Goal::Plan) => End::Cancelled,
            (DeviceEnd::Succeeded, Goal::Inventory) => End::Inventoried,
            (DeviceEnd::Succeeded, Goal::Plan) => End::Planned,
            (DeviceEnd::Cancelled, Goal::Update) if results.is_empty() => End::Cancelled,
            (DeviceEnd::Succeeded | DeviceEnd::Failed | DeviceEnd::Cancelled, Goal::Update) if is_planned => {
                // What is left to do is not done because the device could not be drained.
                self.undrained.map_or_else(|| End::Finished(summarize(&results)), End::Failed)
            }
            (DeviceEnd::Failed, _) | (_, Goal::Update) => End::Failed(self.not_read()),
        }
    }

    /// Notes what tasks say about parts: one that waits for a restart says so only afterwards.
    pub(super) fn note_parts(&mut self, reading: &Reading) {
        for (action, parts) in &reading.parts {
            if let Some(component) = self.component_of(*action) {
                let report = self.reports.entry(component).or_insert_with(|| Progress::Done.into());
                report.parts.clone_from(parts);
            }
        }
    }

    /// Returns the result of each component.
    fn results(&self, conclusion: &Conclusion) -> Vec<ComponentResult> {
        let mut refusals = self.refusals.clone();
        let others = self.latest.as_ref().and_then(Reading::for_others);
        let busy = conclusion.components.iter().filter(|(_, end)| *end == ComponentEnd::Busy);
        if let Some((reason, words)) = others {
            let words =
                format!("{} works for another manager: {words}; wait until that has ended", self.job.node);
            refusals.extend(busy.map(|(name, _)| (name.clone(), Failure::new(reason, words.clone()))));
        }
        for (name, end) in &conclusion.components {
            if let ComponentEnd::Obstructed(obstacle) = end {
                let said = self.latest.as_ref().and_then(|latest| latest.obstacles.get(obstacle));
                let words = said.cloned().unwrap_or_default();
                refusals.insert(name.clone(), Failure::new(obstacle.reason(), words));
            }
        }
        let (plan, node) = (self.plan.as_deref(), &self.job.node);
        let mut results = outcome::results(plan, conclusion, &self.readings, &refusals, &self.reports, node);
        if let (Some(before), Some(latest)) = (&self.before, &self.latest) {
            let (before, after) = (&before.firmware, &latest.survey.firmware);
            parts::add(&mut results, &self.job.components, &self.reports, before, after);
        }
        results
    }

    /// Returns the failure of a device whose readings do not suffice for a plan.
    fn not_read(&self) -> Failure {
        let node = &self.job.node;
        Failure::new(
            Reason::DeviceUnavailable,
            format!(
                "the firmware inventory of {node} could not be read three times alike, and nothing was changed; look at the load and the log of its management processor"
            ),
        )
    }
}
