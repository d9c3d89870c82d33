//! The addresses at which runners reach each other.

use crate::api::UpdateRun;
use crate::api::update_run::Exposure;
use crate::membership::{RunnerLocation, Runners};
use farrier_network::cidr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses for two processes on the same host, which work whatever addresses the host has.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Returns the addresses at which runner `own` reaches another, and from which the other connects.
fn addresses(runners: &Runners, own: &str, other: &str) -> Vec<IpAddr> {
    match (runners.get(own).map(|info| &info.location), runners.get(other).map(|info| &info.location)) {
        (Some(RunnerLocation::Host { id, .. }), Some(RunnerLocation::Host { id: same, .. }))
            if id == same =>
        {
            LOOPBACK.to_vec()
        }
        (_, Some(RunnerLocation::Host { addresses, .. })) => addresses.clone(),
        (_, Some(RunnerLocation::Pod { pod_ips, .. })) => pod_ips.clone(),
        (_, None) => Vec::new(),
    }
}

/// Returns the address at which runner `own` reaches another.
pub(super) fn address_of(runners: &Runners, own: &str, other: &str) -> Option<IpAddr> {
    addresses(runners, own, other).into_iter().next()
}

/// Returns the source addresses of the other runners, as runner `own` sees them, each with the name.
pub(in crate::runner) fn peers(runners: &Runners, own: &str) -> Vec<(IpAddr, String)> {
    let others = runners.keys().filter(|name| *name != own);
    others.flat_map(|name| addresses(runners, own, name).into_iter().map(|ip| (ip, name.clone()))).collect()
}

/// Returns the IPv4 address at which a machine reaches runner `own`, where it differs from that of the socket: the answer
/// to FTP's `PASV` contains it. `named` are the addresses of the machine's `callbackAddress`; if there is no IPv4 address
/// among them, it is the one that other machines use.
pub(super) fn reached_at(runners: &Runners, own: &str, named: &[IpAddr], run: &UpdateRun) -> Option<IpAddr> {
    if let Some(address) = named.iter().find(|address| address.is_ipv4()) {
        return Some(*address);
    }
    let addresses = match (run.spec.callback.exposure, &runners.get(own)?.location) {
        (Exposure::HostPort, RunnerLocation::Host { .. }) => return None,
        (Exposure::HostPort, RunnerLocation::Pod { host_ips, .. }) => host_ips.clone(),
        (Exposure::NodePort | Exposure::LoadBalancer, _) => {
            let callback = run.status.as_ref()?.callback.as_ref()?;
            callback.addresses.iter().filter_map(|text| cidr::parse(text)).collect()
        }
    };
    addresses.into_iter().find(IpAddr::is_ipv4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::RunnerInfo;

    fn host(id: &str, addresses: &[&str]) -> RunnerInfo {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        RunnerInfo { version: "0.1.0".into(), location: RunnerLocation::Host { id: id.into(), addresses } }
    }

    /// Regression test: two processes without a configured address could not forward a connection.
    #[test]
    fn runners_on_one_host_reach_each_other_without_an_address() {
        let runners: Runners = [
            ("a".to_owned(), host("here", &[])),
            ("b".to_owned(), host("here", &["192.0.2.1"])),
            ("c".to_owned(), host("there", &["192.0.2.2"])),
        ]
        .into();
        assert_eq!(address_of(&runners, "a", "b"), Some(LOOPBACK[0]));
        assert_eq!(address_of(&runners, "a", "c"), "192.0.2.2".parse().ok());
        assert_eq!(address_of(&runners, "c", "a"), None);
        let found = peers(&runners, "a");
        let named =
            |name: &str| found.iter().filter(|(_, n)| n == name).map(|(ip, _)| *ip).collect::<Vec<_>>();
        assert_eq!(named("b"), LOOPBACK);
        assert_eq!(named("c"), ["192.0.2.2".parse::<IpAddr>().unwrap()]);
    }

    /// Otherwise FTP's `PASV` names the address of a pod, which no machine reaches.
    #[test]
    fn a_machine_reaches_a_pod_at_the_callback_address_or_at_its_host() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let location = RunnerLocation::Pod {
            node: "n".into(),
            pod_ips: vec![ip("10.0.0.1")],
            host_ips: vec![ip("2001:db8::1"), ip("192.0.2.1")],
            host_ports: None,
            selector: std::collections::BTreeMap::new(),
        };
        let runners: Runners = [("a".to_owned(), RunnerInfo { version: "0.1.0".into(), location })].into();
        let spec = serde_json::json!({ "operation": "Inventory", "selector": {} });
        let run = UpdateRun::new("r", serde_json::from_value(spec).unwrap());
        let reached = |named: &[IpAddr]| reached_at(&runners, "a", named, &run);
        assert_eq!(reached(&[ip("2001:db8::7"), ip("192.0.2.7")]), Some(ip("192.0.2.7")));
        assert_eq!(reached(&[ip("2001:db8::7")]), Some(ip("192.0.2.1")));
        assert_eq!(reached(&[]), Some(ip("192.0.2.1")));
    }
}
