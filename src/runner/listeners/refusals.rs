//! Telling a run of those who were refused.

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

/// How often a run is told of refused connections of one cause at most.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);

/// What comes within this after the first refusal is told with it: whoever scans or floods has said
/// most of it by then.
const GATHER: Duration = Duration::from_secs(2);

/// Writes an event whenever somebody was refused, at most once a minute for each cause, and once
/// more at the end. A scan that never ends does not hide what else is tried.
pub(super) async fn tell(
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
                // sleep: what belongs together comes within this; closing ends it.
                closed.run_until_cancelled(tokio::time::sleep(GATHER)).await;
                let news = refusals.take(&waiting);
                told.extend(news.iter().map(|refusal| (refusal.cause, Instant::now())));
                write(&context, &run, news).await;
            }
            // sleep: then the next cause may be told of again; beside two others in a select.
            () = tokio::time::sleep(next) => {}
            () = closed.cancelled() => {}
        }
    }
    // Nothing more comes.
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
