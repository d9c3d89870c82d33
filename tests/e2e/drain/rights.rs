//! An operator whose service account may not drain machines.

use super::{Worker, drained_by, state};
use crate::harness::payload::{bmc_tool, merge};
use crate::harness::run::to;
use crate::harness::{Conditions, Site, e2e, outcome};
use farrier::api::NodeUpdate;
use farrier::api::node_update::DrainState;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use kube::config::Kubeconfig;
use serde_json::{Value, json};

const ACCOUNT: &str = "farrier";

/// Restarts the operator as a service account that may do everything in its namespace except with Jobs, and nothing
/// else, as with `drain` of the chart left out.
async fn limit(site: &Site) {
    let groups = ["", "farrier.dev", "coordination.k8s.io", "events.k8s.io", "networking.k8s.io"];
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": ACCOUNT},
        "rules": [{"apiGroups": groups, "resources": ["*"], "verbs": ["*"]}],
    });
    site.create::<Role>(&role).await.expect("a Role");
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": ACCOUNT},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ACCOUNT},
        "subjects": [subject(site)],
    });
    site.create::<RoleBinding>(&binding).await.expect("a RoleBinding");
    let file = std::env::var_os("KUBECONFIG").expect("KUBECONFIG");
    let mut config = Kubeconfig::read_from(file).expect("a kubeconfig");
    for user in config.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        user.impersonate = Some(format!("system:serviceaccount:{}:{ACCOUNT}", site.name));
    }
    let path = site.path("limited.kubeconfig");
    // JSON is YAML.
    std::fs::write(&path, serde_json::to_string(&config).expect("JSON")).expect("a written kubeconfig");
    site.operator.restart(&["--kubeconfig", path.to_str().expect("a path in UTF-8")]);
}

fn subject(site: &Site) -> Value {
    json!({"kind": "ServiceAccount", "name": ACCOUNT, "namespace": site.name})
}

/// The rights that the chart grants with `drain.kubernetesNodes`.
struct Granted {
    roles: Api<ClusterRole>,
    bindings: Api<ClusterRoleBinding>,
    name: String,
}

impl Granted {
    async fn to(site: &Site) -> Self {
        let (roles, bindings) = (Api::all(site.client.clone()), Api::all(site.client.clone()));
        let (name, params) = (format!("drain-{}", site.name), PostParams::default());
        let rule = |resource: &str, verbs: &[&str]| json!({"apiGroups": [""], "resources": [resource], "verbs": verbs});
        let granted = json!({"metadata": {"name": name}, "rules": [
            rule("nodes", &["get", "patch"]), rule("pods", &["list"]), rule("pods/eviction", &["create"])]});
        let granted = serde_json::from_value(granted).expect("a ClusterRole");
        roles.create(&params, &granted).await.expect("a new ClusterRole");
        let binding = json!({"metadata": {"name": name}, "subjects": [subject(site)],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}});
        let binding = serde_json::from_value(binding).expect("a ClusterRoleBinding");
        bindings.create(&params, &binding).await.expect("a new ClusterRoleBinding");
        Self { roles, bindings, name }
    }

    async fn remove(self) {
        let params = DeleteParams::default();
        self.bindings.delete(&self.name, &params).await.expect("a deleted ClusterRoleBinding");
        self.roles.delete(&self.name, &params).await.expect("a deleted ClusterRole");
    }
}

/// Somebody who has not set the chart's value would see a machine that waits, or fails, without learning what is
/// missing; and the update would not go on when it is there.
#[test]
fn a_missing_right_is_named_and_waited_for() {
    e2e("drainright", async |site| {
        limit(site).await;
        let worker = Worker::up(site).await;
        let job = json!({"drain": {"timeout": "5s", "job": {"cronJob": {"name": "drain-db"}}}});
        let db = site.machine("db").spec(job).up().await;
        site.machine("web").spec(drained_by(&worker.name, json!({}))).up().await;
        site.baseline("spring", &[bmc_tool("2.0")]).await;
        let alone = |name: &str| {
            let mut spec = to("spring");
            merge(&mut spec, json!({"nodes": [name], "strategy": {"retries": 0}}));
            spec
        };
        let refused = site.run("refused", alone("db")).await;
        let granted = site.run("granted", alone("web")).await;

        assert_eq!(refused.fails().await.status.expect("a status").failing[0].reason, "DrainRefused");
        let words = refused.node("db").await.words("Succeeded");
        for part in
            ["nothing was changed on db", "jobs.batch", "get, create and delete on jobs", "drain.jobs: true"]
        {
            assert!(words.contains(part), "{part} is not in: {words}");
        }
        assert_eq!(db.file("/etc/bmc-tool.version"), None);

        let refusal = |update: &NodeUpdate| {
            let waiting = update.status.as_ref()?.waiting.as_ref()?;
            (waiting.reason == "DrainRefused").then(|| waiting.what.clone())
        };
        let update = granted.node_until("web", "the refusal", |update| refusal(update).is_some()).await;
        let words = refusal(&update).expect("a wait");
        for part in [&*worker.name, "get and patch on nodes", "cluster scope", "drain.kubernetesNodes: true"]
        {
            assert!(words.contains(part), "{part} is not in: {words}");
        }
        let rights = Granted::to(site).await;
        granted.succeeds().await;
        let update = granted.node("web").await;
        assert_eq!((outcome(&update, "bmc-tool"), state(&update)), ("Updated", Some(DrainState::Undrained)));
        assert_eq!(worker.cordon().await, (false, None));
        worker.remove().await;
        rights.remove().await;
    });
}
