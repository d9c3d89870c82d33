//! The API server that the tests use, and a namespace in it for each test.

use crate::schema::Definition;
use crate::startup;
use farrier::api::{Baseline, LogRequest, ManagedNode, NodeInventory, NodeUpdate, UpdateRun};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// The result of installing the CRDs, which is done once for all tests.
static INSTALLED: OnceCell<Installed> = OnceCell::const_new();

/// Timeout for work that the server does in the background.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The result of installing the CRDs.
#[derive(Debug)]
pub(crate) struct Installed {
    /// Output of `kubectl apply`.
    pub(crate) applied: String,
    /// Output of the operator when no CRD was installed, if that was the case.
    pub(crate) without_any: Option<Output>,
    /// Output of the operator when one CRD was missing, and the kind of that CRD.
    pub(crate) without_one: Option<(String, Output)>,
}

/// The API server, for one test.
pub(crate) struct Server {
    /// Client of the server.
    pub(crate) client: Client,
    /// The test's own namespace.
    pub(crate) namespace: String,
}

/// Runs a test in a namespace of its own. Without a server it prints a message and skips the test.
pub(crate) async fn server(body: impl AsyncFnOnce(&Server)) {
    let config = match usable().await {
        Ok(config) => config,
        Err(why) if is_for_tests() => panic!("{why}"),
        Err(why) => return skipped(&why),
    };
    let client = Client::try_from(config).expect("a client");
    INSTALLED.get_or_init(install).await;
    let api: Api<Namespace> = Api::all(client.clone());
    let namespace = json!({"metadata": {"generateName": "farrier-test-"}});
    let namespace: Namespace = serde_json::from_value(namespace).expect("a namespace");
    let namespace = api.create(&PostParams::default(), &namespace).await.expect("a new namespace");
    let server = Server { client, namespace: namespace.metadata.name.expect("its name") };
    let result = AssertUnwindSafe(body(&server)).catch_unwind().await;
    let removed = api.delete(&server.namespace, &DeleteParams::default()).await;
    if let Err(panic) = result {
        resume_unwind(panic);
    }
    match removed {
        Ok(_) => {}
        // A test may delete its own namespace.
        Err(error) if farrier::publish::is_gone(&error) => {}
        Err(error) => panic!("the namespace can be deleted: {error}"),
    }
}

/// Returns the result of installing the CRDs. Call it only inside [`server`].
pub(crate) fn installed() -> &'static Installed {
    INSTALLED.get().expect("the definitions are installed")
}

/// Prints, visibly, that the running test was skipped.
pub(crate) fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Unlike `eprintln!`, the test runner does not capture this output.
    writeln!(std::io::stderr(), "SKIPPED: {test}: {why}").expect("standard error");
}

/// Reports whether the environment says that there is a cluster for tests.
fn is_for_tests() -> bool {
    std::env::var("FARRIER_TEST_CLUSTER").is_ok_and(|value| value == "1")
}

async fn usable() -> Result<Config, String> {
    let how = "hack/cluster run -- cargo test -p farrier --test cluster";
    if std::env::var_os("KUBECONFIG").is_none_or(|file| file.is_empty()) {
        return Err(format!("KUBECONFIG is not set. Next: {how}"));
    }
    let config = Config::infer().await.expect("KUBECONFIG names a usable file");
    let host = config.cluster_url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let here = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    if here || is_for_tests() {
        return Ok(config);
    }
    Err(format!(
        "the cluster of KUBECONFIG is at {host}, and these tests install definitions. \
         Next: {how} without KUBECONFIG, or set FARRIER_TEST_CLUSTER=1 if that is what it is for"
    ))
}

/// Installs the CRDs; if none was installed before, installs the last one separately from the others.
async fn install() -> Installed {
    let all = Definition::all();
    let (last, others) = all.split_last().expect("definitions");
    if !served().await.is_empty() {
        return Installed {
            applied: apply(&printed().await, &all).await,
            without_any: None,
            without_one: None,
        };
    }
    let without_any = Some(startup::operator_of_the_cluster().await);
    let documents: String = others.iter().map(Definition::as_document).collect();
    let mut applied = apply(&documents, others).await;
    let without_one = Some((last.kind.clone(), startup::operator_of_the_cluster().await));
    applied += &apply(&printed().await, &all).await;
    Installed { applied, without_any, without_one }
}

/// Applies CRDs as a user does, and waits until they are served.
async fn apply(yaml: &str, definitions: &[Definition]) -> String {
    let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    let applied = kubectl(&arguments, Some(yaml)).await;
    assert!(applied.status.success(), "the definitions are refused: {}", both(&applied));
    let names: Vec<String> = definitions.iter().map(|d| format!("crd/{}", d.name())).collect();
    let mut arguments = vec!["wait", "--for=condition=Established", "--timeout=20s"];
    arguments.extend(names.iter().map(String::as_str));
    let waited = kubectl(&arguments, None).await;
    assert!(waited.status.success(), "the definitions do not become Established: {}", both(&waited));
    until("the definitions are served", async || {
        let served = served().await;
        definitions.iter().all(|d| served.contains(&d.kind))
    })
    .await;
    both(&applied)
}

/// Returns the output of `farrier crd`.
async fn printed() -> String {
    let output = startup::farrier(&["crd"]).output().await.expect("farrier crd");
    assert!(output.status.success(), "farrier crd: {}", both(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// Returns the kinds of our group that the server knows.
async fn served() -> Vec<String> {
    let listed = kubectl(&["get", "--raw", "/apis/farrier.dev/v1alpha1"], None).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
    let resources = listed["resources"].as_array().cloned().unwrap_or_default();
    resources.iter().filter_map(|r| r["kind"].as_str().map(str::to_owned)).collect()
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < TIMEOUT, "it does not come about that {what}");
        // sleep: what a server serves cannot be watched
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Runs kubectl against the cluster of KUBECONFIG.
async fn kubectl(arguments: &[&str], input: Option<&str>) -> Output {
    // Not the user's cache: kubectl may have cached another cluster under this address.
    let cache = concat!("--cache-dir=", env!("CARGO_TARGET_TMPDIR"), "/kubectl");
    let mut child = Command::new("kubectl")
        .arg(cache)
        .args(arguments)
        .env("KUBE_EDITOR", "sed -i 's/desiredState: Plan/desiredState: Run/'")
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("kubectl, which hack/cluster brings");
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes()).await.expect("kubectl reads what it is given");
    }
    child.wait_with_output().await.expect("kubectl ends")
}

/// Returns all output of a program.
pub(crate) fn both(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

impl Server {
    /// Runs kubectl in the test's namespace, and returns its output or the reason of its failure.
    pub(crate) async fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> Result<String, String> {
        let mut all = vec!["--namespace", &self.namespace];
        all.extend(arguments);
        let output = kubectl(&all, input).await;
        if output.status.success() { Ok(both(&output)) } else { Err(both(&output)) }
    }

    /// Returns the API of a kind's objects, as JSON.
    pub(crate) fn objects(&self, definition: &Definition) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &definition.resource())
    }

    /// Creates an object, or checks with `dry` whether it could be created.
    pub(crate) async fn create(
        &self,
        definition: &Definition,
        object: &Value,
        dry: bool,
    ) -> Result<Value, String> {
        let parameters = PostParams { dry_run: dry, ..PostParams::default() };
        let object = as_object(definition, object);
        answer(self.objects(definition).create(&parameters, &object).await)
    }

    /// Checks whether an object could be replaced by this one.
    pub(crate) async fn try_replace(&self, definition: &Definition, object: &Value) -> Result<Value, String> {
        let parameters = PostParams { dry_run: true, ..PostParams::default() };
        let name = object["metadata"]["name"].as_str().expect("a name");
        let object = as_object(definition, object);
        answer(self.objects(definition).replace(name, &parameters, &object).await)
    }

    /// Replaces the status of an object, or checks with `dry` whether it could be replaced.
    pub(crate) async fn replace_status(
        &self,
        definition: &Definition,
        object: &Value,
        dry: bool,
    ) -> Result<Value, String> {
        let parameters = PostParams { dry_run: dry, ..PostParams::default() };
        let name = object["metadata"]["name"].as_str().expect("a name");
        let object = as_object(definition, object);
        answer(self.objects(definition).replace_status(name, &parameters, &object).await)
    }
}

fn as_object(definition: &Definition, object: &Value) -> DynamicObject {
    let mut object = object.clone();
    object["apiVersion"] = json!("farrier.dev/v1alpha1");
    object["kind"] = json!(definition.kind);
    serde_json::from_value(object).expect("an object")
}

/// Returns the object or the refusal of the server. The operator must be able to parse every accepted
/// object, because one that it cannot parse ends its watch of the kind.
fn answer(result: Result<DynamicObject, kube::Error>) -> Result<Value, String> {
    match result {
        Ok(object) => {
            let object = serde_json::to_value(object).expect("JSON");
            readable(&object).unwrap_or_else(|error| panic!("the operator cannot read {object}: {error}"));
            Ok(object)
        }
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("the server does not answer: {error}"),
    }
}

fn readable(object: &Value) -> Result<(), serde_json::Error> {
    let object = object.clone();
    match object["kind"].as_str() {
        Some("ManagedNode") => serde_json::from_value::<ManagedNode>(object).map(|_| ()),
        Some("Baseline") => serde_json::from_value::<Baseline>(object).map(|_| ()),
        Some("UpdateRun") => serde_json::from_value::<UpdateRun>(object).map(|_| ()),
        Some("NodeUpdate") => serde_json::from_value::<NodeUpdate>(object).map(|_| ()),
        Some("NodeInventory") => serde_json::from_value::<NodeInventory>(object).map(|_| ()),
        Some("LogRequest") => serde_json::from_value::<LogRequest>(object).map(|_| ()),
        other => panic!("{other:?} is none of our kinds"),
    }
}
