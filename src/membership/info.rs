//! What a runner says of itself.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// What a runner says of itself. Versions that run beside each other read each other's: fields
/// are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerInfo {
    /// Its version.
    pub version: String,
    /// Where it is. The key is older than the name of the field.
    #[serde(rename = "home")]
    pub location: RunnerLocation,
}

/// Where a runner is, and so how machines may reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RunnerLocation {
    /// A process on a host, outside of any cluster.
    Host {
        /// Runners with the same share their ports: one room of network names on one host.
        id: String,
        /// Addresses of the host, as far as they were named.
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
        /// Ports of the node that are the pod's, each under the same number.
        host_ports: Option<HostPorts>,
        /// Labels that select the operator's pods, and no others.
        selector: BTreeMap<String, String>,
    },
}

/// A block of ports: `first` to `first + count - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPorts {
    /// The first one.
    pub first: u16,
    /// How many.
    pub count: u16,
}

impl fmt::Display for RunnerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl std::str::FromStr for HostPorts {
    type Err = String;

    /// `63001+16`: sixteen ports from 63001 on.
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

/// This host, and this room of network names on it.
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

    /// Replicas of two versions, which every upgrade has, do not know each other.
    #[test]
    fn what_a_runner_says_stays_readable() {
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
