//! Where and how the engine of one machine calls back. The runner resolves it from the cluster; the
//! return path uses it.

use crate::callback::{Refusals, RunIdentity};
use crate::failure::Failure;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How the engine of one machine calls back.
#[derive(Debug, Clone)]
pub struct CallbackOptions {
    /// Whether the engine may be talked to through the SSH session if it cannot call.
    pub may_fall_back: bool,
    /// Where it is to call, as far as that is known now: a load balancer may change its address.
    pub plan: watch::Receiver<ResolvedTarget>,
    /// Keeps `plan` as the cluster wants it, and ends with the last of these.
    pub planner: Arc<AbortOnDropHandle<()>>,
    /// How long to wait for a target if there is none, where the engine may not be reached in another
    /// way and has begun nothing. `None`: not at all.
    pub awaited: Option<Awaited>,
}

/// Where an engine is to call. A failure: it should call and cannot.
pub type ResolvedTarget = Result<CallbackTarget, Failure>;

/// Where the engine of one machine is to call.
#[derive(Debug, Clone)]
pub struct CallbackTarget {
    /// Who the run is on the wire.
    pub identity: Arc<RunIdentity>,
    /// Addresses to call, each with its zone if it has one, and ports; the most preferred first.
    /// Those of families that the machine may use.
    pub addresses: Vec<(String, u16)>,
    /// The runner's own port, where the machine may call it at the address that it sees the runner
    /// come from. `None`: only `addresses` count.
    pub seen_port: Option<u16>,
    /// Whether a call may go to an IPv4, an IPv6 address.
    pub families: (bool, bool),
    /// From where other runners pass calls on, and their names.
    pub peers: Vec<(IpAddr, String)>,
    /// The addresses that the machine's owner has written down.
    pub own: Vec<IpAddr>,
    /// Whom the callback server has turned away.
    pub refusals: Arc<Refusals>,
    /// The callback server does not listen any more.
    pub closed: CancellationToken,
}

/// What an engine that must call waits for while nobody listens.
#[derive(Debug, Clone)]
pub struct Awaited {
    /// In words, with the end of the wait.
    pub message: String,
    /// The end of the wait.
    pub until: Instant,
}

impl CallbackOptions {
    /// Why it is not known where to call; `None`: it is known.
    pub(super) fn no_plan(&self) -> Option<Failure> {
        self.plan.borrow().as_ref().err().cloned()
    }
}
