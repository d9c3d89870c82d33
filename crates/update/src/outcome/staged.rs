//! The results of a run that stages payloads on a machine with an engine.

use super::{ComponentResult, Outcome, conclude};
use crate::plan::NodePlan;
use crate::reason::Reason;
use farrier_protocol::Reading;
use std::collections::BTreeMap;

/// Returns the results after the payloads of everything that the plan installs were staged. `until` is the time, for
/// users, until which they are kept.
pub fn conclude_staged(
    plan: &NodePlan,
    readings: &BTreeMap<String, Reading>,
    until: &str,
) -> Vec<ComponentResult> {
    let of = |item| {
        let result = conclude(item, None, readings.get(&item.component.name));
        if !item.action.is_install() {
            return result;
        }
        let (name, version) = (&item.component.name, &item.component.version);
        let after = result.before.clone();
        if item.component.payload.is_none() {
            let message = format!(
                "{name} comes from the repositories of the machine when it is installed, so there is nothing to stage"
            );
            let (outcome, reason) = (Outcome::NotApplicable, Reason::NotRequired);
            return ComponentResult { outcome, reason, after, message, ..result };
        }
        let message = format!(
            "the machine has the payload of {name} {version} and has not installed it; an UpdateRun with operation Update before {until} does"
        );
        let (outcome, reason) = (Outcome::Staged, Reason::Staged);
        ComponentResult { outcome, reason, after, message, ..result }
    };
    plan.items.iter().map(of).collect()
}
