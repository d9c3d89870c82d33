//! Channel `Callback`: the engine connects to the runner over every kind of address, or the status says
//! why it cannot.

mod balancer;
mod pod;

use crate::harness::payload::{bmc_tool, ethtool, merge};
use crate::harness::run::to;
use crate::harness::{Conditions, Machine, Reach, Run, Site, e2e, outcome, wait};
use farrier::api::UpdateRun;
use farrier::api::managed_node::Channel;
use serde_json::{Value, json};
use std::net::TcpListener;

/// Returns the spec of a run whose machines call back.
pub(crate) fn calling(baseline: &str) -> Value {
    let mut spec = to(baseline);
    merge(&mut spec, json!({"channel": "Callback"}));
    spec
}

/// Asserts that the status of the run does not mention ports any more.
pub(crate) fn nothing_is_open(run: &UpdateRun) {
    let status = run.status.clone().unwrap_or_default();
    assert_eq!(status.callback, None);
    assert!(status.listeners.is_empty(), "{:?}", status.listeners);
}

pub(crate) async fn channel(run: &Run<'_>, node: &str) -> Option<Channel> {
    run.node(node).await.status.expect("a status").channel
}

/// Machines where SSH is allowed only for copying and starting the engine could not be updated.
#[test]
fn engines_call_back_over_every_kind_of_address() {
    e2e("calls", async |site| {
        site.machine("v4").lab(&["--no-v6"]).up().await;
        site.machine("v6").lab(&["--no-v4"]).up().await;
        site.machine("link").lab(&["--no-v4"]).reach(Reach::LinkLocal).up().await;
        site.machine("user").login("ops").spec(json!({"ssh": {"privilege": "Sudo"}})).up().await;
        site.baseline("spring", &[ethtool(), bmc_tool("3.1")]).await;
        let run = site.run("r1", calling("spring")).await;
        let ended = run.succeeds().await;
        nothing_is_open(&ended);
        assert_eq!(ended.reason("Exposed"), "Closed");
        for (node, from) in [("v4", "10.77."), ("v6", "fd77:"), ("link", "fe80:"), ("user", "10.77.")] {
            let update = run.node(node).await;
            assert_eq!(update.reason("CallbackReachable"), "CallbackReachable", "{node}");
            assert!(
                update.words("CallbackReachable").contains(from),
                "{}",
                update.words("CallbackReachable")
            );
            assert_eq!(channel(&run, node).await, Some(Channel::Callback), "{node}");
            assert_eq!(outcome(&update, "bmc-tool"), "Updated", "{node}");
            assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
        }
    });
}

/// The test of the return path would need a second SSH session, which a hardened SSH server refuses.
#[test]
fn one_session_at_a_time_is_enough_for_an_engine_that_calls() {
    e2e("onecall", async |site| {
        let one = ["--sshd", "MaxSessions 1"];
        site.machine("shell").lab(&one).up().await;
        // Without `timeout`, only the engine can test the return path.
        let bare = site.machine("bare").lab(&one).login("ops").up().await;
        bare.sh("rm /usr/bin/timeout").await;
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let run = site.run("r1", calling("spring")).await;
        nothing_is_open(&run.succeeds().await);
        for node in ["shell", "bare"] {
            let update = run.node(node).await;
            assert_eq!(update.reason("CallbackReachable"), "CallbackReachable", "{node}");
            assert_eq!(channel(&run, node).await, Some(Channel::Callback), "{node}");
            assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
        }
    });
}

/// Blocks the connections from a machine to the callback server.
async fn block(machine: &Machine, verdict: &str) {
    machine
        .sh(&format!(
            "nft add table inet way && nft add chain inet way out '{{ type filter hook output priority 0; }}' && nft add rule inet way out tcp dport 63000-65535 {verdict}"
        ))
        .await;
}

/// Behind a firewall that users do not know of, a run would do nothing and not say why.
#[test]
fn a_blocked_return_path_is_named_and_bypassed_where_that_is_allowed() {
    e2e("blocked", async |site| {
        let dropped = site.machine("dropped").up().await;
        block(&dropped, "drop").await;
        let refused = site.machine("refused").up().await;
        block(&refused, "reject with tcp reset").await;
        let pinned = site.machine("pinned").spec(json!({"channel": "Callback"})).up().await;
        block(&pinned, "drop").await;
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let run = site.run("r1", calling("spring")).await;
        nothing_is_open(&run.fails().await);
        for (node, reason) in [("dropped", "CallbackTimedOut"), ("refused", "CallbackRejected")] {
            let update = run.node(node).await;
            assert_eq!(update.reason("CallbackReachable"), reason, "{node}");
            assert!(
                update.words("CallbackReachable").contains("6300"),
                "{}",
                update.words("CallbackReachable")
            );
            assert_eq!(outcome(&update, "bmc-tool"), "Updated", "{node}: by Session");
            assert_eq!(channel(&run, node).await, Some(Channel::Session), "{node}");
        }
        let update = run.node("pinned").await;
        assert_eq!(update.reason("Succeeded"), "CallbackTimedOut", "{}", update.words("Succeeded"));
        assert_eq!(outcome(&update, "bmc-tool"), "Skipped");
        assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
        assert_eq!(
            site.node("pinned").await.state("InventoryCurrent"),
            "True",
            "the inventory is made through SSH"
        );
        assert_eq!(pinned.file("/etc/bmc-tool.version"), None);
    });
}

/// On a machine with two networks the engine would use the wrong callback address, and the user could not
/// correct it.
#[test]
fn the_callback_address_can_be_set_for_one_machine() {
    e2e("address", async |site| {
        site.machine("right").spec(json!({"callbackAddress": "10.77.0.1"})).up().await;
        site.machine("wrong").spec(json!({"callbackAddress": "10.77.255.254"})).up().await;
        let family = json!({"callbackAddress": "10.77.0.1", "addressFamilies": ["IPv6"]});
        site.machine("family").lab(&["--no-v4"]).spec(family).up().await;
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let run = site.run("r1", calling("spring")).await;
        run.succeeds().await;
        assert_eq!(run.node("right").await.reason("CallbackReachable"), "CallbackReachable");
        assert_eq!(run.node("wrong").await.state("CallbackReachable"), "False");
        assert_eq!(run.node("family").await.reason("CallbackReachable"), "CallbackAddressMissing");
    });
}

/// A run would fail to open its ports, or fail against the user's wish, because another run or program
/// uses them.
#[test]
fn taken_ports_are_passed_over_or_end_the_run_as_it_was_asked() {
    e2e("taken", async |site| {
        let foreign = TcpListener::bind("[::]:64101").expect("a free port");
        site.machine("db").up().await;
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let ports = |on_conflict: &str| {
            let mut spec = calling("spring");
            let ports =
                json!({"callback": {"httpPort": 64101, "httpsPort": 64102, "onConflict": on_conflict}});
            merge(&mut spec, ports);
            spec
        };
        let run = site.run("fails", ports("Fail")).await;
        let ended = run.fails().await;
        assert_eq!(ended.reason("Succeeded"), "PortsTaken", "{}", ended.words("Succeeded"));
        assert!(ended.words("Succeeded").contains("64101"), "{}", ended.words("Succeeded"));
        nothing_is_open(&ended);
        let run = site.run("next", ports("Next")).await;
        let open = run.until("the ports", |run| run.reason("Exposed") == "Exposed").await;
        let given = open.status.expect("a status").callback.expect("ports").ports;
        assert!(given.iter().all(|p| p.http_port != 64101 && p.https_port != 64101), "{given:?}");
        nothing_is_open(&run.succeeds().await);
        drop(foreign);
    });
}

/// A run that requests an exposure which this installation does not offer would wait for ever without a
/// reason.
#[test]
fn an_exposure_that_cannot_be_had_is_said_and_can_be_cancelled() {
    e2e("nowhere", async |site| {
        let db = site.machine("db").up().await;
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let mut spec = calling("spring");
        merge(&mut spec, json!({"callback": {"exposure": "NodePort"}}));
        let run = site.run("r1", spec).await;
        let told = run.until("the reason", |run| run.reason("Progressing") == "ExposureNotPossible").await;
        assert_eq!((told.state("Exposed"), told.reason("Exposed")), ("False", "ExposureNotPossible"));
        assert!(told.words("Exposed").contains("HostPort"), "the next step: {}", told.words("Exposed"));
        run.desire("Cancel").await;
        nothing_is_open(&run.fails().await);
        assert_eq!(db.file("/etc/bmc-tool.version"), None);
    });
}

/// Starts a run with a slow step on a machine that calls back, and waits until the step runs.
async fn slow_at_work(site: &Site) -> (Machine, Run<'_>) {
    let db = site.machine("db").up().await;
    site.baseline("spring", &[site.slow(4), bmc_tool("3.1")]).await;
    let run = site.run("r1", calling("spring")).await;
    db.is_slow().await;
    (db, run)
}

async fn is_updated_once(run: &Run<'_>, db: &Machine) {
    nothing_is_open(&run.succeeds().await);
    let update = run.node("db").await;
    assert_eq!(db.slow_runs(), 1);
    assert_eq!(outcome(&update, "slow"), "Updated", "{}", update.words("Succeeded"));
    assert_eq!(outcome(&update, "bmc-tool"), "Updated");
}

/// Engines that were connected to a runner that died would not connect to the next one.
#[test]
fn an_operator_that_is_killed_and_started_again_is_called_again() {
    e2e("killed", async |site| {
        let (db, run) = slow_at_work(site).await;
        site.operator.kill();
        site.operator.start();
        is_updated_once(&run, &db).await;
    });
}

/// The engine would not connect again after a firewall or a switch has dropped its connection.
#[test]
fn a_call_that_breaks_off_is_taken_up_by_the_next_one() {
    e2e("cut", async |site| {
        let (db, run) = slow_at_work(site).await;
        let calls = || site.operator.log().matches("the engine has connected").count();
        let before = calls();
        // Rejects every packet of the engine with a reset until the connection is closed.
        block(&db, "counter reject with tcp reset").await;
        wait::until("the engine to be cut off", wait::LIMIT, async || {
            let rules = db.sh("nft list table inet way").await;
            if rules.contains("packets 0 ") { Err(rules) } else { Ok(()) }
        })
        .await;
        db.sh("nft delete table inet way").await;
        is_updated_once(&run, &db).await;
        assert!(calls() > before, "the engine has not connected again: {}", site.operator.log());
    });
}

/// Cancel would have no effect on a machine that calls back, or would leave the ports open.
#[test]
fn a_cancelled_run_ends_clean_and_closed() {
    e2e("cancel", async |site| {
        let (db, run) = slow_at_work(site).await;
        run.desire("Cancel").await;
        nothing_is_open(&run.fails().await);
        assert_eq!(db.slow_runs(), 1);
        assert_eq!(run.node("db").await.state("TornDown"), "True");
    });
}

/// A host outside of the run would learn more than that the port is open, or its connection would not be
/// reported.
#[test]
fn a_stranger_is_refused_and_named_while_the_run_goes_on() {
    e2e("stranger", async |site| {
        let other = site.machine("other").label("rack", "none").up().await;
        let db = site.machine("db").label("rack", "r1").up().await;
        site.baseline("spring", &[site.slow(4)]).await;
        let mut spec = calling("spring");
        merge(&mut spec, json!({"selector": {"matchLabels": {"rack": "r1"}}}));
        let run = site.run("r1", spec).await;
        db.is_slow().await;
        let open = run.get().await.status.expect("a status").callback.expect("ports").ports;
        let port = open.first().expect("a runner").https_port;
        let tried = other
            .sh(&format!("(timeout 5 bash -c 'exec 3<>/dev/tcp/10.77.0.1/{port}; cat <&3' 2>&1) || true"))
            .await;
        assert!(tried.contains("reset") || tried.is_empty(), "{tried}");
        site.until_event("ConnectionsRefused UpdateRun/r1").await;
        run.succeeds().await;
    });
}
