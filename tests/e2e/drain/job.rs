//! Machines that Jobs drain. The Jobs are those of the cluster's own controller. No kubelet serves their pods: the tests
//! report the end of each pod in its place, which is all that a Job is decided by.

use super::state;
use crate::harness::payload::{bmc_tool, merge};
use crate::harness::run::to;
use crate::harness::snapshot::LOG;
use crate::harness::{Conditions, Site, e2e, outcome, wait};
use farrier::api::ManagedNode;
use farrier::api::node_update::DrainState;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Creates a `CronJob` that is never run by time, whose Jobs do not try again.
async fn template(site: &Site, name: &str) {
    let pod =
        json!({"restartPolicy": "Never", "containers": [{"name": "main", "image": "example.net/none"}]});
    let cron_job = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name},
        "spec": {"schedule": "0 0 1 1 *", "suspend": true,
            "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": pod}}}},
    });
    site.create::<CronJob>(&cron_job).await.expect("a CronJob");
}

/// Waits for the pod that the machine's Job of this phase and run has, and returns it with its variables.
async fn pod_of(site: &Site, run: &str, phase: &str) -> (Pod, BTreeMap<String, String>) {
    wait::until(&format!("a pod for {phase} of {run}"), wait::LIMIT, async || {
        let pods = site.api::<Pod>().list(&ListParams::default()).await.expect("pods").items;
        let variables = |pod: &Pod| -> BTreeMap<String, String> {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let variables = containers.flat_map(|container| container.env.iter().flatten());
            variables.map(|own| (own.name.clone(), own.value.clone().unwrap_or_default())).collect()
        };
        let mut found = pods.into_iter().map(|pod| (variables(&pod), pod));
        let is_it =
            |own: &BTreeMap<String, String>| own["FARRIER_RUN"] == run && own["FARRIER_PHASE"] == phase;
        let it = found.find(|(own, _)| is_it(own)).map(|(own, pod)| (pod, own));
        it.ok_or_else(|| "there is none".to_owned())
    })
    .await
}

/// Ends the pod as a kubelet does: `Succeeded` or `Failed`.
async fn end(site: &Site, pod: &Pod, ends: &str) {
    let status = Patch::Merge(json!({"status": {"phase": ends}}));
    let pods = site.api::<Pod>();
    pods.patch_status(&pod.name_any(), &PatchParams::default(), &status).await.expect("a pod that has ended");
}

async fn change(site: &Site, drain: Value) {
    let patch = Patch::Merge(json!({"spec": {"drain": drain}}));
    let nodes = site.api::<ManagedNode>();
    nodes.patch("db", &PatchParams::default(), &patch).await.expect("another drain");
}

/// A machine would be changed while its database still serves; after a Job that has failed, or that does not end; or the
/// database would never be let back.
#[test]
fn a_job_drains_the_machine_and_one_that_fails_or_is_late_leaves_it_unchanged() {
    e2e("drainjob", async |site| {
        template(site, "drain-db").await;
        template(site, "undrain-db").await;
        let by = json!({"drain": {"job": {"cronJob": {"name": "drain-db"}, "undoCronJob": {"name": "undrain-db"}}}});
        let db = site.machine("db").spec(by).up().await;
        let before = db.snapshot().await;
        site.baseline("spring", &[bmc_tool("2.0")]).await;
        let mut once = to("spring");
        merge(&mut once, json!({"strategy": {"retries": 0}}));

        let run = site.run("fails", once.clone()).await;
        let (pod, _) = pod_of(site, "fails", "Drain").await;
        end(site, &pod, "Failed").await;
        // What it has begun is undone.
        let (pod, _) = pod_of(site, "fails", "Undrain").await;
        end(site, &pod, "Succeeded").await;
        assert_eq!(run.fails().await.status.expect("a status").failing[0].reason, "DrainFailed");
        let update = run.node("db").await;
        let words = update.words("Succeeded");
        for part in ["db was not drained (CronJob drain-db)", "nothing was changed on db", "look at the logs"]
        {
            assert!(words.contains(part), "{words}");
        }
        assert_eq!(state(&update), Some(DrainState::Undrained));

        // Nobody ends the pod of this one.
        change(site, json!({"timeout": "5s", "job": {"undoCronJob": null}})).await;
        let run = site.run("late", once).await;
        let late = run.fails().await;
        assert_eq!(late.status.expect("a status").failing[0].reason, "DrainTimedOut");
        let words = run.node("db").await.words("Succeeded");
        assert!(
            words.contains("nothing was changed on db") && words.contains("raise spec.drain.timeout"),
            "{words}"
        );
        before.same_but(&db.snapshot().await, &[LOG]);

        change(site, json!({"timeout": "10m", "job": {"undoCronJob": {"name": "undrain-db"}}})).await;
        let run = site.run("drained", to("spring")).await;
        let (pod, variables) = pod_of(site, "drained", "Drain").await;
        let update = run.node("db").await;
        let job = variables["FARRIER_ID"].clone();
        assert_eq!(variables["FARRIER_MACHINE"], "db");
        assert_eq!(job, format!("farrier-drain-{}-1", update.uid().expect("a UID")));
        assert_eq!((state(&update), db.file("/etc/bmc-tool.version")), (Some(DrainState::Draining), None));
        let owners = site.api::<Job>().get(&job).await.expect("the Job").owner_references().to_vec();
        assert_eq!(owners[0].name, "drained-db", "it goes with its NodeUpdate");
        end(site, &pod, "Succeeded").await;
        let (pod, _) = pod_of(site, "drained", "Undrain").await;
        assert!(db.file("/etc/bmc-tool.version").is_some(), "it was given back before it was changed");
        end(site, &pod, "Succeeded").await;
        run.succeeds().await;
        let update = run.node("db").await;
        assert_eq!((outcome(&update, "bmc-tool"), state(&update)), ("Updated", Some(DrainState::Undrained)));
    });
}
