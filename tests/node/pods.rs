//! The operator's pods, one by one: who leads, what they count, what ends them.

use crate::harness::lab::{output, try_output};
use crate::harness::wait;
use crate::release::Release;
use serde_json::{Value, json};
use std::net::IpAddr;

/// Selects the operator's pods.
const SELECTOR: &str = "--selector=app.kubernetes.io/component=operator";

/// A pod of the operator.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    /// Its name, which is its runner's.
    pub(crate) name: String,
    /// The node that it is on.
    pub(crate) node: String,
    /// Its addresses.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Release<'_> {
    /// The pods that there are and that are not about to end.
    pub(crate) async fn pods(&self) -> Vec<Pod> {
        let asked = ["get", "pods", SELECTOR, "--namespace", &self.namespace, "--output=json"];
        let listed: Value = serde_json::from_str(&output("kubectl", asked).await).expect("JSON");
        let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        let items = listed["items"].as_array().expect("a list");
        items.iter().filter(stays).map(pod).collect()
    }

    /// The runner that leads.
    pub(crate) async fn leader(&self) -> String {
        wait::until("a leader", wait::LIMIT, async || {
            let asked = ["get", "lease", "farrier-leader", "--namespace", &self.namespace];
            let holder = "--output=jsonpath={.spec.holderIdentity}";
            let held = try_output("kubectl", asked.iter().chain(&[holder])).await?;
            held.rsplit_once('_').map(|(name, _)| name.to_owned()).ok_or_else(|| "nobody leads".to_owned())
        })
        .await
    }

    /// What a counter of a pod's `/metrics` has come to. Its words where it does not say.
    pub(crate) async fn counted(&self, pod: &str, name: &str) -> Result<f64, String> {
        let path = format!("/api/v1/namespaces/{}/pods/{pod}:8080/proxy/metrics", self.namespace);
        let text = try_output("kubectl", ["get", "--raw", &path]).await?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.ok_or_else(|| format!("no {name} in {text}"))
    }

    /// Waits until the disruption budget has counted three pods, and allows one to go.
    pub(crate) async fn may_lose_one(&self) {
        let counts = "--output=jsonpath={.status.currentHealthy} {.status.disruptionsAllowed}";
        let asked = ["get", "poddisruptionbudget", "farrier", "--namespace", &self.namespace, counts];
        wait::until("the budget to allow one", wait::LIMIT, async || {
            let counts = output("kubectl", asked).await;
            if counts == "3 1" { Ok(()) } else { Err(counts) }
        })
        .await;
    }

    /// Asks for a pod to be evicted, as `kubectl drain` does; whether that was granted. Not by our own
    /// client, which asks again by itself until it is.
    pub(crate) async fn evict(&self, pod: &str) -> bool {
        let wanted = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.namespace},
        });
        let file = self.site.path("eviction.json");
        std::fs::write(&file, wanted.to_string()).expect("a file");
        let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", self.namespace);
        let file = file.display().to_string();
        match try_output("kubectl", ["create", "--raw", &path, "--filename", &file]).await {
            Ok(_) => true,
            Err(words) if words.contains("disruption budget") => false,
            Err(words) => panic!("{words}"),
        }
    }

    /// Takes a pod away without a warning, as when its node is lost.
    pub(crate) async fn lose(&self, pod: &str) {
        let asked = ["delete", "pod", pod, "--namespace", &self.namespace, "--grace-period=0", "--force"];
        output("kubectl", asked).await;
    }
}

/// SIGKILL to the process in a pod: the kubelet starts it again.
pub(crate) async fn kill_process(pod: &str) {
    let script = format!("kill -KILL $({})", process(pod));
    output("hack/node", ["exec", "bash", "-euc", &script]).await;
}

/// Opens a connection from inside of a pod; what came of it in one word.
pub(crate) async fn connect_from(pod: &str, address: IpAddr, port: u16) -> &'static str {
    let script = format!(
        "nsenter --net=/proc/$({})/ns/net timeout 4 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>/dev/null && echo open || echo closed",
        process(pod)
    );
    let said = output("hack/node", ["exec", "bash", "-uc", &script]).await;
    if said.trim() == "open" { "open" } else { "closed" }
}

/// A command that prints the process id of the operator in a pod.
fn process(pod: &str) -> String {
    format!(
        "for of in /proc/[0-9]*; do [ \"$(readlink $of/exe)\" = /farrier ] && grep -qzx FARRIER_RUNNER={pod} $of/environ && basename $of; done"
    )
}

fn pod(object: &Value) -> Pod {
    let addresses = object["status"]["podIPs"].as_array().cloned().unwrap_or_default();
    Pod {
        name: object["metadata"]["name"].as_str().expect("a name").to_owned(),
        node: object["spec"]["nodeName"].as_str().unwrap_or_default().to_owned(),
        addresses: addresses.iter().filter_map(|ip| ip["ip"].as_str()?.parse().ok()).collect(),
    }
}
