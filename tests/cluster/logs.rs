//! `farrier logs`: who may read a log, and what the command says where there is none.

use crate::samples::Table;
use crate::schema::Definition;
use crate::server::{Server, both, server, until};
use crate::startup::{Place, farrier};
use farrier::api::LogRequest;
use kube::api::ListParams;
use kube::config::Kubeconfig;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;

/// Logs of a namespace could be read by everyone who may see its objects, or by nobody.
#[tokio::test]
async fn a_log_is_read_by_those_who_may_ask_for_it_and_by_no_one_else() {
    server(async |server| {
        let place = Place::new();
        let uid = node_update(server, "r1-db", &json!({})).await;
        let ann = user(&place, "ann");
        allow(server, "ann", &["nodeupdates"], &["get"]).await;
        let refused = logs(server, &ann, &["r1-db"]).output().await.expect("farrier logs");
        let said = both(&refused);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        let namespace = &server.namespace;
        for words in [
            &format!("error: you may not read logs in the namespace {namespace}: "),
            "User \"ann\" cannot create resource \"logrequests\"",
            "ask for create, watch and delete on logrequests.farrier.dev",
        ] {
            assert!(said.contains(words), "{said}");
        }
        let requests: Api<LogRequest> = Api::namespaced(server.client.clone(), namespace);
        assert_eq!(requests.list(&ListParams::default()).await.expect("requests").items.len(), 0);

        allow(server, "ann", &["logrequests"], &["create", "watch", "delete"]).await;
        let mut command = logs(server, &ann, &["r1-db", "--component", "a", "--follow"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("farrier logs");
        let mut request = None;
        until("there is a request", async || {
            request = requests.list(&ListParams::default()).await.expect("requests").items.pop();
            request.is_some()
        })
        .await;
        let request = request.expect("a request");
        assert_eq!(request.spec.node_update_uid, uid);
        assert_eq!(request.spec.component.as_deref(), Some("a"));
        assert_eq!(request.labels()["farrier.dev/runner"], "farrier-0");
        assert_eq!(request.owner_references()[0].uid, uid);
        // As a runner answers.
        let name = request.name_any();
        answer(server, &name, json!({"from": 0, "offset": 4, "text": "one\n", "kept": true, "atEnd": true}))
            .await;
        answer(server, &name, json!({"from": 4, "offset": 8, "text": "two\n", "complete": true})).await;
        let read = child.wait_with_output().await.expect("its end");
        assert_eq!(
            (read.status.code(), String::from_utf8_lossy(&read.stdout).as_ref()),
            (Some(0), "one\ntwo\n")
        );
        assert_eq!(requests.list(&ListParams::default()).await.expect("requests").items.len(), 0);
    })
    .await;
}

/// Users would not know what to type, or where the log is.
#[tokio::test]
async fn the_command_says_why_there_is_no_log() {
    server(async |server| {
        for name in ["r1-db-01", "r1-db-02"] {
            node_update(server, name, &json!({"logs": "/var/log/farrier/r1"})).await;
        }
        let config = std::env::var_os("KUBECONFIG").expect("KUBECONFIG").into();
        let namespace = &server.namespace;
        for (arguments, words) in [
            (vec!["r2-db"], format!("there is no NodeUpdate r2-db in the namespace {namespace}; see kubectl get nodeupdates -n {namespace}")),
            (vec!["r1-db"], format!("2 NodeUpdates in the namespace {namespace} begin with r1-db: r1-db-01, r1-db-02; write one of these names")),
            (vec!["r1-db-01", "--since", "soon"], "write a span of time, for instance 90s, 10m or 2h".to_owned()),
            (vec!["r1-db-01"], "runner farrier-0, which has the log of NodeUpdate r1-db-01, does not answer; check that the operator runs, and that it may watch logrequests; on the machine db-01 the log is in /var/log/farrier/r1, readable by root".to_owned()),
        ] {
            let output = logs(server, &config, &arguments).output().await.expect("farrier logs");
            let said = both(&output);
            assert!(!output.status.success() && said.contains(&words), "{arguments:?}: {said}");
        }
    })
    .await;
}

/// Returns `farrier logs` with these arguments in the test's namespace.
fn logs(server: &Server, config: &PathBuf, arguments: &[&str]) -> tokio::process::Command {
    let mut command = farrier(&["logs", "--namespace", &server.namespace]);
    command.arg("--kubeconfig").arg(config).args(arguments);
    command
}

/// Creates a NodeUpdate without an operator, and returns its UID.
async fn node_update(server: &Server, name: &str, status: &Value) -> String {
    let definition = Definition::of("NodeUpdate");
    let mut object = Table::of("NodeUpdate").base;
    object["metadata"] = json!({"name": name});
    let made = server.create(&definition, &object, false).await.expect("a NodeUpdate");
    object["metadata"] = made["metadata"].clone();
    object["status"] = status.clone();
    server.replace_status(&definition, &object, false).await.expect("a status");
    made["metadata"]["uid"].as_str().expect("a UID").to_owned()
}

/// Returns a kubeconfig of a user without rights.
fn user(place: &Place, name: &str) -> PathBuf {
    let mut config = Kubeconfig::read().expect("KUBECONFIG");
    for user in config.auth_infos.iter_mut().filter_map(|user| user.auth_info.as_mut()) {
        user.impersonate = Some(name.to_owned());
    }
    let path = place.path(name);
    std::fs::write(&path, serde_json::to_string(&config).expect("JSON")).expect("a file");
    path
}

/// Gives a user rights in the test's namespace.
async fn allow(server: &Server, user: &str, resources: &[&str], verbs: &[&str]) {
    let name = format!("{user}-{}", resources.join("-"));
    let (verbs, resources) = (verbs.join(","), resources.iter().map(|r| format!("{r}.farrier.dev")));
    let resources = resources.collect::<Vec<_>>().join(",");
    let role = ["create", "role", &name, "--verb", &verbs, "--resource", &resources];
    server.kubectl(&role, None).await.expect("a role");
    let binding = ["create", "rolebinding", &name, "--role", &name, "--user", user];
    server.kubectl(&binding, None).await.expect("a binding");
}

/// Writes the status of a request.
async fn answer(server: &Server, name: &str, status: Value) {
    let patch = json!({"status": status}).to_string();
    let patch = ["patch", "logrequest", name, "--subresource=status", "--type=merge", "--patch", &patch];
    server.kubectl(&patch, None).await.expect("a status");
}
