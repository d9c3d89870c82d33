//! Tests of stages, budgets, approvals and fault domains.

use super::*;
use crate::model::NodeName;
use crate::reason::Reason;
use crate::run::tests::{done, effects, end, failed, free, observed, of_kind, planned, waits, working};
use crate::run::{
    CondStatus, Decision, Desired, Intent, MachineKind, Manager, NodeEnd, Observed, RetryProblem, StageState,
    TargetFacts, decide,
};

/// Returns a stage with all nodes that earlier stages left.
fn stage(name: &str) -> Stage {
    Stage {
        name: name.to_owned(),
        count: None,
        max_concurrent: None,
        soak: Duration::ZERO,
        approval: Approval::Automatic,
        failure_budget: None,
        unreachable_budget: None,
    }
}

fn canary() -> Stage {
    Stage { count: Some(Limit::Count(1)), soak: Duration::from_mins(10), ..stage("canary") }
}

/// Returns a run with these stages; the nodes are given with the stage of each.
fn staged<const N: usize>(stages: &[Stage], targets: [(usize, TargetFacts); N]) -> Observed {
    let mut seen = observed(Desired::Run, targets.map(|(stage, facts)| TargetFacts { stage, ..facts }));
    seen.run.rollout.stages = stages.to_vec();
    seen.run.stages = vec![StageRecord::default(); stages.len()];
    seen
}

fn succeeded() -> TargetFacts {
    done(NodeEnd::Succeeded)
}

fn unreachable() -> TargetFacts {
    done(NodeEnd::Unreachable { reason: Reason::ConnectionTimedOut, message: "no answer".to_owned() })
}

fn states(decision: &Decision) -> Vec<StageState> {
    decision.status.stages.iter().map(|stage| stage.state).collect()
}

fn message(decision: &Decision, node: &str) -> String {
    let found = decision.waiting.iter().find(|(name, _)| name.0 == node);
    found.map(|(_, on)| on.message.clone()).unwrap_or_default()
}

/// Before the list is recorded, the selectors of stages are what counts.
fn selecting<const N: usize>(stages: &[Stage], targets: [TargetFacts; N]) -> Observed {
    let mut seen = observed(Desired::Run, targets);
    seen.run.rollout.stages = stages.to_vec();
    seen.run.targets_recorded = false;
    seen
}

fn selected_by<const N: usize>(stages: [usize; N]) -> TargetFacts {
    TargetFacts { selected_by: stages.to_vec(), ..free() }
}

#[test]
fn a_node_belongs_to_the_first_stage_that_selects_it_and_has_room() {
    let stages = [canary(), stage("rest")];
    let seen = selecting(&stages, [selected_by([1]), selected_by([0, 1]), selected_by([0, 1])]);
    assert_eq!(effects(&decide(&seen)), "record b a c as [1, 2]");
}

/// Otherwise the first stage would wait for a node of the second one, and that for the first stage.
#[test]
fn no_node_belongs_to_an_earlier_stage_than_its_manager() {
    let managed = |facts: TargetFacts| {
        let manager = Manager { name: NodeName::from("b"), kind: Some(MachineKind::ManagementProcessor) };
        let relations = crate::run::Relations { managed_by: Some(manager), ..facts.relations };
        TargetFacts { relations, ..facts }
    };
    let stages = [canary(), stage("rest")];
    let seen = selecting(&stages, [managed(selected_by([0, 1])), selected_by([0, 1])]);
    assert_eq!(effects(&decide(&seen)), "record b a as [1, 1]");
    let seen = selecting(&[stage("servers"), stage("rest")], [managed(selected_by([0])), selected_by([1])]);
    let decision = decide(&seen);
    assert_eq!(end(&decision), Some((false, Reason::StagesInvalid)));
    let message = &decision.status.succeeded.message;
    assert!(message.starts_with("a is managed by b, which belongs to a later stage"), "{message}");
}

#[test]
fn a_run_does_not_begin_if_a_node_belongs_to_no_stage() {
    let seen = selecting(&[canary()], [selected_by([0]), selected_by([0]), selected_by([0])]);
    let decision = decide(&seen);
    assert_eq!(end(&decision), Some((false, Reason::StagesInvalid)));
    assert!(decision.status.succeeded.message.starts_with("no stage has b, c; add a stage without selector"));
}

#[test]
fn stages_come_one_after_the_other_with_time_to_soak() {
    let stages = [canary(), stage("rest")];
    let seen = staged(&stages, [(0, free()), (1, free()), (1, free())]);
    let decision = decide(&seen);
    assert_eq!(
        (effects(&decision), waits(&decision)),
        ("+a".to_owned(), "a:InProgress b:WaitingForStage c:WaitingForStage".to_owned())
    );
    assert_eq!(states(&decision), [StageState::InProgress, StageState::Waiting]);
    assert_eq!(decision.status.stages[0].started_at, Some(seen.now));

    let mut seen = staged(&stages, [(0, succeeded()), (1, free()), (1, free())]);
    let decision = decide(&seen);
    let until = seen.now.after(Duration::from_mins(10));
    assert_eq!(states(&decision), [StageState::Soaking { until }, StageState::Waiting]);
    assert_eq!((effects(&decision), waits(&decision)), (String::new(), "b:Soaking c:Soaking".to_owned()));
    assert_eq!(decision.wake, crate::run::Wake::At(until));
    assert_eq!(decision.status.progressing.reason, Reason::Soaking);

    seen.run.stages[0].finished_at = Some(seen.now);
    seen.now = until;
    let decision = decide(&seen);
    assert_eq!(effects(&decision), "+b +c");
    assert_eq!(states(&decision), [StageState::Finished, StageState::InProgress]);
}

/// A canary that dies must be the only one.
#[test]
fn no_stage_follows_one_that_did_not_succeed() {
    for lost in [failed(), unreachable()] {
        let seen = staged(&[canary(), stage("rest")], [(0, lost), (1, free()), (1, free())]);
        let decision = decide(&seen);
        assert_eq!(effects(&decision), "");
        assert_eq!(decision.status.counts.skipped, 2);
        assert_eq!(end(&decision), Some((false, Reason::StageIncomplete)));
        assert_eq!(states(&decision), [StageState::Stopped, StageState::Stopped]);
        assert_eq!(decision.status.failing.len(), 3, "{:?}", decision.status.failing);
    }
}

/// The budget of a run is for canaries, too: a percentage of one node is none.
#[test]
fn a_stage_may_lose_what_its_budget_or_that_of_the_run_tolerates() {
    let wide = Stage { failure_budget: Some(Limit::Count(1)), ..stage("first") };
    let nodes = || [(0, failed()), (0, succeeded()), (1, free())];
    assert_eq!(effects(&decide(&staged(&[wide, stage("rest")], nodes()))), "+c");
    let mut seen = staged(&[stage("first"), stage("rest")], nodes());
    assert_eq!(effects(&decide(&seen)), "");
    seen.run.rollout.failure_budget = Some(Limit::Percent(50));
    assert_eq!(effects(&decide(&seen)), "+c");
    let mut seen = staged(&[canary(), stage("rest")], [(0, failed()), (1, free()), (1, free())]);
    seen.run.rollout.failure_budget = Some(Limit::Percent(50));
    assert_eq!(end(&decide(&seen)), Some((false, Reason::FailureBudgetExceeded)));
    // None succeeded, so it proves nothing.
    seen.run.rollout.failure_budget = Some(Limit::Count(2));
    assert_eq!(end(&decide(&seen)), Some((false, Reason::StageIncomplete)));
}

#[test]
fn nothing_new_is_started_after_a_budget_is_passed() {
    let mut seen = observed(Desired::Run, [failed(), working(), free(), unreachable()]);
    seen.run.rollout.failure_budget = Some(Limit::Percent(25));
    assert_eq!(effects(&decide(&seen)), "+c");
    seen.run.rollout.failure_budget = Some(Limit::Count(0));
    let decision = decide(&seen);
    assert_eq!((effects(&decision), end(&decision)), (String::new(), None));
    assert_eq!(decision.status.budget.status, CondStatus::True);
    assert_eq!(decision.status.budget.reason, Reason::FailureBudgetExceeded);
    assert_eq!(waits(&decision), "b:InProgress");
    seen.targets.insert(NodeName::from("b"), succeeded());
    let decision = decide(&seen);
    assert_eq!(end(&decision), Some((false, Reason::FailureBudgetExceeded)));
    assert_eq!((decision.status.counts.skipped, decision.status.counts.failed), (1, 1));

    seen.run.rollout = Rollout { unreachable_budget: Some(Limit::Percent(24)), ..Rollout::default() };
    assert_eq!(end(&decide(&seen)), Some((false, Reason::UnreachableBudgetExceeded)));
}

#[test]
fn a_stage_limits_how_many_of_its_nodes_are_in_progress() {
    let narrow = Stage { max_concurrent: Some(Limit::Count(1)), ..stage("canary") };
    let seen = staged(&[narrow, stage("rest")], [(0, free()), (0, free())]);
    let decision = decide(&seen);
    assert_eq!(
        (effects(&decision).as_str(), waits(&decision).as_str()),
        ("+a", "a:InProgress b:WaitingForSlot")
    );
    assert!(message(&decision, "b").starts_with("1 nodes of stage canary are in progress"));
}

#[test]
fn nodes_of_one_fault_domain_wait_for_each_other() {
    let rack = |name: &str| TargetFacts { domain: Some(name.to_owned()), ..free() };
    let mut seen = observed(Desired::Run, [rack("r1"), rack("r1"), rack("r2"), free(), free()]);
    seen.run.max_concurrent = Limit::Count(9);
    seen.run.rollout.spread = Some(Spread { label: "rack".to_owned(), max_unavailable: 1 });
    let decision = decide(&seen);
    assert_eq!(effects(&decision), "+a +c +d");
    assert_eq!(
        message(&decision, "b").split(';').next().unwrap_or_default(),
        "1 nodes with rack=r1 are in progress, which is the maximum of spec.strategy.spread"
    );
    assert!(message(&decision, "e").starts_with("1 nodes without the label rack"));
    seen.busy_elsewhere.insert(Some("r2".to_owned()), 1);
    assert_eq!(effects(&decide(&seen)), "+a +d");
}

/// The plan that was approved is the plan that is carried out.
#[test]
fn a_stage_is_approved_for_a_plan() {
    let manual = Stage { approval: Approval::Manual, ..stage("all") };
    let decision = decide(&staged(std::slice::from_ref(&manual), [(0, free()), (0, planned())]));
    assert_eq!(effects(&decision), "+a");
    assert_eq!((decision.status.planning.len(), decision.status.starting.len()), (1, 0));

    let mut seen = staged(&[manual], [(0, planned()), (0, planned())]);
    seen.run.plan_digest = Some("sha256:aa".to_owned());
    let decision = decide(&seen);
    assert_eq!(
        (effects(&decision), waits(&decision)),
        (String::new(), "a:ApprovalNeeded b:ApprovalNeeded".to_owned())
    );
    assert_eq!(states(&decision), [StageState::AwaitingApproval]);
    assert!(message(&decision, "a").ends_with("farrier.dev/approve=all@sha256:aa"));

    let approve = |digest: &str| vec![ApprovalGiven { stage: "all".to_owned(), digest: digest.to_owned() }];
    seen.run.approvals = approve("sha256:bb");
    let decision = decide(&seen);
    assert_eq!(effects(&decision), "");
    assert!(
        message(&decision, "a").contains("approved for the plan sha256:bb, but the plan is sha256:aa now")
    );

    seen.run.approvals = approve("sha256:aa");
    let decision = decide(&seen);
    assert_eq!(effects(&decision), "+a +b");
    assert_eq!(decision.status.stages[0].approved.as_deref(), Some("sha256:aa"));
    // Once recorded, it is not asked for again.
    seen.run.stages[0].approved = Some("sha256:aa".to_owned());
    seen.run.approvals = Vec::new();
    assert_eq!(effects(&decide(&seen)), "+a +b");
}

/// A node whose hold is lifted late is planned first, and its plan is one that nobody has approved.
#[test]
fn a_late_node_is_planned_and_asks_for_another_approval() {
    let manual = Stage { approval: Approval::Manual, ..stage("all") };
    let mut seen = staged(&[manual], [(0, succeeded()), (0, free()), (0, planned())]);
    seen.run.plan_digest = Some("sha256:aa".to_owned());
    seen.run.stages[0].approved = Some("sha256:aa".to_owned());
    let decision = decide(&seen);
    assert_eq!((effects(&decision).as_str(), decision.status.planning.len()), ("+b", 1));
    seen.targets.insert(NodeName::from("b"), planned());
    seen.run.plan_digest = Some("sha256:bb".to_owned());
    let decision = decide(&seen);
    assert_eq!(states(&decision), [StageState::AwaitingApproval]);
    assert_eq!(effects(&decision), "");
}

/// Otherwise a soak would be over before the last node of its stage is.
#[test]
fn a_stage_in_which_a_node_is_begun_again_soaks_again() {
    let stages = [Stage { count: None, ..canary() }, stage("rest")];
    let mut seen = staged(&stages, [(0, succeeded()), (0, working()), (1, free())]);
    seen.run.stages[0].finished_at = Some(Millis(0));
    let decision = decide(&seen);
    assert_eq!((states(&decision)[0], decision.status.stages[0].finished_at), (StageState::InProgress, None));
    assert_eq!(waits(&decision), "b:InProgress c:WaitingForStage");
}

/// It proves nothing about the version.
#[test]
fn a_canary_that_is_held_keeps_the_rest() {
    let seen = staged(&[canary(), stage("rest")], [(0, TargetFacts { hold: true, ..free() }), (1, free())]);
    let decision = decide(&seen);
    assert_eq!((effects(&decision), end(&decision)), (String::new(), None));
    assert_eq!(decision.status.progressing.reason, Reason::Held);
}

/// A label that is misspelt must not let a run pass over its canary.
#[test]
fn a_selector_that_selects_nothing_is_refused() {
    let seen = selecting(&[stage("canary"), stage("rest")], [selected_by([1]), selected_by([1])]);
    let decision = decide(&seen);
    assert_eq!(end(&decision), Some((false, Reason::StagesInvalid)));
    assert!(decision.status.succeeded.message.starts_with("the selector of stage canary matches no node"));
}

/// What is not begun is not planned either.
#[test]
fn nothing_is_planned_after_a_budget_is_passed() {
    let manual = Stage { approval: Approval::Manual, ..stage("all") };
    let mut seen = staged(&[manual], [(0, failed()), (0, free())]);
    seen.run.rollout.failure_budget = Some(Limit::Count(0));
    assert_eq!(end(&decide(&seen)), Some((false, Reason::FailureBudgetExceeded)));
}

/// A plan that is not carried out is given up.
#[test]
fn plans_of_nodes_that_are_not_begun_are_given_up() {
    let seen = staged(&[canary(), stage("rest")], [(0, failed()), (1, planned())]);
    assert_eq!(effects(&decide(&seen)), format!("b={:?}", Intent::Cancel));
}

/// The order of types holds within a stage; stages come first.
#[test]
fn stages_come_before_the_order_of_types() {
    let server = || of_kind(MachineKind::Server);
    let bmc = || of_kind(MachineKind::ManagementProcessor);
    let seen = staged(&[canary(), stage("rest")], [(0, server()), (1, bmc()), (1, server())]);
    assert_eq!(effects(&decide(&seen)), "+a");
    let mut seen = staged(&[canary(), stage("rest")], [(0, succeeded()), (1, bmc()), (1, server())]);
    seen.run.stages[0].finished_at = Some(Millis(0));
    assert_eq!(waits(&decide(&seen)), "b:InProgress c:WaitingForPredecessor");
}

/// Only a cache may show that the baseline is another one.
#[test]
fn a_run_that_differs_from_the_one_that_it_repeats_ends_in_a_confirmed_view() {
    let mut seen = observed(Desired::Run, [free()]);
    seen.run.targets_recorded = false;
    let run = crate::model::RunName::from("r12");
    seen.run.retry = Some(RetryProblem::Differs { run, fields: vec!["baselineRef".to_owned()] });
    seen.arrivals.confirmed = false;
    let decision = decide(&seen);
    assert!(decision.confirm && end(&decision).is_none());
    seen.arrivals.confirmed = true;
    assert_eq!(end(&decide(&seen)), Some((false, Reason::RetryDiffers)));
}

/// A node that was named and is not there is waited for, and then has failed.
#[test]
fn named_nodes_are_waited_for() {
    let missing = TargetFacts { exists: false, ..free() };
    let mut seen = observed(Desired::Run, [free(), missing]);
    (seen.run.targets_recorded, seen.run.names_nodes) = (false, true);
    seen.arrivals.timeout = Duration::from_mins(1);
    let decision = decide(&seen);
    assert_eq!(decision.status.progressing.reason, Reason::NodeNotFound);
    assert!(decision.status.progressing.message.starts_with("ManagedNode b does not exist; the run waits"));
    seen.arrivals.deadline = Some(seen.now);
    assert_eq!(effects(&decide(&seen)), "record 2/0");
}
