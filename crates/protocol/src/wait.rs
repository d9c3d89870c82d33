//! What the engine waits for, so that it can be shown while the wait lasts.

use serde::{Deserialize, Serialize};

/// A wait of the engine. It is reported by [`crate::EventBody::Waiting`] once it has lasted about a
/// second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// What has to happen before the engine goes on.
    pub what: WaitFor,
    /// Which process is in the way, if one is and it can be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// When the wait began: milliseconds since the Unix epoch by the machine's clock.
    pub since: u64,
    /// When the engine gives up, by the same clock. `None`: it does not give up by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// The kinds of waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum WaitFor {
    /// Another process holds a lock of a package manager.
    PackageLock {
        /// The file that is locked.
        path: String,
    },
    /// A file system does not have enough free space.
    Room {
        /// A directory on that file system.
        path: String,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// An installer that an earlier engine of this session started has not ended yet. The holder is
    /// that installer.
    Installer {
        /// The component that it installs; empty if the journal does not say.
        component: String,
    },
    /// A kind of a later version.
    #[serde(other)]
    Unknown,
}

/// A process that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id on the machine.
    pub pid: u32,
    /// Its name as `/proc/PID/comm` gives it, at most 15 bytes. Arguments are never reported, since
    /// they may contain passwords. Empty if the process is gone or cannot be read.
    pub name: String,
}
