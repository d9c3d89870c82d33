//! `farrier ports` with a cluster: it reads machines and runs, and the server accepts its policies.

use crate::server::{Server, both, server};
use crate::startup::farrier;
use serde_json::{Value, json};
use std::process::Output;

/// Runs the command in the test's namespace.
async fn ports(server: &Server, arguments: &[&str]) -> Output {
    let mut command = farrier(&["ports", "--namespace", &server.namespace]);
    command.args(arguments).env("KUBECONFIG", std::env::var_os("KUBECONFIG").unwrap_or_default());
    command.output().await.expect("farrier ports")
}

async fn prints(server: &Server, arguments: &[&str]) -> String {
    let output = ports(server, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", both(&output));
    String::from_utf8(output.stdout).expect("text")
}

async fn refuses(server: &Server, arguments: &[&str]) -> String {
    let output = ports(server, arguments).await;
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", both(&output));
    both(&output)
}

/// Machines and a run, without the fields that only the operator writes.
const FLEET: &str = r#"
apiVersion: farrier.dev/v1alpha1
kind: ManagedNode
metadata: {name: db-01, labels: {rack: r12}}
spec: {type: Linux, addresses: ["10.0.12.7", "fd00:12::7"], credentialsRef: {name: root-key}}
---
apiVersion: farrier.dev/v1alpha1
kind: ManagedNode
metadata: {name: ilo-01, labels: {rack: r12}}
spec: {type: ILO, addresses: ["10.1.0.1"], credentialsRef: {name: root-key}}
---
apiVersion: farrier.dev/v1alpha1
kind: ManagedNode
metadata: {name: web-01, labels: {rack: r13}}
spec: {type: Linux, addresses: ["10.0.13.1"], credentialsRef: {name: root-key}}
---
apiVersion: farrier.dev/v1alpha1
kind: UpdateRun
metadata: {name: spring}
spec: {selector: {matchLabels: {rack: r12}}, baselineRef: {name: spring}, channel: Callback}
"#;

async fn fleet(server: &Server) {
    server.kubectl(&["apply", "-f", "-"], Some(FLEET)).await.expect("the fleet");
}

/// Returns node, direction and port of each row.
fn spoken(text: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(text).expect("JSON");
    let rows = value["rows"].as_array().expect("rows");
    let word = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    rows.iter()
        .filter(|row| row["optional"] == false)
        .map(|row| format!("{} {} {}", word(row, "node"), word(row, "direction"), row["port"]))
        .collect()
}

/// A network team must not open ports that the run does not use, and must open those that it uses.
#[tokio::test]
async fn the_ports_of_a_run_are_its_assigned_ports() {
    server(async |server| {
        fleet(server).await;
        let of_run = ["--run", "spring", "-o", "json"];
        let asked = prints(server, &of_run).await;
        assert!(asked.contains("spring has no ports yet"), "{asked}");
        assert_eq!(
            spoken(&asked),
            [
                "db-01 toMachine 22",
                "db-01 fromMachine 63002",
                "ilo-01 toMachine 22",
                "ilo-01 toMachine 443",
                "ilo-01 fromMachine 63001",
            ]
        );
        let status = json!({"status": {
            "nodes": ["db-01"],
            "callback": {
                "since": "2026-03-01T10:00:00Z",
                "addresses": ["10.0.9.4"],
                "httpsPort": 31002,
                "ports": [{"runner": "farrier-0", "httpPort": 63003, "httpsPort": 63004}],
            },
        }});
        let patch =
            ["patch", "ur", "spring", "--subresource=status", "--type=merge", "-p", &status.to_string()];
        server.kubectl(&patch, None).await.expect("the status");
        let given = prints(server, &of_run).await;
        assert_eq!(spoken(&given), ["db-01 toMachine 22", "db-01 fromMachine 31002"]);
        let policy = prints(server, &["--run", "spring", "-o", "networkpolicy"]).await;
        assert!(
            policy.contains("port: 63004") && !policy.contains("31002"),
            "policies match in the pod: {policy}"
        );
    })
    .await;
}

/// Selects machines by name and by label, and reports machines that do not exist.
#[tokio::test]
async fn machines_are_found_by_name_and_by_label() {
    server(async |server| {
        fleet(server).await;
        let one = prints(server, &["--node", "web-01", "--channel", "Listen", "-o", "json"]).await;
        assert_eq!(spoken(&one), ["web-01 toMachine 22", "web-01 toMachine 62286"]);
        let many = prints(server, &["-l", "rack=r12", "--phase", "Inventory", "-o", "json"]).await;
        assert_eq!(spoken(&many), ["db-01 toMachine 22", "ilo-01 toMachine 22", "ilo-01 toMachine 443"]);
        let said = refuses(server, &["--node", "db-99"]).await;
        assert!(said.contains("no ManagedNode db-99") && said.contains("kubectl get managednodes"), "{said}");
        let said = refuses(server, &["--run", "autumn"]).await;
        assert!(said.contains("no UpdateRun autumn"), "{said}");
        let said = refuses(server, &["-l", "rack=r99"]).await;
        assert!(said.contains("rack=r99") && said.contains("--show-labels"), "{said}");
        let said = refuses(server, &["-l", "rack=="]).await;
        assert!(said.contains("rack=="), "{said}");
    })
    .await;
}

/// The server must accept the policies of every type of machine.
#[tokio::test]
async fn the_server_takes_the_policies_of_every_type() {
    server(async |server| {
        let mut cases = Vec::new();
        for kind in farrier_network::MachineType::ALL {
            for channel in farrier_network::Channel::ALL {
                cases.push((kind.to_string(), "--channel", channel.to_string()));
            }
            for generation in farrier_network::table::Generation::ALL {
                cases.push((kind.to_string(), "--generation", generation.to_string()));
            }
        }
        let mut all = String::new();
        for (n, (kind, option, value)) in cases.iter().enumerate() {
            let arguments = [
                "--type",
                kind,
                option,
                value,
                "--optional",
                "-o",
                "networkpolicy",
                "--address",
                "10.0.0.1",
                "--address",
                "fd00::1",
                "--address",
                "fe80::1%eth0",
                "--address",
                "db-01.example.net",
                "--operator-namespace",
                &server.namespace,
            ];
            let output = ports(server, &arguments).await;
            let text = String::from_utf8(output.stdout).expect("text");
            // All policies have the same name; rename them so that the server checks each one.
            all += &text.replace("name: farrier-ports", &format!("name: case-{n}-ports"));
        }
        let dry = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        let taken = server.kubectl(&dry, Some(&all)).await.unwrap_or_else(|words| panic!("{words}"));
        let policies = taken.lines().filter(|line| line.contains("created (server dry run)")).count();
        assert_eq!(policies, all.matches("kind: NetworkPolicy").count(), "{taken}");
        assert!(policies > 80, "{policies} policies");
        assert!(!taken.contains("Warning"), "{taken}");
    })
    .await;
}

/// The policies of a thousand machines must fit in one request.
#[tokio::test]
async fn the_policy_of_a_large_fleet_is_taken() {
    server(async |server| {
        let node = |n: u32| {
            format!(
                "---\napiVersion: farrier.dev/v1alpha1\nkind: ManagedNode\nmetadata: {{name: n-{n}}}\n\
                 spec: {{type: Linux, channel: Callback, addresses: [\"10.{}.{}.1\"], credentialsRef: {{name: x}}}}\n",
                n / 256,
                n % 256
            )
        };
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("fleet.yaml");
        std::fs::write(&path, (0..5000).map(node).collect::<String>()).expect("a file");
        let file = path.to_str().expect("a path");
        let text = prints(server, &["-f", file, "-o", "networkpolicy"]).await;
        assert_eq!(text.matches("ipBlock").count(), 10_000);
        let dry = ["apply", "--dry-run=server", "--server-side", "-f", "-"];
        let taken = server.kubectl(&dry, Some(&text)).await.unwrap_or_else(|words| panic!("{words}"));
        assert!(taken.contains("farrier-ports"), "{taken}");
    })
    .await;
}
