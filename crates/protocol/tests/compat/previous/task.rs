//! What the runner asks of the engine.

use super::survey::Detect;
use serde::{Deserialize, Serialize};

/// `POST /v1/next`: the engine is idle and asks for work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// The task that has just ended, all its events being sent and acknowledged.
    pub done: Option<String>,
}

/// One piece of work. Its id makes it happen at most once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Unique within the session, for instance `apply-1`.
    pub id: String,
    /// What to do.
    pub work: Work,
}

/// The kinds of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Work {
    /// Look at the machine and change nothing. Ends with `SurveyDone`.
    Survey {
        /// Whether to list every installed package.
        packages: bool,
        /// What to read, by component name.
        detect: Vec<(String, Detect)>,
    },
    /// Fetch every payload, check every digest, then run the steps in order. A failed step
    /// does not stop the ones behind it unless they name it in [`Step::after`].
    Apply {
        /// The steps, in the order in which they run.
        steps: Vec<Step>,
    },
    /// Take back every lease, keep the logs, end. Ends with `Retired`.
    Retire,
}

/// One component to be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Name of the component in the baseline.
    pub component: String,
    /// Version that the baseline asks for.
    pub version: String,
    /// How it is installed.
    pub installer: Installer,
    /// What is installed.
    pub payload: Payload,
    /// Components of this task that must have succeeded before; else the step is skipped.
    pub after: Vec<String>,
    /// Limit for the installer alone, without the download, in seconds.
    pub timeout_seconds: u64,
    /// Whether the installer may be ended when it exceeds its limit. One that may not be is
    /// left to finish however long it takes.
    pub interruptible: bool,
    /// Whether an older version may replace a newer one.
    pub downgrade: bool,
    /// Whether the same version is to be installed once more.
    pub rewrite: bool,
}

/// The bytes of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payload {
    /// `sha256:` and 64 lower-case hexadecimal digits; also its name on the runner.
    pub digest: String,
    /// Length in bytes.
    pub size: u64,
    /// Last part of the payload's URL, kept because some installers look at it.
    pub file_name: String,
}

/// How the engine installs a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Installer {
    /// A Debian package.
    Deb,
    /// An RPM package.
    Rpm,
    /// An executable file: a script or a self-extracting archive. Runs as root in an empty
    /// directory, with `FARRIER_COMPONENT` and `FARRIER_VERSION` in its environment.
    Script,
}
