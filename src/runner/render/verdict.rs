//! The conditions of a NodeUpdate.

mod torn_down;

use super::{Phase, waits_for};
use crate::api::node_update::NodeUpdateStatus;
use crate::attempt::{End, Reboot, ReturnPath, StatusPath, View};
use crate::drivers::{Abilities, CleansUp};
use crate::failure::Failure;
use farrier_update::{NodeVerdict, Reason};
use torn_down::torn_down;

/// The new state of one condition.
pub(super) struct Verdict {
    pub(super) status: &'static str,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: "True", reason, message: message.into() }
    }
    pub(super) fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: "False", reason, message: message.into() }
    }
    pub(super) fn open(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: "Unknown", reason, message: message.into() }
    }
    /// Not done, with the current wait, if there is one. Used for the first condition that is not true yet.
    fn waiting(view: &View, phase: &Phase, what: &str) -> Self {
        match waits_for(view, phase) {
            Some(waiting) => Self::open(waiting.reason, waiting.as_text()),
            None => Self::pending(phase, what),
        }
    }
    /// Not done, with the reason: a failure, work in progress, or nothing to do.
    fn pending(phase: &Phase, what: &str) -> Self {
        match phase {
            Phase::Working => Self::open(Reason::InProgress, format!("waiting for: {what}")),
            Phase::OutsideWindow { words, .. } => Self::open(Reason::OutsideWindow, words.clone()),
            Phase::Planned => {
                Self::open(Reason::PlanOnly, "waiting for the run's desiredState to become Run")
            }
            Phase::Retrying { failure, .. } | Phase::Ended(End::Failed(failure)) => {
                Self::no(failure.reason, failure.message.clone())
            }
            Phase::Ended(End::Cancelled) => Self::no(Reason::Cancelled, "the run was cancelled before"),
            Phase::Ended(End::Inventoried | End::Planned | End::Finished(_)) => {
                Self::yes(Reason::NotRequired, "nothing was to be done")
            }
        }
    }
}

/// The conditions of a NodeUpdate, in the order in which they become true.
pub(super) struct Verdicts {
    reachable: Verdict,
    /// Set if the machine should connect back, or the runner to the engine's port: the type of the condition as well.
    return_path: Option<(&'static str, Verdict)>,
    /// Set if the machine was to post its progress.
    status_path: Option<Verdict>,
    /// Set if the machine takes an engine.
    engine: Option<Verdict>,
    payload: Verdict,
    applied: Verdict,
    /// Set if the machine is rebooted.
    rebooted: Option<Verdict>,
    verified: Verdict,
    torn_down: Verdict,
    succeeded: Verdict,
}

impl Verdicts {
    pub(super) fn of(
        view: &View,
        phase: &Phase,
        old: &NodeUpdateStatus,
        abilities: Option<&Abilities>,
    ) -> Self {
        let takes_engine = abilities.is_none_or(|abilities| abilities.takes_engine);
        let cleans_up = abilities.map_or(CleansUp::Engine, |abilities| abilities.cleans_up);
        Self {
            reachable: reachable(view, phase),
            return_path: return_path(view, phase).map(|verdict| (condition_of(view), verdict)),
            status_path: status_path(view),
            engine: takes_engine.then(|| engine(view, phase)),
            payload: payload(view, phase),
            applied: applied(view, phase),
            rebooted: rebooted(view, phase),
            verified: verified(view, phase),
            torn_down: torn_down(view, phase, old, cleans_up),
            succeeded: succeeded(view, phase),
        }
    }

    pub(super) fn list(self) -> Vec<(&'static str, Verdict)> {
        let Self {
            reachable,
            return_path,
            status_path,
            engine,
            payload,
            applied,
            rebooted,
            verified,
            torn_down,
            succeeded,
        } = self;
        let copy = |status: &'static str, of: &Verdict| Verdict {
            status,
            reason: of.reason,
            message: of.message.clone(),
        };
        let (ready, reconciling, stalled) = match succeeded.status {
            "True" => ("True", "False", "False"),
            "False" => ("False", "False", "True"),
            _ => ("False", "True", "False"),
        };
        let kstatus = [("Ready", ready), ("Reconciling", reconciling), ("Stalled", stalled)];
        let mut list: Vec<_> = kstatus.map(|(type_, status)| (type_, copy(status, &succeeded))).into();
        list.push(("Reachable", reachable));
        list.extend(return_path);
        list.extend(status_path.map(|verdict| ("StatusPath", verdict)));
        list.extend(engine.map(|verdict| ("EngineDeployed", verdict)));
        list.extend([("PayloadVerified", payload), ("Applied", applied)]);
        list.extend(rebooted.map(|verdict| ("Rebooted", verdict)));
        list.extend([("Verified", verified), ("TornDown", torn_down), ("Succeeded", succeeded)]);
        list
    }
}

/// How the progress of the machine becomes known; `None` if it was never to be posted.
fn status_path(view: &View) -> Option<Verdict> {
    Some(match view.status_path.as_ref()? {
        StatusPath::Posted => Verdict::yes(Reason::Posted, "the machine posts its progress"),
        StatusPath::Polled { why } => {
            Verdict::no(Reason::Polled, format!("the machine is asked for its progress: {why}"))
        }
    })
}

fn engine(view: &View, phase: &Phase) -> Verdict {
    match &view.engine {
        Some(dir) => Verdict::yes(Reason::EngineDeployed, format!("in {dir}")),
        None => Verdict::waiting(view, phase, "the engine to run on the machine"),
    }
}

pub(super) fn reachable(view: &View, phase: &Phase) -> Verdict {
    if let (Some(failure), Phase::Working) = (&view.lost, phase) {
        return Verdict::no(failure.reason, failure.message.clone());
    }
    match &view.address {
        // A machine that was reached and then lost is not reachable.
        Some(_) if failure_of(phase).is_some_and(|f| f.reason.unreachable()) => Verdict::pending(phase, ""),
        Some(address) => Verdict::yes(Reason::Reachable, format!("the machine answered at {address}")),
        None => match phase {
            Phase::Ended(End::Failed(f)) | Phase::Retrying { failure: f, .. } if !f.reason.unreachable() => {
                Verdict::open(f.reason, f.message.clone())
            }
            Phase::Ended(End::Cancelled) => Verdict::open(Reason::Cancelled, "the run was cancelled before"),
            Phase::Working
            | Phase::Retrying { .. }
            | Phase::OutsideWindow { .. }
            | Phase::Planned
            | Phase::Ended(_) => Verdict::pending(phase, "an answer from the machine"),
        },
    }
}

/// The type of the condition about the connection between engine and runner.
fn condition_of(view: &View) -> &'static str {
    if view.listens { "ListenReachable" } else { "CallbackReachable" }
}

/// Whether the machine can connect back, or the runner can connect to the engine's port; `None` if neither is needed.
fn return_path(view: &View, phase: &Phase) -> Option<Verdict> {
    match &view.return_path {
        ReturnPath::NotNeeded => None,
        ReturnPath::Pending { waiting } => Some(Verdict::open(waiting.reason, waiting.as_text())),
        ReturnPath::Untried => {
            let what =
                if view.listens { "a connection to the engine" } else { "a connection from the engine" };
            Some(match view.engine {
                None => Verdict::pending(phase, what),
                Some(_) => Verdict::waiting(view, phase, what),
            })
        }
        ReturnPath::Dialled { address, port, opened } => Some(dialled(address, *port, opened)),
        ReturnPath::DialLost => Some(dial_lost(phase)),
        ReturnPath::Open { from, through } => {
            let how = match through.as_slice() {
                [] => format!("the engine connected from {from}"),
                [runner] => format!("the engine connected through runner {runner} at {from}"),
                [_, ..] => format!("the engine connected through another runner at {from}"),
            };
            Some(Verdict::yes(Reason::CallbackReachable, how))
        }
        ReturnPath::Lost { from } => Some(match phase {
            Phase::Working => Verdict::open(
                Reason::ConnectionLost,
                format!(
                    "the engine's connection from {from} was lost; Farrier waits for the next one, then connects by SSH; installers go on meanwhile"
                ),
            ),
            Phase::Retrying { .. } | Phase::OutsideWindow { .. } | Phase::Planned | Phase::Ended(_) => {
                Verdict::no(
                    Reason::ConnectionLost,
                    format!("the engine's connection from {from} was lost, and no other one came"),
                )
            }
        }),
        ReturnPath::Expected => Some(Verdict::waiting(view, phase, "a connection from the machine")),
        ReturnPath::Fetched { from } => {
            let how = format!("the machine connected from {from} to fetch its image");
            Some(Verdict::yes(Reason::CallbackReachable, how))
        }
        ReturnPath::Tried { places } => {
            let how = format!("the machine reaches {}", places.join(" and "));
            Some(Verdict::yes(Reason::CallbackReachable, how))
        }
        ReturnPath::Unseen { failure } => Some(Verdict::no(failure.reason, failure.message.clone())),
        ReturnPath::Blocked { failure, fallback: true } => Some(Verdict::no(
            failure.reason,
            format!("{}. The engine is served through the SSH session instead", failure.message),
        )),
        ReturnPath::Blocked { failure, fallback: false } => Some(Verdict::no(
            failure.reason,
            format!(
                "{}. Nothing is installed, since spec.channel of the ManagedNode is {}",
                failure.message,
                if view.listens { "Listen" } else { "Callback" }
            ),
        )),
    }
}

/// The runner is connected to the engine's port.
fn dialled(address: &str, port: u16, opened: &[String]) -> Verdict {
    let opened = match opened {
        [] => String::new(),
        opened => format!(", opened for Farrier in {}", opened.join(" and ")),
    };
    let how = format!("Farrier is connected to the engine at {address} TCP port {port}{opened}");
    Verdict::yes(Reason::ListenReachable, how)
}

/// The runner's connection to the engine's port was lost.
fn dial_lost(phase: &Phase) -> Verdict {
    match phase {
        Phase::Working => Verdict::open(
            Reason::ConnectionLost,
            "the connection to the engine was lost; Farrier connects again, then by SSH; installers go on meanwhile",
        ),
        Phase::Retrying { .. } | Phase::OutsideWindow { .. } | Phase::Planned | Phase::Ended(_) => {
            Verdict::no(
                Reason::ConnectionLost,
                "the connection to the engine was lost, and could not be made again",
            )
        }
    }
}

fn failure_of(phase: &Phase) -> Option<&Failure> {
    match phase {
        Phase::Retrying { failure, .. } | Phase::Ended(End::Failed(failure)) => Some(failure),
        Phase::Working | Phase::OutsideWindow { .. } | Phase::Planned | Phase::Ended(_) => None,
    }
}

fn payload(view: &View, phase: &Phase) -> Verdict {
    let wanted = view.plan.as_ref().map_or(0, |p| p.payload_steps());
    if view.plan.is_some() && wanted == 0 {
        return Verdict::yes(Reason::NotRequired, "no payload is needed");
    }
    if wanted > 0 && view.payloads_verified >= wanted {
        let words = match view.payloads_staged {
            0 => "the digest matched at the operator and on the machine".to_owned(),
            staged if staged >= wanted => {
                "the digest matched on the machine, where all payloads were staged; 0 bytes were carried"
                    .to_owned()
            }
            staged => format!(
                "the digest matched on the machine, where {staged} of {wanted} payloads were staged and not carried again"
            ),
        };
        return Verdict::yes(Reason::PayloadVerified, words);
    }
    let what = "the payloads, verified on the machine";
    if view.engine.is_some() { Verdict::waiting(view, phase, what) } else { Verdict::pending(phase, what) }
}

fn applied(view: &View, phase: &Phase) -> Verdict {
    if let Some(component) = &view.overdue {
        return Verdict::open(
            Reason::InstallerOverdue,
            format!(
                "the installer of {component} takes longer than its timeout, and is left to finish because it is not interruptible"
            ),
        );
    }
    if view.plan.as_ref().is_some_and(|p| p.changes() == 0) {
        return Verdict::yes(Reason::NothingToDo, "nothing was to be installed");
    }
    if view.applied {
        return Verdict::yes(
            Reason::Applied,
            "the installers have run; the results are in status.components",
        );
    }
    let what = "the installers to run";
    let needs_none = view.plan.as_ref().is_some_and(|plan| plan.payload_steps() == 0);
    if view.payloads_verified > 0 || needs_none {
        Verdict::waiting(view, phase, what)
    } else {
        Verdict::pending(phase, what)
    }
}

/// Whether the machine was rebooted; `None` if the attempt makes no reboot.
fn rebooted(view: &View, phase: &Phase) -> Option<Verdict> {
    Some(match view.reboot.as_ref()? {
        Reboot::Underway { since, until, requested, boot_id: _ } => match phase {
            Phase::Working => {
                let what =
                    if *requested { "the machine is being rebooted" } else { "the reboot is announced" };
                let words =
                    format!("{what}, since {since}; Farrier waits for the machine until {until} at most");
                Verdict::open(Reason::Rebooting, words)
            }
            Phase::Retrying { .. } | Phase::OutsideWindow { .. } | Phase::Planned | Phase::Ended(_) => {
                Verdict::pending(phase, "the reboot of the machine")
            }
        },
        Reboot::Done => Verdict::yes(Reason::Rebooted, "the machine was rebooted: its boot id has changed"),
        Reboot::Failed(failure) => Verdict::no(failure.reason, failure.message.clone()),
    })
}

fn verified(view: &View, phase: &Phase) -> Verdict {
    match phase {
        Phase::Ended(End::Finished(NodeVerdict::Succeeded { message, .. })) => {
            Verdict::yes(Reason::Verified, message.clone())
        }
        Phase::Ended(End::Finished(NodeVerdict::Failed { reason, message })) => {
            Verdict::no(*reason, message.clone())
        }
        Phase::Ended(End::Finished(NodeVerdict::Cancelled { message })) => {
            Verdict::no(Reason::Cancelled, message.clone())
        }
        Phase::Working
        | Phase::Retrying { .. }
        | Phase::OutsideWindow { .. }
        | Phase::Planned
        | Phase::Ended(_)
            if view.results.is_empty() =>
        {
            Verdict::pending(phase, "the second inventory")
        }
        Phase::Working
        | Phase::Retrying { .. }
        | Phase::OutsideWindow { .. }
        | Phase::Planned
        | Phase::Ended(_) => {
            Verdict::open(Reason::InProgress, "the second inventory is in; the machine is being cleaned")
        }
    }
}

fn succeeded(view: &View, phase: &Phase) -> Verdict {
    match phase {
        Phase::Working => match &view.lost {
            Some(failure) if failure.reason == Reason::Rebooting => {
                Verdict::open(failure.reason, failure.message.clone())
            }
            Some(failure) => Verdict::open(
                failure.reason,
                format!("the connection was lost; reconnecting for at most 5 min: {}", failure.message),
            ),
            None => match (&view.awaited, waits_for(view, phase)) {
                (Some(missing), _) => Verdict::open(missing.reason, missing.message.clone()),
                (None, Some(waiting)) => Verdict::open(
                    Reason::InProgress,
                    format!("{}: {}", view.step.as_text(), waiting.as_text()),
                ),
                (None, None) => Verdict::open(Reason::InProgress, view.step.as_text()),
            },
        },
        Phase::OutsideWindow { words, .. } => Verdict::open(Reason::OutsideWindow, words.clone()),
        Phase::Planned => Verdict::open(
            Reason::PlanOnly,
            "the plan is made and nothing was changed; set the run's desiredState to Run to carry it out",
        ),
        Phase::Retrying { failure, at } => Verdict::open(
            Reason::WaitingForRetry,
            format!("next attempt at {}: {}: {}", at.0, failure.reason, failure.message),
        ),
        Phase::Ended(end) => ending(view, end),
    }
}

fn ending(view: &View, end: &End) -> Verdict {
    let clean = match &view.clean {
        Some(Err(failure)) => Some(failure),
        Some(Ok(())) | None => None,
    };
    let verdict = match end {
        End::Finished(NodeVerdict::Succeeded { reason, message }) => Verdict::yes(*reason, message.clone()),
        End::Finished(NodeVerdict::Failed { reason, message }) => Verdict::no(*reason, message.clone()),
        End::Finished(NodeVerdict::Cancelled { message }) => Verdict::no(Reason::Cancelled, message.clone()),
        End::Planned => Verdict::yes(Reason::Planned, "the plan is made, nothing was changed"),
        End::Inventoried => Verdict::yes(Reason::Succeeded, "the inventory was taken"),
        End::Cancelled => Verdict::no(Reason::Cancelled, "the run was cancelled"),
        End::Failed(failure) => Verdict::no(failure.reason, failure.message.clone()),
    };
    match clean {
        // A success that leaves something behind counts as a failure.
        Some(failure) if verdict.status == "True" => Verdict::no(failure.reason, failure.message.clone()),
        Some(failure) => Verdict { message: format!("{}. {}", verdict.message, failure.message), ..verdict },
        None => verdict,
    }
}
