//! Which nodes are partners, and which of them are at work.

use super::place::{Role, Wait};
use crate::model::NodeName;
use crate::run::progress::{NodeProgress, with_facts};
use crate::run::{Observed, TargetFacts};
use std::collections::BTreeMap;

/// Returns the group of partners of each node that has any: nodes that name each other, directly or through
/// others. A group has the name of its first node. The input is each node with the nodes that it names; a
/// name does not have to be that of a node.
pub fn groups<'a>(named: impl IntoIterator<Item = (&'a str, &'a [String])>) -> BTreeMap<&'a str, &'a str> {
    // A forest: the parent of each node, up to the first node of its group.
    let mut parents: BTreeMap<&str, &str> = BTreeMap::new();
    for (node, partners) in named {
        for partner in partners {
            let (one, other) = (root(&mut parents, node), root(&mut parents, partner));
            let (first, second) = if one <= other { (one, other) } else { (other, one) };
            parents.insert(second, first);
        }
    }
    let nodes: Vec<&str> = parents.keys().copied().collect();
    nodes.into_iter().map(|node| (node, root(&mut parents, node))).collect()
}

/// Returns the first node of a group, and shortens the way to it.
fn root<'a>(parents: &mut BTreeMap<&'a str, &'a str>, node: &'a str) -> &'a str {
    let mut root = node;
    while let Some(&parent) = parents.get(root).filter(|parent| **parent != root) {
        root = parent;
    }
    let mut at = node;
    while let Some(parent) = parents.insert(at, root).filter(|parent| *parent != at) {
        at = parent;
    }
    root
}

/// The groups of partners of which a node is at work in this run, or is about to be.
#[derive(Debug, Clone, Default)]
pub(in crate::run) struct AtWork<'a> {
    groups: BTreeMap<&'a NodeName, &'a NodeName>,
}

impl<'a> AtWork<'a> {
    pub(in crate::run) fn of(
        observed: &'a Observed,
        nodes: &BTreeMap<&'a NodeName, NodeProgress<'a>>,
    ) -> Self {
        let mut at_work = Self::default();
        for (node, facts, progress) in with_facts(observed, nodes) {
            if progress.is_active() {
                at_work.add(facts, node);
            }
        }
        at_work
    }

    /// Adds a node that is about to be started.
    pub(in crate::run) fn add(&mut self, facts: &'a TargetFacts, node: &'a NodeName) {
        if let Some(group) = &facts.relations.group {
            self.groups.insert(group, node);
        }
    }

    /// Returns the wait for a partner of a node that is at work, in this run or in another.
    pub(in crate::run) fn wait(&self, facts: &'a TargetFacts) -> Option<Wait<'a>> {
        let relations = &facts.relations;
        if let Some(&on) = relations.group.as_ref().and_then(|group| self.groups.get(group)) {
            return Some(Wait { on, role: Role::Partner { run: None } });
        }
        let (on, run) = relations.partner_at_work.as_ref()?;
        Some(Wait { on, role: Role::Partner { run: Some(run) } })
    }
}
