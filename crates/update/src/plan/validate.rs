//! Finds the errors of a baseline that do not depend on a machine.

use super::order::Order;
use crate::installer::InstallerKind;
use crate::model::Component;
use crate::payload_url::{PayloadUrl, UrlProblem};
use crate::reason::Reason;
use crate::version::compare_installed;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// An error that makes a baseline impossible to carry out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// Two components have the same name.
    #[error("spec.components: {name} is listed more than once; give each component its own name")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// Components require each other in a cycle.
    #[error("spec.components: requirements form a cycle: {path}; remove one of them")]
    Cycle {
        /// The names along the cycle; the first name is repeated at the end.
        path: String,
    },
    /// A component requires a component that the baseline does not have.
    #[error(
        "spec.components[{component}].requires: the baseline has no component {requires}; add it or remove the requirement"
    )]
    UnknownRequirement {
        /// The component.
        component: String,
        /// The required component.
        requires: String,
    },
    /// A component requires a newer version than the baseline has.
    #[error(
        "spec.components[{component}].requires: {requires} must be at least {at_least}, but the baseline has {version}; raise its version or lower atLeast"
    )]
    RequirementTooHigh {
        /// The component.
        component: String,
        /// The required component.
        requires: String,
        /// The lowest acceptable version.
        at_least: String,
        /// The version in the baseline.
        version: String,
    },
    /// A component requires itself in a version that it would not be installed over.
    #[error(
        "spec.components[{component}].requires: the requirement of {component} itself needs an atLeast below {version}: the version that must be installed before"
    )]
    OwnVersionNotBelow {
        /// The component.
        component: String,
        /// The version in the baseline.
        version: String,
    },
    /// A component without a payload cannot come from a repository.
    #[error(
        "spec.components[{component}]: components of installer {installer} do not come from a repository; give it a payload"
    )]
    PayloadMissing {
        /// The component.
        component: String,
        /// Its installer.
        installer: InstallerKind,
    },
    /// This version cannot install components of this kind.
    #[error(
        "spec.components[{component}].installer: {installer} is not supported in this version; leave the component out or use {}",
        alternatives(supported)
    )]
    InstallerNotSupported {
        /// The component.
        component: String,
        /// Its installer.
        installer: InstallerKind,
        /// The installers that this version has.
        supported: Vec<InstallerKind>,
    },
    /// This version cannot fetch payloads from this URL.
    #[error("spec.components[{component}].payload.url: {problem}")]
    UrlNotSupported {
        /// The component.
        component: String,
        /// The scheme.
        problem: UrlProblem,
    },
    /// The URL of a payload names nothing that could be fetched.
    #[error("spec.components[{component}].payload.url: {problem}")]
    UrlInvalid {
        /// The component.
        component: String,
        /// What is wrong with the URL.
        problem: UrlProblem,
    },
}

impl Problem {
    /// Returns the reason under which the problem is shown.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::DuplicateName { .. }
            | Self::Cycle { .. }
            | Self::UnknownRequirement { .. }
            | Self::RequirementTooHigh { .. }
            | Self::OwnVersionNotBelow { .. }
            | Self::PayloadMissing { .. }
            | Self::UrlInvalid { .. } => Reason::BaselineInvalid,
            Self::InstallerNotSupported { .. } | Self::UrlNotSupported { .. } => Reason::NotYetSupported,
        }
    }
}

/// Returns all problems of these components, in the order of the components; empty if there are none.
/// `installers` are the installers that this version has, for machines of any class.
pub fn validate_baseline(components: &[Component], installers: &[InstallerKind]) -> Vec<Problem> {
    let mut problems = duplicates(components);
    problems.extend(Order::of(components).circles().into_iter().map(|path| Problem::Cycle { path }));
    let mut known: BTreeMap<&str, &Component> = BTreeMap::new();
    for component in components {
        known.entry(component.name.as_str()).or_insert(component);
    }
    for component in components {
        problems.extend(requirements(component, &known));
        problems.extend(own_requirement(component));
        problems.extend(source(component));
        problems.extend(installer(component, installers));
        problems.extend(url(component));
    }
    problems
}

fn duplicates(components: &[Component]) -> Vec<Problem> {
    let mut seen = BTreeSet::new();
    let mut reported = BTreeSet::new();
    components
        .iter()
        .map(|component| component.name.as_str())
        .filter(|name| !seen.insert(*name) && reported.insert(*name))
        .map(|name| Problem::DuplicateName { name: name.to_owned() })
        .collect()
}

fn requirements<'a>(
    component: &'a Component,
    known: &'a BTreeMap<&str, &Component>,
) -> impl Iterator<Item = Problem> + 'a {
    // A requirement of the component itself is about the machine, not about the baseline.
    component.requires.iter().filter(|need| need.component != component.name).filter_map(|need| {
        let Some(target) = known.get(need.component.as_str()) else {
            return Some(Problem::UnknownRequirement {
                component: component.name.clone(),
                requires: need.component.clone(),
            });
        };
        let least = need.at_least.as_deref()?;
        let scheme = target.installer.versions();
        (compare_installed(scheme, &target.version, least) == Ordering::Less).then(|| {
            Problem::RequirementTooHigh {
                component: component.name.clone(),
                requires: need.component.clone(),
                at_least: least.to_owned(),
                version: target.version.clone(),
            }
        })
    })
}

/// Checks the version of itself that a component requires.
fn own_requirement(component: &Component) -> Option<Problem> {
    let scheme = component.installer.versions();
    let is_below = |least: &str| compare_installed(scheme, &component.version, least) == Ordering::Greater;
    let mut own = component.requires.iter().filter(|need| need.component == component.name);
    own.any(|need| !need.at_least.as_deref().is_some_and(is_below)).then(|| Problem::OwnVersionNotBelow {
        component: component.name.clone(),
        version: component.version.clone(),
    })
}

/// Checks that a component without a payload is a package.
fn source(component: &Component) -> Option<Problem> {
    let is_possible = component.payload.is_some() || component.installer.packages().is_some();
    (!is_possible).then(|| Problem::PayloadMissing {
        component: component.name.clone(),
        installer: component.installer,
    })
}

fn installer(component: &Component, supported: &[InstallerKind]) -> Option<Problem> {
    (!supported.contains(&component.installer)).then(|| Problem::InstallerNotSupported {
        component: component.name.clone(),
        installer: component.installer,
        supported: supported.to_vec(),
    })
}

/// Lists what to use instead, such as `Deb, Rpm or Script`.
fn alternatives(installers: &[InstallerKind]) -> String {
    let names: Vec<&str> = installers.iter().map(|kind| kind.as_str()).collect();
    match names.as_slice() {
        [] => "another version of Farrier".to_owned(),
        [only] => (*only).to_owned(),
        [others @ .., last] => format!("{} or {last}", others.join(", ")),
    }
}

fn url(component: &Component) -> Option<Problem> {
    let problem = PayloadUrl::parse(&component.payload.as_ref()?.url).err()?;
    let component = component.name.clone();
    Some(if matches!(problem, UrlProblem::Scheme { .. }) {
        Problem::UrlNotSupported { component, problem }
    } else {
        Problem::UrlInvalid { component, problem }
    })
}
