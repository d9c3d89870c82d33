//! Resolves where the engine of one machine connects back.

use super::Context;
use super::listeners::OpenListener;
use crate::api::managed_node::AddressFamily;
use crate::api::update_run::{Exposure, RunnerPorts};
use crate::api::{ManagedNode, UpdateRun};
use crate::attempt::{Awaited, CallbackOptions, CallbackTarget, ResolvedTarget, Scheme};
use crate::convert::forwarded_port;
use crate::exposure::{WayBack, given_port, way_back};
use crate::failure::Failure;
use crate::membership::RunnerLocation;
use farrier_network::cidr;
use farrier_update::Reason;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

/// How long to wait for this runner's own callback server. It listens before the first machine begins, but
/// not immediately after a restart.
const LISTENER_TIMEOUT: Duration = Duration::from_secs(15);

/// How often the callback target is resolved again. A session waits half a minute for an engine that has lost
/// its stream before it sends the engine a new target.
const REPLAN_INTERVAL: Duration = Duration::from_secs(5);

impl Context {
    /// Resolves where the engine on this machine connects back; `None` if it is served through SSH.
    pub(super) async fn callback(
        self: &Arc<Self>,
        node: &ManagedNode,
        run: &UpdateRun,
        touched: bool,
    ) -> Option<CallbackOptions> {
        if !engine_calls(node, run) {
            return None;
        }
        // A channel in the ManagedNode is binding; a channel in the run is only a preference.
        let may_fall_back = node.spec.channel.is_none();
        // If an engine may be on the machine, it has to report soon what it has begun.
        let limit = listener_limit(node, run, self.wait_seconds);
        let (send, plan) =
            watch::channel(self.plan(node, run, if touched { LISTENER_TIMEOUT } else { limit }).await);
        let planner = self.clone().follow_target(ObjectRef::from_obj(node), ObjectRef::from_obj(run), send);
        let planner = Arc::new(AbortOnDropHandle::new(tokio::spawn(planner.in_current_span())));
        Some(CallbackOptions { may_fall_back, plan, planner, awaited: None })
    }

    /// Updates the target from the cluster as long as it has receivers. Ends when the callback server has
    /// stopped listening and will not listen for this machine again.
    async fn follow_target(
        self: Arc<Self>,
        node: ObjectRef<ManagedNode>,
        run: ObjectRef<UpdateRun>,
        plan: watch::Sender<ResolvedTarget>,
    ) {
        loop {
            let closed = plan.borrow().as_ref().ok().map(|target| target.closed.clone());
            let shut = async {
                match &closed {
                    Some(closed) => closed.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = plan.closed() => return,
                () = shut => {}
                // sleep: name resolution sends no notification of changes.
                () = tokio::time::sleep(REPLAN_INTERVAL) => {}
            }
            let is_closed = || closed.as_ref().is_none_or(CancellationToken::is_cancelled);
            let namespace = node.namespace.as_deref().unwrap_or_default();
            // A cache does not prove that a machine is gone. Without a run, the attempt is cancelled.
            let found = self.caches.node(&self.client, namespace, &node.name).await;
            let (Ok(found), Some(run)) = (found, self.caches.runs.get(&run)) else { continue };
            let Some(node) = found.filter(|node| engine_calls(node, &run)) else {
                if is_closed() {
                    plan.send_modify(|plan| *plan = Err(closed_for_good(&node.name)));
                    return;
                }
                continue;
            };
            match self.plan(&node, &run, LISTENER_TIMEOUT).await {
                Ok(new) => plan.send_modify(|plan| *plan = Ok(new)),
                // An open target is better than none.
                Err(failure) if is_closed() => plan.send_modify(|plan| *plan = Err(failure)),
                Err(_) => {}
            }
        }
    }

    /// Returns how an attempt at this machine waits for the callback server. The wait begins at once if this
    /// runner has lost its ports during a restart and is about to bind them again, or others. `None`: the
    /// engine does not connect back.
    pub(super) fn awaited_listener(&self, node: &ManagedNode, run: &UpdateRun) -> Option<Awaited> {
        if !engine_calls(node, run) {
            return None;
        }
        let limit = listener_limit(node, run, self.wait_seconds);
        let awaited = Awaited { what: awaited_ports(&self.name, &run.name_any()), limit, begun: None };
        let begun = (!self.listeners.is_open(&run.uid().unwrap_or_default())).then(|| awaited.begin());
        Some(Awaited { begun, ..awaited })
    }

    async fn plan(&self, node: &ManagedNode, run: &UpdateRun, listener_timeout: Duration) -> ResolvedTarget {
        let uid = run.uid().unwrap_or_default();
        let Some(listener) = self.listeners.of(&uid, listener_timeout).await else {
            return Err(Failure::new(
                Reason::CallbackRefused,
                format!(
                    "runner {} does not listen for {}; see the condition Exposed and status.listeners of UpdateRun {}",
                    self.name,
                    node.name_any(),
                    run.name_any()
                ),
            ));
        };
        let (mut addresses, seen_port) = match &node.spec.callback_address {
            Some(address) => (self.named(address, node, run, &listener).await, None),
            None => self.advertised(run, &listener, Scheme::Https),
        };
        let families = &node.spec.address_families;
        let rank = |target: &Target| families.iter().position(|f| Some(*f) == family(&target.host));
        addresses.retain(|target| rank(target).is_some());
        addresses.sort_by_key(|target| (!target.ours, rank(target)));
        Ok(CallbackTarget {
            identity: listener.identity,
            addresses: addresses.into_iter().map(|target| (target.host, target.port)).collect(),
            seen_port,
            families: (families.contains(&AddressFamily::IPv4), families.contains(&AddressFamily::IPv6)),
            peers: super::listeners::peers(&self.membership.live(), &self.name),
            own: self.names.of(node).await,
            refusals: listener.refusals,
            closed: listener.closed,
        })
    }

    /// Returns the callback address that the user has set.
    async fn named(
        &self,
        text: &str,
        node: &ManagedNode,
        run: &UpdateRun,
        listener: &OpenListener,
    ) -> Vec<Target> {
        let port = forwarded_port(node, Scheme::Https).or_else(|| outer_port(run, listener, Scheme::Https));
        let Some(port) = port else { return Vec::new() };
        let hosts = match cidr::parse(text) {
            Some(address) => vec![with_zone(address, text)],
            None => self.names.look_up(text).await.iter().map(ToString::to_string).collect(),
        };
        hosts.into_iter().map(|host| Target { ours: true, host, port }).collect()
    }

    /// Returns the addresses of the exposure, and this runner's own port, which is reached at any address of its
    /// host.
    pub(super) fn advertised(
        &self,
        run: &UpdateRun,
        listener: &OpenListener,
        scheme: Scheme,
    ) -> (Vec<Target>, Option<u16>) {
        let callback = run.status.as_ref().and_then(|s| s.callback.as_ref());
        if let (Exposure::NodePort | Exposure::LoadBalancer, Some(callback)) =
            (run.spec.callback.exposure, callback)
        {
            let Some(port) = outer_port(run, listener, scheme) else { return (Vec::new(), None) };
            let addresses = callback.addresses.iter().filter_map(|text| cidr::parse(text));
            let target = |address: IpAddr| Target { ours: true, host: address.to_string(), port };
            return (addresses.map(target).collect(), None);
        }
        let runners = self.membership.live();
        let mut found = Vec::new();
        for (name, info) in runners.iter() {
            let Some(ports) = super::listeners::ports_of(run, name) else { continue };
            let Some(port) = port_of(ports, scheme) else { continue };
            let (RunnerLocation::Host { addresses, .. } | RunnerLocation::Pod { host_ips: addresses, .. }) =
                &info.location;
            found.extend(addresses.iter().map(|ip| Target {
                ours: *name == self.name,
                host: ip.to_string(),
                port,
            }));
        }
        (found, own_port(listener, scheme))
    }
}

/// How long an attempt at this machine waits for the callback server in total. An engine that may not be
/// reached in another way waits as long as for anything else that is in the way or does not exist yet.
fn listener_limit(node: &ManagedNode, run: &UpdateRun, wait_seconds: u64) -> Duration {
    if node.spec.channel.is_none() {
        return LISTENER_TIMEOUT;
    }
    listener_wait(run, wait_seconds)
}

/// How long an attempt waits for the callback server if the machine cannot be served in another way.
pub(super) fn listener_wait(run: &UpdateRun, wait_seconds: u64) -> Duration {
    let arrival = run.spec.arrival_timeout.duration().unwrap_or_default();
    arrival.max(Duration::from_secs(wait_seconds)).max(LISTENER_TIMEOUT)
}

/// Returns the callback address that the user has set, as it is written. A machine that fetches an image looks a name
/// up itself.
pub(super) fn set_by_user(
    text: &str,
    forwarded: Option<u16>,
    run: &UpdateRun,
    listener: &OpenListener,
    scheme: Scheme,
) -> Option<Target> {
    let host = cidr::parse(text).map_or_else(|| text.to_owned(), |address| with_zone(address, text));
    Some(Target { ours: true, host, port: forwarded.or_else(|| outer_port(run, listener, scheme))? })
}

/// Reports whether the engine on this machine connects to the callback server.
fn engine_calls(node: &ManagedNode, run: &UpdateRun) -> bool {
    way_back(node, run, None) == Some(WayBack::Engine)
}

/// Returns the port that a runner was given for a protocol.
fn port_of(ports: &RunnerPorts, scheme: Scheme) -> Option<u16> {
    match (scheme, scheme.service()) {
        (Scheme::Https, _) => Some(ports.https_port),
        (_, None) => Some(ports.http_port),
        (_, Some(service)) => given_port(ports, service),
    }
}

/// Returns the port of this runner for a protocol, if it is open.
pub(super) fn own_port(listener: &OpenListener, scheme: Scheme) -> Option<u16> {
    match (scheme, scheme.service()) {
        (Scheme::Https, _) => Some(listener.pair.https),
        (_, None) => Some(listener.pair.http),
        (_, Some(service)) => listener.services.borrow().get(&service).copied(),
    }
}

/// Returns the port for machines: that of the Service, if there is one, otherwise this runner's.
fn outer_port(run: &UpdateRun, listener: &OpenListener, scheme: Scheme) -> Option<u16> {
    let callback = run.status.as_ref().and_then(|s| s.callback.as_ref());
    let outer = callback.and_then(|callback| match scheme {
        Scheme::Https => callback.https_port,
        Scheme::Http => callback.http_port,
        Scheme::Sftp | Scheme::Scp => callback.sftp_port,
        Scheme::Ftp => None,
    });
    let is_own = run.spec.callback.exposure == Exposure::HostPort || scheme.service().is_none();
    outer.or_else(|| own_port(listener, scheme).filter(|_| is_own))
}

/// What an attempt waits for while its runner has no ports of the run.
pub(super) fn awaited_ports(runner: &str, run: &str) -> String {
    format!(
        "runner {runner} to get its ports of the run (see the condition Exposed of UpdateRun {run}; --wait-seconds or spec.arrivalTimeout, whichever is longer, says for how long)"
    )
}

/// The callback server was closed, and no new one follows.
fn closed_for_good(node: &str) -> Failure {
    Failure::new(
        Reason::CallbackRefused,
        format!(
            "the callback server of the run is closed, because no machine of the run uses it any more: ManagedNode {node} was deleted or its channel was changed while the engine was at work"
        ),
    )
}

/// An address to which a machine may connect.
pub(super) struct Target {
    /// Whether the address leads to this runner or, through a Service, to any runner. Other runners forward
    /// a connection, or take the machine over.
    pub(super) ours: bool,
    /// An address, with its zone on the machine if it has one, or a name.
    pub(super) host: String,
    pub(super) port: u16,
}

/// A zone is valid only on the machine, and must arrive there as it was written.
fn with_zone(address: IpAddr, text: &str) -> String {
    match text.split_once('%') {
        Some((_, zone)) => format!("{address}%{zone}"),
        None => address.to_string(),
    }
}

pub(super) fn family(host: &str) -> Option<AddressFamily> {
    cidr::parse(host).map(|address| match address {
        IpAddr::V4(_) => AddressFamily::IPv4,
        IpAddr::V6(_) => AddressFamily::IPv6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Otherwise a machine that must not be served in another way would fail for good when its runner has no
    /// ports for a while, and no setting could prevent that.
    #[test]
    fn the_wait_for_ports_can_be_set() {
        let node = |channel: Option<&str>| -> ManagedNode {
            let spec = json!({"type": "Linux", "addresses": ["192.0.2.1"], "credentialsRef": {"name": "s"}, "channel": channel});
            serde_json::from_value(json!({"metadata": {"name": "db"}, "spec": spec})).unwrap()
        };
        let run = |arrival: &str| -> UpdateRun {
            let spec = json!({"selector": {}, "arrivalTimeout": arrival});
            serde_json::from_value(json!({"metadata": {"name": "r1"}, "spec": spec})).unwrap()
        };
        let limit =
            |node: &ManagedNode, arrival, seconds| listener_limit(node, &run(arrival), seconds).as_secs();
        let pinned = node(Some("Callback"));
        assert_eq!(limit(&pinned, "2m", 60), 120);
        assert_eq!(limit(&pinned, "2m", 3600), 3600);
        assert_eq!(limit(&pinned, "0s", 0), 15, "a runner that has just started has this long");
        assert_eq!(limit(&node(None), "2m", 3600), 15, "the SSH session is used instead");
        let told = awaited_ports("a", "r1");
        for word in ["--wait-seconds", "spec.arrivalTimeout", "runner a", "UpdateRun r1"] {
            assert!(told.contains(word), "{told}");
        }
    }

    /// A link-local address without its zone cannot be reached.
    #[test]
    fn a_zone_stays_with_its_address() {
        for (text, host) in [
            ("fe80::1%mgmt0", "fe80::1%mgmt0"),
            ("FE80:0::1%mgmt0", "fe80::1%mgmt0"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            let shown = with_zone(cidr::parse(text).unwrap(), text);
            assert_eq!(shown, host);
            assert_eq!(cidr::parse(&shown), cidr::parse(text));
        }
        assert_eq!(family("fe80::1%mgmt0"), Some(AddressFamily::IPv6));
    }
}
