//! Components that are installed and wait for a reboot that was never made: an earlier run has installed them, or
//! somebody else.
//!
//! Firmware and kernel modules say themselves that they wait (`Reading::Present::pending`); this module is about
//! everything else. It
//! claims something only if the machine is known not to have been rebooted since, by its boot id, or if the kernel
//! that runs is older than the installed one.

use super::kernel;
use crate::model::RebootNeed;
use crate::outcome::{ComponentResult, Outcome};
use crate::plan::PlanItem;
use crate::reason::Reason;
use farrier_protocol::{Detect, Facts, Package, Reading};
use std::cmp::Ordering;

/// A component that an earlier run, or an earlier attempt, has installed and left waiting for a reboot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledEarlier {
    /// Name of the component.
    pub component: String,
    /// Its version, as the machine writes it.
    pub version: String,
    /// Name of the run.
    pub run: String,
    /// Boot id of the machine at that time.
    pub boot_id: String,
}

/// Corrects the results of components that have their version and are not in effect before the next reboot. `items`
/// are those of the plan, `readings` are found by component name, `packages` are all installed packages.
pub fn mark_pending<'a>(
    results: &mut [ComponentResult],
    item: impl Fn(&str) -> Option<&'a PlanItem>,
    reading: impl Fn(&str) -> Option<Reading>,
    packages: &[Package],
    facts: &Facts,
    earlier: &[InstalledEarlier],
) {
    for result in results {
        let is_there = matches!(result.outcome, Outcome::UpToDate | Outcome::Updated);
        let item = item(&result.name).filter(|item| item.component.reboot != RebootNeed::Never);
        let Some(item) = item.filter(|_| is_there) else { continue };
        // A module may have been loaded meanwhile without a reboot.
        let is_module = matches!(item.component.detection(), Some(Detect::Module(_)));
        if is_module && item.component.reboot != RebootNeed::Always {
            continue;
        }
        let kernel = old_kernel(item, reading(&result.name).as_ref(), packages, facts);
        let Some(why) = kernel.or_else(|| awaited_since(result, facts, earlier)) else { continue };
        result.outcome = Outcome::RebootPending;
        result.reason = Reason::RebootPending;
        let separator = if result.message.is_empty() { "" } else { "; " };
        result.message = format!("{why}{separator}{}", result.message);
    }
}

/// Corrects the results after a reboot: a component that was pending before it, and is up to date now, was put into
/// effect by it. `before` are the results before the reboot.
pub fn mark_effective(results: &mut [ComponentResult], before: &[ComponentResult]) {
    let was_pending = |name: &str| before.iter().any(|old| old.name == name && super::waits(old));
    for result in results.iter_mut().filter(|result| result.outcome == Outcome::UpToDate) {
        if was_pending(&result.name) {
            result.outcome = Outcome::Updated;
            result.reason = Reason::Verified;
        }
    }
}

fn old_kernel(
    item: &PlanItem,
    reading: Option<&Reading>,
    packages: &[Package],
    facts: &Facts,
) -> Option<String> {
    let running = facts.kernel.as_str();
    let found = kernel::not_running(item, reading, packages, running).filter(|_| !running.is_empty())?;
    (found.running == Ordering::Less).then(|| {
        format!(
            "{} is installed, and the machine runs the kernel {running} until it is rebooted",
            found.described
        )
    })
}

/// Returns what waits since an earlier run, if the machine was not rebooted meanwhile.
fn awaited_since(result: &ComponentResult, facts: &Facts, earlier: &[InstalledEarlier]) -> Option<String> {
    // Another attempt of the same run has a record of its own for what it installs.
    let is_it = |was: &&InstalledEarlier| {
        was.component == result.name && was.version == result.after && was.boot_id == facts.boot_id
    };
    let found = earlier.iter().find(is_it).filter(|_| {
        result.outcome == Outcome::UpToDate && !facts.boot_id.is_empty() && !result.after.is_empty()
    })?;
    let InstalledEarlier { component, version, run, boot_id: _ } = found;
    Some(format!(
        "{component} {version}, which run {run} has installed, takes effect after the next reboot of the machine"
    ))
}

#[cfg(test)]
mod tests;
