//! The machine's own firewall, whichever tool rules it: opened for the operator alone, and as before at every
//! end.

use crate::harness::payload::{bmc_tool, merge};
use crate::harness::run::to;
use crate::harness::{Conditions, Machine, Run, Site, e2e, lab, outcome, wait};
use farrier::api::NodeUpdate;
use farrier::api::node_update::Intent;
use futures::future::join_all;
use serde_json::json;

/// A firewall that drops everything but SSH.
struct Firewall {
    /// Short name, part of the machine's name.
    name: &'static str,
    /// What the status calls it.
    told: &'static str,
    /// Sets it up.
    setup: &'static str,
}

/// What a machine of the lab has without anything of ours: firewalld and ufw as they come with Debian.
const FIREWALLS: [Firewall; 6] = [
    Firewall { name: "none", told: "", setup: ":" },
    Firewall {
        name: "nft",
        told: "nftables (inet own in)",
        setup: "nft -f - <<'E'\ntable inet own {\n set ssh {\n type inet_service\n elements = { 22 }\n }\n chain in {\n type filter hook input priority filter; policy drop;\n iif lo accept\n ct state established,related accept\n meta l4proto ipv6-icmp accept\n tcp dport @ssh accept comment \"the user's own\"\n }\n}\nE",
    },
    Firewall {
        name: "xnft",
        told: "tables (INPUT)",
        setup: "for t in iptables ip6tables; do $t -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; $t -A INPUT -p tcp --dport 22 -m comment --comment \"the user's own\" -j ACCEPT; $t -P INPUT DROP; done; ip6tables -I INPUT -p ipv6-icmp -j ACCEPT",
    },
    Firewall {
        name: "xleg",
        told: "tables-legacy (INPUT)",
        setup: "for t in iptables-legacy ip6tables-legacy; do $t -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; $t -A INPUT -p tcp --dport 22 -j ACCEPT; $t -A INPUT -j REJECT; done; ip6tables-legacy -I INPUT -p ipv6-icmp -j ACCEPT",
    },
    Firewall {
        name: "fwd",
        told: "firewalld (zone public)",
        setup: "mkdir -p /run/dbus; dbus-uuidgen --ensure; dbus-daemon --system --fork --nopidfile; firewalld --nopid; for n in $(seq 100); do firewall-cmd --state >/dev/null 2>&1 && break; sleep 0.1; done; firewall-cmd --state",
    },
    Firewall { name: "ufw", told: "ufw (", setup: "ufw allow 22/tcp >/dev/null; yes | ufw enable" },
];

/// Everything that is stored or in effect.
const LISTING: &str = "nft -s list ruleset 2>&1 | grep -v '^#' || true; for t in iptables-legacy ip6tables-legacy; do $t -S; done; cd /etc && find ufw firewalld -type f -exec sha256sum {} + | sort; if firewall-cmd --state >/dev/null 2>&1; then firewall-cmd --list-all-zones; fi";

/// A machine with a firewall.
struct Guarded {
    firewall: &'static Firewall,
    machine: Machine,
    before: String,
}

/// Starts a machine for each firewall and family.
async fn guarded(site: &Site) -> Vec<Guarded> {
    let mut all = Vec::new();
    for (family, without) in [("4", "--no-v6"), ("6", "--no-v4")] {
        for firewall in &FIREWALLS {
            let name = format!("{}{family}", firewall.name);
            let builder = site.machine(&name).lab(&["--flavour", "firewalls", without]);
            let machine = builder.spec(json!({"openFirewall": true})).up().await;
            all.push(async move {
                machine.sh(firewall.setup).await;
                let before = machine.sh(LISTING).await;
                Guarded { firewall, machine, before }
            });
        }
    }
    join_all(all).await
}

impl Guarded {
    /// Asserts that the firewall is as it was before.
    async fn is_as_before(&self, end: &str) {
        let after = self.machine.sh(LISTING).await;
        assert_eq!(after, self.before, "{} after {end}", self.machine.name);
    }

    /// Asserts that the port is open where that is needed, and nowhere else.
    async fn is_open(&self, listens: bool) {
        let listing = self.machine.sh(LISTING).await;
        let needed = listens && !self.firewall.told.is_empty();
        assert_eq!(listing.contains("62286"), needed, "{}: {listing}", self.machine.name);
    }
}

async fn run<'a>(site: &'a Site, name: &str, baseline: &str, channel: &str) -> Run<'a> {
    let mut spec = to(baseline);
    merge(&mut spec, json!({"channel": channel, "strategy": {"maxConcurrent": "100%"}}));
    site.run(name, spec).await
}

/// Waits until the slow step runs on all machines for this many times.
async fn all_are_slow(all: &[Guarded], times: usize) {
    for Guarded { machine, .. } in all {
        wait::until("the slow step", wait::LIMIT, async || match machine.slow_runs() {
            runs if runs >= times => Ok(()),
            runs => Err(format!("{runs} on {}", machine.host)),
        })
        .await;
    }
}

/// Set by the check that has time for the channels that need no port of the machine.
const LONG: &str = "FARRIER_ALL_CHANNELS";

/// Farrier's rules would stay in the firewalls of a fleet, or the users' own rules would change.
#[test]
fn every_firewall_is_as_before_at_every_end() {
    let all = ["Listen", "Session", "Callback"];
    let few = if std::env::var_os(LONG).is_some() { 3 } else { 1 };
    for channel in all.into_iter().take(few) {
        e2e(&format!("w{}", channel.to_lowercase()), async |site| every_end(site, channel).await);
    }
}

/// Ends runs on this channel in every manner, on a machine for each firewall and family.
async fn every_end(site: &Site, channel: &str) {
    let listens = channel == "Listen";
    let all = guarded(site).await;
    site.baseline("good", &[bmc_tool("3.1")]).await;
    let bad = site.payload("bad.sh", "9", "Script", b"#!/bin/sh\nexit 3\n");
    site.baseline("bad", &[bad.with(json!({"name": "bad", "detect": {"file": "/etc/bad.version"}}))]).await;
    site.baseline("held", &[site.held()]).await;

    let done = run(site, "done", "good", channel).await;
    done.succeeds().await;
    for one in &all {
        let update = done.node(&one.machine.name).await;
        assert_eq!(outcome(&update, "bmc-tool"), "Updated");
        if listens {
            let told = update.words("ListenReachable");
            assert_eq!(update.reason("ListenReachable"), "ListenReachable", "{}: {told}", one.machine.name);
            assert!(told.contains(one.firewall.told), "{}: {told}", one.machine.name);
        }
    }
    as_before(&all, "done").await;

    let failed = run(site, "failed", "bad", channel).await;
    failed.fails().await;
    as_before(&all, "failed").await;

    let cancelled = run(site, "cancelled", "held", channel).await;
    all_are_slow(&all, 1).await;
    join_all(all.iter().map(|one| one.is_open(listens))).await;
    cancelled.desire("Cancel").await;
    for one in &all {
        let is_told = |update: &NodeUpdate| update.spec.intent == Intent::Cancel;
        cancelled.node_until(&one.machine.name, "the cancel", is_told).await;
        one.machine.release_steps().await;
    }
    // The component in progress finishes, and it is the only one: the run may end as a success.
    cancelled.ends(wait::LIMIT).await;
    as_before(&all, "cancelled").await;

    for one in &all {
        one.machine.sh("rm /run/let-go /etc/slow.version").await;
    }
    let killed = run(site, "killed", "held", channel).await;
    all_are_slow(&all, 2).await;
    for one in &all {
        lab::output("kill", ["-9", &one.machine.engine().await.to_string()]).await;
        one.machine.release_steps().await;
    }
    killed.succeeds().await;
    as_before(&all, "killed").await;
}

async fn as_before(all: &[Guarded], end: &str) {
    join_all(all.iter().map(|one| one.is_as_before(end))).await;
}
