//! Tests of the table, of groups of partners, and of the size of the graph.

use super::graph::Graph;
use super::*;
use std::collections::BTreeMap;

/// A cycle in the table would refuse every run that has these kinds of machines.
#[test]
fn the_order_of_types_has_no_cycle() {
    let mut left = BY_TYPE.to_vec();
    while !left.is_empty() {
        let count = left.len();
        let before = left.clone();
        left.retain(|edge| before.iter().any(|other| other.then == edge.first));
        assert!(left.len() < count, "a cycle in {left:?}");
    }
}

/// Two halves of a fabric would be down together because only one of the two objects names the other.
#[test]
fn partners_are_a_group_whoever_names_whom() {
    let names = |partners: &[&str]| partners.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let one_sided = [("fc-1", names(&[])), ("fc-2", names(&["fc-1"])), ("x", names(&[]))];
    let chain = [("d", names(&["c"])), ("a", names(&["b"])), ("b", names(&["c"])), ("z", names(&["y"]))];
    let of = |named: &[(&'static str, Vec<String>)]| -> BTreeMap<String, String> {
        let found = groups(named.iter().map(|(node, partners)| (*node, partners.as_slice())));
        found.into_iter().map(|(node, group)| (node.to_owned(), group.to_owned())).collect()
    };
    let expected = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|&(node, group)| (node.to_owned(), group.to_owned())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(of(&one_sided), expected(&[("fc-1", "fc-1"), ("fc-2", "fc-1")]));
    let all = [("a", "a"), ("b", "a"), ("c", "a"), ("d", "a"), ("y", "y"), ("z", "y")];
    assert_eq!(of(&chain), expected(&all));
}

/// A graph with an edge for each pair of nodes would take minutes for a run of thousands.
#[test]
fn the_graph_grows_with_the_nodes_and_not_with_their_pairs() {
    let mut observed = crate::run::tests::observed(crate::run::Desired::Run, []);
    let kinds = [MachineKind::OnboardAdministrator, MachineKind::ManagementProcessor, MachineKind::Server];
    for number in 0..3000 {
        let facts = crate::run::tests::of_kind(kinds[number % 3]);
        observed.targets.insert(NodeName(format!("n{number}")), facts);
    }
    let graph = Graph::of(&observed, &observed.targets.iter().collect::<Vec<_>>(), |_| false);
    let edges: usize = graph.before.iter().map(Vec::len).sum();
    assert!(edges <= 2 * 3000, "{edges} edges");
    assert!(!graph.has_cycle());
}
