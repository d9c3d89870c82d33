//! Hands machines to other runners when their runner is gone.

use super::Context;
use super::update_run::{all_with_facts, facts};
use crate::api::NodeUpdate;
use crate::failure::chain;
use crate::publish::{self, Action, is_conflict, is_gone};
use farrier_update::Reason;
use farrier_update::model::RunnerName;
use farrier_update::run::{Runners, UpdateFacts, reassign};
use kube::{Resource, ResourceExt};

/// Returns the live runners, with the load of each. `updates` are the NodeUpdates of all runs.
pub(super) fn runners<'a>(context: &Context, updates: impl Iterator<Item = &'a UpdateFacts>) -> Runners {
    Runners::new(live(context), updates)
}

fn live(context: &Context) -> impl Iterator<Item = RunnerName> {
    context.members.live().keys().cloned().map(RunnerName).collect::<Vec<_>>().into_iter()
}

/// Reports whether the runner of this machine is gone.
pub(super) fn is_orphaned(context: &Context, update: &NodeUpdate) -> bool {
    context.members.is_gone(&update.spec.runner) && facts(update).needs_runner()
}

/// Hands over every NodeUpdate whose runner is gone. Returns false if some handovers must be retried.
pub(super) async fn hand_over(context: &Context) -> bool {
    let updates = all_with_facts(context);
    let runners = runners(context, updates.iter().map(|(_, facts)| facts));
    let mut done = true;
    let orphans = updates.iter().filter(|(update, _)| context.members.is_gone(&update.spec.runner));
    for (update, runner) in reassign(orphans.map(|(update, facts)| (update, facts)), runners) {
        if !context.leads.is_held() {
            return false;
        }
        match publish::hand_over(&context.client, update, &runner.0).await {
            Ok(written) => {
                announce(context, &written, &update.spec.runner).await;
                context.own_writes.remember_update(written);
            }
            Err(error) if is_gone(&error) => {}
            // The NodeUpdate has changed since, or the API server is unreachable. Either way the
            // handover is retried.
            Err(error) => {
                done = false;
                if !is_conflict(&error) {
                    tracing::warn!(update = %update.name_any(), error = %chain(&error), "could not be handed to another runner; it is retried");
                }
            }
        }
    }
    done
}

async fn announce(context: &Context, update: &NodeUpdate, before: &str) {
    let now = &update.spec.runner;
    let node = &update.spec.node_ref.name;
    context.metrics.hand_overs.count([]);
    tracing::warn!(%node, run = %update.spec.run_ref.name, from = before, to = %now, "handed to another runner");
    let words = format!("{node}: runner {before} does not answer; {now} continues its work");
    context.events.warning(&update.object_ref(&()), Reason::RunnerLost, Action::HandOver, &words).await;
}
