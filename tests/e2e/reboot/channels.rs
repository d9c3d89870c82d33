//! Machines whose engine is not served through the SSH session are rebooted.

use super::{firmware, rebooting, went_well};
use crate::callback::channel;
use crate::harness::{Conditions, Machine, Site, e2e};
use farrier::api::managed_node::Channel;
use futures::future::join_all;
use serde_json::json;

/// The rules of the firewall without what changes by itself.
const RULES: &str = "nft -s list ruleset";

/// Where the machine keeps the rules that it had when it was told to reboot: some firewalls save them then, and
/// load them when they start.
const AT_REBOOT: &str = "/var/log/rules-at-reboot";

/// A machine that is updated through a port of its own, or that calls back, would not be found again after its
/// reboot; or the port would stay open on it.
#[test]
fn machines_are_rebooted_on_the_channels_that_need_a_port() {
    e2e("ports", async |site| {
        let calls = json!({"channel": "Callback"});
        let listens = json!({"channel": "Listen", "openFirewall": true});
        let mut machines = Vec::new();
        for (family, without) in [("4", "--no-v6"), ("6", "--no-v4")] {
            let builder = site.machine(&format!("call{family}")).lab(&[without]);
            machines.push((builder.spec(calls.clone()).up().await, Channel::Callback));
            let listen = site.machine(&format!("listen{family}")).lab(&[without, "--firewall", "ssh-only"]);
            machines.push((listen.spec(listens.clone()).up().await, Channel::Listen));
        }
        let before = join_all(machines.iter().map(|(machine, _)| noting(machine))).await;
        reboots(site, &machines).await;
        // Nothing starts the engine on these machines but the runner when it signs in.
        assert!(
            !site.operator.log().contains("of the engine on listen"),
            "a port of a machine that is down was tried"
        );
        for ((machine, used), before) in machines.iter().zip(before) {
            let name = &machine.name;
            assert_eq!(machine.sh(RULES).await, before, "{name}: as before");
            let at_reboot = machine.file(AT_REBOOT).expect("the rules when it was rebooted");
            assert_eq!(at_reboot, before, "{name}: without the rule of Farrier when it went down");
            assert!(machine.journals().contains("\"kind\":\"firewall\"") == (*used == Channel::Listen));
        }
    });
}

/// Makes a machine note its rules when it is told to reboot, and returns those that it has now.
async fn noting(machine: &Machine) -> String {
    machine
        .sh(&format!("rm /usr/sbin/reboot; printf '#!/bin/sh\\n{RULES} >{AT_REBOOT}\\nexec shutdown -r now\\n' >/usr/sbin/reboot; chmod 755 /usr/sbin/reboot"))
        .await;
    machine.sh(RULES).await
}

/// Updates and reboots the machines in one run, each through its own channel.
async fn reboots(site: &Site, machines: &[(Machine, Channel)]) {
    site.baseline("spring", &[firmware(site)]).await;
    let run = site.run("r1", rebooting(&json!({}))).await;
    for (machine, used) in machines {
        let update = went_well(&run, machine).await;
        assert_eq!(channel(&run, &machine.name).await, Some(*used), "{}", machine.name);
        let condition = if *used == Channel::Listen { "ListenReachable" } else { "CallbackReachable" };
        assert_eq!(update.state(condition), "True", "{}: {}", machine.name, update.words(condition));
    }
}
