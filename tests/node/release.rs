//! A release of the chart, as `helm install` creates it.

use crate::harness::lab::{output, try_output};
use crate::harness::{Site, report, wait};
use futures::FutureExt;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Objects that every namespace has.
const EVERY_NAMESPACE_HAS: [&str; 2] = ["serviceaccount/default", "configmap/kube-root-ca.crt"];

/// Kinds that a release or the operator creates or might create.
const KINDS: &str = "all,serviceaccounts,secrets,configmaps,roles,rolebindings,networkpolicies,leases,poddisruptionbudgets,endpointslices,persistentvolumeclaims";

/// Prints the names of Services of type `LoadBalancer`.
const SERVICE_NAMES: &str = r#"jsonpath={.items[?(@.spec.type=="LoadBalancer")].metadata.name}"#;

/// A release of the chart in a namespace of its own, which watches the site's namespace.
pub(crate) struct Release<'a> {
    /// The site whose machines it updates.
    pub(crate) site: &'a Site,
    /// The operator's namespace.
    pub(crate) namespace: String,
}

/// Runs a test with a site, and a namespace for a release. Like `harness::e2e`, without an operator
/// process.
pub(crate) fn on_node(name: &str, body: impl AsyncFnOnce(&Site, &Release<'_>)) {
    let set = std::env::var_os("LAB").is_some_and(|lab| Path::new(&lab).join("node").is_dir());
    assert!(set, "this test needs machines and a node. Next: hack/test node");
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let site = Site::without_operator(name).await;
        let release = Release { site: &site, namespace: format!("{}-op", site.name) };
        output("kubectl", ["create", "namespace", &release.namespace]).await;
        let tested = async {
            body(&site, &release).await;
            for machine in site.machines() {
                machine.is_clean().await;
            }
        };
        let result = AssertUnwindSafe(tested).catch_unwind().await;
        if result.is_err() || std::env::var_os("E2E_LOG").is_some() {
            report::print(&site).await;
            release.print().await;
        }
        release.remove().await;
        site.remove().await;
        report::time(&site, begun.elapsed());
        if let Err(panic) = result {
            resume_unwind(panic);
        }
    });
}

impl Release<'_> {
    /// Returns the path of the chart.
    pub(crate) fn chart() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/farrier")
    }

    /// Returns the arguments of helm for a chart with these settings, each as for `--set`.
    fn arguments(&self, verb: &str, chart: &Path, settings: &[&str]) -> Vec<String> {
        let chart = chart.display().to_string();
        let mut arguments: Vec<String> = [verb, "farrier", &chart, "--namespace", &self.namespace]
            .iter()
            .chain(&["--wait", "--timeout", "90s"])
            .map(|&word| word.to_owned())
            .collect();
        let watched = format!("watchNamespaces={{{}}}", self.site.name);
        // The CRDs belong to the site: all tests share them.
        let usual =
            ["crds.install=false", "operator.log=debug", "payloads.volume.configMap.name=payloads", &watched];
        for setting in usual.iter().chain(settings) {
            arguments.extend(["--set".to_owned(), (*setting).to_owned()]);
        }
        arguments
    }

    /// Runs `helm install` and waits until the pods are ready.
    pub(crate) async fn install(&self, chart: &Path, settings: &[&str]) {
        self.payloads().await;
        output("helm", self.arguments("install", chart, settings)).await;
    }

    /// Runs `helm upgrade` as in docs/install.md, with the changed settings only, and waits until the
    /// pods are ready.
    pub(crate) async fn upgrade(&self, chart: &Path, changes: &[&str]) {
        let chart = chart.display().to_string();
        let mut arguments =
            vec!["upgrade", "farrier", &chart, "--namespace", &self.namespace, "--reset-then-reuse-values"];
        arguments.extend(["--wait", "--timeout", "90s"]);
        arguments.extend(changes.iter().flat_map(|change| ["--set", change]));
        output("helm", arguments).await;
    }

    /// Runs `helm uninstall`; the error is its output.
    pub(crate) async fn uninstall(&self) -> Result<String, String> {
        try_output(
            "helm",
            ["uninstall", "farrier", "--namespace", &self.namespace, "--wait", "--timeout", "90s"],
        )
        .await
    }

    /// Creates the chart's payload volume from the payloads that are scripts, because these are small.
    async fn payloads(&self) {
        let scratch = self.site.path("small");
        std::fs::create_dir_all(&scratch).expect("a directory");
        for entry in std::fs::read_dir(self.site.path("payloads")).expect("payloads").flatten() {
            if entry.path().extension().is_some_and(|kind| kind == "sh") {
                std::fs::copy(entry.path(), scratch.join(entry.file_name())).expect("a copy of a payload");
            }
        }
        let from = format!("--from-file={}", scratch.display());
        output("kubectl", ["create", "configmap", "payloads", &from, "--namespace", &self.namespace]).await;
    }

    /// Returns the objects in the operator's namespace without those that every namespace has, and the
    /// release's cluster-wide objects.
    pub(crate) async fn objects(&self) -> Vec<String> {
        let listed = output("kubectl", ["get", KINDS, "--namespace", &self.namespace, "--output=name"]).await;
        let ours = ["payloads"];
        let cluster = output("kubectl", ["get", "clusterroles,clusterrolebindings", "--output=name"]).await;
        let cluster = cluster.lines().filter(|line| line.contains(&self.namespace));
        let mut objects: Vec<String> = listed
            .lines()
            .filter(|line| !EVERY_NAMESPACE_HAS.contains(line) && !ours.iter().any(|own| line.ends_with(own)))
            .chain(cluster)
            .map(str::to_owned)
            .collect();
        objects.sort();
        objects
    }

    /// Returns the log of all operator pods.
    pub(crate) async fn log(&self) -> String {
        let selector = "--selector=app.kubernetes.io/component=operator";
        let asked =
            ["logs", selector, "--namespace", &self.namespace, "--tail=-1", "--prefix", "--ignore-errors"];
        output("kubectl", asked).await
    }

    /// Waits until the Deployment has only new pods, and all are ready.
    pub(crate) async fn is_rolled_out(&self) {
        let asked =
            ["rollout", "status", "deployment/farrier", "--namespace", &self.namespace, "--timeout=90s"];
        output("kubectl", asked).await;
    }

    /// Kills every operator pod at once, without warning.
    pub(crate) async fn kill_pods(&self) {
        let selector = "--selector=app.kubernetes.io/component=operator";
        let asked =
            ["delete", "pods", selector, "--namespace", &self.namespace, "--grace-period=0", "--force"];
        output("kubectl", asked).await;
    }

    /// Waits for a Service of type `LoadBalancer`, and assigns an address to it.
    pub(crate) async fn balance(&self) {
        let asked = ["get", "services", "--namespace", &self.namespace, "--output", SERVICE_NAMES];
        let name = wait::until("a Service of type `LoadBalancer`", wait::LIMIT, async || {
            let listed = output("kubectl", asked).await;
            listed.split_whitespace().next().map(str::to_owned).ok_or_else(|| "there is none".to_owned())
        })
        .await;
        output("hack/node", ["balance", &self.namespace, &name]).await;
    }

    async fn print(&self) {
        println!("-------- the release: {:#?}", self.objects().await);
        for asked in [
            &["describe", "pods", "--namespace", &self.namespace][..],
            &["get", "networkpolicies,services,leases", "--namespace", &self.namespace, "--output=yaml"],
        ] {
            println!("{}", try_output("kubectl", asked).await.unwrap_or_else(|words| words));
        }
        let log = AssertUnwindSafe(self.log()).catch_unwind().await.unwrap_or_default();
        println!("-------- the log of its pods\n{log}");
    }

    /// Removes everything, in whatever state it is.
    async fn remove(&self) {
        let quick =
            ["uninstall", "farrier", "--namespace", &self.namespace, "--no-hooks", "--ignore-not-found"];
        for (program, asked) in
            [("helm", &quick[..]), ("kubectl", &["delete", "namespace", &self.namespace, "--wait=false"])]
        {
            if let Err(words) = try_output(program, asked).await {
                println!("{words}");
            }
        }
    }

    /// Waits until the namespace has no other objects than these.
    pub(crate) async fn has_only(&self, wanted: &[String]) {
        wait::until("nothing else in the operator's namespace", wait::LIMIT, async || {
            let found = self.objects().await;
            let more: Vec<&String> = found.iter().filter(|object| !wanted.contains(object)).collect();
            if more.is_empty() { Ok(()) } else { Err(format!("{more:#?}")) }
        })
        .await;
    }
}
