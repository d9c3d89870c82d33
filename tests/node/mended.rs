//! A user changes or deletes the objects of a run: the operator restores them, and engines reconnect.

use crate::harness::lab::output;
use crate::harness::{Conditions, Machine, Run, Site, outcome, wait};
use crate::pods::kill_process;
use crate::release::{Release, on_node};
use crate::replicas::release_steps;
use crate::traces::connect;
use farrier::api::managed_node::Channel;
use serde_json::{Value, json};

/// Manual changes that break a Service, as merge patches.
fn changes() -> [Value; 4] {
    [
        json!({"spec": {"type": "ClusterIP"}}),
        json!({"spec": {"externalTrafficPolicy": "Cluster"}}),
        json!({"spec": {"selector": {"somebody": "else"}}}),
        json!({"spec": {"ports": [{"name": "https", "port": 9999, "targetPort": 22, "nodePort": 32222}]}}),
    ]
}

/// The run's Service.
struct Hands<'a> {
    release: &'a Release<'a>,
    name: String,
}

impl Hands<'_> {
    async fn kubectl(&self, words: &[&str]) -> String {
        let own = ["--namespace", &self.release.namespace];
        output("kubectl", words.iter().copied().chain(own)).await
    }

    /// Returns the parts of the Service that matter to machines and pods.
    async fn service(&self) -> Value {
        let asked = ["get", "service", &self.name, "--ignore-not-found", "--output=json"];
        let found: Value = serde_json::from_str(&self.kubectl(&asked).await).unwrap_or_default();
        let spec = &found["spec"];
        json!([spec["type"], spec["externalTrafficPolicy"], spec["selector"], spec["ports"]])
    }

    async fn patch(&self, patch: &Value) {
        let patch = format!("--patch={patch}");
        self.kubectl(&["patch", "service", &self.name, "--type=merge", &patch]).await;
    }

    async fn delete(&self) {
        self.kubectl(&["delete", "service", &self.name, "--wait=false"]).await;
    }

    async fn becomes(&self, wanted: &Value) {
        wait::until("the Service to be repaired", wait::LIMIT, async || {
            let now = self.service().await;
            if now == *wanted { Ok(()) } else { Err(format!("{now} instead of {wanted}")) }
        })
        .await;
    }
}

/// Returns the run's Service, and the node port that engines call.
async fn made<'a>(release: &'a Release<'a>, run: &Run<'_>) -> (Hands<'a>, u16) {
    let run = run.get().await;
    let uid = run.metadata.uid.clone().expect("a UID");
    let port = run.status.expect("a status").callback.expect("ports").https_port.expect("a node port");
    (Hands { release, name: format!("farrier-{uid}") }, port)
}

async fn listeners_are_open(machines: &[Machine], port: u16) {
    for (machine, address) in machines.iter().zip(["10.77.0.2", "fd77::2"]) {
        wait::until("the listener to be open", wait::LIMIT, async || {
            match connect(machine, address, port).await {
                "open" => Ok(()),
                other => Err(format!("{address} port {port} is {other}")),
            }
        })
        .await;
    }
}

async fn went_well(site: &Site, run: &Run<'_>, machines: &[Machine]) {
    run.succeeds().await;
    for machine in machines {
        let update = run.node(&machine.name).await;
        assert_eq!(outcome(&update, "slow"), "Updated");
        assert_eq!(machine.slow_runs(), 1);
        let channel = update.status.as_ref().and_then(|status| status.channel);
        assert_eq!(channel, Some(Channel::Callback), "{}", update.words("CallbackReachable"));
        assert_eq!(update.reason("CallbackReachable"), "CallbackReachable");
    }
    site.until_event(&format!("ExposureRestored UpdateRun/{}: ", run.name)).await;
}

/// If the operator did not restore the Service, a user who tidies up, or another controller, would cut
/// a run off from its machines for good.
#[test]
fn a_service_that_was_changed_or_deleted_manually_is_restored_during_a_run() {
    on_node("hands", async |site, release| {
        let machines = [
            site.machine("v4").lab(&["--no-v6"]).up().await,
            site.machine("v6").lab(&["--no-v4"]).up().await,
        ];
        site.baseline("slow", &[site.held()]).await;
        release.install(&Release::chart(), &["hostPorts.enabled=false"]).await;
        let spec = json!({
            "baselineRef": {"name": "slow"},
            "channel": "Callback",
            "callback": {"exposure": "NodePort"},
        });
        let run = site.run("r1", spec).await;
        for machine in &machines {
            machine.is_slow().await;
        }
        let (hands, port) = made(release, &run).await;
        let wanted = hands.service().await;
        for patch in changes() {
            hands.patch(&patch).await;
            hands.becomes(&wanted).await;
        }
        hands.delete().await;
        hands.becomes(&wanted).await;
        listeners_are_open(&machines, port).await;
        // No operator sees the deletion: the next process reads in the run's status which port the
        // machines know. The engines have lost their streams, and reconnect to the same port.
        let pod = release.pods().await.remove(0);
        kill_process(&pod.name).await;
        hands.delete().await;
        hands.becomes(&wanted).await;
        release_steps(&machines).await;
        went_well(site, &run, &machines).await;
        release.uninstall().await.expect("an uninstallation");
    });
}
