//! Attempts that are left alone.

use crate::attempt::{End, Goal};
use crate::conformance::fault::Expected;
use crate::conformance::kit::{Kit, Shown, Tried};
use crate::conformance::law::Story;
use crate::conformance::report::Broken;
use crate::conformance::trial::{Ended, Trial};
use farrier_update::Outcome;

/// Otherwise a fleet could not be looked at without a risk, and each look would cost a session.
pub(super) async fn inventory(kit: &Kit<'_>) -> Tried {
    kit.trial(async |trial| {
        let ended = without_change(trial, Goal::Inventory, |end| *end == End::Inventoried).await?;
        let Some(survey) = ended.view.survey else { return Err(Broken::failed("no inventory is shown")) };
        if survey.packages.is_empty() && survey.firmware.is_empty() {
            return Err(Broken::failed("the inventory is empty"));
        }
        Ok(survey.extent())
    })
    .await
}

/// Otherwise a plan, which people make before they ask for permission, would be the change itself.
pub(super) async fn plan(kit: &Kit<'_>) -> Tried {
    kit.update(async |trial| {
        let ended = without_change(trial, Goal::Plan, |end| *end == End::Planned).await?;
        let changes = ended.view.plan.map_or(0, |plan| plan.changes());
        if changes == 1 {
            Ok(String::new())
        } else {
            Err(Broken::failed(format!("{changes} changes, not 1")))
        }
    })
    .await
}

/// The main job: the version is installed once, the machine shows it, and nothing stays.
pub(super) async fn update(kit: &Kit<'_>) -> Tried {
    kit.update(async |trial| {
        once(trial).await?;
        Ok(match trial.log.asked {
            0 => format!("{} states", trial.log.shown),
            asked => format!("{asked} entries"),
        })
    })
    .await
}

/// Otherwise every run would install everything again, and restart the machines for it.
pub(super) async fn second_update(kit: &Kit<'_>) -> Tried {
    kit.update(async |trial| {
        once(trial).await?;
        trial.begin_another();
        let ended = without_change(trial, Goal::Update, |end| matches!(end, End::Finished(_))).await?;
        let outcomes: Vec<Outcome> = ended.view.results.iter().map(|result| result.outcome).collect();
        if outcomes == [Outcome::UpToDate] {
            Ok(String::new())
        } else {
            Err(Broken::failed(format!("{outcomes:?}")))
        }
    })
    .await
}

/// Otherwise the machines that a cancelled run has not reached yet would be touched all the same.
pub(super) async fn cancelled_before(kit: &Kit<'_>) -> Tried {
    kit.update(async |trial| {
        let before = trial.footprint().await;
        let stage = trial.stage(Goal::Update);
        let mut running = stage.begin(&[]);
        running.cancel(&mut trial.log);
        let end = running.end(&mut trial.log).await;
        let ended = Ended { end, view: stage.view.borrow().clone() };
        let after = trial.footprint().await;
        let job = trial.subject.job(Goal::Update);
        let story = Story { job: &job, before: &before, after: &after, ended: &ended, unanswered: &[] };
        story.ended(|end| *end == End::Cancelled)?;
        story.untouched()?;
        Ok(String::new())
    })
    .await
}

/// Installs the version.
async fn once(trial: &mut Trial<'_>) -> Tried<Shown> {
    let before = trial.footprint().await;
    let ended = trial.finish(Goal::Update).await;
    let after = trial.footprint().await;
    let job = trial.subject.job(Goal::Update);
    let story = Story { job: &job, before: &before, after: &after, ended: &ended, unanswered: &[] };
    story.update(Expected::Updated)
}

/// Makes an attempt that must change nothing and end so.
async fn without_change(
    trial: &mut Trial<'_>,
    goal: Goal,
    is_right: impl FnOnce(&End) -> bool,
) -> Tried<Ended> {
    let before = trial.footprint().await;
    let ended = trial.finish(goal).await;
    let after = trial.footprint().await;
    let job = trial.subject.job(goal);
    let story = Story { job: &job, before: &before, after: &after, ended: &ended, unanswered: &[] };
    story.ended(is_right)?;
    story.untouched()?;
    Ok(ended)
}
