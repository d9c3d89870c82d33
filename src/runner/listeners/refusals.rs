//! Reports rejected connections as events of the run.

use super::Context;
use crate::api::UpdateRun;
use crate::callback::{Cause, Refusal, Refusals};
use crate::publish::Action;
use farrier_update::Reason;
use kube::Resource;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Minimum time between two events of one cause.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);

/// Connections that are rejected within this time after the first are reported in the same event: most
/// of a scan or flood arrives within it.
const GATHER: Duration = Duration::from_secs(2);

/// Writes an event when connections were rejected, at most once a minute for each cause, and a last one
/// at the end. An endless scan does not hide other causes.
pub(super) async fn write_report(
    context: Arc<Context>,
    run: Arc<UpdateRun>,
    refusals: Arc<Refusals>,
    closed: CancellationToken,
) {
    let mut told: BTreeMap<Cause, Instant> = BTreeMap::new();
    while !closed.is_cancelled() {
        told.retain(|_, at| at.elapsed() < REPORT_INTERVAL);
        let waiting = told.keys().copied().collect();
        let next =
            told.values().min().map_or(REPORT_INTERVAL, |at| REPORT_INTERVAL.saturating_sub(at.elapsed()));
        tokio::select! {
            () = refusals.gathered(&waiting) => {
                // sleep: related rejections arrive within this time; closing ends it.
                closed.run_until_cancelled(tokio::time::sleep(GATHER)).await;
                let news = refusals.take(&waiting);
                told.extend(news.iter().map(|refusal| (refusal.cause, Instant::now())));
                write(&context, &run, news).await;
            }
            // sleep: after it the next cause may be reported again; beside two other branches in a
            // select.
            () = tokio::time::sleep(next) => {}
            () = closed.cancelled() => {}
        }
    }
    // No more rejections follow.
    write(&context, &run, refusals.take(&BTreeSet::new())).await;
}

async fn write(context: &Context, run: &UpdateRun, news: Vec<Refusal>) {
    let about = run.object_ref(&());
    for refusal in news {
        let note = format!(
            "{} connections refused: {}; the last one came from {}",
            refusal.count,
            refusal.cause.describe(),
            refusal.source
        );
        let (reason, cause) = (Reason::ConnectionsRefused, refusal.cause.label());
        context.events.warning_of(&about, reason, Action::Refuse, cause, &note).await;
    }
}
