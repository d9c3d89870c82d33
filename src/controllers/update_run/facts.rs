//! The facts about a NodeUpdate that a decision needs.

use super::super::Context;
use crate::api::node_update::{Intent as ApiIntent, NodeUpdateStatus};
use crate::api::{FINALIZER, NodeUpdate, UpdateRun, condition};
use crate::convert::millis;
use crate::runner;
use farrier_update::Reason;
use farrier_update::model::RunnerName;
use farrier_update::run::{Intent, NodeEnd, UpdateFacts, UpdatePhase};
use kube::{Resource, ResourceExt};
use std::sync::Arc;

/// Returns the NodeUpdates of all runs in their latest known versions, with their facts.
pub(crate) fn all_with_facts(context: &Context) -> Vec<(Arc<NodeUpdate>, UpdateFacts)> {
    let all = context.own_writes.all_updates(&context.caches).into_iter();
    all.map(|update| {
        let facts = facts(&update);
        (update, facts)
    })
    .collect()
}

pub(crate) fn facts(update: &NodeUpdate) -> UpdateFacts {
    let intent = match update.spec.intent {
        ApiIntent::Plan => Intent::Plan,
        ApiIntent::Run => Intent::Run,
        ApiIntent::Cancel => Intent::Cancel,
    };
    UpdateFacts {
        intent,
        phase: update.status.as_ref().map_or(UpdatePhase::Pending, |s| phase(update, s)),
        runner: RunnerName(update.spec.runner.clone()),
        kept: update.finalizers().iter().any(|f| f == FINALIZER),
    }
}

fn phase(update: &NodeUpdate, status: &NodeUpdateStatus) -> UpdatePhase {
    let Some(succeeded) = condition::find(&status.conditions, "Succeeded") else {
        return UpdatePhase::Pending;
    };
    let reason = reason(&succeeded.reason);
    // A NodeUpdate that is being deleted is cleaned first, and created again when it is gone, like a Pod.
    if update.metadata.deletion_timestamp.is_some() {
        return UpdatePhase::Working { step: "being deleted".into() };
    }
    if runner::is_finished(update) {
        let message = succeeded.message.clone();
        return UpdatePhase::Done(if succeeded.status == "True" {
            NodeEnd::Succeeded
        } else if reason == Reason::Cancelled {
            NodeEnd::Cancelled
        } else if reason.unreachable() {
            NodeEnd::Unreachable { reason, message }
        } else {
            NodeEnd::Failed { reason, message }
        });
    }
    if reason == Reason::PlanOnly {
        return UpdatePhase::Planned;
    }
    match status.next_attempt_at.as_ref().map(millis) {
        Some(at) => UpdatePhase::WaitingForRetry { at, reason },
        None if reason.may_arrive() => UpdatePhase::Awaiting { reason, message: succeeded.message.clone() },
        None => UpdatePhase::Working { step: status.step.clone().unwrap_or_default() },
    }
}

pub(super) fn reason(text: &str) -> Reason {
    Reason::parse(text).unwrap_or(Reason::Unknown)
}

/// Reports whether a NodeUpdate belongs to a run.
pub(super) fn is_of(update: &NodeUpdate, run: &UpdateRun) -> bool {
    run.metadata.name.as_ref() == Some(&update.spec.run_ref.name)
        && update.owner_references().iter().any(|o| Some(&o.uid) == run.meta().uid.as_ref())
}
