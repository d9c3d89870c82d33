//! Lamps that fetch their image from Farrier. Tests share the lamps, so each test has names of its own.

use super::{
    Conditions, Run, Site, e2e, install, install_kind, is_over, lamp, lamps, of_bytes, operate, to,
    with_lamps,
};
use crate::harness::{outcome, wait};
use farrier::api::node_update::FetchProtocol;
use farrier::api::{NodeUpdate, condition};
use farrier::attempt::{Login, Offer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;
use std::process::Output;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// A lamp asks this often whether it should fetch.
const MOMENT: Duration = Duration::from_millis(50);

/// Fetches an offer as a lamp does, with a client that nobody here wrote.
pub(super) fn fetch(name: &str, offer: Offer, action: u32) {
    let name = name.to_owned();
    tokio::spawn(async move {
        while lamp(&name).is_blind {
            wait::pass(MOMENT).await;
        }
        let output = curl(&offer, address_of(&name)).await;
        let content = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        lamps().entry(name).and_modify(|state| state.work = Some((action, Some(content))));
    });
}

/// The address of a lamp. Two machines with one address could not be told apart before they ask for something.
pub(super) fn address_of(name: &str) -> &'static str {
    match name {
        "blue" => "127.0.0.2",
        "navy" => "127.0.0.3",
        "sand" => "127.0.0.4",
        "silk" => "127.0.0.5",
        "salt" => "127.0.0.6",
        _ => "127.0.0.1",
    }
}

pub(super) async fn curl(offer: &Offer, from: &str) -> Output {
    let dir = tempfile::tempdir().expect("a directory");
    let authority = dir.path().join("ca.pem");
    std::fs::write(&authority, &offer.authority).expect("a file");
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--fail",
        "--noproxy",
        "*",
        "--max-time",
        "20",
        "--tls-max",
        "1.2",
    ]);
    curl.args(["--interface", from]);
    if !offer.authority.is_empty() {
        curl.arg("--cacert").arg(&authority);
    }
    if let Some(Login { user, password }) = &offer.login {
        // The host key is not known beforehand.
        curl.arg("--insecure").args(["--user", &format!("{user}:{password}")]);
    }
    curl.arg(&offer.url).output().await.expect("curl is installed")
}

fn fetches_by(update: &NodeUpdate) -> Option<FetchProtocol> {
    update.status.as_ref().and_then(|status| status.fetches_by)
}

/// Machines that fetch their images would wait for ports that are not open, or ports would stay open for nobody; and
/// a firewall that drops the fetch would look like a slow machine.
#[test]
fn ports_are_open_while_a_machine_fetches_and_a_fetch_that_does_not_come_is_named() {
    e2e("pulls", async |site| {
        install(site, "ruby", "1.0").await;
        install_kind(site, "blue", "1.0", "FCSwitch", address_of("blue")).await;
        install_kind(site, "green", "1.0", "SuperdomeFlex", address_of("green")).await;
        let hold = |name: &str, is: bool| {
            lamps().entry(name.to_owned()).and_modify(|state| state.is_held = is);
        };
        hold("ruby", true);
        lamps().entry("blue".to_owned()).and_modify(|state| state.is_blind = true);
        let image = of_bytes("lamp", "2.0", "DeviceImage", "lamp-2.0.img", b"2.0");
        std::fs::write(site.path("payloads").join("lamp-2.0.img"), "2.0").expect("a payload");
        site.baseline("bright", &[image]).await;
        let body = Box::pin(async {
            let mut spec = to("bright");
            spec["strategy"] = json!({"maxConcurrent": 3, "retries": 0});
            let run = site.run("update", spec).await;
            run.node_until("green", "green to be updated", |u| u.state("Succeeded") == "True").await;
            assert!(lamp("green").url.starts_with("https://127.0.0.1:"), "the table lists HTTPS for it");
            is_fetched(&run.node("green").await, "green");

            let url = is_named(&run).await;
            lamps().entry("blue".to_owned()).and_modify(|state| state.is_blind = false);
            run.node_until("blue", "blue to be updated", |u| u.state("Succeeded") == "True").await;
            is_fetched(&run.node("blue").await, "blue");
            are_closed(&run, &url).await;
            run.until("the condition to say so", |run| run.reason("Exposed") == "NotRequired").await;
            assert_eq!(fetches_by(&run.node("ruby").await), None);
            assert_eq!(run.node("ruby").await.state("CallbackReachable"), "", "it takes a push");
            hold("ruby", false);
            let ended = run.succeeds().await;
            assert_eq!(ended.status.expect("a status").callback, None);
            for name in ["ruby", "blue", "green"] {
                is_over(&run, name).await;
                assert_eq!(outcome(&run.node(name).await, "lamp"), "Updated", "{name}");
                assert_eq!(lamp(name).installed, ["2.0"], "{name}");
            }
            is_push_without_ports(site).await;
        });
        with_lamps(site, body).await;
    });
}

/// A machine that was told a URL uses it for hours. It must get its image from an operator that was restarted, and
/// must not be told again.
#[test]
fn an_operator_that_was_killed_serves_what_it_had_offered() {
    e2e("pullkill", async |site| {
        install_kind(site, "navy", "1.0", "FCSwitch", address_of("navy")).await;
        lamps().entry("navy".to_owned()).and_modify(|state| state.is_blind = true);
        let image = of_bytes("lamp", "2.0", "DeviceImage", "lamp-2.0.img", b"2.0");
        std::fs::write(site.path("payloads").join("lamp-2.0.img"), "2.0").expect("a payload");
        site.baseline("bright", &[image]).await;
        let mut spec = to("bright");
        spec["strategy"] = json!({"retries": 0});
        // Another test's run would take the usual ports while there is no operator.
        spec["callback"] = json!({"httpPort": 61411, "httpsPort": 61412});
        let run = site.run("update", spec).await;
        site.operator.kill();
        operate(site, async {
            run.node_until("navy", "the fetch to be awaited", |u| {
                u.reason("CallbackReachable") == "PullNotSeen"
            })
            .await;
        })
        .await;
        let restarted = condition::now();
        let url = lamp("navy").url;
        operate(site, async {
            // Its predecessor's word would not tell that the way is still shut.
            run.node_until("navy", "the wait to be named again", |u| waits(u, "PullNotSeen", &restarted))
                .await;
            wait::until("the port to be bound again", wait::LIMIT, async || {
                let answer = curl(&offer(&url), address_of("navy")).await;
                if answer.status.success() { Ok(()) } else { Err(format!("{answer:?}")) }
            })
            .await;
            let update = run
                .node_until("navy", "the connection to be recorded", |u| {
                    u.reason("CallbackReachable") == "CallbackReachable"
                })
                .await;
            assert_eq!(fetches_by(&update), Some(FetchProtocol::HTTP), "it is still to be fetched");
        })
        .await;
        let restarted = condition::now();
        operate(site, async {
            let says = |u: &NodeUpdate| {
                let waiting = u.status.as_ref().and_then(|status| status.waiting.as_ref());
                waiting.is_some_and(|waiting| waiting.what.contains("it had connected before"))
            };
            let update = run
                .node_until("navy", "the wait of the next operator", |u| {
                    waits(u, "InProgress", &restarted) && says(u)
                })
                .await;
            assert_eq!(update.reason("CallbackReachable"), "CallbackReachable", "it stays known");
            lamps().entry("navy".to_owned()).and_modify(|state| state.is_blind = false);
            run.succeeds().await;
            is_over(&run, "navy").await;
            is_fetched(&run.node("navy").await, "navy");
            assert_eq!((lamp("navy").url, lamp("navy").installed), (url.clone(), vec!["2.0".to_owned()]));
        })
        .await;
        site.operator.start();
    });
}

/// Reports whether a wait with this reason has begun after this time.
fn waits(update: &NodeUpdate, reason: &str, after: &Time) -> bool {
    let waiting = update.status.as_ref().and_then(|status| status.waiting.as_ref());
    waiting.is_some_and(|waiting| waiting.reason == reason && waiting.since.0 >= after.0)
}

/// The offer of an image by HTTP.
fn offer(url: &str) -> Offer {
    Offer { url: url.to_owned(), scheme: super::Scheme::Http, authority: String::new(), login: None }
}

/// The condition and the wait say which way is closed, while the ports are open. Returns the URL that blue was told.
async fn is_named(run: &Run<'_>) -> String {
    let told = Instant::now();
    let blue = run
        .node_until("blue", "a fetch that does not come to be named", |u| {
            u.reason("CallbackReachable") == "PullNotSeen"
        })
        .await;
    assert!(told.elapsed() < Duration::from_secs(20));
    let words = blue.words("CallbackReachable");
    assert!(words.contains("allow TCP from 127.0.0.2 to 127.0.0.1 port 6"), "{words}");
    assert_eq!(fetches_by(&blue), Some(FetchProtocol::HTTP));
    let waiting = run.node_until("blue", "the wait", |u| {
        let waiting = u.status.as_ref().and_then(|status| status.waiting.as_ref());
        waiting.is_some_and(|waiting| waiting.reason == "PullNotSeen")
    });
    waiting.await;
    let open = run.until("the ports to be open", |run| run.reason("Exposed") == "Exposed").await;
    assert!(open.status.is_some_and(|status| status.callback.is_some()));
    let url = lamp("blue").url;
    assert!(url.starts_with("http://127.0.0.1:") && url.ends_with("-lamp-2.0.img"), "{url}");
    let wrong = offer(&url.replace("lamp-2.0.img", "lamp-2.1.img"));
    assert!(!curl(&wrong, address_of("blue")).await.status.success(), "another name");
    assert!(!curl(&offer(&url), address_of("green")).await.status.success(), "another machine");
    url
}

/// No port is open any more, although another machine of the run is at work.
async fn are_closed(run: &Run<'_>, url: &str) {
    let closed = run
        .until("the ports to be closed although the run goes on", |run| {
            run.status.as_ref().is_some_and(|status| status.callback.is_none())
        })
        .await;
    assert_eq!(closed.state("Succeeded"), "Unknown", "ruby is at work");
    wait::until("the port to be closed", wait::LIMIT, async || {
        let answer = curl(&offer(url), address_of("blue")).await;
        // 7: connection refused.
        if answer.status.code() == Some(7) { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

fn is_fetched(update: &NodeUpdate, name: &str) {
    assert_eq!(update.reason("CallbackReachable"), "CallbackReachable");
    let words = update.words("CallbackReachable");
    assert!(
        words.ends_with(&format!("the machine connected from {} to fetch its image", address_of(name))),
        "{words}"
    );
    assert_eq!(fetches_by(update), None, "{words}");
}

/// A run over a lamp that takes a push never opens a port.
async fn is_push_without_ports(site: &Site) {
    lamps().entry("ruby".to_owned()).and_modify(|state| {
        (state.version, state.is_held) = ("1.0".to_owned(), true);
    });
    let run = site.run("push", to("bright")).await;
    wait::until("the lamp to be at work", wait::LIMIT, async || {
        lamp("ruby").work.map(|_| ()).ok_or_else(|| "it has no image".to_owned())
    })
    .await;
    assert_eq!(run.get().await.status.expect("a status").callback, None);
    lamps().entry("ruby".to_owned()).and_modify(|state| state.is_held = false);
    run.succeeds().await;
}
