//! Only the leader decides.
//!
//! A new leader must see everything that the previous leader has written, and the API server must
//! reject what the previous leader may still write. So a term starts with a write to every open run,
//! whose new version all later status writes refer to, and then waits for the caches.

use super::{AFTER_ERROR, Context, run, update_run};
use crate::caches::Change;
use crate::failure::chain;
use crate::heartbeat::HEARTBEAT_INTERVAL;
use crate::publish::{self, is_gone};
use kube::ResourceExt;
use tokio::sync::mpsc;

/// Reconciles whenever this replica leads, until `changes` ends.
pub async fn lead(context: Context, mut changes: mpsc::UnboundedReceiver<Change>) {
    while wait(&context, &mut changes).await {
        tracing::info!("this replica is the leader");
        context.metrics.leader.set(1);
        tokio::select! {
            () = term(&context, &mut changes) => return,
            () = context.leads.lost() => {}
        }
        context.metrics.leader.set(0);
        // The remembered writes are stale after another replica has led.
        context.own_writes.clear();
        context.exposer.forget();
        tracing::warn!("this replica is no longer the leader; it starts no work");
    }
}

/// Waits for the Lease. Returns false if `changes` has ended.
async fn wait(context: &Context, changes: &mut mpsc::UnboundedReceiver<Change>) -> bool {
    loop {
        context.heartbeat.heartbeat();
        tokio::select! {
            () = context.leads.gained() => return true,
            // Changes are handled by the leader. A term starts with a reconcile of everything, so they can
            // be dropped here.
            change = changes.recv() => if change.is_none() { return false },
            () = tokio::time::sleep(HEARTBEAT_INTERVAL) => {}
        }
    }
}

async fn term(context: &Context, changes: &mut mpsc::UnboundedReceiver<Change>) {
    while let Err(error) = take_over(context).await {
        tracing::warn!(error = %chain(&error), "leadership could not be taken over; it is retried");
        // sleep: an API server that fails is not asked again at once.
        tokio::time::sleep(AFTER_ERROR).await;
    }
    run(context, changes).await;
}

/// Ensures that no write of an earlier leader is overlooked or arrives later.
async fn take_over(context: &Context) -> Result<(), kube::Error> {
    context.caches.catch_up(&context.client).await?;
    let who = format!("{} since {}", context.name, jiff::Timestamp::now());
    for open in context.caches.runs.state().iter().filter(|run| !update_run::is_finished(run)) {
        match publish::decider(&context.client, open, &who).await {
            Ok(written) => context.own_writes.remember_run(written),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
        context.heartbeat.heartbeat();
        tracing::debug!(run = %open.name_any(), "this replica decides the run from now on");
    }
    // The responses above do not show what else was written until then: the machines of runs.
    context.caches.catch_up(&context.client).await
}
