//! What the operator and the engine say to each other: types and serde, nothing else.
//!
//! The engine is an HTTP/1.1 **client** that speaks JSON; the runner answers. How the
//! engine gets its byte stream (through SSH, by dialling out, by being dialled) makes no
//! difference here. All times are milliseconds since the Unix epoch by the *machine's*
//! clock, which may be wrong: they order and describe, they never decide.
//!
//! One whole conversation, in order:
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
//! `POST /v1/next` is answered with 204 and no body when there is nothing to do yet (the
//! runner holds it for up to [`NEXT_HOLD_SECONDS`]); the engine asks again. A task id that
//! the engine has in its journal is never executed again: the recorded events are sent once
//! more. Events carry rising sequence numbers, so a duplicate changes nothing.
//!
//! # Two versions
//!
//! An operator may meet an engine of the minor version before or after its own: the operator is
//! upgraded or rolled back while machines are being updated. Therefore, within one [`VERSION`]:
//!
//! - A field is never removed and never changes its meaning. A new one has a default that means what
//!   was meant before it existed. Readers ignore fields that they do not know.
//! - A new kind of what an engine reports is read as `Unknown` (or `Other`, `Failed`) by peers that
//!   do not know it, and the sender does not rely on its being understood.
//! - A new kind of [`Work`], [`Detect`] or [`Installer`] is only sent to engines of the operator's
//!   own build.
//! - The command line of `launch` keeps its options; an engine ignores those that it does not know.
//!
//! What cannot be done in this way raises [`VERSION`]. Both sides name the range that they speak, and
//! the runner chooses ([`common_version`]).

pub mod callback;
pub mod event;
pub mod launch;
pub mod survey;
pub mod task;
pub mod wait;

pub use callback::{CallbackConfig, Dial, DialOutcome, PREFLIGHT};
pub use event::{
    Ack, Event, EventBody, FailureCode, Lease, LeaseKind, Leftover, Refusal, StepExit, StepLimit,
};
pub use launch::{LaunchError, LaunchReport};
pub use survey::{Detect, Facts, Instance, Package, Reading};
pub use task::{DEFAULT_WAIT_SECONDS, Installer, Next, PackageRef, Payload, Step, Task, Work};
pub use wait::{Holder, Wait, WaitFor};

use serde::{Deserialize, Serialize};

/// Version of this protocol. Raised only when an older peer could misunderstand.
pub const VERSION: u32 = 1;

/// The oldest version that both sides still speak: that of the minor version before this one.
pub const OLDEST_VERSION: u32 = 1;

/// How long the runner may hold `POST /v1/next` before it answers 204, in seconds.
/// Shorter than any idle timeout of a network device that we know of (30 s).
pub const NEXT_HOLD_SECONDS: u64 = 10;

/// How often a busy engine posts events, an empty list if there is nothing to say, in
/// seconds. This bounds how long a cancellation takes to reach the engine.
pub const HEARTBEAT_SECONDS: u64 = 1;

/// First line on the stream of `farrier-engine attach`, before HTTP begins. Login shells
/// print banners; everything before this line is thrown away.
pub const ATTACH_MARKER: &str = "farrier-attached-1";

/// `POST /v1/hello`: the first request on each new stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the engine.
    pub protocol: u32,
    /// [`OLDEST_VERSION`] of the engine. `None`: it speaks [`Self::protocol`] and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u32>,
    /// Version of the engine's own package, for the log.
    pub engine: String,
    /// Digest of the engine's own bytes, `sha256:` and 64 hexadecimal digits: an operator that has
    /// another engine for this machine finishes with this one what it has begun, and gives new tasks
    /// to its own. `None`: it is of a version that did not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The machine's clock now, in milliseconds since the Unix epoch. Every other time of the engine
    /// can be converted by it. `None`: as [`Self::digest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<u64>,
    /// The session the engine was launched for: the UID of its NodeUpdate.
    pub session: String,
    /// The machine's boot id; another one than before means it was rebooted meanwhile.
    pub boot_id: String,
    /// Number of the last event the engine has recorded.
    pub last_seq: u64,
    /// Tasks of this session that the journal knows, finished or begun, oldest first.
    pub tasks: Vec<TaskRecord>,
    /// What is on the machine of ours right now.
    pub leases: Vec<Lease>,
    /// To a runner that attached: why the engine does not call, with every address that it dialled
    /// in its last round, in the order of [`CallbackConfig::addresses`]. Empty where it was not told
    /// to, or has not come to the end of a round, or its last call led to a conversation.
    /// To a runner that it called: the addresses that it tried in vain in the same round, and those
    /// where somebody else answered since it was last greeted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dials: Vec<Dial>,
}

/// What the engine's journal says of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Id of the task as the runner gave it.
    pub id: String,
    /// Whether it came to its end; a task that did not is *not* begun again by itself.
    pub finished: bool,
}

/// Answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Number of the last event the runner has; the engine sends what comes after it.
    pub ack: u64,
    /// How long the engine may go without any contact before it finishes the step in
    /// progress, takes everything back and removes itself, in seconds.
    pub lease_seconds: u64,
    /// The version that both sides speak from here on.
    #[serde(default = "first_version")]
    pub protocol: u32,
}

/// What runners spoke that did not say what they speak.
const fn first_version() -> u32 {
    1
}

/// The newest version of the protocol that both sides speak, if there is one. `peer` is the oldest
/// and the newest version of the other side.
pub fn common_version(peer: (u32, u32)) -> Option<u32> {
    let (oldest, newest) = peer;
    let newest = newest.min(VERSION);
    (newest >= oldest.max(OLDEST_VERSION)).then_some(newest)
}
