//! What `farrier-engine launch` prints: one line of JSON on standard output.

use serde::{Deserialize, Serialize};

/// The one line. It is preceded by [`LaunchReport::PREFIX`], because shells print banners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum LaunchReport {
    /// The detached engine accepts connections now.
    Started {
        /// Its process id.
        pid: u32,
    },
    /// The engine of this very session runs already; nothing was started.
    AlreadyRunning {
        /// Its process id.
        pid: u32,
    },
    /// Nothing was started, and what the engine had made is removed again.
    Failed {
        /// What kind of failure.
        code: LaunchError,
        /// What happened, with the operating system's words.
        message: String,
    },
}

impl LaunchReport {
    /// What stands before the JSON on the line.
    pub const PREFIX: &'static str = "farrier-launch-1 ";
}

/// Why an engine could not be launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LaunchError {
    /// The engine's own bytes do not have the digest that the runner named.
    DigestMismatch,
    /// An engine of another session is at work on this machine; the message names its run.
    MachineBusy,
    /// The engine needs root and does not have it.
    NotRoot,
    /// There is no room for the journal.
    DiskFull,
    /// Neither `/var/log` nor any other place for the journal can be written.
    NoJournal,
    /// Anything else; the message says what.
    Other,
}
