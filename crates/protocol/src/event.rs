//! Events that the engine reports.

use crate::refusal::Refusal;
use crate::simulation::Simulation;
use crate::survey::{Facts, Firmware, Package, Reading};
use crate::wait::{Holder, Wait};
use serde::{Deserialize, Serialize};

/// One event on the machine. `POST /v1/events` sends a list of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Sequence number: 1 for the first event of a session, increased by one for each further event.
    pub seq: u64,
    /// Time of the event by the machine's clock, in milliseconds since the Unix epoch.
    pub at: u64,
    /// Kind and content of the event.
    pub body: EventBody,
}

/// Answer to `POST /v1/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Number of the last event that the runner has.
    pub ack: u64,
    /// Whether the run was cancelled: the engine finishes the step in progress and begins no other step.
    pub cancel: bool,
}

/// The kinds of events. A kind that the reader does not know is read as `Unknown`; its number still counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum EventBody {
    /// A lease was written to the journal. The object that it names is created immediately afterwards.
    LeaseTaken {
        /// The lease.
        lease: Lease,
    },
    /// A lease was released: the object that it names is removed.
    LeaseReturned {
        /// Id of the lease.
        id: String,
    },
    /// The result of `Work::Survey`.
    SurveyDone {
        /// The task.
        task: String,
        /// Facts about the machine.
        facts: Box<Facts>,
        /// All installed packages, sorted by name, if they were requested.
        packages: Vec<Package>,
        /// The firmware of the machine's devices, if packages were requested. Empty from engines that do not
        /// report it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        firmware: Vec<Firmware>,
        /// Result of each detection, by component name.
        readings: Vec<(String, Reading)>,
        /// Those of the requested programs that the machine has.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        programs: Vec<String>,
    },
    /// The result of `Work::Simulate`. `TaskDone` follows.
    Simulated {
        /// The task.
        task: String,
        /// What each step would do, by component name.
        simulations: Vec<(String, Simulation)>,
    },
    /// A task that changes the machine has begun. The event is written before the task does anything, so
    /// that an engine that takes over the journal knows all steps that remained.
    TaskStarted {
        /// The task.
        task: String,
        /// Components of the task, in the order of its steps.
        components: Vec<String>,
    },
    /// A payload is on the machine and has the expected digest.
    PayloadVerified {
        /// The task.
        task: String,
        /// The component.
        component: String,
        /// The digest that was computed on the machine.
        digest: String,
    },
    /// The installer of a component is about to be started. The event is on disk before the installer is
    /// started.
    StepStarted {
        /// The task.
        task: String,
        /// The component.
        component: String,
        /// Time limit of the installer, so that an engine that takes over the journal knows the limit.
        /// `None` in journals of engines that did not record it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<StepLimit>,
    },
    /// The installer exceeded its limit.
    StepOverdue {
        /// The task.
        task: String,
        /// The component.
        component: String,
        /// True: the engine terminates the installer. False: the installer is left to finish.
        ended: bool,
    },
    /// A component is finished, whether its installer ran or not.
    StepFinished {
        /// The task.
        task: String,
        /// The component.
        component: String,
        /// How the step ended.
        exit: StepExit,
        /// End of the installer's output, at most 4 KiB.
        output: String,
    },
    /// The task has ended. A `StepFinished` was reported for each of its steps.
    TaskDone {
        /// The task.
        task: String,
    },
    /// The task failed as a whole; no step of it was started.
    TaskFailed {
        /// The task.
        task: String,
        /// Kind of the failure.
        code: FailureCode,
        /// The component that caused the failure; empty if no single component did.
        component: String,
        /// Description of the failure, with the message of the operating system.
        message: String,
    },
    /// A task that reboots the machine has begun. The event is written before the task does anything, so that
    /// the boot id tells after any interruption whether the machine was rebooted since.
    RebootBegun {
        /// The task.
        task: String,
        /// Boot id of the machine.
        boot_id: String,
    },
    /// The reboot is about to be requested from the machine. The event is on disk before the request.
    RebootRequested {
        /// The task.
        task: String,
    },
    /// The machine was rebooted: its boot id is not that of `RebootBegun` any more.
    Rebooted {
        /// The task.
        task: String,
        /// The new boot id.
        boot_id: String,
    },
    /// The machine is not rebooted by this task.
    NotRebooted {
        /// The task.
        task: String,
        /// Why not.
        why: NoReboot,
    },
    /// The engine waits for something before it continues its task. An engine waits for one thing at a
    /// time, so each `Waiting` event replaces the previous one.
    Waiting {
        /// What the engine waits for. `None`: the wait has ended.
        wait: Option<Wait>,
    },
    /// All leases except `leftovers` are released, and the engine exits.
    Retired {
        /// Objects that could not be removed.
        leftovers: Vec<Leftover>,
    },
    /// A kind of a later version.
    #[serde(other)]
    Unknown,
}

impl EventBody {
    /// Returns the texts that may quote what a program printed or what somebody has configured on the machine, in
    /// which credentials may be. Names, versions and digests are none: what they are compared with would differ.
    pub fn quotations(&mut self) -> Vec<&mut String> {
        match self {
            Self::StepFinished { task: _, component: _, exit, output } => match exit {
                StepExit::NotStarted { code: _, detail, refusal: _ } => vec![output, detail],
                StepExit::Exited { .. }
                | StepExit::Signalled { .. }
                | StepExit::TimedOut
                | StepExit::DependencyMissing
                | StepExit::Interrupted
                | StepExit::Cancelled
                | StepExit::Skipped
                | StepExit::Unknown => vec![output],
            },
            Self::TaskFailed { task: _, code: _, component: _, message } => vec![message],
            Self::SurveyDone { task: _, facts: _, packages: _, firmware: _, readings, programs: _ } => {
                readings.iter_mut().filter_map(|(_, reading)| reading.quotation()).collect()
            }
            Self::Simulated { task: _, simulations } => {
                simulations.iter_mut().filter_map(|(_, simulation)| simulation.quotation()).collect()
            }
            Self::NotRebooted { task: _, why } => match why {
                NoReboot::Inhibited { who, why, holder: _ } => vec![who, why],
                NoReboot::Failed { detail } => vec![detail],
                NoReboot::Cancelled | NoReboot::Unknown => Vec::new(),
            },
            Self::Waiting { wait } => wait.iter_mut().flat_map(Wait::quotations).collect(),
            Self::Retired { leftovers } => leftovers.iter_mut().map(|leftover| &mut leftover.why).collect(),
            Self::LeaseTaken { .. }
            | Self::LeaseReturned { .. }
            | Self::TaskStarted { .. }
            | Self::PayloadVerified { .. }
            | Self::StepStarted { .. }
            | Self::StepOverdue { .. }
            | Self::TaskDone { .. }
            | Self::RebootBegun { .. }
            | Self::RebootRequested { .. }
            | Self::Rebooted { .. }
            | Self::Unknown => Vec::new(),
        }
    }
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
    /// A signal that the engine did not send ended the installer.
    Signalled {
        /// Number of the signal.
        signal: i32,
    },
    /// The installer exceeded its limit and was terminated.
    TimedOut,
    /// The dependencies of the package are not met; the installer changed nothing.
    DependencyMissing,
    /// The engine or the machine stopped while the installer ran. The installer was not started again.
    Interrupted,
    /// Not started, because the run was cancelled before.
    Cancelled,
    /// Not started, because a component of [`crate::Step::after`] did not succeed.
    Skipped,
    /// The installer was not started.
    NotStarted {
        /// Kind of the obstacle.
        code: FailureCode,
        /// Description of the obstacle.
        detail: String,
        /// Set if the engine refused to start the installer because of an effect that was not requested.
        /// `code` is then [`FailureCode::Other`], which operators that do not know this field understand.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refusal: Option<Refusal>,
    },
    /// A kind of a later version.
    #[serde(other)]
    Unknown,
}

impl StepExit {
    /// Returns the exit of a step whose installer could not be started.
    pub fn not_started(code: FailureCode, detail: String) -> Self {
        Self::NotStarted { code, detail, refusal: None }
    }

    /// Returns the exit of a step whose installer was not started because of what it would have done.
    pub fn refused(refusal: Refusal, detail: String) -> Self {
        Self::NotStarted { code: FailureCode::Other, detail, refusal: Some(refusal) }
    }
}

/// Why a machine was not rebooted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum NoReboot {
    /// The run was cancelled before the reboot was requested.
    Cancelled,
    /// A program inhibits the shutdown, and did not end that in time.
    Inhibited {
        /// The program, as it calls itself.
        who: String,
        /// Its reason.
        why: String,
        /// Its process, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holder: Option<Holder>,
    },
    /// The reboot could not be requested, or the machine did not go down.
    Failed {
        /// What happened.
        detail: String,
    },
    /// A cause of a later version.
    #[serde(other)]
    Unknown,
}

/// How long an installer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepLimit {
    /// [`crate::Step::timeout_seconds`].
    pub seconds: u64,
    /// [`crate::Step::interruptible`].
    pub interruptible: bool,
}

/// Why a task failed as a whole. A code that the reader does not know is read as `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureCode {
    /// There is not enough space on the machine.
    DiskFull,
    /// The received bytes do not have the digest of the baseline.
    DigestMismatch,
    /// The runner did not serve the complete payload.
    PayloadUnavailable,
    /// Another process used the package manager for too long.
    PackageManagerBusy,
    /// The machine has no such installer (no dpkg, no rpm).
    InstallerMissing,
    /// Any other failure, and codes of later versions; the message describes it.
    #[serde(other)]
    Other,
}

/// Something that Farrier has on the machine, for instance a directory or a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Unique within the session.
    pub id: String,
    /// Kind of the object.
    pub kind: LeaseKind,
    /// Path, process id or a similar identifier.
    pub what: String,
    /// Start of an installer's process as in `/proc/PID/stat`, in clock ticks since the machine was booted,
    /// so that an engine that takes over recognises the process. `None` for everything else, and in journals
    /// of engines that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
}

/// Kinds of objects that the engine creates on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LeaseKind {
    /// A directory with its contents.
    Directory,
    /// A process.
    Process,
    /// A file or a symbolic link by which the machine starts the engine when it boots.
    BootFile,
    /// A rule in the machine's own firewall.
    Firewall,
    /// A hold of dpkg's, which an installation overrides and which is put back.
    Hold,
    /// A kind of a later version.
    #[serde(other)]
    Unknown,
}

/// An object on the machine that could not be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// A path or a process.
    pub what: String,
    /// Why the object could not be removed.
    pub why: String,
}
