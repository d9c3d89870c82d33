//! Where the engine of one machine is to call.

use super::Context;
use super::doors::Open;
use crate::api::managed_node::AddressFamily;
use crate::api::update_run::Exposure;
use crate::api::{ManagedNode, UpdateRun};
use crate::exposure;
use crate::failure::Failure;
use crate::membership::Home;
use crate::session::{Callback, Goal};
use farrier_network::cidr;
use farrier_update::Reason;
use kube::ResourceExt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How long this runner's own callback server is waited for. It listens before the first machine is
/// begun, but not at once after a restart.
const DOOR_PATIENCE: Duration = Duration::from_secs(15);

impl Context {
    /// Where the engine on this machine is to call; `None` where it is talked to through SSH.
    pub(super) async fn callback(
        &self,
        node: &ManagedNode,
        run: &UpdateRun,
        goal: Goal,
    ) -> Option<Result<Callback, Failure>> {
        if !exposure::calls_back(node, run) || goal == Goal::CleanUp {
            return None;
        }
        let uid = run.uid().unwrap_or_default();
        let Some(door) = self.doors.of(&uid, DOOR_PATIENCE).await else {
            return Some(Err(Failure::new(
                Reason::CallbackRefused,
                format!(
                    "runner {} does not listen for {}; see status.listeners of UpdateRun {}",
                    self.name,
                    node.name_any(),
                    run.name_any()
                ),
            )));
        };
        let (addresses, seen_port) = match &node.spec.callback_address {
            Some(address) => (self.named(address, run, &door).await, None),
            None => self.advertised(run, &door),
        };
        let families = &node.spec.address_families;
        let rank = |address: &SocketAddr| families.iter().position(|f| *f == family(address.ip()));
        let mut addresses: Vec<SocketAddr> = addresses.into_iter().filter(|a| rank(a).is_some()).collect();
        addresses.sort_by_key(rank);
        Some(Ok(Callback {
            identity: door.identity,
            addresses,
            seen_port,
            families: (families.contains(&AddressFamily::IPv4), families.contains(&AddressFamily::IPv6)),
            // What the owner of the machine has written is kept to; what the run says is a wish.
            may_fall_back: node.spec.channel.is_none(),
        }))
    }

    /// The address that the machine's owner has written down.
    async fn named(&self, text: &str, run: &UpdateRun, door: &Open) -> Vec<SocketAddr> {
        let callback = run.status.as_ref().and_then(|s| s.callback.as_ref());
        let port = callback.and_then(|c| c.https_port).unwrap_or(door.pair.https);
        let addresses = match cidr::parse(text) {
            Some(address) => vec![address],
            None => self.names.look_up(text).await,
        };
        addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect()
    }

    /// What the exposure offers: its addresses, and the port where the address counts that the
    /// machine sees us come from.
    fn advertised(&self, run: &UpdateRun, door: &Open) -> (Vec<SocketAddr>, Option<u16>) {
        let callback = run.status.as_ref().and_then(|s| s.callback.as_ref());
        if let (Exposure::NodePort | Exposure::LoadBalancer, Some(callback)) =
            (run.spec.callback.exposure, callback)
        {
            let port = callback.https_port.unwrap_or(door.pair.https);
            let addresses = callback.addresses.iter().filter_map(|text| cidr::parse(text));
            return (addresses.map(|address| SocketAddr::new(address, port)).collect(), None);
        }
        let runners = self.membership.live();
        // This runner first; the others pass a call on, or take the machine over.
        let mut names: Vec<&String> = runners.keys().collect();
        names.sort_by_key(|name| **name != self.name);
        let mut found = Vec::new();
        for name in names {
            let pair = super::doors::pair_of(run, name);
            let home = runners.get(name).map(|info| &info.home);
            if let (Some(pair), Some(Home::Host { addresses, .. } | Home::Pod { host_ips: addresses, .. })) =
                (pair, home)
            {
                found.extend(addresses.iter().map(|ip| SocketAddr::new(*ip, pair.https)));
            }
        }
        (found, Some(door.pair.https))
    }
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::IPv4,
        IpAddr::V6(_) => AddressFamily::IPv6,
    }
}
