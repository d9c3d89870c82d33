//! The Lease of a machine on a real API server: who gets it, and what becomes of it.

use crate::server::{Server, server};
use farrier::api::ManagedNode;
use farrier::machine_lease::{Held, Lost, MachineLease, Taking};
use farrier_update::ownership::Owner;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::conditions::is_deleted;
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::time::Duration;

/// Name of the Lease.
const NAME: &str = "managednode-db";

/// How long a Lease is valid in these tests: it is renewed every second.
const DURATION: Duration = Duration::from_secs(15);

/// Timeout for each wait, also on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

fn leases(server: &Server) -> Api<Lease> {
    Api::namespaced(server.client.clone(), &server.namespace)
}

async fn machine(server: &Server) -> ManagedNode {
    let node = json!({
        "metadata": {"name": "db"},
        "spec": {"type": "Linux", "addresses": ["192.0.2.1"], "credentialsRef": {"name": "db"}},
    });
    let api: Api<ManagedNode> = Api::namespaced(server.client.clone(), &server.namespace);
    let node = serde_json::from_value(node).expect("a ManagedNode");
    api.create(&PostParams::default(), &node).await.expect("an accepted ManagedNode")
}

fn worker(installation: &str, runner: &str, session: &str) -> Owner {
    Owner {
        installation: installation.into(),
        runner: runner.into(),
        process: format!("process-of-{runner}"),
        update: format!("{session}-db"),
        session: session.into(),
        left: false,
    }
}

fn lease(server: &Server, machine: &ManagedNode, owner: Owner) -> MachineLease {
    MachineLease::new(&server.client, machine, owner, DURATION)
}

/// Tries to take the Lease while every other runner is alive.
async fn held(lease: &MachineLease) -> Result<Held, String> {
    match lease.attempt(|_| false).await.expect("an answer") {
        Taking::Held(held) => Ok(held),
        Taking::Other(occupant) => Err(occupant.holder),
    }
}

/// Two runs would work on one machine; or a machine on which nobody works would have a Lease for ever.
#[tokio::test]
async fn one_worker_holds_the_lease_of_a_machine_and_deletes_it_at_the_end() {
    server(async |server| {
        let machine = machine(server).await;
        let first = held(&lease(server, &machine, worker("tools", "a", "r1"))).await.expect("a free machine");
        let made = leases(server).get(NAME).await.expect("a Lease");
        assert_eq!(made.spec.clone().unwrap().holder_identity.as_deref(), Some("farrier/tools/a/r1-db"));
        assert_eq!(made.owner_references()[0].uid, machine.uid().unwrap(), "it goes with the machine");
        let second = lease(server, &machine, worker("tools", "b", "r2"));
        assert_eq!(held(&second).await.unwrap_err(), "farrier/tools/a/r1-db");
        first.release(false).await;
        assert_eq!(leases(server).get_opt(NAME).await.expect("an answer"), None);
        held(&second).await.expect("it is free").release(false).await;
        assert_eq!(leases(server).get_opt(NAME).await.expect("an answer"), None);
    })
    .await;
}

/// A tool would be let onto a machine on which something of Farrier's may still be at work; or the next run would
/// wait for what it is there to clean.
#[tokio::test]
async fn the_lease_of_a_machine_that_is_not_clean_stays_for_others() {
    server(async |server| {
        let machine = machine(server).await;
        held(&lease(server, &machine, worker("tools", "a", "r1")))
            .await
            .expect("it is free")
            .release(true)
            .await;
        let other = lease(server, &machine, worker("others", "a", "r1"));
        assert_eq!(held(&other).await.unwrap_err(), "farrier/tools/a/r1-db");
        let next = held(&lease(server, &machine, worker("tools", "b", "r2"))).await.expect("ours at once");
        let spec = leases(server).get(NAME).await.expect("a Lease").spec.unwrap();
        assert_eq!(spec.lease_transitions, Some(1));
        next.release(false).await;
        assert_eq!(leases(server).get_opt(NAME).await.expect("an answer"), None);
    })
    .await;
}

/// Farrier would go on beside a tool that has taken the machine, or delete that tool's Lease, or give up a machine
/// because a user has put a label on its Lease.
#[tokio::test]
async fn a_stolen_lease_is_lost_and_an_edited_or_deleted_one_is_kept() {
    server(async |server| {
        let machine = machine(server).await;
        let api = leases(server);
        let held = held(&lease(server, &machine, worker("tools", "a", "r1"))).await.expect("it is free");
        let patch = async |patch: serde_json::Value| {
            api.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await.expect("a patched Lease")
        };
        let renewed = async |since: &Lease| {
            let version = since.resource_version();
            let is_newer =
                |lease: Option<&Lease>| lease.is_some_and(|lease| lease.resource_version() != version);
            let newer = await_condition(api.clone(), NAME, is_newer);
            tokio::time::timeout(LIMIT, newer).await.expect("a renewal").expect("a watch").expect("a Lease")
        };
        let edited = patch(json!({"metadata": {"labels": {"by": "hand"}}})).await;
        assert_eq!(renewed(&edited).await.labels()["by"], "hand", "what others write stays");
        api.delete(NAME, &DeleteParams::default()).await.expect("a deleted Lease");
        let again = renewed(&edited).await;
        assert_ne!(again.uid(), edited.uid(), "it is made again");
        assert_eq!(held.lost(), None);
        patch(json!({"spec": {"holderIdentity": "thief"}})).await;
        let mut losing = held.losing();
        let lost = tokio::time::timeout(LIMIT, losing.wait_for(Option::is_some)).await.expect("a loss");
        let lost = lost.expect("a holder").clone();
        assert_eq!(lost, Some(Lost::Taken { holder: "thief".into(), by_successor: false }));
        held.release(false).await;
        let spec = api.get(NAME).await.expect("the thief's Lease").spec.unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("thief"));
    })
    .await;
}

/// When a namespace with a run in it is deleted, no Lease can be created: its machines would never be cleaned.
#[tokio::test]
async fn machines_are_cleaned_without_a_lease_while_their_namespace_is_deleted() {
    server(async |server| {
        let machine = machine(server).await;
        let kept: Api<ConfigMap> = Api::namespaced(server.client.clone(), &server.namespace);
        let kept_back = json!({"metadata": {"name": "kept", "finalizers": ["farrier.dev/test"]}});
        let kept_back = serde_json::from_value(kept_back).expect("a ConfigMap");
        kept.create(&PostParams::default(), &kept_back).await.expect("a ConfigMap");
        let lease = lease(server, &machine, worker("tools", "a", "r1"));
        let before = held(&lease).await.expect("it is free");
        let uid = leases(server).get(NAME).await.expect("a Lease").uid().expect("a UID");
        let namespaces: Api<Namespace> = Api::all(server.client.clone());
        namespaces.delete(&server.namespace, &DeleteParams::default()).await.expect("deleted");
        let gone = Box::pin(await_condition(leases(server), NAME, is_deleted(&uid)));
        tokio::time::timeout(LIMIT, gone).await.expect("the Lease goes").expect("a watch");
        let cleaning = held(&lease).await.expect("nobody else can have it");
        tokio::time::timeout(LIMIT, cleaning.release(false)).await.expect("nothing is to be deleted");
        tokio::time::timeout(LIMIT, before.release(false)).await.expect("nothing is to be deleted");
        let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        kept.patch("kept", &PatchParams::default(), &free).await.expect("a ConfigMap without finalizer");
    })
    .await;
}
