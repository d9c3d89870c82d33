//! Unnecessary work is not done: on machines that are current, and for payloads that are already there.

use crate::harness::https::{Answer, Server};
use crate::harness::payload::{self, agent, ethtool};
use crate::harness::run::to;
use crate::harness::{Conditions, e2e, lab, outcome, snapshot};
use serde_json::json;

/// A fleet that is current would be changed, or its payloads would be transferred for nothing.
#[test]
fn nothing_is_done_on_a_machine_that_needs_nothing() {
    e2e("current", async |site| {
        let db = site.machine("db").up().await;
        let before = db.snapshot().await;
        let old = payload::component("ethtool", "1:5.9-1", "Deb", &payload::file("ethtool_5.9"));
        site.baseline("spring", &[old, agent("1.0")]).await;
        let run = site.run("r1", to("spring")).await;
        run.succeeds().await;
        let update = run.node("db").await;
        assert_eq!(update.reason("Succeeded"), "AlreadyCurrent");
        assert_eq!(update.reason("Applied"), "NothingToDo");
        assert_eq!(
            (outcome(&update, "ethtool"), outcome(&update, "farrier-agent")),
            ("UpToDate", "UpToDate")
        );
        before.same_but(&db.snapshot().await, &[snapshot::LOG]);
        let cache = std::fs::read_dir(site.operator.cache()).expect("the cache");
        let names = cache.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        // The logs of machines have a directory beside the payloads.
        let is_payload = |name: &String| !name.starts_with("part-probe") && name != "logs";
        let fetched: Vec<String> = names.filter(is_payload).collect();
        assert!(fetched.is_empty(), "no payload was needed: {fetched:?}");
    });
}

/// A newer version than the baseline's would be replaced without a request, or not replaced despite
/// one.
#[test]
fn a_newer_version_stays_unless_a_downgrade_is_forced() {
    e2e("newer", async |site| {
        let db = site.machine("db").up().await;
        site.baseline("new", &[agent("2.0")]).await;
        site.run("r1", to("new")).await.succeeds().await;
        site.baseline("old", &[agent("1.1")]).await;
        let left_alone = site.run("r2", to("old")).await;
        left_alone.succeeds().await;
        assert_eq!(outcome(&left_alone.node("db").await, "farrier-agent"), "UpToDate");
        assert_eq!(db.sh("farrier-agent").await, "farrier-agent 2.0\n");
        let mut spec = to("old");
        payload::merge(&mut spec, json!({"force": {"downgrade": true}}));
        let forced = site.run("r3", spec).await;
        forced.succeeds().await;
        assert_eq!(outcome(&forced.node("db").await, "farrier-agent"), "Updated");
        assert_eq!(db.sh("farrier-agent").await, "farrier-agent 1.1\n");
    });
}

/// Every machine would request the same bytes from a site's payload server; or a server with a
/// certificate of the site's own authority could not be used.
#[test]
fn a_payload_is_fetched_once_by_https_with_a_private_authority() {
    e2e("https", async |site| {
        let machines = site.machine("web").up_many(4).await;
        let server = Server::start(site).await;
        let file = payload::file("ethtool_6.1");
        let bytes = std::fs::read(lab::image().join("payloads").join(file)).expect("a payload");
        let url = server.at("/ethtool.deb", Answer::Whole(bytes));
        site.secret("repository", &[("ca.crt", &server.ca)]).await;
        let source = json!({"payload": {"url": url, "secretRef": {"name": "repository"}}});
        site.baseline("spring", &[ethtool().with(source)]).await;
        let run = site.run("r1", to("spring")).await;
        run.succeeds().await;
        for machine in &machines {
            assert_eq!(outcome(&run.node(&machine.name).await, "ethtool"), "Updated");
        }
        let mut again = to("spring");
        payload::merge(&mut again, json!({"force": {"rewrite": true}}));
        site.run("r2", again).await.succeeds().await;
        assert_eq!(server.asked("/ethtool.deb"), 1, "four machines, two runs, one download");
    });
}
