//! The protocol as the previous minor version has it: a copy of `crates/protocol/src`, taken from the
//! commit that the previous version was built from and not changed since. When a version is released,
//! it is replaced by the one of that release (`docs/adr/0019`).

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "a copy of a whole crate, of which only the types are used"
)]

pub mod callback;
pub mod event;
pub mod launch;
pub mod survey;
pub mod task;

pub use callback::{CallbackConfig, Dial, DialOutcome, PREFLIGHT};
pub use event::{Ack, Event, EventBody, FailureCode, Lease, LeaseKind, Leftover, StepExit};
pub use launch::{LaunchError, LaunchReport};
pub use survey::{Detect, Facts, Package, Reading};
pub use task::{Installer, Next, Payload, Step, Task, Work};

use serde::{Deserialize, Serialize};

/// Version of this protocol. Raised only when an older peer could misunderstand.
pub const VERSION: u32 = 1;

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the engine.
    pub protocol: u32,
    /// Version of the engine's own package, for the log.
    pub engine: String,
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
}
