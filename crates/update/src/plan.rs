//! What one node needs to be brought to a baseline, and in which order.
//!
//! Works from the first reading of the machine. It changes nothing and proves nothing;
//! `outcome` compares the plan with the second reading.

mod applies;
mod order;
mod payload;
mod requires;
mod steps;
mod validate;

pub use applies::detections;
pub use payload::file_name;
pub use steps::combined_digest;
pub use validate::{Problem, validate_baseline};

use crate::model::{Component, FailedDependency, Force};
use crate::package::{Wanted, package_of};
use crate::reason::Reason;
use crate::version::{Scheme, compare_installed};
use farrier_protocol::{Facts, PackageRef, Reading};
use order::Order;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Everything that a plan depends on.
#[derive(Debug, Clone, Copy)]
pub struct PlanInput<'a> {
    /// The components of the baseline, in its order.
    pub components: &'a [Component],
    /// Type of the ManagedNode, such as `Linux`.
    pub node_type: &'a str,
    /// What the machine is.
    pub facts: &'a Facts,
    /// What was found installed, by component name.
    pub readings: &'a BTreeMap<String, Reading>,
    /// What may happen although a plain update would not do it.
    pub force: Force,
    /// What becomes of a component that lacks something.
    pub on_failed_dependency: FailedDependency,
}

/// What one node needs, in the order in which it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// One entry for each component of the baseline.
    pub items: Vec<PlanItem>,
}

/// What one component needs on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanItem {
    /// The component, as the baseline has it.
    pub component: Component,
    /// What is done.
    pub action: Action,
    /// The package that the component is on this machine; `None` if it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageRef>,
    /// What was found before, with the packages of the same name that are other ones; `None` where
    /// nothing was looked for.
    pub before: Option<Reading>,
    /// Components of this plan that are installed before, and without which this one is
    /// left out.
    pub after: Vec<String>,
    /// What the run forces.
    pub force: Force,
}

impl PlanItem {
    /// What was found before, without the packages of the same name that are other ones. Of several
    /// versions the one that counts is the reading's.
    pub fn found(&self) -> Option<Reading> {
        self.before.as_ref().map(|before| self.count(before))
    }

    /// The same for any reading of this component.
    pub(crate) fn count(&self, reading: &Reading) -> Reading {
        self.wanted().count(reading)
    }

    /// What people have to know about a reading besides the version that counts: which versions
    /// stand side by side, and which packages of the same name are other ones.
    pub fn remark(&self, reading: &Reading) -> Option<String> {
        self.wanted().remark(reading)
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted::of(&self.component, self.package.as_ref())
    }
}

/// What is done about a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Action {
    /// It is installed.
    Install {
        /// The version that is there now; `None` if there is none.
        from: Option<String>,
        /// The version that will be there.
        to: String,
    },
    /// Nothing: it is there.
    UpToDate {
        /// The version that is there.
        at: String,
        /// Whether that is a newer one than the baseline's.
        newer: bool,
    },
    /// Nothing: it is not meant for this machine.
    NotApplicable {
        /// What does not match.
        why: String,
    },
    /// Nothing: something that it requires is missing.
    DependencyMissing {
        /// What is missing, each in words.
        missing: Vec<String>,
    },
    /// Nothing: this version cannot do it.
    NotSupported {
        /// What it cannot do.
        what: String,
    },
    /// Nothing: something stands in the way.
    Blocked {
        /// What, and what to do about it.
        why: String,
        /// Which kind of obstacle.
        reason: Reason,
    },
}

impl Action {
    /// The version that will be there when this is done, as far as that is known.
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

    /// Whether something is installed.
    pub const fn is_install(&self) -> bool {
        matches!(self, Self::Install { .. })
    }
}

/// Works out what a node needs.
///
/// # Guarantees
///
/// The plan has one item for each component, and depends on `input` alone. What a component
/// requires stands before it; otherwise the baseline's order is kept.
pub fn plan_node(input: &PlanInput) -> NodePlan {
    let order = Order::of(input.components);
    let mut planned: BTreeMap<&str, PlanItem> = BTreeMap::new();
    let mut items = Vec::with_capacity(input.components.len());
    for &index in order.indices() {
        let Some(component) = input.components.get(index) else { continue };
        let item = if planned.contains_key(component.name.as_str()) {
            item(input, component, twice(component))
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

/// One component, given the plan of everything that comes before it.
fn plan_component(
    input: &PlanInput,
    component: &Component,
    order: &Order,
    planned: &BTreeMap<&str, PlanItem>,
) -> PlanItem {
    let blocker = applies::blocker(component, input.node_type, input.facts);
    let action = blocker.unwrap_or_else(|| compare_reading(input, component));
    if !action.is_install() {
        return item(input, component, action);
    }
    let missing = requires::missing(component, order, planned);
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

/// What the reading alone asks for.
fn compare_reading(input: &PlanInput, component: &Component) -> Action {
    let name = &component.name;
    let wanted = component.version.trim();
    let newness = |version: &str| compare_installed(Scheme::of(component.installer), version, wanted);
    let install = |from: &str| Action::Install { from: some_version(from), to: wanted.to_owned() };
    let package = package_of(component, input.facts);
    let counted = |reading| Wanted::of(component, package.as_ref()).count(reading);
    match input.readings.get(name).map(counted) {
        Some(Reading::Absent) => install(""),
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

/// Why nothing is known of a version that an engine of a later version has read.
pub(crate) const LATER_READING: &str =
    "the engine is of a later version, and this operator does not know what it means";

/// Why a component whose version is not known is left alone.
fn unreadable(name: &str, detail: &str) -> Action {
    Action::Blocked {
        why: format!("the installed version of {name} could not be read: {detail}; check its detect"),
        reason: Reason::NotVerified,
    }
}

/// Why a second component of the same name is left alone: readings are kept by name.
fn twice(component: &Component) -> Action {
    Action::Blocked {
        why: format!(
            "the baseline lists {} more than once; give each component its own name",
            component.name
        ),
        reason: Reason::BaselineInvalid,
    }
}

/// An item without predecessors.
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

/// Blocks every installation if anything is missing on the node.
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
        "nothing is installed on this node, because {} lacks what it requires and onFailedDependency is OmitNode",
        lacking.join(", ")
    );
    for item in items.iter_mut().filter(|item| item.action.is_install()) {
        item.action = Action::Blocked { why: why.clone(), reason: Reason::DependencyMissing };
        item.after.clear();
    }
}

/// A version that is not empty.
fn some_version(version: &str) -> Option<String> {
    Some(version.trim()).filter(|version| !version.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests;
