//! Channel `Listen`: the engine opens a port, and the runner connects to it.

mod firewalls;

use crate::callback::channel;
use crate::harness::payload::{bmc_tool, ethtool, merge};
use crate::harness::run::to;
use crate::harness::{Conditions, Machine, Reach, Run, Site, e2e, outcome, wait};
use farrier::api::managed_node::Channel;
use farrier_network::table::ListenPorts;
use futures::future::join_all;
use serde_json::{Value, json};

/// Returns the spec of a run whose engines listen.
fn listening(baseline: &str) -> Value {
    let mut spec = to(baseline);
    merge(&mut spec, json!({"channel": "Listen"}));
    spec
}

/// The engine's port would not be reachable over one family, or an engine would be served through SSH although
/// the port is open.
#[test]
fn engines_listen_over_every_kind_of_address() {
    e2e("listens", async |site| {
        site.machine("v4").lab(&["--no-v6"]).up().await;
        site.machine("v6").lab(&["--no-v4"]).up().await;
        site.machine("link").lab(&["--no-v4"]).reach(Reach::LinkLocal).up().await;
        site.machine("user").login("ops").spec(json!({"ssh": {"privilege": "Sudo"}})).up().await;
        site.machine("small").lab(&["--flavour", "minimal"]).up().await;
        let taken = site.machine("taken").up().await;
        taken.sh("exec >/dev/null 2>&1; busybox nc -l -p 62286 </dev/null &").await;
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let run = site.run("r1", listening("spring")).await;
        let ended = run.succeeds().await;
        crate::callback::nothing_is_open(&ended);
        for (node, at) in
            [("v4", "10.77."), ("v6", "fd77:"), ("link", "fe80:"), ("user", "10.77."), ("small", "10.77.")]
        {
            let update = run.node(node).await;
            let told = update.words("ListenReachable");
            assert_eq!(update.reason("ListenReachable"), "ListenReachable", "{node}: {told}");
            assert!(
                told.contains(at) && told.contains("TCP port 62286") && !told.contains("opened"),
                "{told}"
            );
            assert_eq!(channel(&run, node).await, Some(Channel::Listen), "{node}");
            assert_eq!(outcome(&update, "bmc-tool"), "Updated", "{node}");
            assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
        }
        assert!(run.node("taken").await.words("ListenReachable").contains("TCP port 62287"));
    });
}

/// A port that scanners know would be found during each run; or the runner would look for the engine on another port
/// than it has, or leave it open in the machine's firewall.
#[test]
fn engines_listen_on_random_ports_if_the_run_asks_for_it() {
    e2e("random", async |site| {
        let open = json!({"openFirewall": true});
        let v4 = site.machine("v4").lab(&["--no-v6", "--firewall", "ssh-only"]).spec(open.clone()).up().await;
        let v6 = site.machine("v6").lab(&["--no-v4", "--firewall", "ssh-only"]).spec(open).up().await;
        let rules = join_all([&v4, &v6].map(|machine| machine.sh("nft -s list ruleset"))).await;
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let mut spec = listening("spring");
        merge(&mut spec, json!({"listen": {"port": "Random"}, "desiredState": "Plan"}));
        let run = site.run("r1", spec).await;
        run.until("a plan", |r| r.reason("Planned") == "PlanOnly").await;
        let mut ports = Vec::new();
        for node in ["v4", "v6"] {
            let uid = run.node(node).await.metadata.uid.expect("a UID");
            ports.push(ListenPorts::random(&uid).first);
        }
        // The first one is taken on one machine.
        v6.sh(&format!("exec >/dev/null 2>&1; busybox nc -l -p {} </dev/null &", ports[1])).await;
        ports[1] += 1;
        run.desire("Run").await;
        run.succeeds().await;
        for ((machine, port), rules) in [&v4, &v6].into_iter().zip(ports).zip(rules) {
            let update = run.node(&machine.name).await;
            let told = update.words("ListenReachable");
            let opened = format!("TCP port {port}, opened for Farrier in nftables (inet filter input)");
            assert!(told.contains(&opened), "{told}");
            assert!(machine.journals().contains(&format!("tcp {port} from ")), "the lease names the port");
            assert_eq!(machine.sh("nft -s list ruleset").await, rules, "{}", machine.name);
        }
    });
}

/// The port would be closed by a firewall of the network, and nobody would know which; or a machine that is not
/// to be served in another way would be.
#[test]
fn a_port_that_cannot_be_reached_is_named_and_bypassed_where_that_is_allowed() {
    e2e("closed", async |site| {
        let ssh_only = ["--firewall", "ssh-only"];
        site.machine("shut").lab(&ssh_only).up().await;
        site.machine("pinned").lab(&ssh_only).spec(json!({"channel": "Listen"})).up().await;
        site.machine("open").lab(&ssh_only).spec(json!({"openFirewall": true})).up().await;
        let named = site.machine("named").up().await;
        // A firewall that the engine does not know of: that of the network.
        named.sh("nft add table netdev way && nft add chain netdev way in '{ type filter hook ingress device eth0 priority 0; }' && nft add rule netdev way in tcp dport 62286 drop").await;
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let run = site.run("r1", listening("spring")).await;
        run.node_until("shut", "the obstacle", |update| update.state("ListenReachable") == "False").await;
        run.fails().await;
        let command = "nft insert rule inet filter input ip saddr 10.77.0.1 tcp dport 62286 accept";
        for (node, words) in
            [("shut", vec![command, "spec.openFirewall is false"]), ("named", vec!["network path"])]
        {
            let update = run.node(node).await;
            assert_eq!(update.reason("ListenReachable"), "ListenTimedOut", "{node}");
            let told = update.words("ListenReachable");
            let both =
                ["TCP port 62286", "from the runner to the machine", "through the SSH session instead"];
            assert!(words.iter().chain(&both).all(|words| told.contains(words)), "{told}");
            assert_eq!(outcome(&update, "bmc-tool"), "Updated", "{node}: by Session");
            let since = |type_| update.condition(type_).last_transition_time.0;
            assert!(
                since("ListenReachable") <= since("Applied"),
                "{node}: named before the work, not after it"
            );
            assert_eq!(channel(&run, node).await, Some(Channel::Session), "{node}");
        }
        let update = run.node("pinned").await;
        assert_eq!(update.reason("Succeeded"), "ListenTimedOut", "{}", update.words("Succeeded"));
        assert_eq!(outcome(&update, "bmc-tool"), "Skipped");
        let told = update.words("ListenReachable");
        assert!(told.contains("since spec.channel of the ManagedNode is Listen"), "{told}");
        let update = run.node("open").await;
        assert!(
            update.words("ListenReachable").contains("opened for Farrier in nftables (inet filter input)")
        );
        assert_eq!(outcome(&update, "bmc-tool"), "Updated");
    });
}

/// Starts a run with a slow step on a machine whose engine listens, and waits until the step runs.
async fn slow_at_work(site: &Site) -> (Machine, Run<'_>) {
    let db = site.machine("db").up().await;
    site.baseline("spring", &[site.slow(4), ethtool()]).await;
    let run = site.run("r1", listening("spring")).await;
    db.is_slow().await;
    (db, run)
}

async fn is_updated_once(run: &Run<'_>, db: &Machine) {
    run.succeeds().await;
    let update = run.node("db").await;
    assert_eq!(db.slow_runs(), 1);
    assert_eq!(outcome(&update, "slow"), "Updated", "{}", update.words("Succeeded"));
    assert_eq!(outcome(&update, "ethtool"), "Updated");
    assert_eq!(channel(run, "db").await, Some(Channel::Listen));
}

/// The engine would accept only the runner that is dead.
#[test]
fn another_operator_process_connects_to_an_engine_that_listens() {
    e2e("lkilled", async |site| {
        let (db, run) = slow_at_work(site).await;
        site.operator.kill();
        site.operator.start();
        is_updated_once(&run, &db).await;
    });
}

/// The runner would not connect again after a firewall or a switch has dropped its connection, or an engine
/// that died would not listen again.
#[test]
fn a_connection_that_breaks_off_is_made_again() {
    e2e("lcut", async |site| {
        let (db, run) = slow_at_work(site).await;
        let dials = || site.operator.log().matches("connected to the engine").count();
        let before = dials();
        db.sh("nft add table inet way && nft add chain inet way out '{ type filter hook output priority 0; }' && nft add rule inet way out tcp sport 62286 counter reject with tcp reset").await;
        wait::until("the connection to break off", wait::LIMIT, async || {
            let rules = db.sh("nft list table inet way").await;
            if rules.contains("packets 0 ") { Err(rules) } else { Ok(()) }
        })
        .await;
        db.sh("nft delete table inet way").await;
        is_updated_once(&run, &db).await;
        assert!(dials() > before, "not connected again: {}", site.operator.log());
    });
}
