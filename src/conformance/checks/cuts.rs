//! Updates that are cancelled, killed or frozen at each moment.

use crate::attempt::{End, Goal, Step};
use crate::conformance::kit::{Kit, Shown, Tried};
use crate::conformance::law::{Story, is_same};
use crate::conformance::report::Broken;
use crate::conformance::subject::Journal;
use crate::conformance::trial::{Ended, Moment, Reached, Trial};
use tokio::time::Instant;

/// Otherwise a run that is cancelled begins further work, hangs, or leaves half of its things behind.
pub(super) async fn cancelled(kit: &Kit<'_>) -> Tried {
    let is_chosen = |moment: &Moment| !matches!(moment, Moment::Asked(_));
    kit.at_each_moment(is_chosen, async |trial, moment| {
        let before = trial.footprint().await;
        let stage = trial.stage(Goal::Update);
        let mut running = stage.begin(&[]);
        let mut has_begun = true;
        let end = match running.until(&mut trial.log, Some(moment)).await {
            Reached::End(end) => end,
            Reached::Moment(unanswered) => {
                has_begun = trial.log.has_begun() || is_at_work(&stage.view.borrow().step);
                running.cancel(&mut trial.log);
                if let Some(unanswered) = unanswered {
                    unanswered.answer();
                }
                running.end(&mut trial.log).await
            }
        };
        let ended = Ended { end, view: stage.view.borrow().clone() };
        let after = trial.footprint().await;
        if !trial.log.begun_late.is_empty() {
            return Err(Broken::failed(format!("after the cancel: {}", trial.log.begun_late.join(", "))));
        }
        let job = trial.subject.job(Goal::Update);
        let story = Story { job: &job, before: &before, after: &after, ended: &ended, unanswered: &[] };
        story.ended(|end| matches!(end, End::Cancelled | End::Finished(_)))?;
        if has_begun { story.any() } else { story.untouched() }
    })
    .await
}

/// Reports whether the work may have begun on a machine that keeps its own journal.
fn is_at_work(step: &Step) -> bool {
    match step {
        Step::Awaiting | Step::Connecting | Step::Deploying | Step::Surveying => false,
        Step::Fetching
        | Step::Draining
        | Step::Applying { .. }
        | Step::Staging
        | Step::Rebooting
        | Step::Verifying
        | Step::CleaningUp => true,
    }
}

/// Otherwise an operator that dies costs a machine: an image is written twice, or a session is left for ever.
pub(super) async fn killed(kit: &Kit<'_>) -> Tried {
    kit.at_each_moment(
        |_| true,
        async |trial, moment| {
            let before = trial.footprint().await;
            trial.cut(Goal::Update, moment).await;
            let unanswered = trial.log.unanswered();
            trial.take_over();
            let ended = trial.finish(Goal::Update).await;
            let after = trial.footprint().await;
            let job = trial.subject.job(Goal::Update);
            Story { job: &job, before: &before, after: &after, ended: &ended, unanswered: &unanswered }
                .continued()
        },
    )
    .await
}

/// Otherwise a run that is deleted while its operator is dead leaves things that nobody knows of.
pub(super) async fn killed_and_cleaned(kit: &Kit<'_>) -> Tried {
    kit.at_each_moment(
        |_| true,
        async |trial, moment| {
            let before = trial.footprint().await;
            trial.cut(Goal::Update, moment).await;
            let unanswered = trial.log.unanswered();
            trial.take_over();
            let ended = trial.finish(Goal::CleanUp).await;
            let after = trial.footprint().await;
            let installed = after.installed.saturating_sub(before.installed);
            if installed > 1 {
                return Err(Broken::failed(format!("installed {installed} times")));
            }
            let job = trial.subject.job(Goal::CleanUp);
            let story =
                Story { job: &job, before: &before, after: &after, ended: &ended, unanswered: &unanswered };
            Ok(Shown { is_unverified: false, is_left: story.nothing_is_left()? })
        },
    )
    .await
}

/// Otherwise an operator whose host hung acts beside its successor when it wakes, hours later.
pub(super) async fn frozen(kit: &Kit<'_>) -> Tried {
    can_freeze(kit)?;
    kit.at_each_moment(is_recorded, async |trial, moment| freeze(kit, trial, moment, Wakes::Afterwards).await)
        .await
}

/// Otherwise an operator that hung for a minute acts beside its successor while that one works.
pub(super) async fn frozen_and_woken_early(kit: &Kit<'_>) -> Tried {
    can_freeze(kit)?;
    kit.at_each_moment(is_recorded, async |trial, moment| freeze(kit, trial, moment, Wakes::Meanwhile).await)
        .await
}

/// When a frozen runner wakes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wakes {
    /// When the successor is done.
    Afterwards,
    /// When the successor begins.
    Meanwhile,
}

/// Freezes an attempt with a permission in its hand, and has a successor do the work.
async fn freeze(kit: &Kit<'_>, trial: &mut Trial<'_>, moment: Moment, wakes: Wakes) -> Tried<Shown> {
    let before = trial.footprint().await;
    let stage = trial.stage(Goal::Update);
    let mut running = stage.begin(&[]);
    let reached = running.until(&mut trial.log, Some(moment)).await;
    let until = Instant::now() + kit.bench.hold();
    match reached {
        Reached::Moment(Some(unanswered)) => unanswered.answer_until(until),
        Reached::Moment(None) => {}
        // This update needed fewer entries than the one that the moments were counted in.
        Reached::End(_) => return Ok(Shown::default()),
    }
    // sleep: nobody takes over before the hold on a Lease has passed.
    tokio::time::sleep_until(until).await;
    let unanswered = trial.log.unanswered();
    trial.take_over();
    let ended = match wakes {
        Wakes::Afterwards => {
            let ended = trial.finish(Goal::Update).await;
            let at_rest = trial.footprint().await;
            running.wake().await;
            is_same(&at_rest, &trial.footprint().await)?;
            ended
        }
        Wakes::Meanwhile => tokio::join!(trial.finish(Goal::Update), running.wake()).0,
    };
    let after = trial.footprint().await;
    let job = trial.subject.job(Goal::Update);
    Story { job: &job, before: &before, after: &after, ended: &ended, unanswered: &unanswered }.continued()
}

/// The moments after which an attempt has a permission in its hand.
fn is_recorded(moment: &Moment) -> bool {
    matches!(moment, Moment::Stored(_))
}

fn can_freeze(kit: &Kit<'_>) -> Tried<()> {
    match kit.bench.journal() {
        Journal::Logbook => Ok(()),
        Journal::Machine => Err(Broken::Skipped(
            "the engine on the machine keeps the journal, and the runner ends an attempt whose Lease is lost"
                .into(),
        )),
    }
}
