//! Attacks by hosts on the machines' network that do not belong to the run.

use super::{
    ATTACKER, Meter, OPERATOR, attack, attack_from_the_switch, calling, calls, is_updated_once, papers, ports,
};
use crate::harness::payload::bmc_tool;
use crate::harness::{Machine, e2e, lab, wait};
use serde_json::json;

/// Maximum additional memory of the operator during a scan of ten thousand connects, in MiB.
const MEMORY: u64 = 64;

/// A scanner finds the ports while a fleet is updated; then a host on the network path ends the
/// engine's connections with matching resets.
#[test]
fn a_scan_and_forged_resets_do_not_harm_a_run() {
    e2e("outside", async |site| {
        let meter = Meter::start(site).await;
        let stranger = site.machine("stranger").label("rack", "none").up().await;
        let db = site.machine("db").label("rack", "r1").up().await;
        site.baseline("spring", &[site.held(), bmc_tool("3.1")]).await;
        let run = site.run("r1", calling("spring", "r1", 64521)).await;
        db.is_slow().await;
        let (http, https) = ports(&run).await;
        let (before, memory) = (meter.read().await, meter.most_memory());

        for (host, count) in [(OPERATOR, 10_000), ("fd77::1", 100)] {
            let scanned =
                attack(&stranger, "scan", json!({"host": host, "ports": [http, https], "count": count}));
            assert_eq!(scanned.await["answered"], 0, "{host}");
        }
        let token = papers::secret(site, &run, "path-token").await;
        let guesses = ["/".to_owned(), "/v1/hello".into(), format!("/{token}/payloads/sha256:0")];
        let requests: Vec<String> =
            guesses.iter().map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
        let said =
            attack(&stranger, "say", json!({"host": OPERATOR, "port": http, "requests": requests})).await;
        for answer in said.as_array().expect("answers") {
            assert!(
                ["", "ConnectionResetError", "BrokenPipeError"].contains(&answer.as_str().expect("words")),
                "{answer}"
            );
        }
        // A valid engine certificate does not help a host outside of the run.
        let own = papers::steal(site, &db);
        let callers = json!([{"what": "stolen", "name": own.config.server_name, "certificate": own.pem}]);
        let tried =
            attack(&stranger, "calls", json!({"host": OPERATOR, "port": https, "callers": callers})).await;
        assert_eq!(tried, json!({"stolen": ""}));

        meter.refused(&before, "source", 10_104).await;
        let after = meter.read().await;
        let accepted = "farrier_callback_connections_total";
        assert_eq!(after.of(accepted), before.of(accepted), "no connection was accepted");
        assert_eq!(calls(site, "db"), 1, "the engine of db has reconnected: {}", site.operator.log());
        assert!(meter.most_memory() < memory + MEMORY, "{} MiB after {memory}", meter.most_memory());
        assert!(meter.most_descriptors() < 300, "{} descriptors", meter.most_descriptors());
        site.until_event("ConnectionsRefused UpdateRun/r1: ").await;
        assert_eq!(db.file("/etc/slow.version"), None, "the event is written during the run, not at its end");
        let events = site.events().await;
        assert!(
            events.iter().any(|event| event.contains("the source address is not one of the run's machines")),
            "{events:#?}"
        );

        let victim = db.v4.clone().expect("an address");
        let reset = json!({"interface": "lab0", "victim": victim, "port": https, "times": 2});
        assert_eq!(attack_from_the_switch("resets", reset).await, 2);
        wait::until("the engine to connect again", wait::LIMIT, async || {
            let calls = calls(site, "db");
            if calls > 2 { Ok(()) } else { Err(format!("{calls} calls")) }
        })
        .await;
        db.release_steps().await;
        run.succeeds().await;
        is_updated_once(&run, &db).await;
    });
}

/// Takes over the operator's address on one machine's network: from then on the packets of that machine
/// to the operator arrive at the other machine.
async fn take_over(by: &Machine, victim: &Machine) {
    let (address, mac) = (victim.v4.as_deref().expect("an address"), hardware(victim));
    lab::output("ip", ["-n", &by.host, "address", "add", &format!("{OPERATOR}/32"), "dev", "lo"]).await;
    // The ARP caches of other machines must not change: other tests are running.
    by.sh("echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore; echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce")
        .await;
    let neighbour = ["neighbour", "replace", address, "lladdr", &mac, "dev", "eth0", "nud", "permanent"];
    lab::output("ip", [&["-n", by.host.as_str()], &neighbour[..]].concat()).await;
}

fn hardware(machine: &Machine) -> String {
    let conf =
        std::fs::read_to_string(lab::dir().join("m").join(&machine.host).join("conf")).expect("its conf");
    let line = conf.lines().find_map(|line| line.strip_prefix("mac=")).expect("its hardware address");
    line.trim_matches('\'').to_owned()
}

/// An attacker answers ARP for the operator, presents a certificate with all the right names, and waits
/// for the engine's secrets.
#[test]
fn a_host_that_takes_over_the_operators_address_learns_nothing_and_is_reported() {
    e2e("middle", async |site| {
        assert!(std::path::Path::new(ATTACKER).exists());
        let stranger = site.machine("stranger").lab(&["--no-v6"]).label("rack", "none").up().await;
        let db = site.machine("db").lab(&["--no-v6"]).label("rack", "r1").up().await;
        site.baseline("spring", &[site.held(), bmc_tool("3.1")]).await;
        let run = site.run("r1", calling("spring", "r1", 64531)).await;
        db.is_slow().await;
        let (_, https) = ports(&run).await;
        let certificate = papers::valid_looking(site, &run).await;
        let ca = site.path("ca.pem");
        std::fs::write(&ca, papers::secret(site, &run, "ca.crt").await).expect("a file");
        take_over(&stranger, &db).await;
        let how = json!({
            "interface": "eth0",
            "victim": {"mac": hardware(&db), "ip": db.v4},
            "claimed": OPERATOR,
            "true_mac": "02:77:00:00:00:00",
            "port": https,
            "certificate": certificate,
            "ca": ca,
            "times": 2,
        });
        let came = attack(&stranger, "middle", how).await;
        let own = papers::steal(site, &db);
        assert_eq!(came["named"], json!([own.config.server_name, own.config.server_name]));
        for met in came["met"].as_array().expect("callers") {
            assert_eq!(
                (&met["trusted"], &met["certificate"], &met["said"]),
                (&json!(false), &json!(false), &json!(0)),
                "{came}"
            );
        }
        site.until_event("CallbackUntrusted NodeUpdate/r1-db: the engine on db reached another server than the operator at 10.77.0.1")
            .await;
        db.release_steps().await;
        run.succeeds().await;
        is_updated_once(&run, &db).await;
        assert_eq!(run.node("db").await.status.expect("a status").attempt, Some(1));
    });
}
