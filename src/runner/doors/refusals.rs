//! Telling a run of those who were refused.

use super::Context;
use crate::api::UpdateRun;
use crate::callback::{Refusal, Refusals};
use crate::publish::Action;
use farrier_update::Reason;
use kube::Resource;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a run is told of refused connections at most.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Writes an event whenever somebody was refused, at most once a minute for each cause, and once
/// more at the end.
pub(super) async fn tell(
    context: Arc<Context>,
    run: Arc<UpdateRun>,
    refusals: Arc<Refusals>,
    closed: CancellationToken,
) {
    while !closed.is_cancelled() {
        tokio::select! {
            news = refusals.next() => write(&context, &run, news).await,
            () = closed.cancelled() => break,
        }
        tokio::select! {
            () = tokio::time::sleep(TELL_EVERY) => {}
            () = closed.cancelled() => {}
        }
    }
    // What is there is taken at once; nothing more comes.
    if let Ok(news) = tokio::time::timeout(Duration::ZERO, refusals.next()).await {
        write(&context, &run, news).await;
    }
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
        context.events.warning(&about, Reason::ConnectionsRefused, Action::Refuse, &note).await;
    }
}
