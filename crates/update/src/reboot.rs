//! Whether a machine is rebooted, and what the results mean if it was not.

mod kernel;
mod pending;

pub use pending::{InstalledEarlier, mark_effective, mark_pending};

use crate::model::NodeName;
use crate::outcome::{ComponentResult, NodeVerdict, Outcome, summarize};
use crate::plan::PlanItem;
use crate::reason::Reason;
use farrier_protocol::{NoReboot, Package, Reading};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::time::Duration;

/// How long a machine may take to come back, if the run does not say it: the self-test of a server with terabytes
/// of memory takes a quarter of an hour, and firmware is often applied in it.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_mins(30);

/// The delay before the reboot, if the run does not say it: as with the agents of vendors (iSUT), so that users who
/// are signed in can save their work.
pub const DEFAULT_DELAY: Duration = Duration::from_mins(1);

/// When a machine is rebooted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RebootPolicy {
    /// Never.
    #[default]
    Never,
    /// If a component needs it.
    IfRequired,
    /// After every update.
    Always,
}

/// What a run asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebootOrder {
    /// When machines are rebooted.
    pub policy: RebootPolicy,
    /// Time between the announcement and the reboot.
    pub delay: Duration,
    /// What users who are signed in are told.
    pub message: String,
    /// How long a machine may take to come back.
    pub timeout: Duration,
    /// Whether a machine is rebooted although a program inhibits its shutdown.
    pub ignore_inhibitors: bool,
}

impl Default for RebootOrder {
    fn default() -> Self {
        Self {
            policy: RebootPolicy::Never,
            delay: DEFAULT_DELAY,
            message: String::new(),
            timeout: DEFAULT_TIMEOUT,
            ignore_inhibitors: false,
        }
    }
}

/// Reports whether the machine is rebooted after this update: once for all components.
///
/// A failed component does not prevent the reboot that another one needs. With [`RebootPolicy::Always`], a machine
/// on which nothing was installed is not rebooted.
pub fn is_needed(policy: RebootPolicy, results: &[ComponentResult]) -> bool {
    match policy {
        RebootPolicy::Never => false,
        RebootPolicy::IfRequired => results.iter().any(waits),
        RebootPolicy::Always => {
            results.iter().any(|result| waits(result) || result.outcome == Outcome::Updated)
        }
    }
}

/// Reports whether a component takes effect, or shows its version, only after a reboot. What needs a power cycle does
/// not count: the machine would be rebooted for nothing, and that by every run.
fn waits(result: &ComponentResult) -> bool {
    result.reason == Reason::RebootPending
}

/// Corrects the results after a reboot: firmware that waited for it and still waits has failed. What waits for a power
/// cycle keeps the result that it had `before` the reboot: a reboot does not switch the device off, and proves
/// nothing. fwupd even calls such firmware failed after it.
pub fn check_pending(results: &mut [ComponentResult], before: &[ComponentResult]) {
    for result in results.iter_mut() {
        let waited = before.iter().find(|waited| waited.name == result.name);
        if let Some(waited) = waited.filter(|waited| waited.reason == Reason::PowerCyclePending) {
            if result.outcome != Outcome::Updated {
                result.clone_from(waited);
            }
        } else if waits(result) && result.outcome == Outcome::RebootPending {
            let name = &result.name;
            let (outcome, reason, state) = match result.after.as_str() {
                "" => (Outcome::Unverified, Reason::NotVerified, "cannot be read".to_owned()),
                version => (Outcome::Failed, Reason::VersionNotReached, format!("is still {version}")),
            };
            result.message = format!(
                "{name} {state} after the reboot of the machine, for which its new version had waited; look at \
                 `fwupdmgr get-history` on the machine, or at its initramfs if it is a kernel module, then start a run \
                 with spec.force.rewrite"
            );
            (result.outcome, result.reason) = (outcome, reason);
        }
    }
}

/// Corrects the results after a reboot: a kernel that is installed and not running is not in effect. `items` are
/// those of the plan, `readings` are found by component name.
pub fn check_kernels<'a>(
    results: &mut [ComponentResult],
    item: impl Fn(&str) -> Option<&'a PlanItem>,
    reading: impl Fn(&str) -> Option<Reading>,
    packages: &[Package],
    running: &str,
) {
    let is_installed =
        |result: &&mut ComponentResult| matches!(result.outcome, Outcome::Updated | Outcome::RebootPending);
    for result in results.iter_mut().filter(is_installed) {
        let Some(item) = item(&result.name) else { continue };
        let found = kernel::not_running(item, reading(&result.name).as_ref(), packages, running);
        // A newer kernel is as good as the installed one, unless the run asks for a downgrade.
        let found = found.filter(|found| item.force.downgrade || found.running != Ordering::Greater);
        if let Some(kernel::NotRunning { described: expected, .. }) = found {
            result.outcome = Outcome::Failed;
            result.reason = Reason::OldKernelRunning;
            result.message = format!(
                "{expected} is installed, and the machine runs the kernel {running} after its reboot; look at the \
                 default entry of the boot loader"
            );
        }
    }
}

/// Describes why a machine was not rebooted, for conditions and events.
pub fn why_not(node: &NodeName, why: &NoReboot) -> (Reason, String) {
    match why {
        NoReboot::Cancelled => {
            (Reason::Cancelled, format!("{node} was not rebooted, because the run was cancelled before"))
        }
        NoReboot::Inhibited { who, why, holder } => {
            let process = holder.as_ref().map(|holder| match holder.name.as_str() {
                "" => format!(", process {}", holder.pid),
                name => format!(", {name}, process {}", holder.pid),
            });
            let process = process.unwrap_or_default();
            (
                Reason::RebootInhibited,
                format!(
                    "{node} was not rebooted, because {who} inhibits its shutdown ({why}{process}); let it end and reboot the machine, or start a run with spec.force.inhibitors"
                ),
            )
        }
        NoReboot::Failed { detail } => (
            Reason::RebootFailed,
            format!(
                "{node} was not rebooted: {detail}; reboot it by hand, then start a run with operation Inventory"
            ),
        ),
        NoReboot::Unknown => (
            Reason::RebootFailed,
            format!("{node} was not rebooted, for a reason that only a later version of Farrier knows"),
        ),
    }
}

/// Derives the results of a machine that should have been rebooted and was not: what waits for the reboot says why
/// it did not come, and the machine has not succeeded.
pub fn conclude_without(
    mut results: Vec<ComponentResult>,
    reason: Reason,
    message: &str,
) -> (Vec<ComponentResult>, NodeVerdict) {
    for result in results.iter_mut().filter(|result| waits(result)) {
        result.message = format!("{}; {message}", result.message);
    }
    let verdict = match summarize(&results) {
        NodeVerdict::Succeeded { .. } if reason == Reason::Cancelled => {
            NodeVerdict::Cancelled { message: message.to_owned() }
        }
        NodeVerdict::Succeeded { .. } => NodeVerdict::Failed { reason, message: message.to_owned() },
        // The component is not known to have its version because of the missing reboot.
        NodeVerdict::Failed { reason: Reason::RebootPending, .. } => {
            NodeVerdict::Failed { reason, message: message.to_owned() }
        }
        other @ (NodeVerdict::Failed { .. } | NodeVerdict::Cancelled { .. }) => other,
    };
    (results, verdict)
}

#[cfg(test)]
mod tests;
