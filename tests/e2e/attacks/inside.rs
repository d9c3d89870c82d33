//! Attacks by a machine of the run whose root is the attacker: its address may connect, and it has an
//! engine's certificate, key and configuration.

use super::papers::{self, Own};
use super::{Meter, OPERATOR, attack, begin, calling, calls, is_updated_once, ports};
use crate::harness::payload::bmc_tool;
use crate::harness::{Machine, Run, Site, e2e, lab};
use serde_json::{Value, json};
use std::time::Instant;

/// Limit of the operator's open descriptors: far below the usual limit, so that a leak would exhaust
/// it.
const DESCRIPTORS: usize = 512;

/// Maximum memory of the operator during the attacks, in MiB.
const MEMORY: u64 = 160;

/// Two runs in progress. `r1` has the attacker's machine and a good machine, whose engine connects
/// through the attacker's machine; `r2` has another machine.
struct Scene<'a> {
    site: &'a Site,
    meter: Meter,
    mallory: Machine,
    db: Machine,
    other: Machine,
    run: Run<'a>,
    second: Run<'a>,
    ports: (u16, u16),
    own: Own,
    /// The path token of `r1`.
    token: String,
    /// The proxy on the attacker's machine; it is killed when the scene is dropped.
    _proxy: tokio::process::Child,
}

/// Builds the scene. `r1` gets port `http` and the next port.
async fn scene(site: &Site, http: u16) -> Scene<'_> {
    let meter = Meter::start(site).await;
    let pid = site.operator.pid().to_string();
    lab::output("prlimit", ["--pid", &pid, &format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}")]).await;
    let mallory = site.machine("mallory").label("rack", "r1").up().await;
    let through = json!({"callbackAddress": mallory.v4});
    let db = site.machine("db").label("rack", "r1").spec(through).up().await;
    let other = site.machine("other").label("rack", "r2").up().await;
    let recorded = site.path("recorded");
    let proxy = json!({"listen": http + 1, "host": OPERATOR, "port": http + 1, "into": recorded});
    let proxy = begin(&mallory, "proxy", proxy).await;
    site.baseline("spring", &[site.held()]).await;
    site.baseline("summer", &[site.held(), bmc_tool("3.1")]).await;
    let run = site.run("r1", calling("spring", "r1", http)).await;
    let second = site.run("r2", calling("summer", "r2", http + 2)).await;
    for machine in [&mallory, &db, &other] {
        machine.is_slow().await;
    }
    let ports = ports(&run).await;
    assert_eq!(ports, (http, http + 1));
    let own = papers::steal(site, &mallory);
    let token = papers::secret(site, &run, "path-token").await;
    Scene { token, site, meter, mallory, db, other, run, second, ports, own, _proxy: proxy }
}

impl Scene<'_> {
    async fn attack(&self, command: &str, how: Value) -> Value {
        let mut full = json!({"host": OPERATOR, "port": self.ports.1});
        crate::harness::payload::merge(&mut full, how);
        attack(&self.mallory, command, full).await
    }

    /// Ends the attacks: asserts that the runs end well and soon, and that the rejected connections are
    /// reported.
    async fn ends_well(&self, told: &[&str]) {
        for machine in [&self.mallory, &self.db, &self.other] {
            machine.release_steps().await;
        }
        let begun = Instant::now();
        self.run.succeeds().await;
        self.second.succeeds().await;
        let took = begun.elapsed();
        assert!(took.as_secs() < 45, "{took:?} after the attacks");
        for machine in [&self.mallory, &self.db] {
            is_updated_once(&self.run, machine).await;
        }
        is_updated_once(&self.second, &self.other).await;
        for words in told {
            let told = async || self.site.events().await;
            crate::harness::wait::until(words, crate::harness::wait::LIMIT, async || {
                let events = told().await;
                let is = |event: &String| {
                    event.starts_with("ConnectionsRefused UpdateRun/r1: ") && event.contains(words)
                };
                if events.iter().any(is) { Ok(()) } else { Err(format!("{events:#?}")) }
            })
            .await;
        }
        let log = self.site.logs();
        for secret in [self.token.as_str(), "PRIVATE KEY"] {
            assert!(!log.contains(secret), "a secret is in the log");
        }
        let (descriptors, memory) = (self.meter.most_descriptors(), self.meter.most_memory());
        println!("at most {descriptors} descriptors and {memory} MiB; {took:?} from the attacks to the end");
        assert!(descriptors < DESCRIPTORS, "{descriptors} descriptors");
    }
}

/// Attacks with every certificate except that of the requested session, with recorded traffic, with
/// handshakes that never end, and with forged paths.
#[test]
fn only_the_engines_own_certificate_opens_a_session() {
    e2e("inside", async |site| {
        let scene = scene(site, 64541).await;
        let memory = scene.meter.most_memory();
        papers_of_all_kinds(&scene).await;
        let before = scene.meter.read().await;
        let db = papers::steal(site, &scene.db);

        let slow = json!({"name": db.config.server_name, "count": 1000});
        assert_eq!(scene.attack("slow", slow).await["answered"], 0);
        let after = scene.meter.read().await;
        let refused = |cause| after.refused(cause) - before.refused(cause);
        assert!(
            refused("too_many") + refused("too_slow") >= 1000,
            "{} and {}",
            refused("too_many"),
            refused("too_slow")
        );

        let recorded: Vec<String> = (0..8)
            .map(|n| site.path(&format!("recorded.{n}")))
            .filter(|path| path.exists())
            .map(|path| path.to_str().expect("a path").to_owned())
            .collect();
        let replayed = scene.attack("replay", json!({"recorded": recorded})).await;
        let replayed = replayed.as_array().expect("a result for each connection");
        assert!(!replayed.is_empty(), "the engine's call was not recorded");
        for one in replayed {
            // The server sends its first messages and its refusal only; a whole session has been
            // recorded.
            assert!(one["said"].as_u64() > Some(1000) && one["got"].as_u64() < Some(2000), "{one}");
        }
        scene.meter.refused(&before, "handshake", replayed.len() as u64).await;
        let paths = tricks(&scene).await;
        scene.meter.refused(&before, "path", paths).await;

        assert_eq!(calls(site, "db"), 1, "the engine of db has reconnected: {}", site.operator.log());
        assert!(
            scene.meter.most_memory() < memory + MEMORY,
            "{} MiB after {memory}",
            scene.meter.most_memory()
        );
        scene.meter.open(3).await;
        let told = [
            "no client certificate",
            "another machine of this run",
            "an expired",
            "no TLS 1.3",
            "a path or request",
        ];
        scene.ends_well(&told).await;
    });
}

/// Asserts that each certificate is rejected in the handshake, and counted under its cause.
async fn papers_of_all_kinds(scene: &Scene<'_>) {
    let (site, own) = (scene.site, &scene.own);
    let (db, other) = (papers::steal(site, &scene.db), papers::steal(site, &scene.other));
    let (name, session) = (&db.config.server_name, db.session.as_str());
    let expired = papers::expired(site, &scene.run, session).await;
    let self_signed = papers::self_signed(site, &scene.run, session).await;
    let before = scene.meter.read().await;
    let callers = json!([
        {"what": "a neighbour's", "name": name, "certificate": own.pem},
        {"what": "another run's", "name": name, "certificate": other.pem},
        {"what": "another run's for its own session", "name": other.config.server_name, "certificate": other.pem},
        {"what": "an expired one", "name": name, "certificate": expired},
        {"what": "a self-signed one", "name": name, "certificate": self_signed},
        {"what": "none", "name": name},
        {"what": "TLS 1.2", "name": name, "certificate": db.pem, "version": "TLSv1_2"},
        {"what": "nobody's session", "name": "00000000-0000-0000-0000-000000000000.farrier.internal", "certificate": own.pem},
    ]);
    let outcomes = scene.attack("calls", json!({"callers": callers})).await;
    for (what, answer) in outcomes.as_object().expect("outcomes") {
        assert_eq!(answer, "", "{what}");
    }
    let counts =
        [("wrong_session", 1), ("certificate", 4), ("expired", 1), ("handshake", 1), ("unknown_session", 1)];
    for (cause, times) in counts {
        scene.meter.refused(&before, cause, times).await;
        assert_eq!(scene.meter.read().await.refused(cause) - before.refused(cause), times, "{cause}");
    }
}

/// Requests paths of every kind on the HTTP port, which asks for no certificate. Returns their number.
async fn tricks(scene: &Scene<'_>) -> u64 {
    let (site, own) = (scene.site, &scene.own);
    let token = &scene.token;
    let theirs = papers::secret(site, &scene.second, "path-token").await;
    let digest = digest_of(site, "spring", 0).await;
    let foreign = digest_of(site, "summer", 1).await;
    let wrong = "0".repeat(token.len());
    let get = |path: String| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut requests: Vec<String> = [
        format!("/{wrong}/payloads/{digest}"),
        format!("/{theirs}/payloads/{digest}"),
        format!("/{theirs}/payloads/{foreign}"),
        format!("/{token}/payloads/{foreign}"),
        format!("/{token}/payloads/../payloads/{digest}"),
        format!("/{token}/payloads/%2e%2e/payloads/{digest}"),
        format!("//{token}//payloads//{digest}"),
        format!("/{token}/payloads/../../../../../etc/shadow"),
        format!("http://{OPERATOR}/{token}/payloads/{digest}"),
        "/metrics".to_owned(),
        "/v1/next".to_owned(),
        format!("/{}", "a".repeat(100_000)),
    ]
    .map(get)
    .into();
    requests.push(format!("GET /{token}/payloads/{digest} HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(200_000)));
    let smuggled =
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/next HTTP/1.1\r\n\r\n";
    requests.push(format!("POST /{token}/payloads/{digest} HTTP/1.1\r\nHost: x\r\n{smuggled}"));
    requests.push(format!("CONNECT {OPERATOR}:22 HTTP/1.1\r\nHost: x\r\n\r\n"));
    let count = requests.len();
    let said = scene.attack("say", json!({"port": scene.ports.0, "requests": requests})).await;
    for (request, answer) in requests.iter().zip(said.as_array().expect("answers")) {
        let (answer, shown) = (answer.as_str().expect("words"), &request[..request.len().min(120)]);
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(status.is_empty() || status.starts_with('4'), "{shown}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), usize::from(!status.is_empty()), "{shown}: {answer}");
    }
    // The same HTTP API over TLS, for clients that send no server name.
    let anonymous = json!([{"what": "anonymous", "name": "farrier.internal", "certificate": own.pem}]);
    let outcome = scene.attack("calls", json!({"callers": anonymous})).await;
    let answer = outcome["anonymous"].as_str().expect("words");
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    count as u64 + 1
}

async fn digest_of(site: &Site, baseline: &str, component: usize) -> String {
    let baseline: farrier::api::Baseline = site.api().get(baseline).await.expect("the Baseline");
    baseline.spec.components[component].payload.as_ref().expect("a payload").digest.clone()
}

/// With its own certificate a machine reaches only its own task and payloads, whatever it sends, and it
/// cannot keep the operator from serving the others.
#[test]
fn a_machine_reaches_only_its_own_task_and_payloads() {
    e2e("own", async |site| {
        let scene = scene(site, 64551).await;
        let (name, pem) = (scene.own.config.server_name.clone(), scene.own.pem.clone());
        let (memory, before) = (scene.meter.most_memory(), scene.meter.read().await);
        let db = papers::steal(site, &scene.db);
        let foreign = digest_of(site, "summer", 1).await;
        let requests = own_requests(&db.session, &foreign);
        let statuses = scene
            .attack("own", json!({"name": name, "certificate": pem, "requests": requests.iter().map(|(_, r)| r).collect::<Vec<_>>()}))
            .await;
        for ((expected, request), status) in requests.iter().zip(statuses.as_array().expect("statuses")) {
            let head = &request["head"];
            let status = status.as_u64();
            assert!(status.is_none() || expected.contains(&status.unwrap_or_default()), "{head}: {status:?}");
        }
        scene.meter.refused(&before, "request", requests.len() as u64).await;

        let beat = "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]";
        let how = json!({"name": name, "certificate": pem, "request": beat, "seconds": 5});
        let flooded = scene.attack("flood", how).await;
        // The burst that the limit allows, and a hundred requests a second after that.
        assert!(flooded["answered"].as_u64() < Some(1300), "{flooded}");
        let stormed = scene.attack("storm", json!({"name": name, "certificate": pem, "seconds": 3})).await;
        println!("flood: {flooded}; handshakes in 3 s: {stormed}");

        assert_eq!(calls(site, "db"), 1, "the engine of db has reconnected: {}", site.operator.log());
        assert!(
            scene.meter.most_memory() < memory + MEMORY,
            "{} MiB after {memory}",
            scene.meter.most_memory()
        );
        scene.ends_well(&["asks what no engine of ours does"]).await;
    });
}

/// Requests that an engine never sends, with the expected statuses.
fn own_requests(other_session: &str, foreign: &str) -> Vec<(&'static [u64], Value)> {
    let get = |path: &str| json!({"head": format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")});
    let post = |path: &str, body: &str| {
        let length = body.len();
        json!({"head": format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"), "body": body})
    };
    let hello = json!({
        "protocol": 1, "engine": "0", "session": other_session, "boot_id": "", "last_seq": 0, "tasks": [], "leases": [],
    });
    let event = |seq: u64| json!([{"seq": seq, "at": 0, "body": {"kind": "leaseTaken", "lease": {"id": "x", "kind": "directory", "what": "/"}}}]);
    let large = 10 * 1024 * 1024;
    let many = format!("[{}]", vec![r#"{"seq":1,"at":0,"body":{"kind":"x"}}"#; 50_000].join(","));
    vec![
        (&[404], get(&format!("/v1/payloads/{foreign}"))),
        (&[404], get("/v1/payloads/../../../../etc/shadow")),
        (&[404], get("//v1/payloads/..%2f..%2fetc%2fshadow")),
        (&[404], get("http://10.77.0.1/metrics")),
        (&[404], get("/metrics")),
        (&[409], post("/v1/hello", &hello.to_string())),
        (&[409], post("/v1/events", &event(u64::MAX).to_string())),
        (&[409], post("/v1/events", &event(1_000_000).to_string())),
        (&[400], post("/v1/events", "[{\"seq\": -1}]")),
        (&[400], post("/v1/next", &"[".repeat(100_000))),
        (&[400], post("/v1/events", &many)),
        (&[400], post("/v1/events", "\u{1b}[2J not JSON")),
        (
            &[400],
            json!({"head": "POST /v1/next HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"}),
        ),
        (&[400, 431], json!({"head": format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(200_000))})),
        (
            &[413],
            json!({
                "head": format!("POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: {large}\r\n\r\n"),
                "body": " ", "repeat": large,
            }),
        ),
        (
            &[413],
            json!({
                "head": "POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                "body": format!("10000\r\n{}\r\n", " ".repeat(0x10000)), "repeat": 160,
            }),
        ),
    ]
}
