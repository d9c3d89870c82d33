//! What can be seen of an attempt while it goes on.

use super::Waiting;
use crate::failure::Failure;
use farrier_network::Phase;
use farrier_protocol::{Facts, Package};
use farrier_update::{ComponentResult, Millis, NodePlan};
use std::net::IpAddr;
use std::sync::Arc;

/// The state of an attempt, as far as others care. Whoever watches it may miss steps in between,
/// never the last state.
#[expect(clippy::struct_excessive_bools, reason = "independent facts that become independent conditions")]
#[derive(Debug, Clone, Default)]
pub struct View {
    /// What is being done.
    pub step: Step,
    /// What the attempt waits for before it begins, with the deadline in its message.
    pub awaited: Option<Failure>,
    /// The address that answered.
    pub address: Option<String>,
    /// The host key was accepted.
    pub host_key_accepted: bool,
    /// The host key to be recorded, if it was trusted on first use.
    pub first_key: Option<String>,
    /// Whether the engine can call back.
    pub return_path: ReturnPath,
    /// Somebody else answered the engine in the runner's place, and was not talked to.
    pub untrusted_peer: Option<Failure>,
    /// The machine was lost in the middle and is being called back; why.
    pub lost: Option<Failure>,
    /// What the session itself waits for.
    pub waiting: Option<Waiting>,
    /// What the engine waits for, as it has said.
    pub engine_waiting: Option<Waiting>,
    /// When the task that the engine has now is given up.
    pub task_until: Option<Millis>,
    /// Signed in.
    pub authenticated: bool,
    /// From here on something of ours may be on the machine.
    pub deploying: bool,
    /// The engine's directory on the machine, once it ran.
    pub engine: Option<String>,
    /// The first survey of this attempt, or the last one that was made.
    pub survey: Option<Arc<Survey>>,
    /// What will change.
    pub plan: Option<Arc<NodePlan>>,
    /// How many payloads were verified on the machine.
    pub payloads_verified: usize,
    /// The installers have run.
    pub applied: bool,
    /// The component whose installer has exceeded its limit and is left to finish.
    pub overdue: Option<String>,
    /// What came of it.
    pub results: Vec<ComponentResult>,
    /// Things of ours on the machine.
    pub leases: u32,
    /// Things of ours that could not be taken back.
    pub leftovers: Vec<String>,
    /// Whether the machine is proven clean; `None`: not looked yet.
    pub clean: Option<Result<(), Failure>>,
}

impl View {
    /// What is waited for now. A wait of the engine counts only while the engine can be heard.
    pub fn waits_for(&self) -> Option<&Waiting> {
        self.waiting.as_ref().or(self.engine_waiting.as_ref())
    }
}

/// Whether the engine can call back.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ReturnPath {
    /// It need not.
    #[default]
    NotNeeded,
    /// The runner does not listen yet: it waits for its ports.
    Pending {
        /// What it waits for, and until when.
        message: String,
    },
    /// It is not known yet.
    Untried,
    /// It has called.
    Open {
        /// From this address.
        from: IpAddr,
        /// The runners that have this address, if it is not the machine's: one of them has passed
        /// the call on.
        through: Vec<String>,
    },
    /// It has called, and that call has ended before its time. The next one is waited for.
    Lost {
        /// From this address.
        from: IpAddr,
    },
    /// It cannot.
    Blocked {
        /// What is in the way.
        failure: Failure,
        /// The engine is talked to through the SSH session instead; if not, nothing is installed.
        fallback: bool,
    },
}

/// What is being done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Step {
    /// An object that the work needs does not exist yet.
    Awaiting,
    /// On the way to the machine.
    #[default]
    Connecting,
    /// The engine is brought.
    Deploying,
    /// The engine reads what is installed.
    Surveying,
    /// Payloads are fetched.
    Fetching,
    /// A component is installed; none yet while payloads travel.
    Applying {
        /// Its name, or empty.
        component: String,
    },
    /// The engine reads once more what is installed.
    Verifying,
    /// Everything is taken back.
    CleaningUp,
}

impl Step {
    /// The phase of the table of ports that this step belongs to.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Fetching | Self::Applying { .. } | Self::Verifying => Phase::Deployment,
            Self::Awaiting | Self::Connecting | Self::Deploying | Self::Surveying | Self::CleaningUp => {
                Phase::Inventory
            }
        }
    }

    /// One word, or two, for a column.
    pub fn as_text(&self) -> String {
        match self {
            Self::Awaiting => "WaitingForObjects".into(),
            Self::Connecting => "Connecting".into(),
            Self::Deploying => "Deploying".into(),
            Self::Surveying => "Surveying".into(),
            Self::Fetching => "Fetching".into(),
            Self::Applying { component } if component.is_empty() => "Applying".into(),
            Self::Applying { component } => format!("Applying {component}"),
            Self::Verifying => "Verifying".into(),
            Self::CleaningUp => "CleaningUp".into(),
        }
    }
}

/// What a survey found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// What the machine is.
    pub facts: Facts,
    /// Every installed package.
    pub packages: Vec<Package>,
}
