//! Channel `Listen`: the runner connects to the engine's port.
//!
//! ```text
//! launch with the configuration ─► the engine binds a port and opens the firewall ─► reported by the launch
//!   ─► the runner connects ─► connected
//!        │ no connection
//!        └──► SSH session, and reported
//! ```

use super::return_path::EngineCallback;
use super::{Host, Probe, Session, limits};
use crate::attempt::{ListenOptions, ReturnPath, Waiting};
use crate::callback::DialIdentity;
use crate::failure::{Failure, chain};
use farrier_protocol::{Firewall, FirewallState, ListenConfig, Listening, NEXT_HOLD_SECONDS};
use farrier_update::Reason;
use std::time::{Duration, Instant};

/// How long the first connection is tried after the launch. Policies take effect some time after they were
/// created, on each node of the cluster separately.
const FIRST_DIAL_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a lost connection is tried again before the machine is contacted through SSH. The engine opens
/// the firewall again within ten seconds if somebody has reloaded it.
const NEXT_DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Timeout of a stream without a request. The engine sends one each second while it works, and one at least
/// every [`NEXT_HOLD_SECONDS`] while it waits for a task.
const SILENCE: Duration = Duration::from_secs(2 * NEXT_HOLD_SECONDS);

/// Time between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

impl<H: Host> Session<'_, H> {
    /// Returns the configuration for an engine that listens. `None`: the engine does not listen.
    pub(super) fn listen_config(&self, probe: &Probe) -> Result<Option<EngineCallback>, Failure> {
        let Some(options) = &self.job.listen else { return Ok(None) };
        if self.blocked().is_some() {
            return Ok(None);
        }
        self.view.send_modify(|v| {
            v.listens = true;
            if v.return_path == ReturnPath::NotNeeded {
                v.return_path = ReturnPath::Untried;
            }
        });
        let (Some(peer), Some(local)) = (probe.seen_from.clone(), probe.seen_at.clone()) else {
            self.block(self.addresses_unknown());
            return Ok(None);
        };
        let place = ListenConfig {
            first_port: *options.ports.start(),
            last_port: *options.ports.end(),
            local,
            peer,
            token: String::new(),
            open_firewall: options.may_open_firewall,
        };
        let config = self.dial_identity()?.config(place);
        Ok(Some(EngineCallback { config, tried: true }))
    }

    /// Serves the engine over connections to its port. Returns when the engine has retired, or the port could
    /// not be reached within the timeout. Closes the SSH connection as soon as it is not needed any more.
    pub(super) async fn serve_dialled(&self, machine: &H, listening: &Listening) -> Result<(), Failure> {
        if listening.port == 0 {
            return Err(self.not_listening(listening));
        }
        let identity = self.dial_identity()?;
        let mut timeout = FIRST_DIAL_TIMEOUT;
        let (mut short, mut came) = (0, false);
        loop {
            let dialling = Box::pin(self.dial(machine, identity, listening, timeout));
            let dialled = self.shown(self.next_dial(timeout), dialling).await;
            let (stream, address) = match dialled {
                Ok(dialled) => dialled,
                // The machine may have been rebooted, or got another address: it is contacted through SSH.
                Err(failure) if came => {
                    tracing::info!(reason = %failure.reason, "{}", failure.message);
                    return Ok(());
                }
                Err(failure) => return Err(failure),
            };
            tracing::info!(%address, port = listening.port, "connected to the engine");
            let opened = listening.firewalls.iter().filter(|wall| wall.state == FirewallState::Opened);
            let opened: Vec<String> = opened.map(|wall| wall.name.clone()).collect();
            self.view.send_modify(|v| {
                v.lost = None;
                v.return_path = ReturnPath::Dialled { address, port: listening.port, opened };
            });
            machine.close().await;
            came = true;
            let since = Instant::now();
            let served = self.engine_api.serve_until_silent(stream, SILENCE, || {});
            if let Err(error) = served.await {
                tracing::debug!(error = %chain(&error), "the stream to the engine ended");
            }
            if self.engine_api.is_retired() || self.engine_api.incompatible().is_some() {
                return Ok(());
            }
            self.view.send_modify(|v| v.return_path = ReturnPath::DialLost);
            // A machine that has no systemd starts its engine again only when the runner signs in.
            if self.reboot_under_way().is_some() {
                return Ok(());
            }
            short = if self.is_short(since) { short + 1 } else { 0 };
            if short >= limits::MAX_SHORT_STREAMS {
                return Err(self.keeps_ending());
            }
            timeout = NEXT_DIAL_TIMEOUT;
        }
    }

    /// Connects to the engine; tries again until the timeout.
    async fn dial(
        &self,
        machine: &H,
        identity: &DialIdentity,
        listening: &Listening,
        timeout: Duration,
    ) -> Result<(tokio_rustls::server::TlsStream<tokio::net::TcpStream>, String), Failure> {
        let begun = Instant::now();
        loop {
            let failure = match machine.dial(listening.port).await {
                Ok((stream, address)) => match identity.secure(stream).await {
                    Ok(stream) => return Ok((stream, address)),
                    Err(error) => self.not_trusted(listening, &address, &error),
                },
                Err(failure) => self.not_reached(listening, &failure),
            };
            if begun.elapsed() >= timeout {
                return Err(failure);
            }
            tracing::debug!(reason = %failure.reason, "{}", failure.message);
            // sleep: no event signals that rules take effect somewhere.
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    fn next_dial(&self, timeout: Duration) -> Waiting {
        let reason = if self.has_called() { Reason::ConnectionLost } else { Reason::InProgress };
        let what = format!("a connection to the engine on {}", self.job.node);
        Waiting::new(reason, what, "a connection", timeout)
    }

    fn dial_identity(&self) -> Result<&DialIdentity, Failure> {
        if let Some(identity) = self.dial_identity.get() {
            return Ok(identity);
        }
        let made = DialIdentity::generate(&self.job.session).map_err(|error| {
            let words = format!("no certificate for {}: {}", self.job.node, chain(&error));
            Failure::new(Reason::InternalError, words)
        })?;
        Ok(self.dial_identity.get_or_init(|| made))
    }

    fn addresses_unknown(&self) -> Failure {
        Failure::new(
            Reason::ListenAddressUnknown,
            format!(
                "the SSH server of {} does not tell from which address it is contacted (SSH_CONNECTION is not set), so that no port can be opened for that address; use channel Session or Callback",
                self.job.node
            ),
        )
    }

    fn not_listening(&self, listening: &Listening) -> Failure {
        Failure::new(
            Reason::ListenPortsTaken,
            format!(
                "the engine on {} cannot listen: {}; free one of the ports on the machine, or use channel Session or Callback",
                self.job.node, listening.problem
            ),
        )
    }

    fn not_trusted(&self, listening: &Listening, address: &str, error: &std::io::Error) -> Failure {
        Failure::new(
            Reason::ListenUntrusted,
            format!(
                "{address} TCP port {} of {} accepts connections (from the runner to the machine), but its engine does not answer: {}; look for a proxy in between, and for address translation that gives the runner another address than its SSH connection has",
                listening.port,
                self.job.node,
                chain(error)
            ),
        )
    }

    fn not_reached(&self, listening: &Listening, failure: &Failure) -> Failure {
        let options = self.job.listen.as_ref();
        unreachable(&self.job.node, listening, options, failure)
    }
}

/// Describes why the engine's port cannot be reached, and the next step.
fn unreachable(
    node: &str,
    listening: &Listening,
    options: Option<&ListenOptions>,
    failure: &Failure,
) -> Failure {
    let (reason, how) = if failure.reason == Reason::ConnectionTimedOut {
        (Reason::ListenTimedOut, "drops")
    } else {
        (Reason::ListenRejected, "rejects")
    };
    let may_open = options.is_some_and(|options| options.may_open_firewall);
    let own: Vec<String> = listening.firewalls.iter().filter_map(|wall| told(wall, may_open)).collect();
    let next = if own.is_empty() {
        "most likely one on the network path, or an egress rule of the operator's host; allow the connection (`farrier ports` prints the rules)".to_owned()
    } else {
        format!("most likely the machine's own: {}", own.join("; "))
    };
    Failure::new(
        reason,
        format!(
            "TCP port {} of the engine on {node} cannot be reached (from the runner to the machine): a firewall {how} the connection, {next} ({})",
            listening.port, failure.message
        ),
    )
}

/// Describes a firewall that has no rule for the engine.
fn told(wall: &Firewall, may_open: bool) -> Option<String> {
    let Firewall { name, state, command, problem } = wall;
    match state {
        FirewallState::Opened => None,
        FirewallState::Failed => {
            Some(format!("{name} could not be opened ({problem}); run `{command}` on the machine"))
        }
        FirewallState::Untouched if may_open => Some(format!("{name}; run `{command}` on the machine")),
        FirewallState::Untouched => Some(format!(
            "{name}, which Farrier may not change (spec.openFirewall is false); run `{command}` on the machine, or set spec.openFirewall"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without the command, the user of a machine that Farrier may not change has to guess its tool.
    #[test]
    fn a_firewall_that_may_not_be_changed_is_named_with_its_command() {
        let wall = |state| Firewall {
            name: "nftables (inet filter input)".into(),
            state,
            command: "nft insert rule …".into(),
            problem: "busy".into(),
        };
        let message = |state, may_open_firewall| {
            let listening = Listening { port: 62286, firewalls: vec![wall(state)], ..Listening::default() };
            let options = ListenOptions { ports: 1..=2, may_fall_back: true, may_open_firewall };
            let failure = Failure::new(Reason::ConnectionTimedOut, "no answer");
            unreachable("db", &listening, Some(&options), &failure).message
        };
        let told = message(FirewallState::Untouched, false);
        for words in
            ["62286", "from the runner to the machine", "spec.openFirewall is false", "`nft insert rule …`"]
        {
            assert!(told.contains(words), "{told}");
        }
        assert!(message(FirewallState::Failed, true).contains("could not be opened (busy)"));
        assert!(message(FirewallState::Opened, true).contains("network path"));
    }
}
