//! The data that a runner publishes about itself.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// The data that a runner publishes about itself. Versions that run side by side read each other's
/// data: fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerInfo {
    /// The runner's version.
    pub version: String,
    /// The runner's location. The key is older than the name of the field.
    #[serde(rename = "home")]
    pub location: RunnerLocation,
}

/// Where a runner is, and thus how machines may reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RunnerLocation {
    /// A process on a host, outside of any cluster.
    Host {
        /// Runners with the same ID share their ports: one network namespace on one host.
        id: String,
        /// Addresses of the host, as far as they were configured.
        addresses: Vec<IpAddr>,
    },
    /// A pod.
    Pod {
        /// Addresses of the pod, the first one for each family.
        pod_ips: Vec<IpAddr>,
        /// Addresses of its node.
        host_ips: Vec<IpAddr>,
        /// Name of its node.
        node: String,
        /// Ports of the node that are mapped to the pod, each under the same number.
        host_ports: Option<HostPorts>,
        /// Labels that select the operator's pods, and no others.
        selector: BTreeMap<String, String>,
    },
}

/// A block of ports: `first` to `first + count - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPorts {
    /// The first port.
    pub first: u16,
    /// The number of ports.
    pub count: u16,
}

impl fmt::Display for RunnerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl std::str::FromStr for HostPorts {
    type Err = String;

    /// Parses `63001+16`: sixteen ports from 63001 on.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let block = text.split_once('+').and_then(|(first, count)| {
            let (first, count): (u16, u16) = (first.parse().ok()?, count.parse().ok()?);
            let fits = first > 0 && count > 0 && first.checked_add(count - 1).is_some();
            fits.then_some(Self { first, count })
        });
        block.ok_or_else(|| {
            format!("{text:?} is no block of ports; write the first one and how many, for instance 63001+16")
        })
    }
}

/// Returns an ID of this host and of our network namespace on it.
pub fn this_host() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let room = std::fs::read_link("/proc/self/ns/net").unwrap_or_default();
    format!("{}/{}", boot.trim(), room.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_ports_is_read_and_must_fit() {
        assert_eq!("63001+16".parse(), Ok(HostPorts { first: 63001, count: 16 }));
        assert_eq!("65535+1".parse(), Ok(HostPorts { first: 65535, count: 1 }));
        for wrong in ["", "63001", "63001-63016", "0+4", "63001+0", "65535+2", "x+y"] {
            assert!(wrong.parse::<HostPorts>().is_err(), "{wrong}");
        }
    }

    /// If this fails, replicas of two versions, which every upgrade has, do not recognise each
    /// other.
    #[test]
    fn the_data_of_a_runner_stays_readable() {
        let host =
            r#"{"version":"0.1.0","home":{"host":{"id":"b/net:[1]","addresses":["10.0.0.1"]}},"later":1}"#;
        let info: RunnerInfo = serde_json::from_str(host).unwrap();
        assert_eq!(
            info.location,
            RunnerLocation::Host { id: "b/net:[1]".into(), addresses: vec!["10.0.0.1".parse().unwrap()] }
        );
        let pod = r#"{"version":"0.1.0","home":{"pod":{"podIps":["10.244.0.7"],"hostIps":["192.0.2.1","2001:db8::1"],"node":"n1","hostPorts":{"first":63001,"count":16},"selector":{"app":"farrier"}}}}"#;
        let info: RunnerInfo = serde_json::from_str(pod).unwrap();
        assert_eq!(info.to_string(), pod);
    }
}
