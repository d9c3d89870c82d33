//! What the machine's own package manager says about a planned installation.

use super::PlanItem;
use crate::reason::refusal_remedy;
use farrier_protocol::{Change, ChangeKind, Simulation};

/// Maximum number of packages that a message names.
const MAX_NAMED: usize = 20;

/// The expected result of an installation from a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forecast {
    /// The package can be installed.
    Possible {
        /// What else is installed; empty if there is nothing.
        besides: String,
    },
    /// The package would not be installed.
    Refused {
        /// The cause and the next step.
        why: String,
    },
}

impl PlanItem {
    /// Returns what a simulation on the machine means for this component.
    pub fn forecast(&self, simulation: &Simulation) -> Forecast {
        let name = &self.component.name;
        match simulation {
            Simulation::Possible { changes } => Forecast::Possible { besides: self.besides(changes) },
            Simulation::Refused { refusal, detail } => {
                Forecast::Refused { why: format!("{detail}; {}", refusal_remedy(*refusal)) }
            }
            Simulation::Failed { message } => Forecast::Refused {
                why: format!("the package manager of the machine cannot install {name}: {message}"),
            },
            Simulation::Unknown => Forecast::Refused {
                why: "the engine is of a later version, and this operator does not know its simulation"
                    .into(),
            },
        }
    }

    /// Lists the packages besides the component's own.
    fn besides(&self, changes: &[Change]) -> String {
        let own = self.package.as_ref().map(|package| package.name.as_str());
        let others: Vec<String> = changes
            .iter()
            .filter(|change| Some(change.name.as_str()) != own)
            .map(|Change { kind, name, version, .. }| match kind {
                ChangeKind::Install => format!("{name} {version}"),
                ChangeKind::Upgrade
                | ChangeKind::Downgrade
                | ChangeKind::Reinstall
                | ChangeKind::Remove
                | ChangeKind::Other => format!("{name} {version} (in place of another version)"),
            })
            .collect();
        let more = match others.len().saturating_sub(MAX_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        match others.get(..MAX_NAMED).unwrap_or(&others) {
            [] => String::new(),
            named => format!("also installs {}{more}", named.join(", ")),
        }
    }
}
