//! Machines with a processor for arm64, each of whose programs is emulated. The flavour is a part of a test's name, by
//! which `hack/check.d/80-lab` builds what its machines boot from. Emulated programs take ten times as long.

use crate::callback::channel;
use crate::harness::machine::Builder;
use crate::harness::payload::{Component, agent, bmc_tool};
use crate::harness::run::{component, to};
use crate::harness::{Conditions, Machine, Site, e2e, lab, outcome, snapshot};
use farrier::api::NodeInventory;
use farrier::api::managed_node::Channel;
use serde_json::json;
use std::time::Duration;

/// Limit of a run.
pub(super) const LIMIT: Duration = Duration::from_mins(5);

pub(super) fn arm64<'a>(site: &'a Site, name: &str) -> Builder<'a> {
    site.machine(name).lab(&["--flavour", "arm64"])
}

/// Returns a package for arm64, which the machine's image has.
fn hello(site: &Site, machine: &Machine) -> Component {
    let init = machine.init().expect("a machine that is on");
    let bytes = std::fs::read(format!("/proc/{init}/root/root/hello_2.10-3_arm64.deb")).expect("the package");
    site.payload("hello-arm64.deb", "2.10-3", "Deb", &bytes).with(json!({"name": "hello"}))
}

/// Machines with another processor than the operator's would get an engine or packages that do not run there; or an
/// engine there would not find one that is at work, or what is left of one that was killed.
#[test]
pub(super) fn arm64_machines_are_updated_by_their_own_engine_which_is_killed_once() {
    e2e("arm64", async |site| {
        let root = arm64(site, "root").spec(json!({"channel": "Session"})).up().await;
        let user = arm64(site, "user").login("ops").spec(json!({"channel": "Callback"})).up().await;
        let machines = [root, user];
        let before = snapshot::of_all(&machines).await;
        site.baseline("spring", &[agent("2.0"), hello(site, &machines[0]), site.held()]).await;
        let run = site.run("r1", to("spring")).await;
        for machine in &machines {
            machine.is_slow().await;
            lab::output("kill", ["-9", &machine.engine().await.to_string()]).await;
            machine.release_steps().await;
        }
        let ended = run.ends(LIMIT).await;
        assert_eq!(ended.state("Succeeded"), "True", "{}", ended.words("Succeeded"));
        for (machine, expected) in machines.iter().zip([Channel::Session, Channel::Callback]) {
            machine.sh("rm /run/let-go").await;
            let name = &machine.name;
            let update = run.node(name).await;
            for component in ["farrier-agent", "hello", "slow"] {
                assert_eq!(outcome(&update, component), "Updated", "{name}: {component}");
            }
            let agent = component(&update, "farrier-agent");
            assert_eq!((agent.before.as_str(), agent.after.as_str()), ("1.0", "2.0"), "{name}");
            assert_eq!(machine.slow_runs(), 1, "{name}");
            assert_eq!(channel(&run, name).await, Some(expected), "{name}");
            assert_eq!(update.state("TornDown"), "True", "{name}: {}", update.words("TornDown"));
            let inventory: NodeInventory = site.api().get(name).await.expect("an inventory");
            let packages = inventory.status.expect("a status").packages;
            let hello = packages.iter().find(|package| package.name == "hello").expect("hello");
            assert_eq!((hello.version.as_str(), hello.arch.as_str()), ("2.10-3", "arm64"), "{name}");
            assert_eq!(machine.sh("uname -m && hello").await, "aarch64\nHello, world!\n", "{name}");
        }
        let after = snapshot::of_all(&machines).await;
        let allowed = [snapshot::LOG, snapshot::DPKG, snapshot::AGENT, snapshot::SLOW, snapshot::HELLO];
        snapshot::all_same_but(&before, &after, &allowed);
    });
}

/// A run on a slow machine would not end when it is cancelled.
#[test]
pub(super) fn arm64_machines_finish_their_step_when_the_run_is_cancelled() {
    e2e("armstop", async |site| {
        let db = arm64(site, "db").up().await;
        let before = db.snapshot().await;
        site.baseline("spring", &[site.slow(10), bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        db.is_slow().await;
        run.desire("Cancel").await;
        let ended = run.ends(LIMIT).await;
        assert_eq!(ended.reason("Succeeded"), "Cancelled");
        let update = run.node("db").await;
        assert_eq!((outcome(&update, "slow"), outcome(&update, "bmc-tool")), ("Updated", "Cancelled"));
        before.same_but(&db.snapshot().await, &[snapshot::LOG, snapshot::SLOW]);
    });
}
