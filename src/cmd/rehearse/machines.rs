//! What the run has planned for each machine.

use crate::api::baseline::Reboot;
use crate::api::node_update::PlannedComponent;
use crate::api::update_run::{Operation, RebootWhen};
use crate::api::{Baseline, ManagedNode, NodeUpdate, UpdateRun};
use crate::controllers::plans_of;
use farrier_update::NodeName;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many changes of a machine a table shows.
const FEW: usize = 3;

/// The plans of a run.
#[derive(Debug)]
pub(super) struct Plans<'a> {
    by_node: BTreeMap<&'a str, &'a [PlannedComponent]>,
    policy: RebootWhen,
    /// What each component of the baseline needs; empty if the baseline is not known.
    needs: BTreeMap<&'a str, Reboot>,
    operation: Operation,
    /// What drains a machine, if it is drained.
    drains: BTreeMap<String, String>,
    /// The machines that are drained by their plans.
    drained: BTreeSet<&'a str>,
}

/// What is planned for a machine.
#[derive(Debug)]
pub(super) struct Planned<'a> {
    /// The components; `None` if the machine is not planned.
    pub(super) components: Option<&'a [PlannedComponent]>,
    pub(super) restarts: Restarts,
    pub(super) drain: Drain,
}

/// Whether a machine is drained before it is worked on, and what does that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Drain {
    /// It is not.
    No,
    /// It is, by this.
    By(String),
    /// If something is to be changed that disrupts it, which only a plan can tell; by this.
    Perhaps(String),
}

impl Drain {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::No => "no",
            Self::By(_) => "yes",
            Self::Perhaps(_) => "unknown",
        }
    }

    pub(super) fn what(&self) -> Option<&str> {
        match self {
            Self::No => None,
            Self::By(what) | Self::Perhaps(what) => Some(what),
        }
    }

    /// Returns how a table has it.
    pub(super) fn cell(&self) -> String {
        match self {
            Self::No => "no".to_owned(),
            Self::By(what) => what.clone(),
            Self::Perhaps(what) => format!("if disrupted: {what}"),
        }
    }
}

/// Whether a machine restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restarts {
    /// It does not.
    No,
    /// If an installer asks for it, or an earlier update is waiting for it.
    IfRequired,
    /// It does.
    Yes,
    /// Only a plan can tell.
    Unknown,
}

impl Restarts {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::IfRequired => "if required",
            Self::Yes => "yes",
            Self::Unknown => "unknown",
        }
    }
}

impl<'a> Plans<'a> {
    pub(super) fn new(
        run: &UpdateRun,
        nodes: &[Arc<ManagedNode>],
        updates: &'a [Arc<NodeUpdate>],
        baseline: Option<&'a Baseline>,
    ) -> Self {
        let name = run.name_any();
        let drained = updates.iter().filter(|update| {
            update.spec.run_ref.name == name && update.status.as_ref().is_some_and(|s| s.drain.is_some())
        });
        let drains =
            nodes.iter().filter_map(|node| Some((node.name_any(), node.spec.drain.as_ref()?.what())));
        let components = baseline.iter().flat_map(|baseline| &baseline.spec.components);
        Self {
            by_node: plans_of(run, updates),
            policy: run.spec.reboot.policy,
            needs: components.map(|component| (component.name.as_str(), component.reboot)).collect(),
            operation: run.spec.operation,
            drains: drains.collect(),
            drained: drained.map(|update| update.spec.node_ref.name.as_str()).collect(),
        }
    }

    /// Returns what is planned for a machine.
    pub(super) fn machine(&self, node: &NodeName) -> Planned<'a> {
        let components = self.by_node.get(node.0.as_str()).copied();
        let needs: Option<Vec<Reboot>> = components.map(|components| {
            let installed = components.iter().filter(|component| component.installs());
            installed
                .map(|component| self.needs.get(component.name.as_str()).copied().unwrap_or_default())
                .collect()
        });
        let drain = self.drain(&node.0, components.is_some());
        Planned { components, restarts: restarts(self.policy, needs.as_deref()), drain }
    }

    fn drain(&self, node: &str, is_planned: bool) -> Drain {
        match (self.operation, self.drains.get(node)) {
            (Operation::Inventory | Operation::Stage, _) | (Operation::Update, None) => Drain::No,
            (Operation::Update, Some(what)) if self.drained.contains(node) => Drain::By(what.clone()),
            (Operation::Update, Some(_)) if is_planned => Drain::No,
            (Operation::Update, Some(what)) => Drain::Perhaps(what.clone()),
        }
    }
}

impl Planned<'_> {
    /// Returns the changes: component, installed version and new version.
    pub(super) fn installed(&self) -> Vec<String> {
        let installed = self.components.into_iter().flatten().filter(|component| component.installs());
        let change = |c: &PlannedComponent| match c.from.as_str() {
            "" => format!("{} {} (new)", c.name, c.to),
            from => format!("{} {from} -> {}", c.name, c.to),
        };
        installed.map(change).collect()
    }

    /// Returns the changes in one line.
    pub(super) fn changes(&self) -> String {
        let changes = self.installed();
        if self.components.is_none() {
            return "not planned".to_owned();
        }
        match (changes.get(..FEW), changes.len().saturating_sub(FEW)) {
            _ if changes.is_empty() => "none".to_owned(),
            (Some(few), more) if more > 0 => format!("{}, {more} more", few.join(", ")),
            _ => changes.join(", "),
        }
    }
}

/// Decides whether a machine restarts. `needs` are those of the components to be installed; `None` if they are unknown.
fn restarts(policy: RebootWhen, needs: Option<&[Reboot]>) -> Restarts {
    let Some(needs) = needs else {
        return if policy == RebootWhen::Never { Restarts::No } else { Restarts::Unknown };
    };
    let all_stay_up = !needs.is_empty() && needs.iter().all(|need| *need == Reboot::Never);
    match policy {
        RebootWhen::Never => Restarts::No,
        RebootWhen::Always => {
            if needs.is_empty() {
                Restarts::No
            } else {
                Restarts::Yes
            }
        }
        RebootWhen::IfRequired if all_stay_up => Restarts::No,
        RebootWhen::IfRequired if needs.contains(&Reboot::Always) => Restarts::Yes,
        RebootWhen::IfRequired => Restarts::IfRequired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Otherwise somebody is told that a machine stays up which goes down in the night.
    #[test]
    fn restarts_follow_policy_and_components() {
        let [never, asked, always] = [Reboot::Never, Reboot::IfRequested, Reboot::Always];
        for (policy, needs, expected) in [
            (RebootWhen::Never, Some(vec![always]), Restarts::No),
            (RebootWhen::IfRequired, None, Restarts::Unknown),
            (RebootWhen::IfRequired, Some(vec![never]), Restarts::No),
            (RebootWhen::IfRequired, Some(vec![never, asked]), Restarts::IfRequired),
            (RebootWhen::IfRequired, Some(vec![asked, always]), Restarts::Yes),
            // What an earlier update is waiting for.
            (RebootWhen::IfRequired, Some(vec![]), Restarts::IfRequired),
            (RebootWhen::Always, Some(vec![never]), Restarts::Yes),
            (RebootWhen::Always, Some(vec![]), Restarts::No),
        ] {
            assert_eq!(restarts(policy, needs.as_deref()), expected, "{policy:?} {needs:?}");
        }
    }

    #[test]
    fn changes_are_those_of_the_plan_of_this_run() {
        let update = |run: &str, node: &str, plan: serde_json::Value| -> Arc<NodeUpdate> {
            let spec =
                json!({"runRef": {"name": run}, "nodeRef": {"name": node}, "runner": "", "intent": "Plan"});
            let object = json!({"apiVersion": "farrier.dev/v1alpha1", "kind": "NodeUpdate",
                "metadata": {"name": format!("{run}-{node}")}, "spec": spec, "status": {"leases": 0, "plan": plan}});
            Arc::new(serde_json::from_value(object).unwrap())
        };
        let part = |name: &str, action: &str, from: &str| json!({"name": name, "action": action, "from": from, "to": "2"});
        let updates = [
            update(
                "r1",
                "a",
                json!([
                    part("bios", "Install", "1"),
                    part("nic", "UpToDate", "2"),
                    part("tool", "Install", "")
                ]),
            ),
            update("r1", "b", json!([part("bios", "UpToDate", "2")])),
            update("r0", "c", json!([part("bios", "Install", "1")])),
        ];
        let run = json!({"apiVersion": "farrier.dev/v1alpha1", "kind": "UpdateRun", "metadata": {"name": "r1"},
            "spec": {"operation": "Update", "selector": {}, "reboot": {"policy": "IfRequired"}}});
        let run: UpdateRun = serde_json::from_value(run).unwrap();
        let plans = Plans::new(&run, &[], &updates, None);
        let seen = |name: &str| plans.machine(&NodeName::from(name)).changes();
        assert_eq!([seen("a"), seen("b"), seen("c")], ["bios 1 -> 2, tool 2 (new)", "none", "not planned"]);
    }

    /// Otherwise the owner of a load balancer is not told that a machine leaves it, or is told so for nothing.
    #[test]
    fn a_machine_is_drained_if_its_plan_says_so_and_nobody_knows_without_a_plan() {
        let node = |name: &str, drain: serde_json::Value| -> Arc<ManagedNode> {
            let spec =
                json!({"type": "Linux", "addresses": [], "credentialsRef": {"name": "key"}, "drain": drain});
            let object = json!({"apiVersion": "farrier.dev/v1alpha1", "kind": "ManagedNode",
                "metadata": {"name": name}, "spec": spec});
            Arc::new(serde_json::from_value(object).unwrap())
        };
        let nodes = [
            node("a", json!({"kubernetesNode": "w-1"})),
            node("b", json!({"job": {"cronJob": {"name": "drain-b"}}})),
            node("c", json!({"http": {"url": "https://example.net/farrier?key=1"}})),
            node("d", json!(null)),
        ];
        let update = |node: &str, drain: serde_json::Value| -> Arc<NodeUpdate> {
            let spec =
                json!({"runRef": {"name": "r1"}, "nodeRef": {"name": node}, "runner": "", "intent": "Plan"});
            let plan = json!([{"name": "bmc", "action": "Install", "from": "1", "to": "2"}]);
            let status = json!({"leases": 0, "plan": plan, "drain": drain});
            let object = json!({"apiVersion": "farrier.dev/v1alpha1", "kind": "NodeUpdate",
                "metadata": {"name": format!("r1-{node}")}, "spec": spec, "status": status});
            Arc::new(serde_json::from_value(object).unwrap())
        };
        let planned = json!({"state": "Planned", "what": "Node w-1", "round": 0});
        let updates = [update("a", planned), update("b", json!(null)), update("d", json!(null))];
        let seen = |operation: &str| {
            let run = json!({"apiVersion": "farrier.dev/v1alpha1", "kind": "UpdateRun", "metadata": {"name": "r1"},
                "spec": {"operation": operation, "selector": {}}});
            let run: UpdateRun = serde_json::from_value(run).unwrap();
            let plans = Plans::new(&run, &nodes, &updates, None);
            ["a", "b", "c", "d"].map(|name| plans.machine(&NodeName::from(name)).drain.cell())
        };
        let of_update = ["Node w-1", "no", "if disrupted: https://example.net/farrier", "no"];
        assert_eq!(seen("Update"), of_update);
        assert_eq!(seen("Stage"), ["no"; 4]);
    }
}
