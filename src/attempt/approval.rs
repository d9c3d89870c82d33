//! The plan that a user has approved.

use crate::failure::Failure;
use farrier_protocol::Reading;
use farrier_update::{NodePlan, PlanItem, Reason};
use std::collections::BTreeMap;

/// The plan of a machine that a user has approved. No other plan is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedPlan {
    /// Its digest.
    pub digest: String,
    /// What it installs, by component: the installed version, which may be empty, and the new one.
    pub installs: BTreeMap<String, (String, String)>,
}

impl ApprovedPlan {
    /// Returns why a plan must not be carried out; `None` if it is the one that was approved.
    pub fn refuses(&self, plan: &NodePlan, node: &str) -> Option<Failure> {
        if plan.digest() == self.digest {
            return None;
        }
        let now: BTreeMap<String, (String, String)> = plan.installs().map(install).collect();
        let of = |plan: &BTreeMap<String, (String, String)>, component: &str| {
            plan.get(component).map_or_else(
                || "not installed".to_owned(),
                |(from, to)| {
                    if from.is_empty() { format!("installed as {to}") } else { format!("{from} to {to}") }
                },
            )
        };
        let names = self.installs.keys().chain(now.keys());
        let mut differences: Vec<String> = names
            .filter(|name| self.installs.get(*name) != now.get(*name))
            .map(|name| format!("{name}: {} was approved, {} now", of(&self.installs, name), of(&now, name)))
            .collect();
        differences.dedup();
        let what = if differences.is_empty() {
            "what is installed on it has changed".to_owned()
        } else {
            differences.join("; ")
        };
        Some(Failure::new(
            Reason::PlanChanged,
            format!(
                "the plan of {node} is not the one that was approved, so nothing was changed: {what}; start a run with spec.retryOf and approve its plan"
            ),
        ))
    }
}

fn install(item: &PlanItem) -> (String, (String, String)) {
    let from = match item.found() {
        Some(Reading::Present { version, .. } | Reading::Broken { version, .. }) => version,
        Some(Reading::Absent | Reading::Unreadable { .. } | Reading::Unknown) | None => String::new(),
    };
    (item.component.name.clone(), (from, item.component.version.clone()))
}
