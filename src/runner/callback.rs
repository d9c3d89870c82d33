//! Resolves where the engine of one machine connects back.

use super::Context;
use super::listeners::OpenListener;
use crate::api::managed_node::AddressFamily;
use crate::api::update_run::Exposure;
use crate::api::{ManagedNode, UpdateRun, condition};
use crate::exposure;
use crate::failure::Failure;
use crate::membership::RunnerLocation;
use crate::session::{Awaited, CallbackOptions, CallbackTarget, ResolvedTarget};
use farrier_network::cidr;
use farrier_update::Reason;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

/// How long to wait for this runner's own callback server. It listens before the first machine begins, but
/// not immediately after a restart.
const LISTENER_TIMEOUT: Duration = Duration::from_secs(15);

/// How often the callback target is resolved again. A session waits half a minute for an engine that has lost
/// its stream before it sends the engine a new target.
const REPLAN_INTERVAL: Duration = Duration::from_secs(5);

/// The wait if the engine may not be reached in another way and has not begun anything. Ports that are all
/// taken are tried again every half minute.
const LONG_LISTENER_TIMEOUT: Duration = Duration::from_mins(2);

impl Context {
    /// Resolves where the engine on this machine connects back; `None` if it is served through SSH.
    pub(super) async fn callback(
        self: &Arc<Self>,
        node: &ManagedNode,
        run: &UpdateRun,
        touched: bool,
    ) -> Option<CallbackOptions> {
        if !exposure::calls_back(node, run) {
            return None;
        }
        // A channel in the ManagedNode is binding; a channel in the run is only a preference.
        let may_fall_back = node.spec.channel.is_none();
        let (send, plan) = watch::channel(self.plan(node, run, listener_timeout(node, touched)).await);
        let planner = self.clone().follow_target(ObjectRef::from_obj(node), ObjectRef::from_obj(run), send);
        let planner = Arc::new(AbortOnDropHandle::new(tokio::spawn(planner.in_current_span())));
        Some(CallbackOptions { may_fall_back, plan, planner, awaited: None })
    }

    /// Updates the target from the cluster as long as it has receivers.
    async fn follow_target(
        self: Arc<Self>,
        node: ObjectRef<ManagedNode>,
        run: ObjectRef<UpdateRun>,
        plan: watch::Sender<ResolvedTarget>,
    ) {
        loop {
            tokio::select! {
                () = plan.closed() => return,
                // sleep: name resolution sends no notification of changes.
                () = tokio::time::sleep(REPLAN_INTERVAL) => {}
            }
            let found = (self.caches.nodes.get(&node), self.caches.runs.get(&run));
            let (Some(node), Some(run)) = found else { continue };
            // The previous target is better than none.
            if let Ok(new) = self.plan(&node, &run, LISTENER_TIMEOUT).await {
                plan.send_modify(|plan| *plan = Ok(new));
            }
        }
    }

    /// Returns what an attempt at this machine waits for before anything else: this runner has lost its ports
    /// during a restart and is about to bind them again, or others.
    pub(super) async fn awaited_listener(&self, node: &ManagedNode, run: &UpdateRun) -> Option<Awaited> {
        let open = self.listeners.of(&run.uid().unwrap_or_default(), Duration::ZERO).await;
        let listener_timeout = max_listener_timeout(node);
        (open.is_none() && exposure::calls_back(node, run)).then(|| Awaited {
            message: format!(
                "runner {} waits until {} for ports of the run; see the condition Exposed of UpdateRun {}",
                self.name,
                until(&condition::now(), listener_timeout),
                run.name_any()
            ),
            until: Instant::now() + listener_timeout,
        })
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
            Some(address) => (self.named(address, run, &listener).await, None),
            None => self.advertised(run, &listener),
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
    async fn named(&self, text: &str, run: &UpdateRun, listener: &OpenListener) -> Vec<Target> {
        let callback = run.status.as_ref().and_then(|s| s.callback.as_ref());
        let port = callback.and_then(|c| c.https_port).unwrap_or(listener.pair.https);
        let hosts = match cidr::parse(text) {
            Some(address) => vec![with_zone(address, text)],
            None => self.names.look_up(text).await.iter().map(ToString::to_string).collect(),
        };
        hosts.into_iter().map(|host| Target { ours: true, host, port }).collect()
    }

    /// Returns the addresses of the exposure, and the port to use with the address that the machine sees as
    /// the source of the SSH connection.
    fn advertised(&self, run: &UpdateRun, listener: &OpenListener) -> (Vec<Target>, Option<u16>) {
        let callback = run.status.as_ref().and_then(|s| s.callback.as_ref());
        if let (Exposure::NodePort | Exposure::LoadBalancer, Some(callback)) =
            (run.spec.callback.exposure, callback)
        {
            let port = callback.https_port.unwrap_or(listener.pair.https);
            let addresses = callback.addresses.iter().filter_map(|text| cidr::parse(text));
            let target = |address: IpAddr| Target { ours: true, host: address.to_string(), port };
            return (addresses.map(target).collect(), None);
        }
        let runners = self.membership.live();
        let mut found = Vec::new();
        for (name, info) in runners.iter() {
            let Some(pair) = super::listeners::pair_of(run, name) else { continue };
            let (RunnerLocation::Host { addresses, .. } | RunnerLocation::Pod { host_ips: addresses, .. }) =
                &info.location;
            found.extend(addresses.iter().map(|ip| Target {
                ours: *name == self.name,
                host: ip.to_string(),
                port: pair.https,
            }));
        }
        (found, Some(listener.pair.https))
    }
}

/// How long an attempt at this machine waits for the callback server before it connects. If an engine may be
/// on the machine, the wait is short: the engine has to report soon what it has begun.
fn listener_timeout(node: &ManagedNode, touched: bool) -> Duration {
    if touched { LISTENER_TIMEOUT } else { max_listener_timeout(node) }
}

/// How long an attempt waits for the callback server in total.
fn max_listener_timeout(node: &ManagedNode) -> Duration {
    if node.spec.channel.is_none() { LISTENER_TIMEOUT } else { LONG_LISTENER_TIMEOUT }
}

/// Returns the end of a wait that begins now, in the format of statuses.
fn until(now: &Time, listener_timeout: Duration) -> jiff::Timestamp {
    let end = now.0.checked_add(listener_timeout).unwrap_or(now.0);
    end.round(jiff::Unit::Second).unwrap_or(end)
}

/// An address to which a machine may connect.
struct Target {
    /// Whether the address leads to this runner or, through a Service, to any runner. Other runners forward
    /// a connection, or take the machine over.
    ours: bool,
    /// An address, with its zone on the machine if it has one.
    host: String,
    port: u16,
}

/// A zone is valid only on the machine, and must arrive there as it was written.
fn with_zone(address: IpAddr, text: &str) -> String {
    match text.split_once('%') {
        Some((_, zone)) => format!("{address}%{zone}"),
        None => address.to_string(),
    }
}

fn family(host: &str) -> Option<AddressFamily> {
    cidr::parse(host).map(|address| match address {
        IpAddr::V4(_) => AddressFamily::IPv4,
        IpAddr::V6(_) => AddressFamily::IPv6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader of a condition cannot know when "up to 15 s" began.
    #[test]
    fn a_wait_is_reported_with_its_deadline() {
        let now = Time("2026-11-21T11:30:00.4Z".parse().unwrap());
        assert_eq!(until(&now, LISTENER_TIMEOUT).to_string(), "2026-11-21T11:30:15Z");
        assert_eq!(until(&now, LONG_LISTENER_TIMEOUT).to_string(), "2026-11-21T11:32:00Z");
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
