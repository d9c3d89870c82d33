//! Replicas on a real API server: which replica holds a Lease, and which replicas see each other.

use crate::server::{Server, server};
use farrier::lease::{Hold, LeaseConfig, LeaseDurations, LeaseManager, LeaseState};
use farrier::membership::{MembershipWatcher, RunnerInfo, RunnerLocation, claim};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::conditions::is_deleted;
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Lease duration. It is short to keep the tests short; all other durations derive from it.
const SECONDS: u16 = 3;

/// Timeout for each wait, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

fn info() -> RunnerInfo {
    RunnerInfo {
        version: "0.1.0".into(),
        location: RunnerLocation::Host { id: "test".into(), addresses: vec![] },
    }
}

/// Returns the configuration of a runner that competes for one Lease.
fn to_lead(server: &Server, runner: &str) -> LeaseConfig {
    LeaseConfig { name: "farrier-leader".into(), ..claim(&server.namespace, runner, &info()) }
}

async fn soon(what: &str, happens: impl Future<Output = ()>) {
    tokio::time::timeout(LIMIT, happens).await.unwrap_or_else(|_| panic!("waited for: {what}"));
}

fn keep(server: &Server, claim: LeaseConfig) -> (Hold, CancellationToken, JoinSet<()>) {
    let (keeper, hold) = LeaseManager::new(&server.client, claim, LeaseDurations::new(SECONDS));
    let stop = CancellationToken::new();
    let mut task = JoinSet::new();
    task.spawn(keeper.run(stop.clone()));
    (hold, stop, task)
}

/// Two replicas must never lead at the same time, and one must take over after the leader has died.
#[tokio::test]
async fn one_of_two_holds_a_lease_and_the_other_takes_it_over_after_silence() {
    server(async |server| {
        let (a, _stop, mut task) = keep(server, to_lead(server, "a"));
        soon("a to hold it", a.gained()).await;
        let (b, _stop, _task) = keep(server, to_lead(server, "b"));
        tokio::time::timeout(Duration::from_secs(u64::from(SECONDS) * 2), b.gained())
            .await
            .expect_err("b took it from a, who renews it");
        assert!(a.is_held() && !b.is_held());
        let silent = Instant::now();
        task.shutdown().await;
        // The manager is gone: only the clock ends the hold.
        soon("b to take it over", b.gained()).await;
        assert!(!a.is_held(), "both hold it");
        assert!(silent.elapsed() > Duration::from_secs(1), "it was taken after {:?}", silent.elapsed());
    })
    .await;
}

/// If a Lease were not released, every upgrade would stop the work for a quarter of a minute.
#[tokio::test]
async fn a_released_lease_is_deleted_at_once() {
    server(async |server| {
        let (a, stop, mut task) = keep(server, to_lead(server, "a"));
        soon("a to hold it", a.gained()).await;
        stop.cancel();
        soon("a to end", async { while task.join_next().await.is_some() {} }).await;
        assert!(!a.is_held());
        let api: Api<Lease> = Api::namespaced(server.client.clone(), &server.namespace);
        assert!(api.get_opt("farrier-leader").await.expect("an answer").is_none());
        let (mut b, _) =
            LeaseManager::new(&server.client, to_lead(server, "b"), LeaseDurations::new(SECONDS));
        assert_eq!(b.attempt().await.expect("an answer"), LeaseState::Held);
    })
    .await;
}

/// A label that a user adds to a Lease must not depose the leader.
#[tokio::test]
async fn an_edited_lease_is_kept_and_a_stolen_lease_is_lost() {
    server(async |server| {
        let (mut a, hold) =
            LeaseManager::new(&server.client, to_lead(server, "a"), LeaseDurations::new(SECONDS));
        assert_eq!(a.attempt().await.expect("an answer"), LeaseState::Held);
        let api: Api<Lease> = Api::namespaced(server.client.clone(), &server.namespace);
        let patch = async |patch| {
            let patch = Patch::Merge(patch);
            api.patch("farrier-leader", &PatchParams::default(), &patch).await.expect("a patched Lease")
        };
        patch(json!({"metadata": {"labels": {"by": "hand"}}})).await;
        assert_eq!(a.attempt().await.expect("an answer"), LeaseState::Held);
        let kept = api.get("farrier-leader").await.expect("the Lease");
        assert_eq!(kept.metadata.labels.expect("labels")["by"], "hand", "what others write stays");
        patch(json!({"spec": {"holderIdentity": "b_1"}})).await;
        assert_eq!(a.attempt().await.expect("an answer"), LeaseState::Other { holder: "b_1".into() });
        assert!(!hold.is_held());
        soon("a to know", hold.lost()).await;
    })
    .await;
}

/// When a namespace with a run in it is deleted, its Leases go first and cannot be created again. If
/// the holder stopped then, no runner would clean up, and the namespace could never be deleted.
#[tokio::test]
async fn a_lease_is_held_while_its_namespace_is_deleted() {
    server(async |server| {
        let kept: Api<ConfigMap> = Api::namespaced(server.client.clone(), &server.namespace);
        let kept_back = json!({"metadata": {"name": "kept", "finalizers": ["farrier.dev/test"]}});
        let kept_back = serde_json::from_value(kept_back).expect("a ConfigMap");
        kept.create(&PostParams::default(), &kept_back).await.expect("a ConfigMap");
        let (hold, _stop, _task) = keep(server, to_lead(server, "a"));
        soon("a to hold it", hold.gained()).await;
        let leases: Api<Lease> = Api::namespaced(server.client.clone(), &server.namespace);
        let uid = leases.get("farrier-leader").await.expect("the Lease").uid().expect("a UID");
        let namespaces: Api<Namespace> = Api::all(server.client.clone());
        namespaces.delete(&server.namespace, &DeleteParams::default()).await.expect("deleted");
        let gone = Box::pin(await_condition(leases, "farrier-leader", is_deleted(&uid)));
        soon("the Lease to go", async { drop(gone.await.expect("a watch")) }).await;
        let twice = Duration::from_secs(u64::from(SECONDS) * 2);
        tokio::time::timeout(twice, hold.lost()).await.expect_err("a has lost it, and nobody has it");
        let (mut other, _) =
            LeaseManager::new(&server.client, to_lead(server, "b"), LeaseDurations::new(SECONDS));
        other.attempt().await.expect_err("nobody else gets it");
        let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        kept.patch("kept", &PatchParams::default(), &free).await.expect("a ConfigMap without finalizer");
    })
    .await;
}

/// A process that was killed must not delay its successor on the same host.
#[tokio::test]
async fn a_holder_known_to_have_ended_is_replaced_at_once() {
    server(async |server| {
        let (mut first, _) =
            LeaseManager::new(&server.client, to_lead(server, "a"), LeaseDurations::new(SECONDS));
        assert_eq!(first.attempt().await.expect("an answer"), LeaseState::Held);
        let (mut second, _) =
            LeaseManager::new(&server.client, to_lead(server, "a"), LeaseDurations::new(SECONDS));
        let state = second.attempt().await.expect("an answer");
        assert!(matches!(state, LeaseState::Other { .. }), "the first one is alive: {state:?}");
        // Simulates an earlier process with the same process ID.
        let api: Api<Lease> = Api::namespaced(server.client.clone(), &server.namespace);
        let lease = api.get("farrier-leader").await.expect("the Lease");
        let mut process: serde_json::Value =
            serde_json::from_str(&lease.metadata.annotations.expect("annotations")["farrier.dev/process"])
                .expect("JSON");
        process["began"] = json!(1);
        let patch = json!({"metadata": {"annotations": {"farrier.dev/process": process.to_string()}}});
        api.patch("farrier-leader", &PatchParams::default(), &Patch::Merge(&patch)).await.expect("a Lease");
        assert_eq!(second.attempt().await.expect("an answer"), LeaseState::Held);
    })
    .await;
}

/// Work must not be assigned to a runner that is gone, and must be assigned to a runner that is there.
#[tokio::test]
async fn runners_see_each_other_come_and_go() {
    server(async |server| {
        let (mut lookout, members) =
            MembershipWatcher::new(&server.client, &server.namespace, LeaseDurations::new(SECONDS));
        let (a, _stop, mut silent) = keep(server, claim(&server.namespace, "a", &info()));
        let (b, leave, _task) = keep(server, claim(&server.namespace, "b", &info()));
        soon("both to be there", async {
            a.gained().await;
            b.gained().await;
        })
        .await;
        lookout.look().await.expect("an answer");
        let names = |members: &farrier::membership::Membership| -> Vec<String> {
            members.live().keys().cloned().collect()
        };
        assert_eq!(names(&members), ["a", "b"]);
        assert_eq!(members.live()["a"], info());
        leave.cancel();
        silent.shutdown().await;
        let mut lookouts = JoinSet::new();
        let (_, nobody_leads) =
            LeaseManager::new(&server.client, to_lead(server, "c"), LeaseDurations::new(SECONDS));
        lookouts.spawn(lookout.run(nobody_leads));
        let mut changes = members.clone();
        soon("b, who said so, and a, who is silent, to be gone", async {
            while !names(&changes).is_empty() {
                changes.changed().await;
            }
        })
        .await;
    })
    .await;
}

/// The Leases of killed pods must not pile up, and the Leases of live pods must stay.
#[tokio::test]
async fn the_leader_deletes_the_leases_of_killed_runners() {
    server(async |server| {
        let short = LeaseDurations::new(1);
        let (mut killed, _) =
            LeaseManager::new(&server.client, claim(&server.namespace, "killed", &info()), short);
        assert_eq!(killed.attempt().await.expect("an answer"), LeaseState::Held);
        let (alive, _stop, _task) = keep(server, claim(&server.namespace, "alive", &info()));
        let (leads, _stop, _task) = keep(server, to_lead(server, "alive"));
        soon("the live one to lead", leads.gained()).await;
        let (lookout, members) = MembershipWatcher::new(&server.client, &server.namespace, short);
        let mut lookouts = JoinSet::new();
        lookouts.spawn(lookout.run(leads));
        let api: Api<Lease> = Api::namespaced(server.client.clone(), &server.namespace);
        let uid = api.get("farrier-runner-killed").await.expect("the Lease").uid().expect("its UID");
        let is_gone = is_deleted(&uid);
        let gone = await_condition(api.clone(), "farrier-runner-killed", is_gone);
        let gone = Box::pin(async { drop(gone.await.expect("a watch")) });
        soon("the Lease to be deleted", gone).await;
        assert!(api.get_opt("farrier-runner-alive").await.expect("an answer").is_some());
        assert!(alive.is_held() && members.live().contains_key("alive"));
        assert!(members.is_gone("killed"));
    })
    .await;
}
