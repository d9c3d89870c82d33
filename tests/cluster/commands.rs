//! The commands for people, typed as a user types them.

use crate::samples::Table;
use crate::schema::Definition;
use crate::server::{Server, both, server};
use crate::startup::farrier;
use serde_json::{Value, json};

/// Types a command, and returns its exit code and everything that it printed.
async fn typed(server: &Server, line: &str) -> (i32, String) {
    let kubeconfig = std::env::var("KUBECONFIG").expect("KUBECONFIG");
    let mut arguments: Vec<&str> = line.split(' ').collect();
    arguments.extend(["-n", &server.namespace, "--kubeconfig", &kubeconfig]);
    let output = farrier(&arguments).output().await.expect("farrier");
    (output.status.code().expect("an exit code"), both(&output))
}

/// Types a command that must succeed.
async fn works(server: &Server, line: &str) -> String {
    let (code, said) = typed(server, line).await;
    assert_eq!(code, 0, "{line}: {said}");
    said
}

/// Types a command that must fail and say these words.
async fn fails(server: &Server, line: &str, words: &str) {
    let (code, said) = typed(server, line).await;
    assert!(code == 1 && said.starts_with("error: ") && said.contains(words), "{line}: {code}: {said}");
}

async fn field(server: &Server, run: &str, path: &str) -> String {
    let path = format!("jsonpath={{{path}}}");
    server.kubectl(&["get", "updaterun", run, "-o", &path], None).await.expect("a run")
}

/// Makes a run, and gives it a status as the operator does.
async fn run(server: &Server, name: &str, strategy: Value) -> Value {
    let mut object = Table::of("UpdateRun").base;
    object["metadata"] = json!({"name": name});
    object["spec"]["strategy"] = strategy;
    server.create(&Definition::of("UpdateRun"), &object, false).await.expect("a run")
}

async fn shows(server: &Server, object: &mut Value, status: Value) {
    object["status"] = status;
    let definition = Definition::of("UpdateRun");
    let path = object["metadata"]["name"].as_str().expect("a name").to_owned();
    object["metadata"] =
        json!({"name": path, "resourceVersion": field(server, &path, ".metadata.resourceVersion").await});
    server.replace_status(&definition, object, false).await.expect("a status");
}

fn succeeded(status: &str, reason: &str) -> Value {
    json!({"type": "Succeeded", "status": status, "reason": reason, "message": "as the operator says",
        "lastTransitionTime": "2026-06-01T10:00:00Z"})
}

/// People could not stop a run in an emergency, or would go on with one that was stopped for good.
#[tokio::test]
async fn a_run_is_paused_resumed_and_cancelled_by_typing_it() {
    server(async |server| {
        run(server, "spring", json!({})).await;
        fails(server, "pause autumn", "there is no UpdateRun autumn in the namespace").await;
        assert!(works(server, "pause spring --dry-run=client").await.ends_with("paused (dry run)\n"));
        assert!(works(server, "pause spring --dry-run=server").await.ends_with("paused (server dry run)\n"));
        assert_eq!(field(server, "spring", ".spec.desiredState").await, "Run");
        assert_eq!(works(server, "pause spring").await, "updaterun.farrier.dev/spring paused\n");
        assert_eq!(works(server, "pause spring").await, "updaterun.farrier.dev/spring paused already\n");
        assert_eq!(field(server, "spring", ".spec.desiredState").await, "Pause");
        assert_eq!(works(server, "resume spring").await, "updaterun.farrier.dev/spring resumed\n");
        assert_eq!(field(server, "spring", ".spec.desiredState").await, "Run");
        works(server, "cancel spring").await;
        assert_eq!(field(server, "spring", ".spec.desiredState").await, "Cancel");
        fails(server, "resume spring", "is being cancelled, which is final").await;
        assert_eq!(typed(server, "pause").await.0, 2);
    })
    .await;
}

/// Nobody could carry out a plan without writing a patch, or one that is paused would go on unseen.
#[tokio::test]
async fn a_run_that_is_planned_is_started_by_typing_it() {
    server(async |server| {
        let mut object = Table::of("UpdateRun").base;
        object["metadata"] = json!({"name": "spring"});
        object["spec"]["desiredState"] = json!("Plan");
        let mut object = server.create(&Definition::of("UpdateRun"), &object, false).await.expect("a run");
        let planned = json!({"type": "Planned", "status": "True", "reason": "PlanOnly", "message": "planned",
            "lastTransitionTime": "2026-06-01T10:00:00Z"});
        shows(server, &mut object, json!({"conditions": [planned]})).await;
        let next = format!("Next: farrier start spring -n {}", server.namespace);
        let said = works(server, "status spring --watch").await;
        assert!(said.contains("planned (PlanOnly)"), "it ends by itself: {said}");
        let said = works(server, "status spring").await;
        assert!(said.contains(&next), "{said}");
        fails(server, "resume spring", "was never started; start it with farrier start spring").await;
        fails(server, "pause spring", "is only planned").await;
        assert_eq!(works(server, "start spring").await, "updaterun.farrier.dev/spring started\n");
        assert_eq!(works(server, "start spring").await, "updaterun.farrier.dev/spring started already\n");
        assert_eq!(field(server, "spring", ".spec.desiredState").await, "Run");
        works(server, "pause spring").await;
        fails(server, "start spring", "is paused; let it go on with farrier resume spring").await;
    })
    .await;
}

/// An approval could be for another plan than the one that was seen, or take back those of other stages.
#[tokio::test]
async fn a_stage_is_approved_for_the_plan_that_was_seen() {
    server(async |server| {
        let stages = json!({"stages": [{"name": "a", "count": 1, "approval": "Manual"}, {"name": "b", "approval": "Manual"}]});
        let mut object = run(server, "spring", stages).await;
        fails(server, "approve spring", "has no stages, so nothing waits for an approval").await;
        let stage = |name: &str, state: &str| {
            json!({"name": name, "nodes": 1, "state": state, "succeeded": 0, "failed": 0, "unreachable": 0})
        };
        let status = |a: &str, b: &str| {
            json!({"planDigest": "sha256:aa", "nodes": ["db-1", "db-2"], "stages": [stage("a", a), stage("b", b)]})
        };
        shows(server, &mut object, status("Finished", "Waiting")).await;
        fails(server, "approve spring", "no stage of UpdateRun spring waits for an approval: a is Finished, b is Waiting").await;
        fails(server, "approve spring b", "stage b of UpdateRun spring does not wait for an approval: it is Waiting").await;
        fails(server, "approve spring c", "has no stage c; its stages are a, b").await;
        let annotate = ["annotate", "updaterun", "spring", "farrier.dev/approve=a@sha256:aa"];
        server.kubectl(&annotate, None).await.expect("an annotation");
        shows(server, &mut object, status("Finished", "AwaitingApproval")).await;
        fails(server, "approve spring b --plan sha256:bb", "the plan of UpdateRun spring is sha256:aa now").await;
        let said = works(server, "approve spring").await;
        assert_eq!(
            said,
            "stage b of UpdateRun spring: 1 machine, plan sha256:aa\n  no plan yet on 1 machine\nupdaterun.farrier.dev/spring approved for stage b\n"
        );
        let annotation = r".metadata.annotations.farrier\.dev/approve";
        assert_eq!(field(server, "spring", annotation).await, "a@sha256:aa,b@sha256:aa");
    })
    .await;
}

/// Scripts decide by the exit code and by the JSON.
#[tokio::test]
async fn the_status_of_a_run_is_for_people_and_for_scripts() {
    server(async |server| {
        let mut object = run(server, "spring", json!({})).await;
        fails(server, "status autumn", "there is no UpdateRun autumn in the namespace").await;
        assert_eq!(works(server, "status spring -o name").await, "updaterun.farrier.dev/spring\n");
        let seen: Value = serde_json::from_str(&works(server, "status spring -o json").await).expect("JSON");
        assert_eq!((&seen["run"], &seen["state"]), (&json!("spring"), &json!("Pending")));
        let counts = json!({"total": 3, "succeeded": 2, "failed": 1});
        let status = json!({"counts": counts, "conditions": [succeeded("False", "SomeFailed")]});
        shows(server, &mut object, status).await;
        let said = works(server, "status spring").await;
        let next = format!("Next: farrier retry spring -n {}", server.namespace);
        assert!(said.contains("failed (SomeFailed): as the operator says") && said.contains(&next), "{said}");
        let (code, said) = typed(server, "status spring --watch").await;
        assert!(code == 1 && said.contains("error: UpdateRun spring has failed (SomeFailed)"), "{said}");

        let said = works(server, "retry spring").await;
        assert!(said.contains("It updates the 1 machine of UpdateRun spring that did not succeed."), "{said}");
        assert_eq!(field(server, "spring-retry", ".spec.retryOf.name").await, "spring");
        assert_eq!(field(server, "spring-retry", ".spec.selector").await, "");
        fails(server, "retry spring", "choose another name with --name").await;
        works(server, "retry spring-retry --dry-run=server").await;

        let status = json!({"counts": {"total": 3, "succeeded": 3}, "conditions": [succeeded("True", "AllSucceeded")]});
        shows(server, &mut object, status).await;
        let said = works(server, "status spring -w").await;
        assert!(said.contains("UpdateRun spring: succeeded (AllSucceeded)"), "{said}");
        fails(server, "retry spring", "there is nothing to retry").await;
        fails(server, "pause spring", "has ended (AllSucceeded)").await;
    })
    .await;
}

/// Somebody who is woken at night asks about one object, and would get no answer or that of another one.
#[tokio::test]
async fn objects_say_why_they_are_as_they_are() {
    server(async |server| {
        run(server, "spring", json!({})).await;
        let said = works(server, "why ur/spring").await;
        assert!(
            said.starts_with("UpdateRun spring in namespace ") && said.contains(" is pending since 2"),
            "{said}"
        );
        let mut machine = Table::of("ManagedNode").base;
        machine["metadata"] = json!({"name": "db-1"});
        server.create(&Definition::of("ManagedNode"), &machine, false).await.expect("a machine");
        let said = works(server, "why managednode.farrier.dev/db-1").await;
        assert!(said.contains("was never connected to. No run has this machine at present"), "{said}");
        for (name, node) in [("spring-db-1", "db-1"), ("spring-db-2", "db-2")] {
            let mut update = Table::of("NodeUpdate").base;
            update["metadata"] = json!({"name": name});
            update["spec"]["runRef"] = json!({"name": "spring"});
            update["spec"]["nodeRef"] = json!({"name": node});
            server.create(&Definition::of("NodeUpdate"), &update, false).await.expect("a NodeUpdate");
        }
        let said = works(server, "why mn/db-1").await;
        let next = format!("Next: farrier why nodeupdate/spring-db-1 -n {}", server.namespace);
        assert!(said.contains("Run spring is about to work on it.") && said.contains(&next), "{said}");
        let said = works(server, "why nodeupdate/spring-db-1").await;
        assert!(
            said.starts_with("NodeUpdate spring-db-1 (machine db-1, run spring) waits for runner"),
            "{said}"
        );
        fails(server, "why nu/spring-db-9", "there is no NodeUpdate spring-db-9 in the namespace").await;
        assert_eq!(typed(server, "why pod/spring").await.0, 2);
    })
    .await;
}

/// Machines of another rack or team would be shown, or none at all.
#[tokio::test]
async fn machines_are_listed_by_label_and_namespace() {
    server(async |server| {
        assert!(works(server, "nodes").await.starts_with("no ManagedNodes in namespace "));
        let mut object = Table::of("ManagedNode").base;
        for (name, rack) in [("db-1", "r1"), ("db-2", "r2")] {
            object["metadata"] = json!({"name": name, "labels": {"rack": rack}});
            server.create(&Definition::of("ManagedNode"), &object, false).await.expect("a machine");
        }
        let all = "managednode.farrier.dev/db-1\nmanagednode.farrier.dev/db-2\n";
        assert_eq!(works(server, "nodes -o name").await, all);
        assert_eq!(works(server, "nodes -o name -l rack=r2").await, "managednode.farrier.dev/db-2\n");
        let seen: Value = serde_json::from_str(&works(server, "nodes -o json").await).expect("JSON");
        assert_eq!((&seen[1]["name"], &seen[1]["reachable"]), (&json!("db-2"), &json!("Unknown")));
        let (code, said) = typed(server, "nodes -A").await;
        assert!(code == 2 && said.contains("cannot be used with"), "{said}");
    })
    .await;
}
