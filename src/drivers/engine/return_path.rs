//! Channel `Callback`: the engine connects to the runner's callback server.
//!
//! ```text
//! target ─► probe (from the machine, before deployment) ─► launch with the callback ─► connected
//!             │ blocked                                                                    │ no connection
//!             └───────────────► SSH session, and reported ◄────────────────────────────────┘
//! ```

use super::preflight::is_connected;
use super::{Host, Probe, Session, limits};
use crate::attempt::{CallbackOptions, CallbackTarget, ReturnPath, Waiting};
use crate::callback::{Registration, RunIdentity, Stream};
use crate::drivers::diagnosis::{self, FailedDials};
use crate::failure::Failure;
use farrier_protocol::{CallbackConfig, Dial};
use farrier_update::Reason;
use std::net::IpAddr;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Minimum time that is allowed for the first connection after the launch.
const FIRST_CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the engine tries one address.
const ONE_ATTEMPT: Duration = Duration::from_secs(3);

/// Time for the engine to start, and for a connection to be answered.
const BEGINNING: Duration = Duration::from_secs(5);

/// Maximum number of addresses that are sent to an engine: more addresses would delay its connection.
const MAX_TARGETS: usize = 8;

/// How long after the end of a stream the session waits for the next connection, before it contacts the
/// machine through SSH: the engine waits up to 10 s between two attempts.
const NEXT_CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum age of a rejected connection that may be the engine's latest attempt: the engine tries at least
/// every ten seconds.
const RECENT: Duration = Duration::from_secs(20);

/// Validity of the engine's certificate, longer than any run lasts.
const CERTIFICATE_LIFETIME: Duration = Duration::from_hours(30 * 24);

/// The callback that is sent to the engine.
pub(super) struct EngineCallback {
    pub(super) config: CallbackConfig,
    /// Whether the machine has probed the path successfully.
    pub(super) tried: bool,
}

impl CallbackOptions {
    /// How long to wait for the first connection: the engine may have to try every address.
    fn first_call(&self) -> Duration {
        let known = self.plan.borrow().as_ref().map_or(0, |plan| plan.addresses.len().saturating_add(1));
        let attempts = u32::try_from(known.min(MAX_TARGETS)).unwrap_or_default();
        FIRST_CALL_TIMEOUT.max(ONE_ATTEMPT * attempts + BEGINNING)
    }

    /// The runners that forward connections from this address.
    fn through(&self, from: IpAddr) -> Vec<String> {
        let plan = self.plan.borrow();
        let peers = plan.iter().flat_map(|plan| &plan.peers);
        peers.filter(|(address, _)| *address == from).map(|(_, name)| name.clone()).collect()
    }
}

impl CallbackTarget {
    /// The addresses to connect to. The address that the machine itself sees comes first.
    fn targets(&self, seen_from: Option<&str>) -> Vec<(String, u16)> {
        let mut targets = Vec::new();
        if let (Some(seen), Some(port)) = (seen_from, self.seen_port)
            && self.may_use(seen)
        {
            targets.push((seen.to_owned(), port));
        }
        for address in &self.addresses {
            if !targets.contains(address) {
                targets.push(address.clone());
            }
        }
        targets.truncate(MAX_TARGETS);
        targets
    }

    /// Whether none of these addresses is valid any more.
    fn has_moved_from(&self, sent_addresses: &[(String, u16)]) -> bool {
        let known = !sent_addresses.is_empty() && !self.addresses.is_empty();
        known && !self.addresses.iter().any(|address| sent_addresses.contains(address))
    }

    fn may_use(&self, address: &str) -> bool {
        let plain = address.split('%').next().unwrap_or_default();
        match plain.parse() {
            Ok(IpAddr::V4(_)) => self.families.0,
            Ok(IpAddr::V6(_)) => self.families.1,
            Err(_) => false,
        }
    }
}

impl<H: Host> Session<'_, H> {
    /// Registers this session, so that connections of its engine are routed to it.
    pub(super) fn register_callback(&self) -> Option<Registration> {
        if self.job.calls().is_some() {
            self.view.send_modify(|v| v.return_path = ReturnPath::Untried);
        }
        let register = |_| self.tools.calls.register(&self.job.session, self.engine_api.clone());
        self.job.calls().map(register)
    }

    /// Probes the return path and returns the callback for the engine. `None`: the engine is served through
    /// the SSH session.
    pub(super) async fn return_path(
        &self,
        machine: &H,
        probe: &Probe,
    ) -> Result<Option<EngineCallback>, Failure> {
        let Some(planned) = self.job.calls() else { return Ok(None) };
        if self.blocked().is_some() {
            return Ok(None);
        }
        let plan = match planned.target() {
            Ok(plan) => plan,
            Err(failure) => {
                self.handle_missing_target(planned, failure);
                return Ok(None);
            }
        };
        let targets = plan.targets(probe.seen_from.as_deref());
        if targets.is_empty() {
            self.block(self.no_address());
            return Ok(None);
        }
        let since = Instant::now();
        let tried = self.reach(machine, &targets).await?;
        let works =
            |address: &String| tried.iter().any(|dial| dial.address == *address && is_connected(dial));
        let mut addresses: Vec<String> = targets.iter().map(shown).collect();
        if !tried.is_empty() && !addresses.iter().any(works) {
            self.block(self.diagnose(&tried, since));
            return Ok(None);
        }
        // Addresses that work now come first; the others may work after another runner has taken over.
        addresses.sort_by_key(|address| !works(address));
        *self.sent_addresses() = plan.addresses;
        self.end_listener_wait();
        let config = self.config(&plan.identity, addresses)?;
        Ok(Some(EngineCallback { config, tried: !tried.is_empty() }))
    }

    /// Describes why the engine cannot connect, from the results of attempts since `since`.
    pub(super) fn diagnose(&self, dials: &[Dial], since: Instant) -> Failure {
        let plan = self.job.calls().and_then(|calls| calls.plan.borrow().clone().ok());
        let (own, unknown_sources) =
            plan.map(|plan| (plan.own, plan.refusals.unknown_sources_since(since))).unwrap_or_default();
        diagnosis::of(&FailedDials {
            node: &self.job.node,
            dials,
            own: &own,
            unknown_sources: &unknown_sources,
        })
    }

    fn sent_addresses(&self) -> MutexGuard<'_, Vec<(String, u16)>> {
        self.sent_addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the target has none of the addresses that the engine was sent. The engine itself may take
    /// minutes to notice that its peer is gone.
    async fn addresses_changed(&self) {
        let Some(calls) = self.job.calls() else { return std::future::pending().await };
        let sent_addresses = self.sent_addresses().clone();
        let mut plan = calls.plan.clone();
        if plan
            .wait_for(|plan| plan.as_ref().is_ok_and(|plan| plan.has_moved_from(&sent_addresses)))
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }

    fn config(&self, identity: &RunIdentity, addresses: Vec<String>) -> Result<CallbackConfig, Failure> {
        let session = &self.job.session;
        let made = identity.client_certificate(session, CERTIFICATE_LIFETIME).map_err(|error| {
            Failure::new(Reason::InternalError, format!("no certificate for {}: {error}", self.job.node))
        })?;
        Ok(CallbackConfig {
            addresses,
            server_name: CallbackConfig::server_name_of(session),
            server_pin: identity.server_pin(),
            certificate: made.certificate,
            key: made.key,
            listen: None,
        })
    }

    /// Serves the engine's connections. Returns when the engine has retired, or has not connected within the
    /// timeout. Closes the SSH connection as soon as it is not needed any more.
    pub(super) async fn serve_callbacks(
        &self,
        machine: &H,
        calls: &mut Registration,
        mut next: Option<Stream>,
    ) -> Result<(), Failure> {
        let mut timeout = self.job.calls().map_or(FIRST_CALL_TIMEOUT, CallbackOptions::first_call);
        let mut short = 0;
        loop {
            let stream = if let Some(stream) = next.take() {
                Ok(stream)
            } else {
                let call = tokio::time::timeout(timeout, calls.next_stream());
                self.shown(self.next_call(timeout), Box::pin(call)).await
            };
            let Ok(mut stream) = stream else { return Err(self.no_call(timeout)) };
            let from = stream.source().ip().to_canonical();
            let through = self.job.calls().map(|calls| calls.through(from)).unwrap_or_default();
            tracing::info!(%from, ?through, "the engine has connected");
            self.view.send_modify(|v| {
                v.lost = None;
                v.return_path = ReturnPath::Open { from, through: through.clone() };
            });
            machine.close().await;
            let since = Instant::now();
            tokio::select! {
                () = stream.ended() => {}
                () = self.addresses_changed() => {
                    tracing::info!("the callback server has new addresses; sending them to the engine");
                    return Ok(());
                }
            }
            if self.engine_api.is_retired() || self.engine_api.incompatible().is_some() {
                return Ok(());
            }
            if !calls.is_connected() {
                self.view.send_modify(|v| v.return_path = ReturnPath::Lost { from });
                // A machine that has no systemd starts its engine again only when the runner signs in.
                if self.reboot_under_way().is_some() {
                    return Ok(());
                }
            }
            short = if since.elapsed() < limits::SHORT_STREAM { short + 1 } else { 0 };
            if short >= limits::MAX_SHORT_STREAMS {
                return Err(self.keeps_ending());
            }
            timeout = NEXT_CALL_TIMEOUT;
        }
    }

    fn next_call(&self, timeout: Duration) -> Waiting {
        let reason = if self.has_called() { Reason::ConnectionLost } else { Reason::InProgress };
        Waiting::new(
            reason,
            format!("a connection from the engine on {}", self.job.node),
            "a connection",
            timeout,
        )
    }

    /// Whether the engine and the runner have been connected in this attempt, beside the SSH session.
    pub(super) fn has_called(&self) -> bool {
        matches!(
            self.view.borrow().return_path,
            ReturnPath::Open { .. }
                | ReturnPath::Lost { .. }
                | ReturnPath::Dialled { .. }
                | ReturnPath::DialLost
        )
    }

    /// Why the engine cannot connect, if this attempt knows a reason.
    pub(super) fn blocked(&self) -> Option<Failure> {
        match &self.view.borrow().return_path {
            ReturnPath::Blocked { failure, .. } => Some(failure.clone()),
            ReturnPath::NotNeeded
            | ReturnPath::Pending { .. }
            | ReturnPath::Untried
            | ReturnPath::Open { .. }
            | ReturnPath::Lost { .. }
            | ReturnPath::Dialled { .. }
            | ReturnPath::DialLost
            | ReturnPath::Expected
            | ReturnPath::Tried { .. }
            | ReturnPath::Fetched { .. }
            | ReturnPath::Unseen { .. } => None,
        }
    }

    /// Why components are not installed: the engine cannot connect and no fallback is allowed.
    pub(super) fn withheld(&self) -> Option<Failure> {
        self.blocked().filter(|_| !self.may_use_ssh_session())
    }

    /// Records that the engine cannot connect: it is served through the SSH session instead.
    pub(super) fn block(&self, failure: Failure) {
        let fallback = self.may_use_ssh_session();
        if self.blocked().as_ref() != Some(&failure) {
            tracing::warn!(reason = %failure.reason, "{}", failure.message);
        }
        self.view.send_modify(|v| v.return_path = ReturnPath::Blocked { failure, fallback });
    }

    /// Whether the SSH session may be used for more than surveys. Work that has begun is finished in any
    /// case: an unreported half of an installation helps nobody.
    pub(super) fn may_use_ssh_session(&self) -> bool {
        self.may_fall_back() || self.engine_api.is_greeted() && self.has_begun()
    }

    /// Updates the obstacle from the dial results that the engine has reported through the SSH session.
    pub(super) fn update_blocked(&self) {
        if let Some(calls) = self.job.calls().filter(|_| self.awaits_listener()) {
            // The engine may have begun work, and then the session waits for nothing.
            if let Some(failure) = calls.target_failure() {
                self.handle_missing_target(calls, failure);
            }
        }
        let dials = self.engine_api.dials();
        if let Some(failure) = self.blocked() {
            let recent = Instant::now().checked_sub(RECENT).unwrap_or_else(Instant::now);
            self.block(if dials.is_empty() { failure } else { self.diagnose(&dials, recent) });
        }
    }

    /// Reports that the engine reached another server at the runner's address.
    pub(super) fn report_untrusted_peer(&self, dial: &Dial) {
        let failure = Failure::new(
            Reason::CallbackUntrusted,
            format!(
                "the engine on {} reached another server than the operator at {} and sent it nothing: {}; find out which host has that address",
                self.job.node, dial.address, dial.message
            ),
        );
        tracing::warn!(reason = %failure.reason, "{}", failure.message);
        self.view.send_modify(|v| v.untrusted_peer = Some(failure));
    }

    fn may_fall_back(&self) -> bool {
        self.job.calls().is_some_and(|calls| calls.may_fall_back)
            || self.job.listen.as_ref().is_some_and(|listen| listen.may_fall_back)
    }

    fn no_call(&self, timeout: Duration) -> Failure {
        Failure::new(
            Reason::CallbackTimedOut,
            format!("the engine on {} has not connected for {} s", self.job.node, timeout.as_secs()),
        )
    }

    fn no_address(&self) -> Failure {
        Failure::new(
            Reason::CallbackAddressMissing,
            format!(
                "there is no address at which {} could reach the callback server; set spec.callbackAddress of the ManagedNode, or allow another family in spec.addressFamilies",
                self.job.node
            ),
        )
    }
}

fn shown((host, port): &(String, u16)) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
