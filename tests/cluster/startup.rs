//! The operator in environments where it cannot work: it ends, and says what to do.

use crate::server::{both, installed, server, skipped};
use kube::config::Kubeconfig;
use serde_json::json;
use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::Command;

/// Timeout within which the operator must end by itself.
const SOON: Duration = Duration::from_secs(25);

/// The program, without environment variables of the tests that would influence it.
pub(crate) fn farrier(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farrier"));
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("FARRIER_") || name.starts_with("KUBE")) {
            command.env_remove(name);
        }
    }
    command
}

/// A directory with everything that the operator needs except a cluster.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let engines = dir.path().join("engines");
        std::fs::create_dir(&engines).expect("a directory");
        std::fs::write(engines.join("farrier-engine-x86_64-linux"), "an engine").expect("a file");
        Self(dir)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns a command that starts the operator.
    pub(crate) fn operator(&self) -> Command {
        let mut command = farrier(&["operator", "--engines"]);
        command.arg(self.path("engines")).arg("--cache-dir").arg(self.path("cache"));
        command.env("HOME", self.0.path());
        command
    }

    /// Writes a kubeconfig for a server.
    fn kubeconfig(&self, server: &str) -> PathBuf {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": server, "insecure-skip-tls-verify": true}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        });
        let path = self.path("kubeconfig");
        std::fs::write(&path, config.to_string()).expect("a file");
        path
    }
}

/// Waits for the operator to end, which must be soon and with a failure.
async fn ends(mut operator: Command) -> Output {
    let begun = Instant::now();
    let output = tokio::time::timeout(SOON, operator.output()).await;
    let output = output.unwrap_or_else(|_| panic!("it has not ended after {:?}", begun.elapsed()));
    let output = output.expect("the operator");
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    output
}

fn says(output: &Output, wanted: &[&str]) {
    let words = both(output);
    for wanted in wanted {
        assert!(words.contains(wanted), "it does not say {wanted:?}: {words}");
    }
}

/// Runs the operator with the cluster of KUBECONFIG. It must end by itself.
pub(crate) async fn operator_of_the_cluster() -> Output {
    let place = Place::new();
    let mut operator = place.operator();
    operator.env("KUBECONFIG", std::env::var_os("KUBECONFIG").as_deref().unwrap_or(OsStr::new("")));
    ends(operator).await
}

/// Without this error, a user who forgets the CRDs would see an operator that runs and does nothing.
#[tokio::test]
async fn without_the_definitions_the_operator_says_what_to_type() {
    server(async |_| {
        let Some(output) = &installed().without_any else {
            return skipped("the cluster had definitions before the tests. Next: use one that has none");
        };
        says(output, &["farrier.dev", "farrier crd | kubectl apply --server-side -f -"]);
    })
    .await;
}

/// Without this error, an operator would silently wait forever for a kind that an upgrade adds.
#[tokio::test]
async fn with_one_definition_missing_the_operator_names_it() {
    server(async |_| {
        let Some((kind, output)) = &installed().without_one else {
            return skipped("the cluster had definitions before the tests. Next: use one that has none");
        };
        says(output, &[&format!("does not know {kind};"), "farrier crd | kubectl apply --server-side -f -"]);
    })
    .await;
}

/// An operator whose cluster is down must not look as if it were working.
#[tokio::test]
async fn without_a_server_at_the_address_the_operator_says_so() {
    let place = Place::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut operator = place.operator();
    operator.arg("--kubeconfig").arg(place.kubeconfig(&format!("https://127.0.0.1:{port}")));
    says(&ends(operator).await, &["failed to reach the cluster", "Connection refused"]);
}

/// An operator behind a firewall that drops all packets must not hang silently.
#[tokio::test]
async fn with_a_server_that_never_answers_the_operator_gives_up() {
    let place = Place::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut operator = place.operator();
    operator.arg("--kubeconfig").arg(place.kubeconfig(&format!("https://127.0.0.1:{port}")));
    says(&ends(operator).await, &["failed to reach the cluster"]);
}

/// An operator whose token has expired must not blame the network, nor hang.
#[tokio::test]
async fn with_credentials_that_are_refused_the_operator_says_so() {
    server(async |_| {
        let place = Place::new();
        let mut config = Kubeconfig::read().expect("KUBECONFIG");
        for user in &mut config.auth_infos {
            user.auth_info = serde_json::from_value(json!({"token": "expired"})).expect("a user");
        }
        let path = place.path("expired");
        std::fs::write(&path, serde_json::to_string(&config).expect("JSON")).expect("a file");
        let mut operator = place.operator();
        operator.arg("--kubeconfig").arg(path);
        says(&ends(operator).await, &["Unauthorized"]);
    })
    .await;
}

/// If the path of the kubeconfig is mistyped, the operator must not use another cluster, and must name
/// the missing file.
#[tokio::test]
async fn the_operator_names_a_missing_kubeconfig() {
    let place = Place::new();
    let missing = place.path("no-such-file");
    let name = missing.to_str().unwrap();
    let mut operator = place.operator();
    operator.args(["--kubeconfig", name]);
    says(&ends(operator).await, &[name, "--kubeconfig"]);
    let mut operator = place.operator();
    operator.env("KUBECONFIG", name);
    says(&ends(operator).await, &[name, "KUBECONFIG"]);
}

/// If a kubeconfig is truncated, the operator must say so and name the file.
#[tokio::test]
async fn the_operator_names_an_invalid_kubeconfig() {
    let place = Place::new();
    let broken = place.path("broken");
    std::fs::write(&broken, "clusters: [").expect("a file");
    let mut operator = place.operator();
    operator.arg("--kubeconfig").arg(&broken);
    says(&ends(operator).await, &[broken.to_str().unwrap(), "line 1"]);
}

/// Started without any configuration, the operator must say what it looked for.
#[tokio::test]
async fn without_any_cluster_the_operator_says_how_to_name_one() {
    says(&ends(Place::new().operator()).await, &["failed to find a cluster", "KUBECONFIG", "--kubeconfig"]);
}

/// An installation without engines must fail at startup instead of at the first machine.
#[tokio::test]
async fn without_engines_the_operator_says_where_it_looked_and_how_to_get_them() {
    let place = Place::new();
    for engines in ["no-such-directory", "."] {
        let engines = place.path(engines);
        let mut operator = farrier(&["operator", "--engines"]);
        operator.arg(&engines);
        says(&ends(operator).await, &[engines.to_str().unwrap(), "hack/build", "--engines"]);
    }
}
