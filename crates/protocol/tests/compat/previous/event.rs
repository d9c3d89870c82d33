//! What the engine reports.

use super::survey::{Facts, Package, Reading};
use serde::{Deserialize, Serialize};

/// One thing that happened on the machine. `POST /v1/events` carries a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Rises by one with each event of a session, from 1.
    pub seq: u64,
    /// When, by the machine's clock: milliseconds since the Unix epoch.
    pub at: u64,
    /// What.
    pub body: EventBody,
}

/// Answer to `POST /v1/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Number of the last event the runner has.
    pub ack: u64,
    /// The run was cancelled: finish the step in progress, begin no other.
    pub cancel: bool,
}

/// The kinds of events. A kind that the reader does not know is `Unknown`, and counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum EventBody {
    /// A lease was written down; what it names is made right after.
    LeaseTaken {
        /// The lease.
        lease: Lease,
    },
    /// A lease was taken back.
    LeaseReturned {
        /// Its id.
        id: String,
    },
    /// The answer to `Work::Survey`.
    SurveyDone {
        /// The task.
        task: String,
        /// What the machine is.
        facts: Box<Facts>,
        /// Every installed package, if asked for, sorted by name.
        packages: Vec<Package>,
        /// What each detection found, by component name.
        readings: Vec<(String, Reading)>,
    },
    /// A task that changes the machine was begun. Written before anything is done, so that
    /// an engine which takes over a journal knows every step that was still to come.
    TaskStarted {
        /// The task.
        task: String,
        /// Its components, in the order of its steps.
        components: Vec<String>,
    },
    /// A payload is on the machine and its digest is right.
    PayloadVerified {
        /// The task.
        task: String,
        /// The component.
        component: String,
        /// The digest that was computed on the machine.
        digest: String,
    },
    /// The installer of a component is about to be started. Written to disk before it is.
    StepStarted {
        /// The task.
        task: String,
        /// The component.
        component: String,
    },
    /// The installer exceeded its limit. `ended` says whether it is being ended or left.
    StepOverdue {
        /// The task.
        task: String,
        /// The component.
        component: String,
        /// True: it was told to end. False: it is left to finish.
        ended: bool,
    },
    /// A component is done with, whether its installer ran or not.
    StepFinished {
        /// The task.
        task: String,
        /// The component.
        component: String,
        /// How it ended.
        exit: StepExit,
        /// The last part of what the installer printed, at most 4 KiB.
        output: String,
    },
    /// The task came to its end; each of its steps has had its `StepFinished`.
    TaskDone {
        /// The task.
        task: String,
    },
    /// The task could not be done at all; no step of it was started.
    TaskFailed {
        /// The task.
        task: String,
        /// What kind of failure.
        code: FailureCode,
        /// Which component, if it is one's fault; else empty.
        component: String,
        /// What happened, with the operating system's words.
        message: String,
    },
    /// Every lease is taken back but these; the engine ends now.
    Retired {
        /// What could not be taken back.
        leftovers: Vec<Leftover>,
    },
    /// A kind of a later version.
    #[serde(other)]
    Unknown,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum StepExit {
    /// The installer exited by itself.
    Exited {
        /// Its exit status.
        code: i32,
    },
    /// The installer was ended by a signal that was not ours.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// It exceeded its limit and was ended.
    TimedOut,
    /// The dependencies of the package are not met; the installer changed nothing.
    DependencyMissing,
    /// The engine or the machine died while it ran. It was not started again.
    Interrupted,
    /// Not started: the run was cancelled before.
    Cancelled,
    /// Not started: a component of [`super::Step::after`] did not succeed.
    Skipped,
    /// Could not be started.
    NotStarted {
        /// What kind of obstacle.
        code: FailureCode,
        /// Why not.
        detail: String,
    },
}

/// Why a task could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureCode {
    /// Not enough room on the machine.
    DiskFull,
    /// The bytes that arrived do not have the digest of the baseline.
    DigestMismatch,
    /// The runner did not hand out the payload in full.
    PayloadUnavailable,
    /// The package manager was in use by somebody else for too long.
    PackageManagerBusy,
    /// The machine has no such installer (no dpkg, no rpm).
    InstallerMissing,
    /// Anything else; the message says what.
    Other,
}

/// Something of ours on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Unique within the session.
    pub id: String,
    /// What kind of thing.
    pub kind: LeaseKind,
    /// Its path, process id or the like.
    pub what: String,
}

/// Kinds of things that are put on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LeaseKind {
    /// A directory with all that is in it.
    Directory,
    /// A process.
    Process,
    /// A kind of a later version.
    #[serde(other)]
    Unknown,
}

/// A lease that could not be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// What it is: a path, a process.
    pub what: String,
    /// Why it is still there.
    pub why: String,
}
