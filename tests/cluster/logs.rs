//! `farrier logs`: who may read a log, and what the command says where there is none.

use crate::samples::Table;
use crate::schema::Definition;
use crate::server::{Server, both, server, until};
use crate::startup::{Place, farrier};
use farrier::api::{LogRequest, LogRequestStatus};
use farrier::controllers::LogRequests;
use futures::StreamExt as _;
use futures::stream::select;
use kube::api::{ListParams, PostParams};
use kube::config::Kubeconfig;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Child;
use tokio::time::Instant;

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
        command.stdout(Stdio::piped()).stderr(std::fs::File::create(place.path("errors")).expect("a file"));
        let child = command.spawn().expect("farrier logs");
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
        let wait = "this one waits for its turn";
        answer(server, &name, json!({"queued": true, "message": wait})).await;
        until("the user is told of the wait", async || {
            let read = std::fs::read_to_string(place.path("errors")).expect("a file");
            read.contains(wait)
        })
        .await;
        let none = json!(null);
        answer(server, &name, json!({"queued": false, "message": none, "from": 0, "offset": 4, "text": "one\n", "kept": true, "atEnd": true}))
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

/// A user of one namespace could read the logs of all others, whose UIDs are in events and on machines.
#[tokio::test]
async fn a_request_reads_no_log_of_another_namespace() {
    server(async |server| {
        let other = format!("{}-too", server.namespace);
        server.kubectl(&["create", "namespace", &other], None).await.expect("a namespace");
        let uid = ended_node_update(server, &server.namespace, "r1-db").await;
        ended_node_update(server, &other, "r1-db").await;
        let operator = Operator::start(server, &[(&uid, "2026-01-01T00:00:00Z - canary\n")]).await;
        let own = request(server, &server.namespace, Some(RUNNER), "r1-db", &uid).await;
        let own = own.until(&operator, |status| !status.text.is_empty()).await;
        assert_eq!((own.text.as_str(), own.complete), ("2026-01-01T00:00:00Z - canary\n", true));
        for name in ["r1-db", "r2-db"] {
            let foreign = request(server, &other, Some(RUNNER), name, &uid).await;
            let foreign = foreign.until(&operator, |status| status.closed || status.at_end).await;
            let message = format!("the namespace {other} has no NodeUpdate {name} with the UID {uid}");
            let refused = LogRequestStatus { closed: true, message: Some(message), ..Default::default() };
            assert_eq!(foreign, refused);
        }
        server.kubectl(&["delete", "namespace", &other, "--wait=false"], None).await.expect("an answer");
    })
    .await;
}

/// A user would be told that the runner is dead, or would wait until the users of another namespace have read
/// their logs.
#[tokio::test]
async fn a_request_that_waits_for_its_turn_is_told_so_and_no_other_namespace_waits() {
    server(async |server| {
        let other = format!("{}-too", server.namespace);
        server.kubectl(&["create", "namespace", &other], None).await.expect("a namespace");
        let uid = ended_node_update(server, &server.namespace, "r1-db").await;
        let other_uid = ended_node_update(server, &other, "r1-db").await;
        let mut expected = BTreeSet::new();
        for _ in 0..30 {
            expected.insert(request(server, &server.namespace, Some(RUNNER), "r1-db", &uid).await.name);
        }
        let late = request(server, &other, Some(RUNNER), "r1-db", &other_uid).await.name;
        expected.insert(late.clone());
        // Several parts.
        let text = format!("2026-01-01T00:00:00Z - {}\n", "x".repeat(100)).repeat(4000);
        let logs = [(uid.as_str(), text.as_str()), (other_uid.as_str(), text.as_str())];
        let ((operator, queued), limit) = (
            tokio::join!(Operator::start(server, &logs), queued_until_complete(server, &other, expected)),
            "runner r answers 16 requests at once, and 12 of one namespace; this one waits for its turn",
        );
        assert!(!queued.is_empty() && !queued.contains_key(&late), "{queued:?} {}", operator.log());
        assert!(queued.values().all(|message| message == limit), "{queued:?}");
        server.kubectl(&["delete", "namespace", &other, "--wait=false"], None).await.expect("an answer");
    })
    .await;
}

/// Requests that nobody answers would stay in the cluster's database for ever.
#[tokio::test]
async fn requests_that_are_left_are_removed_whoever_was_to_answer_them() {
    server(async |server| {
        let uid = ended_node_update(server, &server.namespace, "r1-db").await;
        let gone = request(server, &server.namespace, Some("gone"), "r1-db", &uid).await;
        let nameless = request(server, &server.namespace, None, "r1-db", &uid).await;
        let operator = Operator::start(server, &[]).await;
        let status = nameless.until(&operator, |status| status.closed).await;
        let message = "the label farrier.dev/runner is missing, which names the runner that has the log; farrier logs sets it";
        assert_eq!(status.message.as_deref(), Some(message));
        // As the leader does, by another clock.
        let (mut requests, apis) = (LogRequests::default(), [gone.api.clone()]);
        let begun = Instant::now();
        for (after, left) in [(0, 2), (299, 2), (300, 0)] {
            let now = begun + Duration::from_secs(after);
            requests.sweep(&server.client, &apis, || false, now).await.expect("nothing is done");
            requests.sweep(&server.client, &apis, || true, now).await.expect("a sweep");
            let listed = gone.api.list(&ListParams::default()).await.expect("requests");
            assert_eq!(listed.items.len(), left, "after {after} s");
        }
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

/// Name of the runner that answers.
const RUNNER: &str = "r";

/// An operator that has logs of NodeUpdates.
struct Operator {
    place: Place,
    /// Killed when it is dropped.
    _child: Child,
}

impl Operator {
    /// Starts it with these logs, by UID, and waits until it leads. It works in the test's namespace and in
    /// the one with `-too` after its name.
    async fn start(server: &Server, logs: &[(&str, &str)]) -> Self {
        let place = Place::new();
        let dir = place.path("cache").join("logs");
        std::fs::create_dir_all(&dir).expect("a directory");
        for (uid, text) in logs {
            std::fs::write(dir.join(format!("{uid}.log")), text).expect("a file");
        }
        let namespaces = format!("{0},{0}-too", server.namespace);
        let mut command = place.operator();
        command.env("KUBECONFIG", std::env::var_os("KUBECONFIG").expect("KUBECONFIG"));
        command.args(["--operator-namespace", &server.namespace, "--namespace", &namespaces]);
        command.args(["--runner-name", RUNNER, "--http-addr", "127.0.0.1:0"]);
        let log = std::fs::File::create(place.path("log")).expect("a file");
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let operator = Self { _child: command.spawn().expect("the operator"), place };
        until("it leads", async || operator.log().contains("this replica is the leader")).await;
        operator
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.place.path("log")).unwrap_or_default()
    }
}

/// A request that was made.
struct Request {
    api: Api<LogRequest>,
    name: String,
}

impl Request {
    /// Returns the first status that is as wanted.
    async fn until(&self, operator: &Operator, is: impl Fn(&LogRequestStatus) -> bool) -> LogRequestStatus {
        let mut status = None;
        until(&format!("{} is answered: {}", self.name, operator.log()), async || {
            status = self.api.get(&self.name).await.expect("the request").status;
            status.as_ref().is_some_and(&is)
        })
        .await;
        status.expect("a status")
    }
}

/// Waits until these requests are complete. Returns those that have waited for their turn, and what they were
/// told.
async fn queued_until_complete(
    server: &Server,
    other: &str,
    mut expected: BTreeSet<String>,
) -> BTreeMap<String, String> {
    let watch = |namespace: &str| {
        let api: Api<LogRequest> = Api::namespaced(server.client.clone(), namespace);
        watcher(api, watcher::Config::default()).applied_objects().boxed()
    };
    let mut events = select(watch(&server.namespace), watch(other));
    let mut queued = BTreeMap::new();
    let all = async {
        while !expected.is_empty() {
            let request = events.next().await.expect("an event").expect("a request");
            let status = request.status.clone().unwrap_or_default();
            if status.queued {
                queued.insert(request.name_any(), status.message.unwrap_or_default());
            }
            if status.complete {
                expected.remove(&request.name_any());
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(2), all).await.expect("all requests are answered");
    queued
}

/// Makes a request as `farrier logs` does.
async fn request(
    server: &Server,
    namespace: &str,
    runner: Option<&str>,
    node_update: &str,
    uid: &str,
) -> Request {
    let api: Api<LogRequest> = Api::namespaced(server.client.clone(), namespace);
    let labels = runner.map(|runner| json!({"farrier.dev/runner": runner})).unwrap_or_default();
    let request = json!({
        "metadata": {"generateName": "logs-", "labels": labels},
        "spec": {"nodeUpdateRef": {"name": node_update}, "nodeUpdateUid": uid},
    });
    let request = serde_json::from_value(request).expect("a request");
    let made = api.create(&PostParams::default(), &request).await.expect("a request");
    Request { api, name: made.name_any() }
}

/// Creates a NodeUpdate that has ended, and returns its UID.
async fn ended_node_update(server: &Server, namespace: &str, name: &str) -> String {
    let server = Server { client: server.client.clone(), namespace: namespace.to_owned() };
    let succeeded = json!({
        "type": "Succeeded",
        "status": "True",
        "reason": "Succeeded",
        "message": "it succeeded",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    node_update(&server, name, &json!({"conditions": [succeeded]})).await
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
