//! Plans what one node needs to reach a baseline, and in which order.
//!
//! The plan is based on the first reading of the machine. This module changes nothing and verifies
//! nothing; `outcome` compares the plan with the second reading.

mod applies;
mod forecast;
mod needs;
mod order;
mod payload;
mod requires;
mod steps;
mod validate;

pub use applies::detections;
pub use forecast::Forecast;
pub use needs::programs;
pub use payload::file_name;
pub(crate) use payload::percent_decoded;
pub use steps::combined_digest;
pub use validate::{Problem, validate_baseline};

use crate::installer::Installers;
use crate::model::{Component, FailedDependency, Force};
use crate::package::{Wanted, package_of};
use crate::reason::Reason;
use crate::version::compare_installed;
use farrier_protocol::{Facts, PackageRef, Pending, PendingUntil, Reading};
use order::Order;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// The input of a plan.
#[derive(Debug, Clone, Copy)]
pub struct PlanInput<'a> {
    /// The components of the baseline, in its order.
    pub components: &'a [Component],
    /// Type of the ManagedNode, such as `Linux`.
    pub node_type: &'a str,
    /// The installers for such machines, and for machines of any type.
    pub installers: Installers<'a>,
    /// The facts about the machine.
    pub facts: &'a Facts,
    /// The programs that components need and the machine has.
    pub programs: &'a [String],
    /// The installed versions that were found, by component name.
    pub readings: &'a BTreeMap<String, Reading>,
    /// What the run allows beyond a plain update.
    pub force: Force,
    /// What happens to a component with a missing requirement.
    pub on_failed_dependency: FailedDependency,
}

/// What one node needs, in the order of execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// One entry for each component of the baseline.
    pub items: Vec<PlanItem>,
}

/// What one component needs on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanItem {
    /// The component, as in the baseline.
    pub component: Component,
    /// The action for the component.
    pub action: Action,
    /// The package of the component on this machine; `None` if the component is not a package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageRef>,
    /// The first reading, including other packages of the same name; `None` if the component was
    /// not read.
    pub before: Option<Reading>,
    /// Components of this plan that are installed earlier, and without which this component is
    /// skipped.
    pub after: Vec<String>,
    /// What the run forces.
    pub force: Force,
}

impl PlanItem {
    /// Returns the first reading without other packages of the same name. If there are several
    /// versions, the result has the version that counts.
    pub fn found(&self) -> Option<Reading> {
        self.before.as_ref().map(|before| self.count(before))
    }

    /// Returns any reading of this component in the same way.
    pub(crate) fn count(&self, reading: &Reading) -> Reading {
        self.wanted().count(reading)
    }

    /// Returns what users should know about a reading besides the version that counts: the versions
    /// that are installed side by side, and other packages of the same name.
    pub fn remark(&self, reading: &Reading) -> Option<String> {
        self.wanted().remark(reading)
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted::of(&self.component, self.package.as_ref())
    }
}

/// The action for a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Action {
    /// Install the component.
    Install {
        /// The version that is installed now; `None` if there is none.
        from: Option<String>,
        /// The version that will be installed.
        to: String,
    },
    /// Do nothing: the component is installed.
    UpToDate {
        /// The installed version.
        at: String,
        /// Whether the installed version is newer than the baseline's.
        newer: bool,
    },
    /// Do nothing: the component is not meant for this machine.
    NotApplicable {
        /// The property of the machine that does not match.
        why: String,
    },
    /// Do nothing: a requirement is missing.
    DependencyMissing {
        /// A description of each missing requirement.
        missing: Vec<String>,
    },
    /// Do nothing: this version of Farrier does not support the component.
    NotSupported {
        /// What is not supported.
        what: String,
    },
    /// Do nothing: something prevents the installation.
    Blocked {
        /// The cause and the remedy.
        why: String,
        /// The cause as a reason.
        reason: Reason,
    },
}

impl Action {
    /// Returns the version that will be installed after this action, if it is known.
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Install { from: _, to } => Some(to),
            Self::UpToDate { at, newer: _ } => Some(at),
            Self::NotApplicable { .. }
            | Self::DependencyMissing { .. }
            | Self::NotSupported { .. }
            | Self::Blocked { .. } => None,
        }
    }

    /// Reports whether the component is installed by this action.
    pub const fn is_install(&self) -> bool {
        matches!(self, Self::Install { .. })
    }
}

/// Plans what a node needs.
///
/// # Guarantees
///
/// The plan has one item for each component, and depends on `input` alone. A component comes after
/// the components that it requires; otherwise the baseline's order is kept.
pub fn plan_node(input: &PlanInput) -> NodePlan {
    let order = Order::of(input.components);
    let mut planned: BTreeMap<&str, PlanItem> = BTreeMap::new();
    let mut items = Vec::with_capacity(input.components.len());
    for &index in order.indices() {
        let Some(component) = input.components.get(index) else { continue };
        let item = if planned.contains_key(component.name.as_str()) {
            item(input, component, duplicate_name(component))
        } else {
            plan_component(input, component, &order, &planned)
        };
        planned.entry(component.name.as_str()).or_insert_with(|| item.clone());
        items.push(item);
    }
    if input.on_failed_dependency == FailedDependency::OmitNode {
        omit_node(&mut items);
    }
    NodePlan { items }
}

/// Plans one component, given the plan of all components that come before it.
fn plan_component(
    input: &PlanInput,
    component: &Component,
    order: &Order,
    planned: &BTreeMap<&str, PlanItem>,
) -> PlanItem {
    // A step on the way to a higher version of the same thing is neither forced back nor repeated.
    let applies = |other: &Component| applies::blocker(other, input).is_none();
    let is_step = input.components.iter().any(|other| order::is_step_to(component, other) && applies(other));
    let force = if is_step { Force { downgrade: false, rewrite: false, ..input.force } } else { input.force };
    let input = &PlanInput { force, ..*input };
    let blocker = applies::blocker(component, input);
    let action = blocker.unwrap_or_else(|| compare_reading(input, component));
    if !action.is_install() {
        return item(input, component, action);
    }
    if let Some(why) = needs::missing(component, input) {
        return item(input, component, Action::Blocked { why, reason: Reason::PrerequisiteMissing });
    }
    let found = input.readings.get(&component.name);
    let package = package_of(component, input.facts);
    let found = found.map(|reading| Wanted::of(component, package.as_ref()).count(reading));
    let missing = requires::missing(component, order, found.as_ref(), planned);
    if !missing.is_empty() && input.on_failed_dependency != FailedDependency::Force {
        return item(input, component, Action::DependencyMissing { missing });
    }
    let after = match input.on_failed_dependency {
        FailedDependency::Force => Vec::new(),
        FailedDependency::OmitNode | FailedDependency::OmitComponent => {
            requires::installed_before(component, planned)
        }
    };
    PlanItem { after, ..item(input, component, action) }
}

/// Returns the action that follows from the reading alone.
fn compare_reading(input: &PlanInput, component: &Component) -> Action {
    let name = &component.name;
    let wanted = component.version.trim();
    let newness = |version: &str| compare_installed(component.installer.versions(), version, wanted);
    let install = |from: &str| Action::Install { from: some_version(from), to: wanted.to_owned() };
    let package = package_of(component, input.facts);
    let counted = |reading| Wanted::of(component, package.as_ref()).count(reading);
    match input.readings.get(name).map(counted) {
        Some(Reading::Absent) => install(""),
        Some(Reading::Present { version, pending: Some(pending), .. })
            if (newness(&version) != Ordering::Equal || is_unloaded(Some(&pending)))
                && newness(&pending.version) == Ordering::Equal
                && !input.force.rewrite =>
        {
            Action::Blocked {
                why: pending_text(name, &version, &pending),
                reason: pending_reason(pending.until),
            }
        }
        Some(Reading::Present { version, .. }) => match newness(&version) {
            Ordering::Less => install(&version),
            Ordering::Equal if input.force.rewrite => install(&version),
            Ordering::Greater if input.force.downgrade => install(&version),
            equal_or_greater @ (Ordering::Equal | Ordering::Greater) => {
                Action::UpToDate { at: version, newer: equal_or_greater == Ordering::Greater }
            }
        },
        Some(Reading::Broken { version, detail, .. })
            if !version.is_empty() && newness(&version) == Ordering::Greater && !input.force.downgrade =>
        {
            Action::Blocked {
                why: format!(
                    "{name} {version} is {detail} on this machine, and newer than {wanted}: repair it there, \
                     or allow the older version with spec.force.downgrade of the run"
                ),
                reason: Reason::VersionNotReached,
            }
        }
        Some(Reading::Broken { version, .. }) => install(&version),
        Some(Reading::Unreadable { detail }) => unreadable(name, &detail),
        Some(Reading::Unknown) => unreadable(name, LATER_READING),
        None => unreadable(name, "it was not read"),
    }
}

/// The cause shown when an engine of a later version sends a reading that this version does not
/// know.
pub(crate) const LATER_READING: &str =
    "the engine is of a later version, and this operator does not know the reading";

/// Returns the reason of what is on the machine and not in effect.
pub(crate) const fn pending_reason(until: PendingUntil) -> Reason {
    match until {
        PendingUntil::PowerCycle => Reason::PowerCyclePending,
        // fwupd activates firmware when the machine goes down.
        PendingUntil::Reboot
        | PendingUntil::Activation
        | PendingUntil::ModuleLoad
        | PendingUntil::Unknown => Reason::RebootPending,
    }
}

/// Reports whether the kernel has loaded another build of the module that is installed.
pub(crate) fn is_unloaded(pending: Option<&Pending>) -> bool {
    pending.is_some_and(|pending| pending.until == PendingUntil::ModuleLoad)
}

/// Describes what is on the machine and not in effect.
pub(crate) fn pending_text(name: &str, version: &str, pending: &Pending) -> String {
    let next = match pending.until {
        PendingUntil::ModuleLoad => {
            return format!(
                "{name} {version} is installed, and the kernel has loaded another build of the module; it takes effect \
                 after the next reboot of the machine, or when the module is unloaded and loaded again"
            );
        }
        PendingUntil::Reboot | PendingUntil::Unknown => "takes effect after the next reboot of the machine",
        PendingUntil::PowerCycle => "takes effect when the machine is switched off and on again",
        PendingUntil::Activation => {
            "takes effect when it is activated, which fwupd does when the machine shuts down: reboot it, or run \
             `fwupdmgr activate` on it"
        }
    };
    format!("{name} {} is on the device and {next}; until then {version} is in effect", pending.version)
}

/// Blocks a component whose installed version is not known.
fn unreadable(name: &str, detail: &str) -> Action {
    Action::Blocked {
        why: format!("the installed version of {name} could not be read: {detail}; check its detect"),
        reason: Reason::NotVerified,
    }
}

/// Blocks a second component of the same name, because readings are stored by name.
fn duplicate_name(component: &Component) -> Action {
    Action::Blocked {
        why: format!(
            "the baseline lists {} more than once; give each component its own name",
            component.name
        ),
        reason: Reason::BaselineInvalid,
    }
}

/// Creates an item without predecessors.
fn item(input: &PlanInput, component: &Component, action: Action) -> PlanItem {
    PlanItem {
        component: component.clone(),
        action,
        package: package_of(component, input.facts),
        before: input.readings.get(&component.name).cloned(),
        after: Vec::new(),
        force: input.force,
    }
}

/// Blocks every installation if any component of the node has a missing requirement.
fn omit_node(items: &mut [PlanItem]) {
    let lacking: Vec<String> = items
        .iter()
        .filter(|item| matches!(item.action, Action::DependencyMissing { .. }))
        .map(|item| item.component.name.clone())
        .collect();
    if lacking.is_empty() {
        return;
    }
    let why = format!(
        "nothing is installed on this node, because a requirement of {} is missing and onFailedDependency is OmitNode",
        lacking.join(", ")
    );
    for item in items.iter_mut().filter(|item| item.action.is_install()) {
        item.action = Action::Blocked { why: why.clone(), reason: Reason::DependencyMissing };
        item.after.clear();
    }
}

/// Returns the trimmed version, or `None` if it is empty.
fn some_version(version: &str) -> Option<String> {
    Some(version.trim()).filter(|version| !version.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests;
