//! What must be true after any attempt, whatever happened to it.

use super::fault::Expected;
use super::kit::{Shown, Tried};
use super::report::Broken;
use super::subject::Footprint;
use super::trial::Ended;
use crate::attempt::{End, Job};
use farrier_update::Outcome;
use farrier_update::device::Action;

/// What happened to a machine.
pub(super) struct Story<'a> {
    /// The job of the update.
    pub(super) job: &'a Job,
    /// The machine before the first attempt.
    pub(super) before: &'a Footprint,
    /// The machine after the last one.
    pub(super) after: &'a Footprint,
    /// The last attempt.
    pub(super) ended: &'a Ended,
    /// The actions whose answers got lost with a runner.
    pub(super) unanswered: &'a [Action],
}

/// Reports whether an installation may have been requested without an answer.
fn is_doubtful(unanswered: &[Action]) -> bool {
    unanswered.iter().any(|action| action.verb.is_work())
}

impl Story<'_> {
    /// Checks an update that had no fault but a lost runner.
    pub(super) fn continued(&self) -> Tried<Shown> {
        let doubtful = is_doubtful(self.unanswered);
        self.update(if doubtful { Expected::AtMostOnce } else { Expected::Updated })
    }

    /// Checks an update that may end in any way.
    pub(super) fn any(&self) -> Tried<Shown> {
        self.lawful(None)
    }

    /// Checks an update.
    pub(super) fn update(&self, expected: Expected) -> Tried<Shown> {
        self.lawful(Some(expected))
    }

    fn lawful(&self, expected: Option<Expected>) -> Tried<Shown> {
        let outcome = self.outcome();
        let installed = self.after.installed.saturating_sub(self.before.installed);
        let wanted = self.job.components.first().map_or("", |component| component.version.as_str());
        let is_wanted = self.after.version == wanted;
        let said = self.said();
        let is_good = matches!(outcome, Some(Outcome::Updated | Outcome::UpToDate));
        let wrong = match expected {
            _ if installed > 1 => Some(format!("installed {installed} times; {said}")),
            _ if is_good && !is_wanted => {
                Some(format!("{said}, and the machine has version {}", self.after.version))
            }
            _ if !is_good && is_wanted && outcome != Some(Outcome::Unverified) => {
                Some(format!("{said}, and the machine has the wanted version"))
            }
            Some(Expected::Updated) if !is_good => Some(format!("not updated: {said}")),
            Some(Expected::AtMostOnce) if !is_good && installed == 0 && outcome.is_none() => {
                Some(format!("no result: {said}"))
            }
            Some(Expected::NotUpdated) if is_good || installed > 0 => {
                Some(format!("installed all the same: {said}"))
            }
            Some(Expected::Updated | Expected::AtMostOnce | Expected::NotUpdated) | None => None,
        };
        if let Some(wrong) = wrong {
            return Err(Broken::Failed(wrong));
        }
        let is_left = self.nothing_is_left()?;
        Ok(Shown { is_unverified: outcome == Some(Outcome::Unverified), is_left })
    }

    /// Checks an attempt that installs nothing.
    pub(super) fn untouched(&self) -> Tried<Shown> {
        let Footprint { version, installed, restarts, left: _ } = self.before;
        let same = (&self.after.version, &self.after.installed, &self.after.restarts);
        if same != (version, installed, restarts) {
            let words = format!("changed from {:?} to {:?}; {}", self.before, self.after, self.said());
            return Err(Broken::Failed(words));
        }
        Ok(Shown { is_unverified: false, is_left: self.nothing_is_left()? })
    }

    /// Checks that nothing is left, or that the driver says so where it cannot know better. Returns the latter.
    pub(super) fn nothing_is_left(&self) -> Tried<bool> {
        let view = &self.ended.view;
        let says = match &view.clean {
            Some(Ok(())) => "that nothing is left".to_owned(),
            Some(Err(failure)) => format!("`{}`", failure.message),
            None => "nothing about it".to_owned(),
        };
        let left = self.after.left.join(", ");
        let may_be_left = self.unanswered.iter().any(|action| action.verb.inverse().is_some());
        match (&view.clean, left.is_empty()) {
            (Some(Ok(())), true) => Ok(false),
            // Where nothing was put, no second look is needed.
            (None, true) if !view.deploying => Ok(false),
            (Some(Err(_)), _) if may_be_left && !view.leftovers.is_empty() => Ok(true),
            (_, true) => Err(Broken::Failed(format!("nothing is left, and the driver says {says}"))),
            (_, false) => Err(Broken::Failed(format!("left on the machine: {left}; the driver says {says}"))),
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        let name = self.job.components.first().map(|component| &component.name);
        let result = self.ended.view.results.iter().find(|result| Some(&result.name) == name);
        result.map(|result| result.outcome)
    }

    /// What the driver says about the attempt.
    fn said(&self) -> String {
        let end = match &self.ended.end {
            End::Finished(_) => "finished".to_owned(),
            End::Planned => "planned".to_owned(),
            End::Inventoried => "inventoried".to_owned(),
            End::Cancelled => "cancelled".to_owned(),
            End::Failed(failure) => format!("failed ({}: {})", failure.reason, failure.message),
        };
        let results = self.ended.view.results.iter();
        let results =
            results.map(|result| format!(", {} {} {}", result.name, result.outcome, result.message));
        format!("the attempt ended as {end}{}", results.collect::<String>())
    }

    /// Fails unless the attempt ended so.
    pub(super) fn ended(&self, is_right: impl FnOnce(&End) -> bool) -> Tried<()> {
        if is_right(&self.ended.end) { Ok(()) } else { Err(Broken::Failed(self.said())) }
    }
}

/// Reports whether two looks at a machine, one before and one after a runner woke that was thought dead, show
/// the same.
pub(super) fn is_same(before: &Footprint, after: &Footprint) -> Tried<()> {
    if before == after {
        return Ok(());
    }
    Err(Broken::Failed(format!("the frozen runner woke and changed {before:?} to {after:?}")))
}
