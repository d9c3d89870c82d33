//! Output of `farrier-engine launch`: one line of JSON on standard output.

use crate::listen::Listening;
use crate::wait::Holder;
use serde::{Deserialize, Serialize};

/// The report of a launch. [`LaunchReport::PREFIX`] precedes it on its line, because shells print banners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum LaunchReport {
    /// The detached engine was started and accepts connections.
    Started {
        /// Its process id.
        pid: u32,
        /// Where it listens, on channel `Listen`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        listening: Option<Listening>,
    },
    /// The engine of this session is already running; nothing was started.
    AlreadyRunning {
        /// Its process id.
        pid: u32,
        /// Where it listens, on channel `Listen`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        listening: Option<Listening>,
    },
    /// Nothing was started, and what the engine had created is removed.
    Failed {
        /// Kind of the failure.
        code: LaunchError,
        /// Description of the failure, with the message of the operating system.
        message: String,
        /// The process that must end before a launch can succeed, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holder: Option<Holder>,
    },
}

impl LaunchReport {
    /// Text before the JSON on the line.
    pub const PREFIX: &'static str = "farrier-launch-1 ";
}

/// Why an engine could not be launched. A code that the reader does not know is read as `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LaunchError {
    /// The engine binary does not have the digest that the runner gave.
    DigestMismatch,
    /// An engine of another session is working on this machine; the message names its run.
    MachineBusy,
    /// The engine needs root and does not run as root.
    NotRoot,
    /// There is not enough space for the journal.
    DiskFull,
    /// No directory for the journal is writable, neither `/var/log` nor another.
    NoJournal,
    /// Any other failure; the message describes it.
    #[serde(other)]
    Other,
}
