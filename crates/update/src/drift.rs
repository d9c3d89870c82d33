//! Drift: what a machine lacks of the baseline that was last applied to it, and when it is looked at again.
//!
//! Nothing here leads to an installation. What differs is described, and an inventory is asked for.

pub mod schedule;

use crate::plan::{Action, NodePlan};
use crate::reason::Reason;
use farrier_protocol::Reading;

/// Maximum number of components that a message names. A condition is read on a screen, and `status` must stay small.
const MAX_NAMED: usize = 10;

/// Maximum length of what is said about one component, in characters.
const MAX_WORDS: usize = 160;

/// What a machine has of a baseline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The components that are older than in the baseline, missing or not in effect, each with what was found.
    pub behind: Vec<String>,
    /// The components of which it is not known, each with the cause.
    pub unknown: Vec<String>,
    /// Number of components that are as in the baseline, or newer.
    pub current: usize,
    /// Number of components that are not meant for this machine.
    pub not_applicable: usize,
}

/// Whether a machine has a baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has every component.
    InBaseline,
    /// At least one component is behind.
    Behind,
    /// None is behind as far as it could be read.
    Unknown,
}

impl Standing {
    /// Returns the reason of this standing.
    pub const fn reason(self) -> Reason {
        match self {
            Self::InBaseline => Reason::AlreadyCurrent,
            Self::Behind => Reason::BehindBaseline,
            Self::Unknown => Reason::NotVerified,
        }
    }
}

impl Comparison {
    /// Compares a machine with its baseline, by the plan that would bring it there. The plan should be made with
    /// `FailedDependency::Force`: otherwise it says what is installed, and not what is missing.
    pub fn of(plan: &NodePlan) -> Self {
        let mut found = Self::default();
        for item in &plan.items {
            let name = &item.component.name;
            if let (Some(Reading::Broken { version, detail, .. }), Action::Install { .. }) =
                (&item.before, &item.action)
            {
                found.behind.push(words(&format!("{name} {version} is {detail}")));
                continue;
            }
            match &item.action {
                Action::Install { from: None, to } => {
                    found.behind.push(words(&format!("{name} is not installed ({to} in the baseline)")));
                }
                Action::Install { from: Some(from), to } => {
                    found.behind.push(words(&format!("{name} is {from} ({to} in the baseline)")));
                }
                Action::UpToDate { .. } => found.current += 1,
                Action::NotApplicable { .. } => found.not_applicable += 1,
                Action::DependencyMissing { missing } => {
                    found.behind.push(words(&format!("{name} lacks {}", missing.join(", "))));
                }
                Action::NotSupported { what } => found.unknown.push(words(&format!("{name}: {what}"))),
                Action::Blocked { why, reason: Reason::NotVerified | Reason::BaselineInvalid } => {
                    found.unknown.push(words(why));
                }
                Action::Blocked { why, reason: _ } => found.behind.push(words(why)),
            }
        }
        found
    }

    /// Returns whether the machine has the baseline.
    pub const fn standing(&self) -> Standing {
        if !self.behind.is_empty() {
            Standing::Behind
        } else if !self.unknown.is_empty() {
            Standing::Unknown
        } else {
            Standing::InBaseline
        }
    }

    /// Describes the result, in a text of bounded length.
    pub fn message(&self) -> String {
        let total = self.behind.len() + self.unknown.len() + self.current;
        match self.standing() {
            Standing::InBaseline if total == 0 => "no component of it is meant for this machine".to_owned(),
            Standing::InBaseline => format!("all {total} components are as in it, or newer"),
            Standing::Behind => {
                format!("{} of {total} components are behind: {}", self.behind.len(), named(&self.behind))
            }
            Standing::Unknown => format!(
                "{} of {total} components could not be compared: {}",
                self.unknown.len(),
                named(&self.unknown)
            ),
        }
    }
}

/// Cuts what is said about one component.
fn words(text: &str) -> String {
    let mut cut: String = text.chars().take(MAX_WORDS).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

/// Joins what is said about components.
fn named(all: &[String]) -> String {
    let text = all.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
    match all.len().saturating_sub(MAX_NAMED) {
        0 => text,
        more => format!("{text}; and {more} more"),
    }
}

#[cfg(test)]
mod tests;
