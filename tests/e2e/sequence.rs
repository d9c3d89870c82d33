//! The order of a run's machines, and partners.

use crate::harness::payload::merge;
use crate::harness::run::to;
use crate::harness::{Conditions, e2e};
use farrier::api::NodeUpdate;
use kube::ResourceExt;
use serde_json::json;

/// Both halves of a pair would be worked on at the same time, by two runs that know nothing of each other; or
/// what depends on a failed device would be updated all the same.
#[test]
fn partners_are_updated_one_after_the_other_and_nothing_follows_a_failure() {
    e2e("pair", async |site| {
        let dependent = site.machine("a").spec(json!({"managedBy": {"name": "d"}})).up().await;
        let left = site.machine("b").up().await;
        let right = site.machine("c").spec(json!({"partners": ["b"]})).up().await;
        let other_key = json!({"ssh": {"hostKeys": [left.host_key]}});
        site.machine("d").spec(other_key).up().await;
        site.baseline("spring", &[site.held()]).await;
        let of = |names: &[&str]| {
            let mut spec = to("spring");
            let selector = json!({"matchExpressions": [{"key": "name", "operator": "In", "values": names}]});
            merge(&mut spec, json!({"selector": selector}));
            spec
        };
        let run = site.run("r1", of(&["a", "b", "d"])).await;
        left.is_slow().await;
        let other = site.run("r2", of(&["c"])).await;
        let waits = other.until("the partner's wait", |r| r.reason("Progressing") == "PartnerAtWork").await;
        let status = waits.status.expect("a status");
        assert!(status.waiting[0].message.starts_with("run r1 is working on its partner b"), "{status:?}");
        assert!(status.waiting[0].since.is_some());
        left.release_steps().await;
        right.release_steps().await;
        let ended = run.fails().await.status.expect("a status");
        assert_eq!((ended.counts.succeeded, ended.counts.failed, ended.counts.skipped), (1, 1, 1));
        let failing: Vec<_> = ended.failing.iter().map(|f| (f.node.as_str(), f.reason.as_str())).collect();
        assert_eq!(failing, [("d", "HostKeyChanged"), ("a", "Skipped")]);
        assert!(ended.failing[1].message.starts_with("not begun, because d, which comes before it, failed"));
        let steps: Vec<_> = ended.order.iter().map(|step| step.count).collect();
        assert_eq!(steps, [2, 1]);
        assert_eq!(ended.order[1].nodes[0].after.as_deref(), Some("d"));
        other.succeeds().await;
        let end_of = |update: &NodeUpdate| {
            update.status.as_ref().and_then(|s| s.finished_at.clone()).expect("an end").0
        };
        let begun = other.node("c").await.creation_timestamp().expect("a time").0;
        // The API server's times have whole seconds.
        let first = end_of(&run.node("b").await).as_second();
        assert!(begun.as_second() >= first, "c was begun at {begun}, before b was done");
        let skipped = run.nodes().await.into_iter().any(|update| update.spec.node_ref.name == "a");
        assert!(!skipped, "a skipped machine has a NodeUpdate");
        assert_eq!(dependent.slow_runs(), 0);
    });
}
