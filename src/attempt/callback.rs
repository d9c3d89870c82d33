//! Callback options of the engine of one machine. The runner resolves them from the cluster; the return
//! path uses them.

use super::Waiting;
use crate::callback::{Refusals, RunIdentity};
use crate::failure::Failure;
use farrier_update::Reason;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
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
    /// The wait if there is no target, the engine may not be reached in another way, and the engine has not
    /// begun anything. `None`: no wait.
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

/// How an engine waits for a callback server that does not listen, or not any more.
#[derive(Debug, Clone)]
pub struct Awaited {
    /// What is waited for, in words that follow "waiting for".
    pub what: String,
    /// How long one wait may take.
    pub limit: Duration,
    /// The wait with which the attempt began. `None`: the callback server listened then.
    pub begun: Option<ListenerWait>,
}

/// A wait for a callback server that is under way.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerWait {
    /// The wait as users see it.
    pub waiting: Waiting,
    /// Its deadline.
    pub until: Instant,
}

impl Awaited {
    /// Begins a wait.
    pub fn begin(&self) -> ListenerWait {
        let waiting = Waiting::new(Reason::Exposing, self.what.clone(), "ports", self.limit);
        ListenerWait { waiting, until: Instant::now() + self.limit }
    }

    /// Returns the failure of a machine that has waited until the deadline.
    pub fn expired(&self, failure: &Failure) -> Failure {
        let seconds = self.limit.as_secs();
        let message = format!(
            "{}; it was waited for {seconds} s (--wait-seconds or spec.arrivalTimeout, whichever is longer)",
            failure.message
        );
        Failure::new(failure.reason, message)
    }
}

impl CallbackOptions {
    /// The current target; a failure also if the callback server has just stopped listening.
    pub fn target(&self) -> ResolvedTarget {
        let target = self.plan.borrow().clone()?;
        if target.closed.is_cancelled() {
            return Err(Failure::new(
                Reason::CallbackRefused,
                "the callback server of the run has stopped listening; see the condition Exposed and status.listeners of the UpdateRun",
            ));
        }
        Ok(target)
    }

    /// Returns why there is no target; `None` if there is one.
    pub fn target_failure(&self) -> Option<Failure> {
        self.target().err()
    }

    /// Whether the runner has found that no target will follow.
    pub fn is_final(&self) -> bool {
        self.planner.is_finished()
    }

    /// Waits until there is a target.
    pub async fn target_available(&self) {
        let mut plan = self.plan.clone();
        let is_open = |plan: &ResolvedTarget| plan.as_ref().is_ok_and(|target| !target.closed.is_cancelled());
        if plan.wait_for(is_open).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the runner has found that no target will follow.
    pub async fn no_target_follows(&self) {
        let mut plan = self.plan.clone();
        while plan.changed().await.is_ok() {}
    }
}
