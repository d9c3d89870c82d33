//! Callback options of the engine of one machine. The runner resolves them from the cluster; the return
//! path uses them.

use crate::callback::{Refusals, RunIdentity};
use crate::failure::Failure;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How the engine of one machine connects back.
#[derive(Debug, Clone)]
pub struct CallbackOptions {
    /// Whether the engine may use the SSH session if it cannot connect to the callback server.
    pub may_fall_back: bool,
    /// The current target: a load balancer may change its address.
    pub plan: watch::Receiver<ResolvedTarget>,
    /// The task that updates `plan` from the cluster; it ends when the last copy is dropped.
    pub planner: Arc<AbortOnDropHandle<()>>,
    /// How long to wait if there is no target, the engine may not be reached in another way, and the engine
    /// has not begun anything. `None`: no wait.
    pub awaited: Option<Awaited>,
}

/// The target of an engine. A failure means that the engine should connect back and cannot.
pub type ResolvedTarget = Result<CallbackTarget, Failure>;

/// The target to which the engine of one machine connects.
#[derive(Debug, Clone)]
pub struct CallbackTarget {
    /// The TLS identity of the run.
    pub identity: Arc<RunIdentity>,
    /// Addresses with ports, in order of preference, each with its zone if it has one. Only address
    /// families that the machine may use are listed.
    pub addresses: Vec<(String, u16)>,
    /// The runner's own port, if the machine may connect to the source address of the runner's SSH
    /// connection. `None`: only `addresses` are used.
    pub seen_port: Option<u16>,
    /// Whether the engine may use IPv4, and whether IPv6.
    pub families: (bool, bool),
    /// Addresses from which other runners forward connections, with the names of the runners.
    pub peers: Vec<(IpAddr, String)>,
    /// The machine's addresses as the user listed them.
    pub own: Vec<IpAddr>,
    /// Connections that the callback server has rejected.
    pub refusals: Arc<Refusals>,
    /// Cancelled when the callback server has stopped listening.
    pub closed: CancellationToken,
}

/// The wait of an engine for a callback server that does not listen yet.
#[derive(Debug, Clone)]
pub struct Awaited {
    /// The wait in words, with its deadline.
    pub message: String,
    /// The deadline of the wait.
    pub until: Instant,
}

impl CallbackOptions {
    /// Returns why there is no target; `None` if there is one.
    pub(super) fn target_failure(&self) -> Option<Failure> {
        self.plan.borrow().as_ref().err().cloned()
    }
}
