//! The messages between the operator and the engine: types and serde, nothing else.
//!
//! The engine is an HTTP/1.1 **client** that speaks JSON; the runner is the server. The protocol does not
//! depend on how the engine gets its byte stream (through SSH, by dialling, by being dialled). All times
//! are milliseconds since the Unix epoch by the clock of the *machine*, which may be wrong: times order and
//! describe events, and nothing is decided by them.
//!
//! One complete session, in order:
//!
//! ```text
//! engine                                           runner
//! POST /v1/hello   Hello                     ──►   Welcome {ack, lease_seconds}
//! POST /v1/next    Next {done: null}         ──►   Task {id: "survey-1", work: Survey {..}}
//! POST /v1/events  [SurveyDone {..}]         ──►   Ack {ack: 1, cancel: false}
//! POST /v1/next    Next {done: "survey-1"}   ──►   Task {id: "apply-1", work: Apply {..}}
//! GET  /v1/payloads/sha256:…  (Range)        ──►   200 or 206, the bytes
//! POST /v1/events  [PayloadVerified, ..]     ──►   Ack
//! POST /v1/next    Next {done: "apply-1"}    ──►   Task {id: "survey-2", work: Survey {..}}
//! …
//! POST /v1/next    Next {done: "survey-2"}   ──►   Task {id: "retire-1", work: Retire}
//! POST /v1/events  [Retired {..}]            ──►   Ack          (the engine is gone)
//! ```
//!
//! In between, the engine sends its log, as `POST /v1/log?from=N` with at most [`LOG_CHUNK_BYTES`] bytes, to
//! a runner whose [`Welcome::log`] asks for it. The answer is a [`LogAck`]. The log of a session is one
//! stream of lines over all its engines and attempts, and `N` is an offset in it, so that any runner can
//! continue where the last one stopped, or begin again at 0. A greater `N` than the runner asked for means
//! that the bytes before it are lost.
//!
//! The runner answers `POST /v1/next` with 204 and no body if there is no task (it holds the request for up
//! to [`NEXT_HOLD_SECONDS`]); the engine then asks again. The engine never executes a task again whose id
//! is in its journal; it sends the recorded events again. Events carry increasing sequence numbers, so a
//! duplicate changes nothing.
//!
//! # Two versions
//!
//! An operator may meet an engine of the previous or the next minor version, because the operator is
//! upgraded or rolled back while machines are being updated. Therefore, within one [`VERSION`]:
//!
//! - A field is never removed and never changes its meaning. The default of a new field means what was
//!   meant before the field existed. Readers ignore fields that they do not know.
//! - A new kind in the engine's reports is read as `Unknown` (or `Other`, `Failed`) by peers that do not
//!   know it, and the sender does not depend on its being understood.
//! - The fields that an engine reads from its journal (`task`, `component`, `components`, `id`, `lease`,
//!   `limit`, `wait`, `bootId`) have one type in all kinds of events of which it reads fields.
//! - A new kind of [`Work`], [`Detect`] or [`Installer`] is sent only to engines of the operator's own
//!   build.
//! - The command line of `launch` keeps its options; an engine ignores options that it does not know.
//!
//! A change that cannot follow these rules raises [`VERSION`]. Both sides announce the range of versions
//! that they support, and the runner chooses one ([`common_version`]).

pub mod callback;
pub mod event;
pub mod launch;
pub mod listen;
pub mod log;
pub mod refusal;
pub mod simulation;
pub mod survey;
pub mod task;
pub mod wait;

pub use callback::{CallbackConfig, Dial, DialOutcome, PREFLIGHT};
pub use event::{
    Ack, Event, EventBody, FailureCode, Lease, LeaseKind, Leftover, NoReboot, StepExit, StepLimit,
};
pub use launch::{LaunchError, LaunchReport};
pub use listen::{Firewall, FirewallState, ListenConfig, Listening};
pub use log::{LOG_CHUNK_BYTES, LOG_ENGINE, LOG_LIMIT_BYTES, LogAck, log_name};
pub use refusal::Refusal;
pub use simulation::{Change, ChangeKind, Simulation};
pub use survey::{Detect, Facts, Firmware, Instance, Package, Pending, PendingUntil, Reading};
pub use task::{DEFAULT_WAIT_SECONDS, Installer, Next, PackageRef, Payload, Step, Task, Work};
pub use wait::{Holder, Wait, WaitFor};

use serde::{Deserialize, Serialize};

/// Version of this protocol. Raised only when an older peer could misunderstand.
pub const VERSION: u32 = 1;

/// The oldest version of the protocol that this version supports: that of the previous minor version.
pub const OLDEST_VERSION: u32 = 1;

/// How long the runner may hold `POST /v1/next` before it answers 204, in seconds.
/// Shorter than any idle timeout of a network device that we know of (30 s).
pub const NEXT_HOLD_SECONDS: u64 = 10;

/// Interval in seconds at which a busy engine posts events, or an empty list if there are none. It bounds
/// the time until a cancellation reaches the engine.
pub const HEARTBEAT_SECONDS: u64 = 1;

/// First line on the stream of `farrier-engine attach`, before HTTP begins. Login shells print banners;
/// everything before this line is discarded.
pub const ATTACH_MARKER: &str = "farrier-attached-1";

/// Name of the directory of staged payloads, beside that of the engine. Owned by root; each file has the 64 digits
/// of its digest as its name.
pub const STAGED_DIRECTORY: &str = "farrier-staged";

/// `POST /v1/hello`: the first request on each new stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the engine.
    pub protocol: u32,
    /// [`OLDEST_VERSION`] of the engine. `None`: the engine supports only [`Self::protocol`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u32>,
    /// Version of the engine's package, for the log.
    pub engine: String,
    /// Digest of the engine's binary, `sha256:` and 64 hexadecimal digits. An operator that has a different
    /// binary for this machine finishes the tasks that this engine has begun, and gives new tasks to an
    /// engine of its own build. `None`: the engine's version does not report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Current time of the machine's clock, in milliseconds since the Unix epoch. All other times of the
    /// engine can be converted with it. `None`: the engine's version does not report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<u64>,
    /// The session that the engine was launched for: the UID of its NodeUpdate.
    pub session: String,
    /// Boot id of the machine. A different value than before means that the machine was rebooted.
    pub boot_id: String,
    /// Number of the last event that the engine has recorded.
    pub last_seq: u64,
    /// Tasks of this session in the journal, finished or begun, oldest first.
    pub tasks: Vec<TaskRecord>,
    /// Leases that exist on the machine.
    pub leases: Vec<Lease>,
    /// Failed attempts to reach the runner.
    ///
    /// In a `Hello` to a runner that attached, it explains why the engine does not call back: every address
    /// of the last round, in the order of [`CallbackConfig::addresses`]. It is empty if the engine is not
    /// configured to call back, has not finished a round, or its last call led to a session with the
    /// runner.
    ///
    /// In a `Hello` to a runner that the engine called, it lists the addresses that failed in the same
    /// round, and the addresses where another server answered since the last `Welcome`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dials: Vec<Dial>,
}

/// The state of one task in the engine's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Id of the task, as the runner gave it.
    pub id: String,
    /// Whether the task has ended. The engine does *not* begin an unfinished task again on its own.
    pub finished: bool,
}

/// Answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Number of the last event that the runner has; the engine sends the events after it.
    pub ack: u64,
    /// How long the engine continues without any contact, in seconds. Then it finishes the step in
    /// progress, releases all leases and removes itself.
    pub lease_seconds: u64,
    /// The version of the protocol that both sides use from now on.
    #[serde(default = "first_version")]
    pub protocol: u32,
    /// Number of bytes of the session's log that the runner has; the engine sends the bytes after it. `None`:
    /// the runner does not take logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<u64>,
}

/// The version of runners that do not report their version.
const fn first_version() -> u32 {
    1
}

/// Returns the newest version of the protocol that both sides support, if there is one. `peer` is the
/// oldest and the newest version of the other side.
pub fn common_version(peer: (u32, u32)) -> Option<u32> {
    let (oldest, newest) = peer;
    let newest = newest.min(VERSION);
    (newest >= oldest.max(OLDEST_VERSION)).then_some(newest)
}
