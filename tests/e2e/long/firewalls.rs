//! Firewalls that change while an engine listens, and machines with two of them.

use crate::callback::channel;
use crate::harness::payload::merge;
use crate::harness::run::to;
use crate::harness::{Conditions, Machine, Run, Site, e2e, outcome, wait};
use farrier::api::ManagedNode;
use farrier::api::managed_node::Channel;
use futures::future::join_all;
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// Starts firewalld with its usual configuration, which drops everything but SSH.
const FIREWALLD: &str = "mkdir -p /run/dbus; dbus-uuidgen --ensure; [ -e /run/dbus/pid ] || dbus-daemon --system --fork; firewalld; for n in $(seq 100); do firewall-cmd --state >/dev/null 2>&1 && break; sleep 0.1; done; firewall-cmd --state";

/// A table of nftables that drops everything but SSH.
const NFT: &str = "nft add table inet own; nft add chain inet own in '{ type filter hook input priority 10; policy drop; }'; nft add rule inet own in iif lo accept; nft add rule inet own in ct state established,related accept; nft add rule inet own in meta l4proto ipv6-icmp accept; nft add rule inet own in tcp dport 22 accept";

const UFW: &str = "ufw allow 22/tcp >/dev/null; yes | ufw enable";

const LEGACY: &str = "for t in iptables-legacy ip6tables-legacy; do $t -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; $t -A INPUT -p tcp --dport 22 -j ACCEPT; $t -P INPUT DROP; done; ip6tables-legacy -I INPUT -p ipv6-icmp -j ACCEPT";

/// Everything that is in effect or stored; what firewalld makes is in another order after each start of it.
const LISTING: &str = "nft -s list ruleset 2>&1 | grep -v '^#' || true; for t in iptables-legacy ip6tables-legacy; do $t -S; done; cd /etc && find ufw firewalld -type f -exec sha256sum {} + | sort; if firewall-cmd --state >/dev/null 2>&1; then firewall-cmd --list-all-zones; fi";

/// Resets the connection between runner and engine, and any new one until it is [`mend`]ed.
const CUT: &str = "nft add table inet way && nft add chain inet way out '{ type filter hook output priority -300; }' && nft add rule inet way out tcp sport 62286 counter reject with tcp reset";

/// Starts a machine with the firewalls of the lab's image; Farrier may open them.
async fn guarded(site: &Site, name: &str, without: &str, setup: &str) -> Machine {
    let builder = site.machine(name).lab(&["--flavour", "firewalls", without]);
    let machine = builder.spec(json!({"openFirewall": true})).up().await;
    machine.sh(setup).await;
    machine
}

/// Starts a run whose engines listen, and waits until its step runs on all machines.
async fn at_work<'a>(site: &'a Site, machines: &[Machine]) -> Run<'a> {
    site.baseline("held", &[site.held()]).await;
    let mut spec = to("held");
    merge(&mut spec, json!({"channel": "Listen"}));
    let run = site.run("r1", spec).await;
    join_all(machines.iter().map(Machine::is_slow)).await;
    run
}

async fn ends_well(run: &Run<'_>, machines: &[Machine]) {
    for machine in machines {
        machine.release_steps().await;
    }
    run.succeeds().await;
    for machine in machines {
        let update = run.node(&machine.name).await;
        assert_eq!(outcome(&update, "slow"), "Updated", "{}", machine.name);
        assert_eq!(machine.slow_runs(), 1, "{}", machine.name);
        assert_eq!(channel(run, &machine.name).await, Some(Channel::Listen), "{}", machine.name);
    }
}

/// Configuration management reloads firewalld, and a package restarts it. Then the engine's port would be closed
/// for the rest of the run, or its rule would stay.
#[test]
fn a_firewalld_that_is_reloaded_or_restarted_is_opened_again_and_closed_at_the_end() {
    e2e("reloads", async |site| {
        let restart = format!(
            "firewall-cmd --state >/dev/null; kill $(cat /run/firewalld.pid); for n in $(seq 100); do firewall-cmd --state >/dev/null 2>&1 || break; sleep 0.1; done; {FIREWALLD}"
        );
        let ways = [
            ("reload", "--no-v6", "firewall-cmd --reload"),
            ("complete", "--no-v4", "firewall-cmd --complete-reload"),
            ("restart", "--no-v6", restart.as_str()),
        ];
        let machines = join_all(ways.map(|(name, without, _)| guarded(site, name, without, FIREWALLD))).await;
        let before = join_all(machines.iter().map(|machine| machine.sh(LISTING))).await;
        let run = at_work(site, &machines).await;
        join_all(machines.iter().zip(ways).map(|(machine, (_, _, reload))| async move {
            assert!(machine.sh(LISTING).await.contains("62286"), "{}: open", machine.name);
            machine.sh(reload).await;
            // An established connection passes. The next one needs the rule.
            machine.sh(CUT).await;
            wait::until("the connection to break off", wait::LIMIT, async || {
                let rules = machine.sh("nft list table inet way").await;
                if rules.contains("packets 0 ") { Err(rules) } else { Ok(()) }
            })
            .await;
            machine.sh("nft delete table inet way").await;
            let reconnected = "ss -Htn state established 'sport = :62286'";
            wait::until("another connection", wait::LIMIT, async || {
                let found = machine.sh(reconnected).await;
                if found.contains("62286") { Ok(()) } else { Err(machine.sh(LISTING).await) }
            })
            .await;
            assert!(machine.sh(LISTING).await.contains("62286"), "{}: open again", machine.name);
        }))
        .await;
        // The runner would sign in after half a minute, and have the port opened by that.
        assert!(
            !site.operator.log().contains("the stream to the engine ended; reconnecting"),
            "opened by itself"
        );
        ends_well(&run, &machines).await;
        for (machine, before) in machines.iter().zip(before) {
            assert_eq!(machine.sh(LISTING).await, before, "{}", machine.name);
        }
    });
}

/// A packet has to pass all firewalls of a machine. If only one were opened, or named, the user would look for
/// the obstacle in the network.
#[test]
fn two_firewalls_of_one_machine_are_both_opened_or_both_named() {
    e2e("two", async |site| {
        let (ufw_nft, fwd_legacy) = (format!("{UFW}; {NFT}"), format!("{FIREWALLD}; {LEGACY}"));
        let kinds = [
            ("un4", "--no-v6", &ufw_nft, ["ufw (iptables INPUT)", "nftables (inet own in)"]),
            ("un6", "--no-v4", &ufw_nft, ["ufw (ip6tables INPUT)", "nftables (inet own in)"]),
            ("fl4", "--no-v6", &fwd_legacy, ["firewalld (zone public)", "iptables-legacy (INPUT)"]),
            ("fl6", "--no-v4", &fwd_legacy, ["firewalld (zone public)", "ip6tables-legacy (INPUT)"]),
        ];
        let machines = kinds.each_ref().map(|(name, without, setup, _)| guarded(site, name, without, setup));
        let machines = join_all(machines).await;
        let before = join_all(machines.iter().map(|machine| machine.sh(LISTING))).await;
        let run = at_work(site, &machines).await;
        ends_well(&run, &machines).await;
        for ((machine, before), (name, _, _, tools)) in machines.iter().zip(&before).zip(&kinds) {
            let told = run.node(name).await.words("ListenReachable");
            assert!(tools.iter().all(|tool| told.contains(tool)), "{name}: {told}");
            assert_eq!(machine.sh(LISTING).await, *before, "{name}");
        }
        // Now Farrier only looks.
        for (machine, (name, ..)) in machines.iter().zip(&kinds) {
            let closed = Patch::Merge(json!({"spec": {"openFirewall": false}}));
            site.api::<ManagedNode>().patch(name, &PatchParams::default(), &closed).await.expect("a patch");
            machine.sh("rm /etc/slow.version /run/let-go; touch /run/let-go").await;
        }
        let mut spec = to("held");
        merge(&mut spec, json!({"channel": "Listen"}));
        let run = site.run("r2", spec).await;
        run.ends(wait::LIMIT).await;
        for ((machine, before), (name, _, _, tools)) in machines.iter().zip(&before).zip(&kinds) {
            let update = run.node(name).await;
            let told = update.words("ListenReachable");
            assert_eq!(update.reason("ListenReachable"), "ListenTimedOut", "{name}: {told}");
            assert!(tools.iter().all(|tool| told.contains(tool)), "{name}: {told}");
            assert_eq!(told.matches("run `").count(), 2, "{name}: a command for each: {told}");
            assert_eq!(outcome(&update, "slow"), "Updated", "{name}: by Session");
            assert_eq!(machine.sh(LISTING).await, *before, "{name}");
        }
    });
}
