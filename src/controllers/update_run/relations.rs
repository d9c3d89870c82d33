//! How the machines of a namespace are related: what each is managed by, which are partners, and on which of
//! them other runs work.

use super::facts::is_of;
use crate::api::node_update::Intent;
use crate::api::{ManagedNode, NodeUpdate, UpdateRun};
use crate::convert;
use farrier_update::run::{Manager, Relations, UpdateFacts, groups};
use farrier_update::{NodeName, RunName};
use kube::ResourceExt;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// The machines of a namespace, as one of its runs sees them.
pub(super) struct Neighbours<'a> {
    /// By name. A namespace may have many more machines than the run.
    nodes: HashMap<&'a str, &'a Arc<ManagedNode>>,
    /// The group of partners of each machine that has any.
    groups: BTreeMap<&'a str, &'a str>,
    /// The machines of each group of partners.
    members: BTreeMap<&'a str, Vec<&'a str>>,
    /// The machines on which another run works, or is about to.
    at_work: BTreeMap<String, Work>,
}

/// The work of another run on a machine.
struct Work {
    run: RunName,
    /// Whether it may change the machine, and not only plan.
    changes: bool,
}

impl<'a> Neighbours<'a> {
    /// `nodes` are those of the namespace, `updates` its NodeUpdates, and `runs` its other runs. Neither
    /// `updates` nor `runs` may be stale.
    pub(super) fn new(
        run: &UpdateRun,
        nodes: &'a [Arc<ManagedNode>],
        updates: &[(Arc<NodeUpdate>, UpdateFacts)],
        runs: &[Arc<UpdateRun>],
    ) -> Self {
        let groups = groups(
            nodes
                .iter()
                .map(|node| (node.metadata.name.as_deref().unwrap_or_default(), &*node.spec.partners)),
        );
        let mut members: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (node, group) in &groups {
            members.entry(group).or_default().push(node);
        }
        let nodes = nodes.iter().filter_map(|node| Some((node.metadata.name.as_deref()?, node))).collect();
        Self { nodes, groups, members, at_work: at_work(run, updates, runs) }
    }

    /// Returns a machine of the namespace.
    pub(super) fn node(&self, name: &str) -> Option<&'a Arc<ManagedNode>> {
        self.nodes.get(name).copied()
    }

    /// Returns another run that works on a machine, or is about to.
    pub(super) fn claimed_by(&self, node: &str) -> Option<RunName> {
        self.at_work.get(node).map(|work| work.run.clone())
    }

    /// Counts the machines of each fault domain that other runs change, or are about to.
    pub(super) fn busy(
        &self,
        domain: impl Fn(&ManagedNode) -> Option<String>,
    ) -> BTreeMap<Option<String>, usize> {
        let mut busy = BTreeMap::new();
        for (node, _) in self.at_work.iter().filter(|(_, work)| work.changes) {
            let domain = self.nodes.get(node.as_str()).and_then(|node| domain(node));
            *busy.entry(domain).or_default() += 1;
        }
        busy
    }

    /// Returns how a machine is related to others.
    pub(super) fn relations(&self, name: &str) -> Relations {
        let group = self.groups.get(name).copied();
        let mut partners = group.and_then(|group| self.members.get(group)).into_iter().flatten();
        let partner_at_work = partners.find_map(|partner| {
            let work = self.at_work.get(*partner).filter(|_| *partner != name)?;
            Some((NodeName::from(*partner), work.run.clone()))
        });
        let node = self.nodes.get(name);
        let managed_by = node.and_then(|node| node.spec.managed_by.as_ref()).map(|manager| Manager {
            name: NodeName(manager.name.clone()),
            kind: self
                .nodes
                .get(manager.name.as_str())
                .map(|manager| convert::machine_kind(manager.spec.type_)),
        });
        Relations {
            kind: node.map(|node| convert::machine_kind(node.spec.type_)).unwrap_or_default(),
            managed_by,
            group: group.map(NodeName::from),
            partner_at_work,
        }
    }
}

/// Returns the machines that other runs have NodeUpdates in flight for, or have recorded the start of.
fn at_work(
    run: &UpdateRun,
    updates: &[(Arc<NodeUpdate>, UpdateFacts)],
    runs: &[Arc<UpdateRun>],
) -> BTreeMap<String, Work> {
    let mut at_work = BTreeMap::new();
    for other in runs.iter().filter(|other| other.namespace() == run.namespace() && other.uid() != run.uid())
    {
        let status = other.status.iter();
        let turns = status.flat_map(|status| {
            let planning = status.planning.iter().map(|node| (node, false));
            planning.chain(status.starting.iter().map(|node| (node, true)))
        });
        let mut turns = turns.peekable();
        // A run that starts many machines would otherwise look through all NodeUpdates for each of them.
        let done: HashSet<&str> = if turns.peek().is_some() {
            let of_other = updates.iter().filter(|(update, facts)| facts.is_done() && is_of(update, other));
            of_other.map(|(update, _)| update.spec.node_ref.name.as_str()).collect()
        } else {
            HashSet::new()
        };
        for (node, changes) in turns {
            if !done.contains(node.as_str()) {
                at_work.insert(node.clone(), Work { run: RunName(other.name_any()), changes });
            }
        }
    }
    for (update, _) in updates.iter().filter(|(update, facts)| facts.in_flight() && !is_of(update, run)) {
        let run = RunName(update.spec.run_ref.name.clone());
        let changes = update.spec.intent != Intent::Plan;
        at_work.insert(update.spec.node_ref.name.clone(), Work { run, changes });
    }
    at_work
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::update_run::facts;
    use farrier_update::run::MachineKind;
    use serde_json::{Value, json};

    fn node(name: &str, spec: &Value) -> Arc<ManagedNode> {
        let mut node = json!({
            "metadata": {"name": name, "namespace": "n"},
            "spec": {"type": "FCSwitch", "addresses": ["10.0.0.1"], "credentialsRef": {"name": "s"}},
        });
        for (field, value) in spec.as_object().into_iter().flatten() {
            node["spec"][field] = value.clone();
        }
        serde_json::from_value(node).map(Arc::new).unwrap()
    }

    fn run(name: &str, status: &Value) -> Arc<UpdateRun> {
        let run = json!({
            "apiVersion": "farrier.dev/v1alpha1", "kind": "UpdateRun",
            "metadata": {"name": name, "namespace": "n", "uid": name}, "spec": {"selector": {}}, "status": status,
        });
        serde_json::from_value(run).map(Arc::new).unwrap()
    }

    fn update(run: &str, node: &str) -> Arc<NodeUpdate> {
        let update = json!({
            "metadata": {"name": format!("{run}-{node}"), "namespace": "n", "ownerReferences":
                [{"apiVersion": "farrier.dev/v1alpha1", "kind": "UpdateRun", "name": run, "uid": run}]},
            "spec": {"runRef": {"name": run}, "nodeRef": {"name": node}, "runner": "r", "intent": "Run"},
        });
        serde_json::from_value(update).map(Arc::new).unwrap()
    }

    /// Two runs would take down both halves of a fabric, if only the other half names this one.
    #[test]
    fn a_partner_at_work_in_another_run_is_seen() {
        let nodes =
            [node("fc-1", &json!({})), node("fc-2", &json!({"partners": ["fc-1"]})), node("x", &json!({}))];
        let seen = |updates: &[Arc<NodeUpdate>], runs: &[Arc<UpdateRun>]| {
            let updates: Vec<_> = updates.iter().map(|update| (update.clone(), facts(update))).collect();
            let neighbours = Neighbours::new(&run("own", &json!({})), &nodes, &updates, runs);
            assert!(neighbours.relations("x").group.is_none());
            neighbours.relations("fc-1").partner_at_work
        };
        let expected = Some((NodeName::from("fc-2"), RunName::from("other")));
        assert_eq!(seen(&[update("other", "fc-2")], &[]), expected);
        assert_eq!(seen(&[], &[run("other", &json!({"starting": ["fc-2"]}))]), expected);
        assert_eq!(seen(&[], &[run("other", &json!({"planning": ["fc-2"]}))]), expected);
        assert_eq!(seen(&[update("own", "fc-2"), update("other", "x")], &[]), None);
        assert_eq!(seen(&[update("other", "fc-1")], &[]), None, "that is a claim of its own");
    }

    /// A module would be ordered after an enclosure that is not its own, or before its own.
    #[test]
    fn a_manager_is_known_with_its_kind_or_as_missing() {
        let vc =
            |manager: &str| node("vc", &json!({"type": "VirtualConnect", "managedBy": {"name": manager}}));
        let nodes = [vc("oa"), node("oa", &json!({"type": "OnboardAdministrator"}))];
        let of = |nodes: &[Arc<ManagedNode>]| {
            Neighbours::new(&run("own", &json!({})), nodes, &[], &[]).relations("vc")
        };
        let relations = of(&nodes);
        assert_eq!(relations.kind, MachineKind::VirtualConnect);
        assert_eq!(relations.managed_by.unwrap().kind, Some(MachineKind::OnboardAdministrator));
        assert_eq!(of(&[vc("gone")]).managed_by.unwrap().kind, None);
    }
}
