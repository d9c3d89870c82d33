//! The operator's pods: which one leads, what they count, and how they end.

use crate::harness::lab::{output, try_output};
use crate::harness::wait;
use crate::release::Release;
use serde_json::{Value, json};
use std::net::IpAddr;

/// Selector of the operator's pods.
const SELECTOR: &str = "--selector=app.kubernetes.io/component=operator";

/// A pod of the operator.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    /// Name, which is also the name of its runner.
    pub(crate) name: String,
    /// Node of the pod.
    pub(crate) node: String,
    /// Addresses of the pod.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Release<'_> {
    /// Returns the existing pods that are not terminating.
    pub(crate) async fn pods(&self) -> Vec<Pod> {
        let asked = ["get", "pods", SELECTOR, "--namespace", &self.namespace, "--output=json"];
        let listed: Value = serde_json::from_str(&output("kubectl", asked).await).expect("JSON");
        let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        let items = listed["items"].as_array().expect("a list");
        items.iter().filter(stays).map(pod).collect()
    }

    /// Returns the name of the runner that leads.
    pub(crate) async fn leader(&self) -> String {
        wait::until("a leader", wait::LIMIT, async || {
            let asked = ["get", "lease", "farrier-leader", "--namespace", &self.namespace];
            let holder = "--output=jsonpath={.spec.holderIdentity}";
            let held = try_output("kubectl", asked.iter().chain(&[holder])).await?;
            held.rsplit_once('_').map(|(name, _)| name.to_owned()).ok_or_else(|| "nobody leads".to_owned())
        })
        .await
    }

    /// Returns the value of a counter in a pod's `/metrics`; the error is the text of the response.
    pub(crate) async fn counted(&self, pod: &str, name: &str) -> Result<f64, String> {
        let path = format!("/api/v1/namespaces/{}/pods/{pod}:8080/proxy/metrics", self.namespace);
        let text = try_output("kubectl", ["get", "--raw", &path]).await?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.ok_or_else(|| format!("no {name} in {text}"))
    }

    /// Waits until the disruption budget counts three pods, and allows the eviction of one.
    pub(crate) async fn may_lose_one(&self) {
        let counts = "--output=jsonpath={.status.currentHealthy} {.status.disruptionsAllowed}";
        let asked = ["get", "poddisruptionbudget", "farrier", "--namespace", &self.namespace, counts];
        wait::until("the budget to allow one eviction", wait::LIMIT, async || {
            let counts = output("kubectl", asked).await;
            if counts == "3 1" { Ok(()) } else { Err(counts) }
        })
        .await;
    }

    /// Requests the eviction of a pod, as `kubectl drain` does, and returns whether it was granted.
    /// Does not use our own client, which retries by itself until it is granted.
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

    /// Deletes a pod without a grace period, as when its node is lost.
    pub(crate) async fn lose(&self, pod: &str) {
        let asked = ["delete", "pod", pod, "--namespace", &self.namespace, "--grace-period=0", "--force"];
        output("kubectl", asked).await;
    }
}

/// Sends SIGKILL to the process in a pod: the kubelet restarts it.
pub(crate) async fn kill_process(pod: &str) {
    let script = format!("kill -KILL $({})", process(pod));
    output("hack/node", ["exec", "bash", "-euc", &script]).await;
}

/// Opens a connection from inside a pod, and returns the result as one word.
pub(crate) async fn connect_from(pod: &str, address: IpAddr, port: u16) -> &'static str {
    let script = format!(
        "nsenter --net=/proc/$({})/ns/net timeout 4 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>/dev/null && echo open || echo closed",
        process(pod)
    );
    let said = output("hack/node", ["exec", "bash", "-uc", &script]).await;
    if said.trim() == "open" { "open" } else { "closed" }
}

/// Returns a command that prints the process ID of the operator in a pod.
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
