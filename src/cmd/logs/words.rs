//! What the command says where it has no log to print.

use crate::api::{NodeUpdate, condition};
use kube::ResourceExt as _;
use std::io::Write as _;

/// Prints a message for the user, apart from the log.
pub(super) fn say(words: &str) {
    // A standard error that is closed takes no message.
    writeln!(std::io::stderr(), "{words}").ok();
}

/// Nothing was printed yet.
pub(super) fn not_yet(update: &NodeUpdate) -> String {
    let name = update.name_any();
    let status = update.status.as_ref();
    if let Some(waiting) = status.and_then(|status| status.waiting.as_ref()) {
        let until = waiting.until.as_ref().map(|until| format!(", until {}", until.0)).unwrap_or_default();
        return format!(
            "NodeUpdate {name} has no log yet: it waits for {} ({}){until}; --follow waits with it",
            waiting.what, waiting.reason
        );
    }
    let succeeded = status.and_then(|status| condition::find(&status.conditions, "Succeeded"));
    let why = succeeded.map_or_else(
        || format!("runner {} has not begun with it", update.spec.runner),
        |succeeded| succeeded.message.clone(),
    );
    format!("NodeUpdate {name} has no log yet: {why}; --follow waits for it")
}

/// The work has ended, and its runner does not have the log.
pub(super) fn not_kept(update: &NodeUpdate) -> String {
    let (name, node) = (update.name_any(), &update.spec.node_ref.name);
    match update.status.as_ref().and_then(|status| status.logs.as_ref()) {
        Some(logs) => format!(
            "the log of NodeUpdate {name} is not with its runner {} any more; on the machine {node} it is in {logs}, readable by root",
            update.spec.runner
        ),
        None => format!(
            "NodeUpdate {name} has no log: no engine worked on {node}; see kubectl describe nodeupdate {name}"
        ),
    }
}

/// The runner does not answer.
pub(super) fn silent(update: &NodeUpdate) -> String {
    let (name, runner, node) = (update.name_any(), &update.spec.runner, &update.spec.node_ref.name);
    let logs = update.status.as_ref().and_then(|status| status.logs.as_deref());
    let logs = logs.map(|logs| format!("; on the machine {node} the log is in {logs}, readable by root"));
    format!(
        "runner {runner}, which has the log of NodeUpdate {name}, does not answer; check that the operator runs, and that it may watch logrequests{}",
        logs.unwrap_or_default()
    )
}
