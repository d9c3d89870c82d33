//! Secrets stay secret: the test uses unique words as passwords, passphrase and token, and then
//! searches for them everywhere.

use super::{all_at_once, door, ends_with, only, said, up};
use crate::harness::https::{Answer, Server};
use crate::harness::payload::{Component, ethtool};
use crate::harness::{Machine, Site, e2e, lab};
use farrier::api::{Baseline, ManagedNode, NodeInventory, NodeUpdate, UpdateRun};
use farrier::publish::Kind;
use farrier_update::Reason;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Prefix of every secret of the test.
const CANARY: &str = "canary-";

/// A value in a place where the watch must find it, which proves that the watch works.
const PROOF: &str = "canary-of-the-watch-itself";

/// The fleet's passwords could be read by anyone who may see logs, objects, events, process lists or
/// files.
#[test]
fn no_secret_is_seen_anywhere() {
    e2e("secrets", async |site| {
        let machines = machines(site).await;
        let [good, _keyed, gate, wrong] = &machines;
        doors(site, gate).await;
        let server = Server::start(site).await;
        site.baseline("spring", &components(site, &server, good, wrong).await).await;
        let watch = Watch::start();
        let run = site.run("r1", all_at_once("spring")).await;
        let expected = [
            said("gate", Reason::PasswordRejected, &[]),
            said("wrong", Reason::PayloadRefused, &["401"]),
            said("phrase", Reason::KeyPassphraseWrong, &[]),
            said("sudo", Reason::SudoPasswordRejected, &[]),
            said("tty", Reason::SudoPasswordRejected, &[]),
            said("asks", Reason::SudoAsksAnotherPassword, &[]),
            said("su", Reason::SuPasswordRejected, &[]),
        ];
        ends_with(site, &run, &expected).await;
        lab::output("env", [&format!("PROOF={PROOF}"), "sleep", "1"]).await;
        assert_eq!(server.asked("/secret.sh"), 1);
        let mut seen = watch.end();
        assert!(seen.remove(&format!("environ of sleep: {PROOF}")), "the watch sees nothing: {seen:#?}");
        seen.extend(in_words("the operator's log", &site.operator.log()));
        seen.extend(in_objects(site).await);
        for machine in &machines {
            seen.extend(in_words(&format!("the log of {}", machine.name), &machine.labctl("log").await));
            let root = PathBuf::from(format!("/proc/{}/root", machine.init().expect("a machine that is on")));
            let disk = lab::dir().join("m").join(&machine.host).join("disk/up");
            for dir in [disk, root.join("run"), root.join("dev/shm")] {
                in_files(&dir, &mut seen);
            }
        }
        in_files(&site.path("cache"), &mut seen);
        assert!(seen.is_empty(), "secrets were seen: {seen:#?}");
    });
}

/// Four machines: login by password and sudo, login by encrypted key, all credentials wrong, and a
/// rejected payload.
async fn machines(site: &Site) -> [Machine; 4] {
    let key = site.path("key");
    let path = key.to_str().expect("a path");
    lab::output("ssh-keygen", ["-q", "-t", "ed25519", "-N", "canary-passphrase", "-C", "", "-f", path]).await;
    let read = |path: &Path| std::fs::read_to_string(path).expect("a key");
    let (private, public) = (read(&key), read(&key.with_extension("pub")));
    let su = json!({"ssh": {"privilege": "Su"}});
    let machines = up([
        site.machine("good").login("ops").secret("password", "canary-password"),
        site.machine("keyed")
            .login("auto")
            .secret("password", "canary-unused")
            .secret("ssh-privatekey", &private)
            .secret("passphrase", "canary-passphrase"),
        site.machine("gate").login("ops").secret("password", "canary-wrong"),
        site.machine("wrong").login("nosudo").secret("su-password", "canary-root").spec(su),
    ])
    .await;
    machines[0].sh("echo ops:canary-password | chpasswd").await;
    machines[1].sh(&format!("echo '{public}' >>/home/auto/.ssh/authorized_keys")).await;
    machines[3].sh("echo root:canary-root | chpasswd").await;
    machines
}

async fn doors(site: &Site, gate: &Machine) {
    let by = |privilege: &str| json!({"ssh": {"privilege": privilege}});
    let private = std::fs::read_to_string(site.path("key")).expect("a key");
    let key = [("username", "auto"), ("ssh-privatekey", private.as_str())];
    door(site, gate, "phrase", &[key[0], key[1], ("passphrase", "canary-wrong-phrase")], by("Sudo")).await;
    for (name, user, secret, privilege) in [
        ("sudo", "ops", "sudo-password", "Sudo"),
        ("tty", "tty", "sudo-password", "Sudo"),
        ("asks", "rootpw", "unused", "Sudo"),
        ("su", "ops", "su-password", "Su"),
    ] {
        let password = format!("{user}-secret");
        let values = [("username", user), ("password", &password), (secret, "canary-not-it")];
        door(site, gate, name, &values, by(privilege)).await;
    }
}

/// Components that work, and a payload whose server rejects the token.
async fn components(site: &Site, server: &Server, good: &Machine, wrong: &Machine) -> Vec<Component> {
    site.secret("token", &[("ca.crt", &server.ca), ("token", "canary-token")]).await;
    let url = server.at("/secret.sh", Answer::Status(401));
    let secret = site.payload("secret.sh", "1.0", "Script", b"#!/bin/sh\n").with(json!({
        "detect": {"file": "/etc/secret.version"},
        "payload": {"url": url, "secretRef": {"name": "token"}},
    }));
    let keyed = ethtool().with(json!({"name": "ethtool-keyed", "detect": {"package": "ethtool"}}));
    let keyed = keyed.with(json!({"appliesTo": {"match": {"hostname": format!("{}-keyed", site.name)}}}));
    vec![only(ethtool(), good), keyed, only(secret, wrong)]
}

/// Samples the arguments and the environment of every process of the lab: machines, operator, control
/// plane.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeSet<String>>,
}

impl Watch {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !until.load(Ordering::Relaxed) {
                look_at_processes(&mut seen);
                // sleep: between two samples, for the duration of the test; no event signals a sample.
                std::thread::sleep(Duration::from_millis(15));
            }
            seen
        });
        Self { stop, thread }
    }

    fn end(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a watch that did not panic")
    }
}

fn look_at_processes(seen: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        for file in ["cmdline", "environ"] {
            // Most processes that cannot be read have just ended.
            let Ok(bytes) = std::fs::read(entry.path().join(file)) else { continue };
            let text = String::from_utf8_lossy(&bytes);
            if text.contains(CANARY) {
                let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                let where_ = format!("{file} of {}", name.trim());
                seen.extend(in_words(&where_, &text));
            }
        }
    }
}

/// Returns every canary in a text, with the place of the text.
fn in_words(place: &str, text: &str) -> Vec<String> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    let found = text.match_indices(CANARY).map(|(at, _)| text[at..].split(ends).next().unwrap_or_default());
    found.map(|word| format!("{place}: {word}")).collect()
}

async fn in_objects(site: &Site) -> Vec<String> {
    let mut seen = Vec::new();
    seen.extend(in_kind::<ManagedNode>(site.api()).await);
    seen.extend(in_kind::<Baseline>(site.api()).await);
    seen.extend(in_kind::<UpdateRun>(site.api()).await);
    seen.extend(in_kind::<NodeUpdate>(site.api()).await);
    seen.extend(in_kind::<NodeInventory>(site.api()).await);
    let events: Api<Event> = Api::namespaced(site.client.clone(), &site.name);
    let events = events.list(&ListParams::default()).await.expect("events");
    assert!(!events.items.is_empty());
    seen.extend(in_words("an event", &serde_json::to_string(&events).expect("JSON")));
    seen
}

async fn in_kind<K: Kind>(api: Api<K>) -> Vec<String> {
    let list = api.list(&ListParams::default()).await.expect("objects");
    assert!(!list.items.is_empty(), "no {}", K::plural(&()));
    in_words(&K::plural(&()), &serde_json::to_string(&list).expect("JSON"))
}

/// Searches all files below a directory.
fn in_files(dir: &Path, seen: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("a kind of file");
        if kind.is_dir() {
            in_files(&path, seen);
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).unwrap_or_default();
            seen.extend(in_words(&path.display().to_string(), &String::from_utf8_lossy(&bytes)));
        }
    }
}
