//! Machines whose clocks are years off, or are set while Farrier works on them. They are emulated: time namespaces
//! leave the time of day alone, and an engine asks the kernel itself for it.

use super::emulated::{LIMIT, arm64};
use crate::callback::channel;
use crate::harness::payload::{agent, merge};
use crate::harness::run::{component, to};
use crate::harness::{Conditions, e2e, lab, outcome, wait};
use crate::reboot::{firmware, rebooting, went_well};
use farrier::api::managed_node::Channel;
use serde_json::json;

/// Seconds to the summer of 2001, when no certificate of these tests was valid yet.
const PAST: &str = "-800000000";
/// Seconds to the end of 2037, when no certificate is valid any more, and a month before 32 bits overflow.
const FUTURE: &str = "349000000";

/// Logs of five runs that ended in this year.
const OLD_LOGS: &str = r#"
for n in 1 2 3 4 5; do
  mkdir -p /var/log/farrier/old-$n
  echo '{"seq":9,"at":1,"body":{"kind":"retired","leftovers":[]}}' >/var/log/farrier/old-$n/journal-s.jsonl
  touch -d "2026-06-0$n" /var/log/farrier/old-$n/journal-s.jsonl
done"#;

/// A machine with a dead battery could not be updated, because the engine takes every certificate for expired, the
/// engine that takes over waits for years, or everything that was logged looks old and is removed.
#[test]
fn arm64_machines_whose_clocks_are_years_off_and_set_meanwhile_are_updated() {
    e2e("clocks", async |site| {
        let machine = |name, clock, channel| {
            arm64(site, name).lab(&["--clock", clock]).spec(json!({"channel": channel}))
        };
        let past = machine("past", PAST, "Callback").up().await;
        let future = machine("future", FUTURE, "Listen").up().await;
        for (machine, year) in [(&past, "2001"), (&future, "2037")] {
            assert_eq!(machine.sh("date +%Y").await.trim(), year);
            machine.sh(OLD_LOGS).await;
        }
        site.baseline("spring", &[agent("2.0"), site.held()]).await;
        let mut spec = to("spring");
        merge(&mut spec, json!({"timeout": "20m"}));
        let run = site.run("r1", spec).await;
        for (machine, clock) in [(&past, FUTURE), (&future, PAST)] {
            machine.is_slow().await;
            machine.labctl_with("clock", &[clock]).await;
            lab::output("kill", ["-9", &machine.engine().await.to_string()]).await;
        }
        for machine in [&past, &future] {
            let recovered =
                || machine.journals().matches("\"taskStarted\"").count() > 1 || !machine.engines().is_empty();
            wait::closely("another engine", recovered).await;
            machine.release_steps().await;
        }
        let ended = run.ends(LIMIT).await;
        assert_eq!(ended.state("Succeeded"), "True", "{}", ended.words("Succeeded"));
        for (machine, expected, year) in
            [(&past, Channel::Callback, "2001"), (&future, Channel::Listen, "2037")]
        {
            let name = &machine.name;
            let update = run.node(name).await;
            assert_eq!(
                (outcome(&update, "farrier-agent"), outcome(&update, "slow")),
                ("Updated", "Updated"),
                "{name}"
            );
            assert_eq!(machine.slow_runs(), 1, "{name}");
            assert_eq!(channel(&run, name).await, Some(expected), "{name}");
            assert_eq!(update.state("TornDown"), "True", "{name}: {}", update.words("TornDown"));
            let started =
                component(&update, "farrier-agent").started_at.as_ref().expect("a time").0.to_string();
            assert!(
                started.starts_with(year),
                "{name}: the installer started by the machine's clock at {started}"
            );
            let kept = machine.sh("cd /var/log/farrier && echo old-*").await;
            let expected =
                if *name == "past" { "old-1 old-2 old-3 old-4 old-5" } else { "old-3 old-4 old-5" };
            assert_eq!(kept.trim(), expected, "{name}");
            machine.sh("rm -r /run/let-go /var/log/farrier/old-*").await;
        }
    });
}

/// After the reboot of a machine whose clock has no battery, the reboot would be taken for one that never happened,
/// or one that took too long.
#[test]
fn an_arm64_machine_whose_clock_is_lost_in_the_reboot_is_rebooted_once() {
    e2e("battery", async |site| {
        let db = arm64(site, "db").lab(&["--clock", FUTURE, "--boot-delay", "3"]).up().await;
        site.baseline("spring", &[firmware(site)]).await;
        let run = site.run("r1", rebooting(&json!({"timeout": "4m"}))).await;
        wait::closely("the request", || db.journals().contains("\"rebootRequested\"")).await;
        db.labctl_with("clock", &[PAST]).await;
        run.ends(LIMIT).await;
        let update = went_well(&run, &db).await;
        assert_eq!(update.reason("Rebooted"), "Rebooted", "{}", update.words("Rebooted"));
        assert_eq!(db.sh("date +%Y").await.trim(), "2001");
    });
}
