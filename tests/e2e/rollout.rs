//! Stages, budgets, approvals, fault domains, named machines and retries, as a user sees them.

use crate::harness::payload::{agent, bmc_tool, merge, script};
use crate::harness::run::{to, watched};
use crate::harness::{Conditions, Run, Site, e2e};
use farrier::api::UpdateRun;
use farrier::api::update_run::{StageState, StageStatus};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// Returns the spec of a run to the baseline `spring` with this strategy.
fn with(strategy: &Value) -> Value {
    let mut spec = to("spring");
    merge(&mut spec, json!({"strategy": strategy}));
    spec
}

fn stage<'a>(run: &'a UpdateRun, name: &str) -> &'a StageStatus {
    let mut stages = run.status.iter().flat_map(|status| &status.stages);
    stages.find(|stage| stage.name == name).expect("the stage")
}

fn state(run: &UpdateRun, name: &str) -> Option<StageState> {
    let mut stages = run.status.iter().flat_map(|status| &status.stages);
    stages.find(|stage| stage.name == name).map(|stage| stage.state)
}

/// Returns what the machines of a run wait for, as `machine:Reason`, sorted.
fn waits(run: &UpdateRun) -> Vec<String> {
    let waiting = run.status.iter().flat_map(|status| &status.waiting);
    waiting.map(|note| format!("{}:{}", note.node, note.reason)).collect()
}

async fn approve(site: &Site, run: &Run<'_>, words: &str) {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"farrier.dev/approve": words}}}));
    site.api::<UpdateRun>().patch(&run.name, &PatchParams::default(), &patch).await.expect("an approval");
}

/// A bad version must not reach more machines than the canary.
#[test]
fn a_canary_that_fails_is_the_only_one() {
    e2e("canary", async |site| {
        let machines = site.machine("db").up_many(4).await;
        site.baseline("spring", &[script("fail", "1.0")]).await;
        let stages = json!({"stages": [{"name": "canary", "count": 1, "soak": "10m"}, {"name": "rest"}]});
        let run = site.run("r1", with(&stages)).await;
        let ended = run.fails().await;
        assert_eq!(ended.reason("Succeeded"), "StageIncomplete", "{}", ended.words("Succeeded"));
        let counts = ended.status.clone().unwrap_or_default().counts;
        assert_eq!((counts.failed, counts.skipped, counts.total), (1, 3, 4));
        assert_eq!(state(&ended, "canary"), Some(StageState::Stopped));
        assert_eq!(run.nodes().await.len(), 1, "no other machine was touched");
        assert_eq!(run.nodes().await[0].spec.node_ref.name, machines[0].name);
        for machine in &machines {
            machine.is_clean().await;
        }
        // The cause is corrected: the machines that did not succeed are updated, and no other.
        let mut again = json!({"retryOf": {"name": "r1"}, "baselineRef": {"name": "other"}});
        let differs = site.run("r2", again.clone()).await.fails().await;
        assert_eq!(differs.reason("Succeeded"), "RetryDiffers", "{}", differs.words("Succeeded"));
        assert!(differs.words("Succeeded").contains("spec.baselineRef"), "{}", differs.words("Succeeded"));
        merge(&mut again, json!({"baselineRef": {"name": "spring"}}));
        let retry = site.run("r3", again).await.fails().await;
        assert_eq!(retry.status.unwrap_or_default().counts.total, 4);
    });
}

/// A stage begins when the one before it has ended and soaked; a restarted operator knows how long that has been.
#[test]
fn stages_are_updated_one_after_the_other() {
    e2e("stages", async |site| {
        let _machines = site.machine("db").label("ring", "wide").up_many(3).await;
        let first = site.machine("web").label("ring", "canary").up().await;
        site.baseline("spring", &[agent("2.0")]).await;
        let stages = json!({"maxConcurrent": 10, "failureBudget": "50%", "stages": [
            {"name": "canary", "selector": {"matchLabels": {"ring": "canary"}}, "soak": "20s"},
            {"name": "rest", "maxConcurrent": 1},
        ]});
        let run = site.run("r1", with(&stages)).await;
        let soaking =
            run.until("the canary to soak", |run| state(run, "canary") == Some(StageState::Soaking)).await;
        assert_eq!(stage(&soaking, "canary").succeeded, 1);
        assert!(waits(&soaking).iter().all(|wait| wait.ends_with(":Soaking")), "{:?}", waits(&soaking));
        assert_eq!(run.nodes().await.len(), 1, "only {} is begun", first.name);
        site.operator.restart(&[]);
        watched(&run, 1, async {}).await;
        let ended = run.succeeds().await;
        let (canary, rest) = (stage(&ended, "canary"), stage(&ended, "rest"));
        assert_eq!((canary.state, rest.state), (StageState::Finished, StageState::Finished));
        let soaked = rest
            .started_at
            .as_ref()
            .expect("a time")
            .0
            .duration_since(canary.finished_at.as_ref().expect("a time").0);
        assert!(soaked.as_secs() >= 20, "the next stage began after {soaked}");
        assert_eq!((rest.nodes, rest.succeeded), (3, 3));
        assert_eq!(ended.status.unwrap_or_default().nodes.unwrap_or_default()[0], first.name);
    });
}

/// What was approved is what is done, and nothing else.
#[test]
fn a_stage_is_approved_for_the_plan_that_was_shown() {
    e2e("approve", async |site| {
        let machines = site.machine("db").up_many(2).await;
        site.baseline("spring", &[bmc_tool("2.0")]).await;
        let stages =
            json!({"stages": [{"name": "first", "count": 1}, {"name": "rest", "approval": "Manual"}]});
        let run = site.run("r1", with(&stages)).await;
        // All are planned before the first stage begins, and the first stage needs no approval.
        let waiting = run
            .until("the approval to be needed", |run| {
                state(run, "rest") == Some(StageState::AwaitingApproval)
            })
            .await;
        assert_eq!(stage(&waiting, "first").succeeded, 1);
        let digest = waiting.status.as_ref().and_then(|s| s.plan_digest.clone()).expect("a digest");
        let asks = waiting.words("Progressing");
        assert!(asks.contains(&format!("farrier.dev/approve=rest@{digest}")), "{asks}");
        approve(site, &run, "rest@sha256:of-another-plan").await;
        run.until("the wrong approval to be named", |run| {
            run.words("Progressing").contains("was approved for the plan sha256:of-another-plan")
        })
        .await;
        // Somebody updates a tool meanwhile: what was approved would not be what is done.
        machines[1].sh("echo 1.5 > /etc/bmc-tool.version").await;
        approve(site, &run, &format!("rest@{digest}")).await;
        let ended = run.fails().await;
        assert_eq!(stage(&ended, "rest").approved_plan.as_ref(), Some(&digest));
        let update = run.node(&machines[1].name).await;
        assert_eq!(update.reason("Succeeded"), "PlanChanged", "{}", update.words("Succeeded"));
        let words = update.words("Succeeded");
        assert!(words.contains("bmc-tool: installed as 2.0 was approved, 1.5 to 2.0 now"), "{words}");
        assert_eq!(machines[1].file("/etc/bmc-tool.version").as_deref(), Some("1.5\n"));
        machines[1].is_clean().await;

        let retry = site.run("r2", json!({"retryOf": {"name": "r1"}, "baselineRef": {"name": "spring"}}));
        let retried = retry.await.succeeds().await;
        assert_eq!(retried.status.unwrap_or_default().nodes, Some(vec![machines[1].name.clone()]));
    });
}

/// No more machines fail than the budget tolerates and than were in progress, and the run says so.
#[test]
fn a_budget_stops_a_run() {
    e2e("budget", async |site| {
        site.machine("db").up_many(5).await;
        site.baseline("spring", &[script("fail", "1.0")]).await;
        let run = site.run("r1", with(&json!({"maxConcurrent": 1, "failureBudget": "20%"}))).await;
        let ended = run.fails().await;
        assert_eq!(ended.reason("Succeeded"), "FailureBudgetExceeded", "{}", ended.words("Succeeded"));
        assert_eq!(ended.state("BudgetExceeded"), "True");
        let counts = ended.status.clone().unwrap_or_default().counts;
        assert_eq!((counts.failed, counts.skipped), (2, 3), "one of five is tolerated");
        let words = ended.words("Succeeded");
        assert!(words.contains("2 nodes of the run failed, and its failureBudget tolerates 1"), "{words}");
    });
}

/// One machine alone, without touching labels; and never two of one rack.
#[test]
fn machines_are_named_and_spread() {
    e2e("spread", async |site| {
        let machines = site.machine("db").label("rack", "r1").up_many(3).await;
        site.baseline("spring", &[agent("2.0")]).await;
        let name = machines[1].name.clone();
        let alone = json!({"nodes": [name], "arrivalTimeout": "1s"});
        let mut spec = to("spring");
        merge(&mut spec, alone);
        let run = site.run("r1", spec).await.succeeds().await;
        assert_eq!(run.status.unwrap_or_default().nodes, Some(vec![machines[1].name.clone()]));
        let mut spec = to("spring");
        merge(&mut spec, json!({"nodes": [machines[0].name.clone(), "nobody"], "arrivalTimeout": "1s"}));
        let missing = site.run("r2", spec).await.fails().await;
        let failing = missing.status.unwrap_or_default().failing;
        assert_eq!((failing[0].node.as_str(), failing[0].reason.as_str()), ("nobody", "NodeNotFound"));
        let spread = with(&json!({"maxConcurrent": 3, "spread": {"label": "rack"}}));
        let run = site.run("r3", spread).await;
        watched(&run, 1, async {}).await;
        run.succeeds().await;
    });
}
