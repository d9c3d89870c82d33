//! The faults that a test may switch on, each with a name.
//!
//! Where they take effect is the business of the places that ask for them.

use serde::{Deserialize, Serialize};

/// What goes wrong. As JSON: `{"name": "slow", "path": "/Tasks/", "ms": 500}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Fault {
    /// All sessions end now.
    DropSessions,
    /// 401 for a request that has valid credentials.
    Unauthorized {
        /// Part of the path; empty: every path.
        #[serde(default)]
        path: String,
    },
    /// This status instead of the answer.
    Status {
        /// Part of the path; empty: every path.
        #[serde(default)]
        path: String,
        /// For example 500.
        status: u16,
    },
    /// The answer comes late.
    Slow {
        /// Part of the path; empty: every path.
        #[serde(default)]
        path: String,
        /// How late.
        ms: u64,
    },
    /// The connection ends in the middle of the answer.
    CutAnswer {
        /// Part of the path; empty: every path.
        #[serde(default)]
        path: String,
    },
    /// A POST is carried out; the connection ends before its answer.
    LostAnswer {
        /// Part of the path; empty: every path.
        #[serde(default)]
        path: String,
    },
    /// One member of a collection answers with this status; the others are well.
    MemberError {
        /// Last part of its path.
        member: String,
        /// For example 500.
        status: u16,
    },
    /// One inventory entry has no `Version`.
    MemberWithoutVersion {
        /// Name of the device.
        device: String,
    },
    /// The inventory has members of types that it must not have.
    OddMembers,
    /// The tasks that there are now are forgotten; the updates go on.
    ForgetTasks,
    /// The next update's task is gone after it has been seen once.
    TaskVanishes,
    /// The task says that it is done; the version stays.
    LiesSuccess,
    /// The task says that it failed; the version is the new one.
    LiesFailure,
    /// `TaskState` `Completed`, `TaskStatus` `Critical`, version unchanged.
    CompletedCritical,
    /// One device of an image keeps its version; the others get theirs.
    Partial {
        /// Name of the device.
        device: String,
        /// What the task says of it.
        #[serde(default)]
        says: Says,
    },
    /// The task is completed with the message that a reboot is pending, and the version waits for it.
    RebootPending,
    /// The task ends as `UserIntervention`.
    UserIntervention,
    /// The task stays where it is.
    NoProgress,
    /// The update is over before its answer is sent.
    Instant,
    /// An update is answered 204 with `Location`.
    NoContent,
    /// An update is refused: this version is there already.
    AlreadyInstalled,
    /// An update is refused: another one runs.
    Busy,
    /// An update is refused: another manager has the machine in maintenance. It is visible at the system.
    Maintenance {
        /// For example `OneView`.
        by: String,
    },
    /// Another manager shows that it manages the machine; updates are taken all the same.
    ManagedBy {
        /// For example `OneView`.
        by: String,
        /// It says that it manages the firmware too.
        #[serde(default)]
        firmware: bool,
    },
    /// `PostState` of HPE, in HPE's words, and what DMTF's `BootProgress` makes of it.
    PostState {
        /// For example `InPostDiscoveryComplete`.
        state: String,
    },
    /// `PowerState` says this, whatever the power is.
    PowerState {
        /// For example `PoweringOff`.
        state: String,
    },
    /// There is no room for an image.
    NoRoom,
    /// The licence does not cover updates.
    NoLicence,
    /// `ServiceEnabled` is false.
    ServiceDisabled,
    /// There is no `UpdateService`.
    NoUpdateService,
    /// HPE: this component is locked.
    LockedComponent {
        /// File name.
        file: String,
    },
    /// Dell: the configuration is locked, as the manager's attributes say.
    Lockdown,
    /// No events are posted.
    NoEvents,
    /// Events are posted late.
    LateEvents {
        /// How late.
        ms: u64,
    },
    /// An update that nobody of us asked for stands before ours until the fault is cleared: in HPE's queue,
    /// where it waits for whom it names, elsewhere as a task that runs.
    ForeignEntry {
        /// HPE: `Uefi`, `RuntimeAgent`.
        #[serde(default)]
        updatable_by: String,
    },
    /// A module for measured boot is there: updates need `TPMOverride`.
    TrustedModule,
    /// 503 while more requests than this are under way.
    TooManyRequests {
        /// How many are served at a time.
        limit: usize,
    },
    /// Another certificate, of a key that nobody knows.
    ChangeCertificate,
    /// The certificate is over.
    ExpireCertificate,
    /// The account is locked.
    LockAccount {
        /// Whose.
        user: String,
    },
    /// The host is off.
    PowerOff,
    /// The host is in POST, until the fault is cleared.
    InPost,
}

/// What a task says when a part of its image has failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    /// It failed ("completed with errors"), and the messages tell which part.
    #[default]
    Exception,
    /// It is completed with the status `Warning`, and the messages tell which part.
    Warning,
    /// It is completed, and silent about that part.
    Nothing,
}

/// A fault with how often or how long it happens.
pub type Armed = farrier_double_parts::fault::Armed<Fault>;

/// The faults that are switched on.
pub(crate) type Faults = farrier_double_parts::fault::Faults<Fault>;

#[cfg(test)]
mod tests {
    use super::*;

    /// A test that switches a fault on for one request must not meet it at the second.
    #[test]
    fn a_fault_for_one_time_happens_once() {
        let armed: Armed = serde_json::from_str(r#"{"name": "unauthorized", "times": 1}"#).unwrap();
        let mut faults = Faults::default();
        faults.arm(armed);
        let fault = Fault::Unauthorized { path: String::new() };
        assert!(faults.has(&fault));
        assert!(!faults.has(&fault));
        assert!(faults.armed().is_empty());
    }
}
