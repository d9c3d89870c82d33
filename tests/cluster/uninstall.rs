//! `farrier uninstall`, which the chart's hooks run, on a real API server.

use crate::server::{Server, both, server};
use crate::startup::farrier;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use std::process::Output;

async fn after(server: &Server) -> Output {
    let namespace = &server.namespace;
    let mut command = farrier(&["uninstall", "after", "--namespace", namespace, "--wait", "10"]);
    command.args(["--operator-namespace", namespace, "--deployment", "farrier"]);
    command.env("KUBECONFIG", std::env::var_os("KUBECONFIG").unwrap_or_default());
    command.output().await.expect("farrier uninstall after")
}

/// `helm template` prints hooks among the other objects: a user who applies them all would run the
/// clean-up under the running operator, which would lose its Leases and its finalizers on runs.
#[tokio::test]
async fn nothing_is_cleaned_up_while_the_operator_is_installed() {
    server(async |server| {
        let leases: Api<Lease> = Api::namespaced(server.client.clone(), &server.namespace);
        let lease = json!({"metadata": {"name": "farrier-leader", "labels": {"farrier.dev/part": "leader"}}});
        let lease: Lease = serde_json::from_value(lease).expect("a Lease");
        leases.create(&PostParams::default(), &lease).await.expect("a new Lease");
        let deployments: Api<Deployment> = Api::namespaced(server.client.clone(), &server.namespace);
        let labels = json!({"app": "farrier"});
        let deployment = json!({
            "metadata": {"name": "farrier"},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "none"}]}}},
        });
        let deployment: Deployment = serde_json::from_value(deployment).expect("a Deployment");
        deployments.create(&PostParams::default(), &deployment).await.expect("a new Deployment");

        let refused = after(server).await;
        assert!(!refused.status.success(), "{}", both(&refused));
        assert!(both(&refused).contains("--no-hooks"), "{}", both(&refused));
        assert!(leases.get_opt("farrier-leader").await.expect("an answer").is_some(), "the Lease is gone");

        deployments.delete("farrier", &DeleteParams::background()).await.expect("a deletion");
        let done = after(server).await;
        assert!(done.status.success(), "{}", both(&done));
        assert!(leases.get_opt("farrier-leader").await.expect("an answer").is_none(), "the Lease is there");
    })
    .await;
}
