//! Updates of machines with faults.

use crate::attempt::Goal;
use crate::conformance::fault::{Fault, When};
use crate::conformance::kit::{Kit, Tried};
use crate::conformance::law::Story;
use crate::conformance::report::Broken;
use crate::conformance::trial::{Ended, Moment, Reached, Trial};

/// Otherwise an update on a machine with this fault installs twice, is believed although it has not happened, or
/// fails although it has.
pub(super) async fn with(kit: &Kit<'_>, fault: Fault) -> Tried {
    kit.update(async |trial| {
        let subject = trial.subject.clone();
        let happens = subject.fault(fault).map_err(Broken::Skipped)?;
        let before = trial.footprint().await;
        let ended = match fault.when() {
            When::Before => {
                happens.await;
                trial.finish(Goal::Update).await
            }
            When::AtWork => at_work(trial, happens).await?,
        };
        if !subject.has_happened(fault) {
            return Err(Broken::failed("the fault did not happen"));
        }
        let after = trial.footprint().await;
        let job = trial.subject.job(Goal::Update);
        // An answer that was lost is lost, whoever waits for it.
        let unanswered = trial.log.unanswered();
        let story =
            Story { job: &job, before: &before, after: &after, ended: &ended, unanswered: &unanswered };
        let shown = story.update(fault.expected())?;
        Ok(if shown.is_unverified { "ended as Unverified".to_owned() } else { String::new() })
    })
    .await
}

/// Makes an attempt, during which the fault happens while the machine installs.
async fn at_work(trial: &mut Trial<'_>, happens: impl Future<Output = ()>) -> Tried<Ended> {
    let stage = trial.stage(Goal::Update);
    let mut running = stage.begin(&[]);
    let Reached::Moment(unanswered) = running.until(&mut trial.log, Some(Moment::AtWork)).await else {
        return Err(Broken::failed("the machine was never seen at work"));
    };
    happens.await;
    if let Some(unanswered) = unanswered {
        unanswered.answer();
    }
    let end = running.end(&mut trial.log).await;
    match trial.ended(end, &stage) {
        Some(ended) => Ok(ended),
        None => Ok(trial.finish(Goal::Update).await),
    }
}
