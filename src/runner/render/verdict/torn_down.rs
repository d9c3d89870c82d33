//! The condition `TornDown`: whether anything of ours is left on the machine.

use super::super::Phase;
use super::Verdict;
use crate::api::condition;
use crate::api::node_update::NodeUpdateStatus;
use crate::attempt::View;
use crate::drivers::CleansUp;
use farrier_update::Reason;

pub(super) fn torn_down(view: &View, phase: &Phase, old: &NodeUpdateStatus, cleans_up: CleansUp) -> Verdict {
    match &view.clean {
        Some(Ok(())) if view.kept.is_empty() => Verdict::yes(
            Reason::NothingLeftBehind,
            "a second check of the machine found nothing of Farrier's except the log",
        ),
        Some(Ok(())) => Verdict::yes(
            Reason::NothingLeftBehind,
            format!(
                "a second check of the machine found nothing of Farrier's except what the run has asked to leave there: {}",
                view.kept.join(", ")
            ),
        ),
        Some(Err(failure)) => Verdict::no(failure.reason, failure.message.clone()),
        None if view.deploying && matches!(phase, Phase::Ended(_) | Phase::Retrying { .. }) => Verdict::no(
            Reason::CleanupPending,
            format!(
                "the connection to the machine was lost before it could be checked; {}",
                later(cleans_up)
            ),
        ),
        None if view.deploying => Verdict::open(Reason::CleanupPending, at_work(cleans_up)),
        None => not_looked(phase, old, cleans_up),
    }
}

/// Says what is on the machine during an attempt.
fn at_work(cleans_up: CleansUp) -> &'static str {
    match cleans_up {
        CleansUp::Engine => "the engine is on the machine; it is removed at the end",
        CleansUp::OnlyFarrier => {
            "Farrier is at work on the machine; what it leaves there is removed at the end"
        }
    }
}

/// Says what becomes of the things on a machine that was lost.
fn later(cleans_up: CleansUp) -> &'static str {
    match cleans_up {
        CleansUp::Engine => "an engine that is still there removes everything when its lease expires",
        CleansUp::OnlyFarrier => "what is still there stays until Farrier reaches the machine again",
    }
}

/// Handles an attempt that has not checked the machine, and has put nothing on it as far as is known. The
/// state that an earlier attempt left still counts.
fn not_looked(phase: &Phase, old: &NodeUpdateStatus, cleans_up: CleansUp) -> Verdict {
    let was = condition::find(&old.conditions, "TornDown");
    match (phase, left_earlier(old)) {
        (Phase::Working, Some((reason, words))) => Verdict::open(reason, words),
        (Phase::Working, None) => Verdict::open(Reason::InProgress, "nothing is on the machine yet"),
        (
            Phase::Retrying { .. } | Phase::OutsideWindow { .. } | Phase::Planned | Phase::Ended(_),
            Some((Reason::CleanupPending, _)),
        ) => Verdict::no(
            Reason::CleanupPending,
            match cleans_up {
                CleansUp::Engine => {
                    "the engine may still be on the machine; it removes everything when its lease expires"
                }
                CleansUp::OnlyFarrier => {
                    "something of Farrier's may still be on the machine; it stays until Farrier reaches the machine again"
                }
            },
        ),
        (
            Phase::Retrying { .. } | Phase::OutsideWindow { .. } | Phase::Planned | Phase::Ended(_),
            Some((reason, words)),
        ) => Verdict::no(reason, words),
        (Phase::Retrying { .. } | Phase::OutsideWindow { .. } | Phase::Planned | Phase::Ended(_), None) => {
            let words = was.filter(|was| was.status == "True").map(|was| was.message.clone());
            let words = words.unwrap_or_else(|| "nothing was put on the machine".to_owned());
            Verdict::yes(Reason::NothingLeftBehind, words)
        }
    }
}

/// Returns what an earlier attempt has said about what it left on the machine; `None` if it left nothing.
fn left_earlier(old: &NodeUpdateStatus) -> Option<(Reason, String)> {
    let was = condition::find(&old.conditions, "TornDown")?;
    let reason = Reason::parse(&was.reason)?;
    let is_open = was.status == "Unknown" && reason == Reason::InProgress;
    (was.status != "True" && !is_open).then(|| (reason, was.message.clone()))
}
