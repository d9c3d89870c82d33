//! Renders the status of a NodeUpdate from a view of the work: pure.

mod components;
mod machine;
mod verdict;

pub(super) use machine::{RunOfNode, applied_baseline, in_use, node_conditions};

use super::{actions, drain};
use crate::api::condition;
use crate::api::managed_node::Channel;
use crate::api::node_update::{
    self, DrainStatus, FetchProtocol, Holder, NodeUpdateStatus, Rebooting, Waiting,
};
use crate::attempt::{self, End, Reboot, ReturnPath, Scheme, View, open_pulls};
use crate::drivers::Abilities;
use crate::failure::Failure;
pub(super) use components::time;
use components::{changed, merge, planned};
use farrier_update::{NodePlan, PlanItem};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use verdict::Verdicts;

/// The phase of a NodeUpdate.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    /// An attempt is in progress.
    Working,
    /// An attempt failed; another one follows.
    Retrying {
        /// Failure of the attempt.
        failure: Failure,
        /// When the next attempt begins.
        at: Time,
    },
    /// The maintenance window of the run is closed, and nothing of the run is under way on the machine.
    OutsideWindow {
        /// What the window keeps from beginning, and when it opens.
        words: String,
        /// When it opens.
        opens: Time,
    },
    /// The machine is planned, and waits for the run to start.
    Planned,
    /// The NodeUpdate has ended.
    Ended(End),
}

/// Input of the rendering.
pub(super) struct RenderInput<'a> {
    pub(super) old: &'a NodeUpdateStatus,
    pub(super) view: &'a View,
    pub(super) phase: &'a Phase,
    pub(super) attempt: u32,
    pub(super) run: &'a str,
    /// What the machine's class can do; `None` if the machine is not known.
    pub(super) abilities: Option<&'static Abilities>,
    pub(super) generation: Option<i64>,
    /// What the status says if the machine will be drained.
    pub(super) drain: Option<DrainStatus>,
    pub(super) now: &'a Time,
}

/// Renders the status.
pub(super) fn status(picture: &RenderInput) -> NodeUpdateStatus {
    let RenderInput { old, view, phase, attempt, run, abilities, generation, drain, now } = picture;
    let mut conditions = old.conditions.clone();
    let verdicts = Verdicts::of(view, phase, old, *abilities);
    for (type_, verdict) in verdicts.list() {
        condition::set(
            &mut conditions,
            type_,
            verdict.status,
            verdict.reason.as_str(),
            &verdict.message,
            *generation,
            now,
        );
    }
    let components = merge(&old.components, &view.results, &view.results_boot);
    let plan = view.plan.as_deref();
    let interruption = view.survey.as_ref().map_or("", |survey| survey.interruption.as_str());
    let ended = matches!(phase, Phase::Ended(_));
    NodeUpdateStatus {
        observed_generation: *generation,
        conditions,
        step: Some(step(view, phase)),
        phase: node_phase(view, phase),
        fetches_by: fetches_by(old, view, phase),
        waiting: waits_for(view, phase).and_then(waiting),
        rebooting: rebooting(old, view, phase),
        drain: drain::rendered(old.drain.as_ref(), view, drain.as_ref()),
        changed: changed(&components, plan).or_else(|| old.changed.clone()),
        attempt: Some(*attempt),
        attempt_started_at: old.attempt_started_at.clone(),
        planning_attempts: old.planning_attempts,
        next_attempt_at: match phase {
            Phase::Retrying { at, .. } | Phase::OutsideWindow { opens: at, .. } => Some(at.clone()),
            Phase::Working | Phase::Planned | Phase::Ended(_) => None,
        },
        plan_digest: plan_digest(old, plan),
        plan: plan.map_or_else(
            || old.plan.clone(),
            |p| {
                let simulated = |item: &PlanItem| view.simulations.get(&item.component.name);
                p.items.iter().map(|item| planned(item, simulated(item), interruption)).collect()
            },
        ),
        components,
        actions: old.actions.clone(),
        channel: channel(view).or(old.channel),
        address: view.address.clone().or_else(|| old.address.clone()),
        leases: view.leases,
        // Until a look at the machine says otherwise, what an earlier attempt has found is still there.
        leftovers: match view.clean {
            Some(_) => view.leftovers.clone(),
            None => old.leftovers.clone(),
        },
        logs: view.engine.as_ref().map(|_| format!("/var/log/farrier/{run}")).or_else(|| old.logs.clone()),
        started_at: old.started_at.clone().or_else(|| Some((*now).clone()).filter(|_| *attempt > 0)),
        finished_at: if ended { old.finished_at.clone().or_else(|| Some((*now).clone())) } else { None },
    }
}

/// Returns the digest of the plan. If the machine was planned before, it is that of the plan that users were shown, and may
/// have approved.
fn plan_digest(old: &NodeUpdateStatus, plan: Option<&NodePlan>) -> Option<String> {
    let shown = old.plan_digest.clone();
    shown.clone().filter(|_| old.planning_attempts.is_some()).or_else(|| plan.map(NodePlan::digest)).or(shown)
}

/// Returns the engine's channel, if it is known already.
fn channel(view: &View) -> Option<Channel> {
    match &view.return_path {
        ReturnPath::Open { .. } | ReturnPath::Lost { .. } => Some(Channel::Callback),
        ReturnPath::Dialled { .. } | ReturnPath::DialLost => Some(Channel::Listen),
        ReturnPath::NotNeeded | ReturnPath::Blocked { .. } => view.engine.as_ref().map(|_| Channel::Session),
        ReturnPath::Pending { .. }
        | ReturnPath::Untried
        | ReturnPath::Expected
        | ReturnPath::Fetched { .. }
        | ReturnPath::Tried { .. }
        | ReturnPath::Unseen { .. } => None,
    }
}

/// Returns the current wait of an attempt in progress.
fn waits_for<'a>(view: &'a View, phase: &Phase) -> Option<&'a attempt::Waiting> {
    match phase {
        Phase::Working => view.waits_for(),
        Phase::Retrying { .. } | Phase::OutsideWindow { .. } | Phase::Planned | Phase::Ended(_) => None,
    }
}

fn waiting(waiting: &attempt::Waiting) -> Option<Waiting> {
    Some(Waiting {
        reason: waiting.reason.as_str().to_owned(),
        what: waiting.what.clone(),
        holder: waiting.holder.as_ref().map(|holder| Holder { pid: holder.pid, name: holder.name.clone() }),
        since: time(waiting.since)?,
        until: waiting.until.and_then(time),
    })
}

/// Which ports the machine needs, while an attempt is under way.
fn node_phase(view: &View, phase: &Phase) -> Option<node_update::Phase> {
    match phase {
        Phase::Working => Some(match view.step.phase() {
            farrier_network::Phase::Inventory => node_update::Phase::Inventory,
            farrier_network::Phase::Deployment => node_update::Phase::Deployment,
        }),
        Phase::Retrying { .. } | Phase::OutsideWindow { .. } | Phase::Planned | Phase::Ended(_) => None,
    }
}

/// Returns the reboot that is under way. An attempt that continues after a restart of the operator shows it from the
/// beginning.
fn rebooting(old: &NodeUpdateStatus, view: &View, phase: &Phase) -> Option<Rebooting> {
    match (phase, &view.reboot) {
        (Phase::Working, Some(Reboot::Underway { since, until, requested: _, boot_id })) => {
            let boot_id = boot_id.clone();
            Some(Rebooting { since: time(*since)?, until: time(*until)?, boot_id })
        }
        (Phase::Working, None) => old.rebooting.clone(),
        (Phase::Working, Some(Reboot::Done | Reboot::Failed(_)))
        | (Phase::Retrying { .. } | Phase::OutsideWindow { .. } | Phase::Planned | Phase::Ended(_), _) => {
            None
        }
    }
}

/// Returns how the machine fetches an image. An attempt that begins does not know by which protocol the machine
/// was told to fetch the image of an action that an earlier attempt has left open, but the status does.
fn fetches_by(old: &NodeUpdateStatus, view: &View, phase: &Phase) -> Option<FetchProtocol> {
    let now = view.fetches_by.map(|scheme| match scheme {
        Scheme::Https => FetchProtocol::HTTPS,
        Scheme::Http => FetchProtocol::HTTP,
        Scheme::Sftp => FetchProtocol::SFTP,
        Scheme::Scp => FetchProtocol::SCP,
        Scheme::Ftp => FetchProtocol::FTP,
    });
    let is_open = !open_pulls(&actions::read(&old.actions)).is_empty();
    match phase {
        Phase::Working => now.or_else(|| old.fetches_by.filter(|_| is_open)),
        Phase::Retrying { .. } | Phase::OutsideWindow { .. } | Phase::Planned => {
            old.fetches_by.filter(|_| is_open)
        }
        Phase::Ended(_) => None,
    }
}

fn step(view: &View, phase: &Phase) -> String {
    match phase {
        Phase::Working => match view.waits_for() {
            Some(waiting) => format!("{} (waits for {})", view.step.as_text(), waiting.short),
            None => view.step.as_text(),
        },
        Phase::Retrying { .. } => "WaitingForRetry".into(),
        Phase::OutsideWindow { .. } => "WaitingForWindow".into(),
        Phase::Planned => "Planned".into(),
        Phase::Ended(_) => "Done".into(),
    }
}

#[cfg(test)]
mod tests;
