//! What an installation from a repository would change on a machine.

use crate::refusal::Refusal;
use serde::{Deserialize, Serialize};

/// The result of a simulation by the machine's own package manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Simulation {
    /// The package can be installed.
    Possible {
        /// All changes, the package itself included.
        changes: Vec<Change>,
    },
    /// The step would be refused.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Description of the obstacle.
        detail: String,
    },
    /// The package manager cannot install the package, or the simulation itself failed.
    Failed {
        /// What the package manager says.
        message: String,
    },
    /// A kind of a later version.
    #[serde(other)]
    Unknown,
}

impl Simulation {
    /// As [`crate::EventBody::quotations`].
    pub(crate) fn quotation(&mut self) -> Option<&mut String> {
        match self {
            Self::Refused { refusal: _, detail: quoted } | Self::Failed { message: quoted } => Some(quoted),
            Self::Possible { .. } | Self::Unknown => None,
        }
    }
}

/// One package that an installation changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    /// What happens to the package.
    pub kind: ChangeKind,
    /// Name of the package.
    pub name: String,
    /// Architecture, as the package manager writes it; empty if it does not say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub arch: String,
    /// The version after the change; for a removal the version that is removed.
    pub version: String,
}

/// What happens to a package.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ChangeKind {
    /// It is not installed, and will be.
    Install,
    /// A newer version replaces the installed one.
    Upgrade,
    /// An older version replaces the installed one.
    Downgrade,
    /// The installed version is installed again.
    Reinstall,
    /// It is removed.
    Remove,
    /// Another change, and kinds of a later version.
    #[default]
    #[serde(other)]
    Other,
}
