//! Waits of the engine, reported so that users can see them while they last.

use serde::{Deserialize, Serialize};

/// A wait of the engine. [`crate::EventBody::Waiting`] reports it once it has lasted about a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// What the engine waits for.
    pub what: WaitFor,
    /// The process that blocks the engine, if there is one and it can be determined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// Start of the wait, in milliseconds since the Unix epoch by the machine's clock.
    pub since: u64,
    /// Time at which the engine stops waiting, by the same clock. `None`: the wait has no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

impl Wait {
    /// As [`crate::EventBody::quotations`].
    pub(crate) fn quotations(&mut self) -> Vec<&mut String> {
        match &mut self.what {
            WaitFor::Inhibitor { who, why } => vec![who, why],
            WaitFor::PackageLock { .. }
            | WaitFor::Room { .. }
            | WaitFor::Firmware
            | WaitFor::Installer { .. }
            | WaitFor::RebootDelay
            | WaitFor::Unknown => Vec::new(),
        }
    }
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
    /// Another program changes firmware by fwupd. The holder is that program, if it can be determined.
    Firmware,
    /// An installer that an earlier engine of this session started has not ended. The holder is that
    /// installer.
    Installer {
        /// The component that the installer installs; empty if the journal does not record it.
        component: String,
    },
    /// A program inhibits the shutdown of the machine. The holder is that program.
    Inhibitor {
        /// The program, as it calls itself.
        who: String,
        /// Its reason.
        why: String,
    },
    /// The delay before the reboot.
    RebootDelay,
    /// A kind of a later version.
    #[serde(other)]
    Unknown,
}

/// A process that blocks the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id on the machine.
    pub pid: u32,
    /// Name of the process from `/proc/PID/comm`, at most 15 bytes. Arguments are never reported, because
    /// they may contain passwords. Empty if the process has ended or cannot be read.
    pub name: String,
}
