//! `farrier ports` compared with the traffic: a firewall accepts its rules, and its counters show that
//! no other port was used. Submodules: the assignment of ports to many runs (`crowd`, `rivals`), ports
//! that others hold (`foreign`), and ports that cannot be bound (`refused`).

mod crowd;
mod foreign;
mod refused;
mod rivals;
mod sockets;

use crate::harness::lab::output;
use crate::harness::payload::ethtool;
use crate::harness::run::to;
use crate::harness::{Machine, e2e};
use farrier_network::table::Generation;
use farrier_network::{Channel, MachineType};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

async fn ports(arguments: &[&str]) -> String {
    output(env!("CARGO_BIN_EXE_farrier"), [&["ports"], arguments].concat()).await
}

/// A ruleset that a site's firewall rejects is useless to its network team.
#[test]
fn a_firewall_takes_the_rules_of_every_type() {
    e2e("nft", async |site| {
        let path = site.path("rules.nft");
        let file = path.to_str().expect("a path");
        let places = [
            "--address",
            "10.0.0.1",
            "--address",
            "fd00::1",
            "--address",
            "fe80::1%eth0",
            "--address",
            "db-01",
        ];
        for from in [&[][..], &["--from", "10.9.0.4"], &["--from", "10.9.0.4", "--from", "fd00:9::4"]] {
            for kind in MachineType::ALL {
                let kind = kind.to_string();
                let channels = Channel::ALL.map(|channel| ("--channel", channel.to_string()));
                let manuals = Generation::ALL.map(|generation| ("--generation", generation.to_string()));
                for (option, value) in channels.iter().chain(&manuals) {
                    let arguments = [
                        &["--type", &kind, option, value, "--optional", "-o", "nftables"],
                        &places[..],
                        from,
                    ];
                    let all = [&["ports"], &arguments.concat()[..]].concat();
                    // There are no rules for a type that the manual does not list.
                    let Ok(rules) = crate::harness::lab::try_output(env!("CARGO_BIN_EXE_farrier"), all).await
                    else {
                        assert_eq!(*option, "--generation", "{kind} {value}");
                        continue;
                    };
                    std::fs::write(&path, rules).expect("a file");
                    output("nft", ["-c", "-f", file]).await;
                }
            }
        }
    });
}

/// Returns the address under which a machine sees the operator.
async fn our_address(there: &str) -> String {
    let routes: Value =
        serde_json::from_str(&output("ip", ["-j", "route", "get", there]).await).expect("JSON");
    routes[0]["prefsrc"].as_str().expect("a source address").to_owned()
}

/// Rules of this test in the firewall; other tests have their own.
struct Counted(String);

impl Counted {
    async fn new(rules: &str, at: &Path) -> Self {
        let table = format!("ports_{}", std::process::id());
        let path = at.join("counted.nft");
        std::fs::write(&path, rules.replace("farrier_ports", &table)).expect("a file");
        output("nft", ["-f", path.to_str().expect("a path")]).await;
        Self(table)
    }

    /// Returns the number of packets by comment.
    async fn packets(&self) -> BTreeMap<String, u64> {
        let listed = output("nft", ["-j", "list", "table", "inet", &self.0]).await;
        let listed: Value = serde_json::from_str(&listed).expect("JSON");
        let rules =
            listed["nftables"].as_array().expect("a ruleset").iter().filter_map(|item| item.get("rule"));
        let mut packets = BTreeMap::new();
        for rule in rules.filter(|rule| rule["comment"].is_string()) {
            let count = rule["expr"]
                .as_array()
                .expect("expressions")
                .iter()
                .find_map(|expr| expr["counter"]["packets"].as_u64());
            *packets.entry(rule["comment"].as_str().unwrap_or_default().to_owned()).or_default() +=
                count.unwrap_or(0);
        }
        packets
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let ended = std::process::Command::new("nft").args(["delete", "table", "inet", &self.0]).status();
        assert!(ended.is_ok_and(|status| status.success()) || std::thread::panicking(), "the table stays");
    }
}

/// A site would open the documented ports, and the operator would use another port.
#[test]
fn nothing_flows_on_a_port_that_was_not_named() {
    e2e("counters", async |site| {
        let db: Machine = site.machine("db").up().await;
        site.baseline("spring", &[ethtool()]).await;
        let (v4, v6) = (db.v4.clone().expect("IPv4"), db.v6.clone().expect("IPv6"));
        let (from4, from6) = (our_address(&v4).await, our_address(&v6).await);
        let rules = ports(&[
            "--type",
            "Linux",
            "--address",
            &v4,
            "--address",
            &v6,
            "--from",
            &from4,
            "--from",
            &from6,
            "-o",
            "nftables",
        ])
        .await;
        let counted = Counted::new(&rules, &site.path("")).await;
        site.run("r1", to("spring")).await.succeeds().await;
        let packets = counted.packets().await;
        assert!(packets["Linux, Inventory, Deployment: ssh"] > 0, "{packets:?}");
        assert_eq!(
            (packets["not named, to machines"], packets["not named, from machines"]),
            (0, 0),
            "{packets:?}"
        );
        // Proves that the counters would have seen other traffic.
        let other = format!("{v4}:9").parse().expect("an address");
        TcpStream::connect_timeout(&other, Duration::from_secs(1)).expect_err("no program listens there");
        assert_eq!(counted.packets().await["not named, to machines"], 1);
    });
}
