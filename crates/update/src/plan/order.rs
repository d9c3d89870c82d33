//! The order in which components are installed, and the cycles in their requirements.
//!
//! A component comes after the components that it requires. One that requires a version of itself comes after
//! the components that bring lower versions of the same thing. Otherwise the order of the baseline is
//! kept, because its author may have had reasons that are not written down. Nothing in this module
//! recurses: the requirements of a baseline may be as deep as the baseline is long.

use crate::model::Component;
use crate::version::compare;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Order and cycles of a list of components.
#[derive(Debug)]
pub(super) struct Order {
    indices: Vec<usize>,
    circles: BTreeMap<usize, Vec<usize>>,
    names: Vec<String>,
}

impl Order {
    /// Computes the order of `components`.
    pub(super) fn of(components: &[Component]) -> Self {
        let edges = edges(components);
        let circles = circles(&edges);
        let indices = sort(&edges, &circles);
        let names = components.iter().map(|component| component.name.clone()).collect();
        Self { indices, circles, names }
    }

    /// Returns the indices of the components in the order of installation. Each index occurs once.
    pub(super) fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// Returns the cycle that the component of this name is part of, as `a -> b -> a`.
    pub(super) fn circle(&self, name: &str) -> Option<String> {
        let index = self.names.iter().position(|other| other == name)?;
        self.circles.get(&index).map(|path| self.describe(path))
    }

    /// Returns each cycle once, described from its first component.
    pub(super) fn circles(&self) -> Vec<String> {
        let mut seen: BTreeSet<usize> = BTreeSet::new();
        let mut found = Vec::new();
        for (index, path) in &self.circles {
            if !seen.contains(index) {
                found.push(self.describe(path));
            }
            seen.extend(path);
        }
        found
    }

    fn describe(&self, path: &[usize]) -> String {
        let names: Vec<&str> =
            path.iter().filter_map(|&index| self.names.get(index)).map(String::as_str).collect();
        names.join(" -> ")
    }
}

/// Reports whether a component brings a lower version of the same thing as another one, as a step on the way.
pub(super) fn is_step_to(component: &Component, other: &Component) -> bool {
    component.name != other.name
        && component.is_same_target(other)
        && compare(other.installer.versions(), &component.version, &other.version) == Ordering::Less
}

/// Returns, for each component, the indices of the components of the same list that it requires.
fn edges(components: &[Component]) -> Vec<BTreeSet<usize>> {
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, component) in components.iter().enumerate() {
        first.entry(component.name.as_str()).or_insert(index);
    }
    let of = |component: &Component| {
        let others = component.requires.iter().filter(|need| need.component != component.name);
        let mut before: BTreeSet<usize> =
            others.filter_map(|need| first.get(need.component.as_str()).copied()).collect();
        if component.requires.iter().any(|need| need.component == component.name) {
            let lower = components.iter().enumerate().filter(|(_, other)| is_step_to(other, component));
            before.extend(lower.map(|(index, _)| index));
        }
        before
    };
    components.iter().map(of).collect()
}

/// Returns, for each component that requires itself indirectly, a shortest path back to it.
fn circles(edges: &[BTreeSet<usize>]) -> BTreeMap<usize, Vec<usize>> {
    (0..edges.len()).filter_map(|start| Some((start, path_back(edges, start)?))).collect()
}

/// Returns a shortest path from `start` to itself, both ends included (breadth first).
fn path_back(edges: &[BTreeSet<usize>], start: usize) -> Option<Vec<usize>> {
    let mut came_from: BTreeMap<usize, usize> = BTreeMap::new();
    let mut frontier = vec![start];
    while !frontier.is_empty() {
        let mut next = Vec::new();
        for &at in &frontier {
            for &to in edges.get(at)? {
                if to == start {
                    return Some(walk_back(&came_from, start, at));
                }
                came_from.entry(to).or_insert_with(|| {
                    next.push(to);
                    at
                });
            }
        }
        frontier = next;
    }
    None
}

/// Returns the path `start … last start`, using the predecessor of each component.
fn walk_back(came_from: &BTreeMap<usize, usize>, start: usize, last: usize) -> Vec<usize> {
    let mut path = vec![start];
    let mut at = last;
    while at != start {
        path.push(at);
        match came_from.get(&at) {
            Some(&before) => at = before,
            None => break,
        }
    }
    path.push(start);
    path.reverse();
    path
}

/// Repeatedly takes the first component of the list whose requirements have all been taken.
/// Requirements between members of cycles do not count, because otherwise no member could be the first.
fn sort(edges: &[BTreeSet<usize>], circles: &BTreeMap<usize, Vec<usize>>) -> Vec<usize> {
    let counts = |from: usize, to: usize| !(circles.contains_key(&from) && circles.contains_key(&to));
    let mut open: Vec<usize> = Vec::with_capacity(edges.len());
    let mut dependants: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (from, needs) in edges.iter().enumerate() {
        let needed: Vec<usize> = needs.iter().copied().filter(|&to| counts(from, to)).collect();
        open.push(needed.len());
        for to in needed {
            dependants.entry(to).or_default().push(from);
        }
    }
    let mut ready: BTreeSet<usize> =
        open.iter().enumerate().filter(|&(_, &count)| count == 0).map(|(index, _)| index).collect();
    let mut sorted = Vec::with_capacity(edges.len());
    while let Some(index) = ready.pop_first() {
        sorted.push(index);
        for &dependant in dependants.get(&index).into_iter().flatten() {
            if let Some(count) = open.get_mut(dependant) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    ready.insert(dependant);
                }
            }
        }
    }
    sorted
}
