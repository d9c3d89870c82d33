//! Tests of single decisions: the effects, the status, and the time of the next decision.

mod around;
mod arrivals;
mod order;
mod window;

use super::*;

const NOW: Millis = Millis(1_000_000);

fn run(desired: Desired) -> RunFacts {
    RunFacts {
        name: RunName::from("r12-spring"),
        desired,
        operation: Operation::Update,
        max_concurrent: Limit::Count(2),
        rollout: Rollout::default(),
        stages: Vec::new(),
        approvals: Vec::new(),
        plan_digest: None,
        window: None,
        names_nodes: false,
        retry: None,
        order: OrderPolicy::ByType,
        retries: 2,
        deleting: false,
        finished: None,
        finished_at: None,
        ttl: None,
        not_supported: Vec::new(),
        targets_recorded: true,
        left_out: Vec::new(),
        starting: BTreeSet::new(),
        planning: BTreeSet::new(),
        window_error: None,
        selector_error: None,
    }
}

pub(in crate::run) fn free() -> TargetFacts {
    TargetFacts {
        exists: true,
        created: Millis(0),
        hold: false,
        claimed_by: None,
        unfit: None,
        relations: Relations::default(),
        stage: 0,
        selected_by: Vec::new(),
        expected: None,
        domain: None,
        calls_back: false,
        update: None,
    }
}

/// Returns a free node of this kind.
pub(in crate::run) fn of_kind(kind: MachineKind) -> TargetFacts {
    TargetFacts { relations: Relations { kind, ..Relations::default() }, ..free() }
}

fn with(intent: Intent, phase: UpdatePhase) -> TargetFacts {
    TargetFacts {
        update: Some(UpdateFacts { intent, phase, runner: RunnerName::from("r0"), kept: true }),
        ..free()
    }
}

pub(in crate::run) fn working() -> TargetFacts {
    with(Intent::Run, UpdatePhase::Working { step: "installing ethtool".to_owned() })
}

pub(in crate::run) fn done(end: NodeEnd) -> TargetFacts {
    with(Intent::Run, UpdatePhase::Done(end))
}

pub(in crate::run) fn failed() -> TargetFacts {
    done(NodeEnd::Failed { reason: Reason::InstallerFailed, message: "dpkg exited with 1".to_owned() })
}

pub(in crate::run) fn planned() -> TargetFacts {
    with(Intent::Plan, UpdatePhase::Planned)
}

fn held(facts: TargetFacts) -> TargetFacts {
    TargetFacts { hold: true, ..facts }
}

/// Returns arrivals without a wait, in a confirmed view.
fn no_arrivals() -> Arrivals {
    Arrivals { created: NOW, timeout: Duration::ZERO, deadline: None, changed: NOW, confirmed: true }
}

/// Creates a run over the nodes `a`, `b`, `c` … in the given states.
pub(in crate::run) fn observed<const N: usize>(desired: Desired, targets: [TargetFacts; N]) -> Observed {
    let names = ('a'..='z').map(|name| NodeName(name.to_string()));
    let targets = names.zip(targets).collect();
    let runners = Runners::new([RunnerName::from("r0")], []);
    let (run, baseline) = (run(desired), BaselineFacts::Ready);
    Observed {
        now: NOW,
        run,
        baseline,
        arrivals: no_arrivals(),
        paths: NetworkPaths::free(),
        runners,
        targets,
        busy_elsewhere: BTreeMap::new(),
    }
}

/// Abbreviates the effects: `+a` gives a node its turn, `a:Run` starts it, `a=Cancel` changes its
/// intent.
pub(in crate::run) fn effects(decision: &Decision) -> String {
    let short = |effect: &Effect| match effect {
        Effect::RecordTargets { nodes, left_out, stages } if stages.is_empty() => {
            format!("record {}/{}", nodes.len(), left_out.len())
        }
        Effect::RecordTargets { nodes, left_out: _, stages } => {
            let nodes: Vec<&str> = nodes.iter().map(|node| node.0.as_str()).collect();
            format!("record {} as {stages:?}", nodes.join(" "))
        }
        Effect::RecordStarts { nodes } => {
            nodes.iter().map(|node| format!("+{node}")).collect::<Vec<_>>().join(" ")
        }
        Effect::Start { node, intent, runner: _ } => format!("{node}:{intent:?}"),
        Effect::SetIntent { node, intent } => format!("{node}={intent:?}"),
        Effect::OpenPaths => "open".to_owned(),
        Effect::ClosePaths => "close".to_owned(),
        Effect::ReleaseRun => "release".to_owned(),
        Effect::DeleteRun => "delete".to_owned(),
    };
    decision.effects.iter().map(short).collect::<Vec<_>>().join(" ")
}

/// Abbreviates what the nodes wait for.
pub(in crate::run) fn waits(decision: &Decision) -> String {
    let short = |(node, waiting_on): &(NodeName, WaitingOn)| format!("{node}:{}", waiting_on.reason);
    decision.waiting.iter().map(short).collect::<Vec<_>>().join(" ")
}

pub(in crate::run) fn end(decision: &Decision) -> Option<(bool, Reason)> {
    decision.status.end().map(|end| (end.succeeded, end.reason))
}

/// If the list changed during a run, machines would be updated that nobody asked for.
#[test]
fn the_list_of_nodes_is_recorded_first_and_leaves_out_held_ones() {
    let mut seen = observed(Desired::Run, [free(), held(free()), TargetFacts { exists: false, ..free() }]);
    seen.run.targets_recorded = false;
    let decision = decide(&seen);
    assert_eq!(effects(&decision), "record 1/1");
    assert_eq!(decision.status.planned.status, CondStatus::Unknown);
    seen.run.targets_recorded = true;
    seen.run.left_out = vec![NodeName::from("b")];
    seen.targets.retain(|name, _| name.0 == "a");
    let decision = decide(&seen);
    assert_eq!(effects(&decision), "+a");
    assert_eq!(decision.status.planned.message, "the run has 1 nodes; left out because of spec.hold: b");
}

/// A lost status, for example after a restore from a backup, must not orphan nodes in progress.
#[test]
fn started_nodes_stay_in_a_list_that_is_recorded_again() {
    let mut seen =
        observed(Desired::Run, [held(working()), held(free()), TargetFacts { exists: false, ..working() }]);
    seen.run.targets_recorded = false;
    let decision = decide(&seen);
    assert_eq!(effects(&decision), "record 2/1");
    assert_eq!(waits(&decision), "a:InProgress c:InProgress");
    seen.run.desired = Desired::Cancel;
    assert_eq!(effects(&decide(&seen)), "a=Cancel c=Cancel");
}

/// Two machines of a cluster that are down at the same time are an outage.
#[test]
fn nodes_are_begun_by_name_and_never_more_than_allowed() {
    let decision = decide(&observed(Desired::Run, [done(NodeEnd::Succeeded), working(), free(), free()]));
    assert_eq!(effects(&decision), "+c");
    assert_eq!(waits(&decision), "b:InProgress c:InProgress d:WaitingForSlot");
    assert_eq!(decision.waiting[0].1.message, "installing ethtool");
    let mut seen = observed(Desired::Run, [free(), free(), free()]);
    for (limit, expected) in [
        (Limit::Percent(1), "+a"),
        (Limit::Percent(67), "+a +b"),
        (Limit::Percent(100), "+a +b +c"),
        (Limit::Percent(u32::MAX), "+a +b +c"),
        (Limit::Count(u32::MAX), "+a +b +c"),
        (Limit::Count(0), ""),
    ] {
        seen.run.max_concurrent = limit;
        assert_eq!(effects(&decide(&seen)), expected, "{limit:?}");
    }
    let idle = decide(&seen);
    assert_eq!(idle.status.progressing.reason, Reason::WaitingForSlot);
    assert!(idle.status.progressing.message.contains("maxConcurrent is 0"), "{:?}", idle.status.progressing);
}

/// A user who pauses a run expects that no node is started and none is interrupted.
#[test]
fn a_pause_does_not_interrupt_started_nodes() {
    let decision = decide(&observed(Desired::Pause, [working(), free(), planned()]));
    assert_eq!(effects(&decision), "");
    assert_eq!(waits(&decision), "a:InProgress b:Paused c:Paused");
    assert_eq!(decision.status.progressing.status, CondStatus::True);
    let decision = decide(&observed(Desired::Pause, [failed(), free()]));
    assert_eq!(decision.status.progressing.status, CondStatus::False);
    assert_eq!(decision.status.succeeded.reason, Reason::Paused);
    let decision = decide(&observed(Desired::Pause, [done(NodeEnd::Succeeded)]));
    assert_eq!(end(&decision), Some((true, Reason::AllSucceeded)));
}

/// Users of such tools complain most about runs that do nothing and do not say why.
#[test]
fn a_deleted_baseline_is_waited_for_and_an_invalid_baseline_ends_the_run() {
    let mut seen = observed(Desired::Run, [free()]);
    seen.baseline = BaselineFacts::Missing { name: "spring-2026".to_owned() };
    let decision = decide(&seen);
    assert_eq!((effects(&decision).as_str(), end(&decision)), ("", None));
    assert_eq!(
        decision.status.succeeded.message,
        "baseline spring-2026 does not exist; the run continues when it is created"
    );
    seen.run.targets_recorded = false;
    seen.baseline = BaselineFacts::Invalid { message: "spec.components: …".to_owned() };
    let decision = decide(&seen);
    assert_eq!(end(&decision), Some((false, Reason::BaselineInvalid)));
    assert_eq!(decision.status.stalled.status, CondStatus::True);
    seen.baseline = BaselineFacts::NotNeeded;
    assert_eq!(effects(&decide(&seen)), "record 1/0");
}

/// Otherwise half of the fleet gets the components of another baseline, and the run succeeds.
#[test]
fn a_replaced_baseline_starts_no_node_and_nodes_in_progress_continue() {
    let mut seen = observed(Desired::Run, [working(), free(), done(NodeEnd::Succeeded)]);
    seen.baseline = BaselineFacts::Replaced { name: "spring-2026".to_owned() };
    let decision = decide(&seen);
    assert_eq!((effects(&decision).as_str(), end(&decision)), ("", None));
    assert_eq!(waits(&decision), "a:InProgress b:BaselineNotFound");
    let message = &decision.status.progressing.message;
    assert!(message.starts_with("baseline spring-2026 was replaced"), "{message}");
    assert!(message.contains("create it again") && message.contains("Cancel"), "{message}");
    assert_eq!(decision.status.progressing.status, CondStatus::True);
    // A plan of the earlier content is not carried out either.
    seen.targets = observed(Desired::Run, [planned(), free()]).targets;
    let decision = decide(&seen);
    assert_eq!((effects(&decision).as_str(), end(&decision)), ("", None));
    assert_eq!(decision.status.progressing.status, CondStatus::False);
    assert_eq!(decision.status.succeeded.reason, Reason::BaselineNotFound);
    seen.run.desired = Desired::Cancel;
    assert_eq!(effects(&decide(&seen)), "a=Cancel");
    // The nodes that have ended had the earlier content.
    seen.run.desired = Desired::Run;
    seen.targets = observed(Desired::Run, [done(NodeEnd::Succeeded)]).targets;
    assert_eq!(end(&decide(&seen)), Some((true, Reason::AllSucceeded)));
}

/// A field that is silently ignored misleads the user.
#[test]
fn what_is_not_supported_ends_the_run_before_anything_is_touched() {
    let mut seen = observed(Desired::Run, [free()]);
    seen.run.targets_recorded = false;
    seen.run.not_supported = vec!["spec.strategy.stages".to_owned(), "spec.callback".to_owned()];
    let decision = decide(&seen);
    assert_eq!(end(&decision), Some((false, Reason::NotYetSupported)));
    assert_eq!(effects(&decision), "");
    assert_eq!(
        decision.status.succeeded.message,
        "not supported in this version: spec.strategy.stages, spec.callback; \
         start a run without these fields, or wait for a later version"
    );
    seen.run.not_supported.clear();
    seen.run.selector_error = Some("values must not be empty".to_owned());
    assert_eq!(end(&decide(&seen)), Some((false, Reason::SelectorInvalid)));
    seen.run.targets_recorded = true;
    assert_eq!(effects(&decide(&seen)), "+a");
}

/// A typing error in a label must not look like success.
#[test]
fn a_selector_that_matches_nothing_is_reported() {
    let mut seen = observed(Desired::Run, []);
    seen.run.targets_recorded = false;
    assert_eq!(end(&decide(&seen)), Some((false, Reason::NoNodesSelected)));
    seen.run.desired = Desired::Plan;
    let decision = decide(&seen);
    assert_eq!((end(&decision), decision.status.planned.reason), (None, Reason::NoNodesSelected));
    let mut seen = observed(Desired::Run, [held(free())]);
    seen.run.targets_recorded = false;
    let decision = decide(&seen);
    assert_eq!(end(&decision), Some((false, Reason::NoNodesSelected)));
    assert!(
        decision.status.succeeded.message.contains("spec.hold set: a"),
        "{:?}",
        decision.status.succeeded
    );
}

/// A plan that is not carried out changes nothing, and says how to continue.
#[test]
fn a_plan_waits_for_its_user() {
    let decision = decide(&observed(Desired::Plan, [planned(), free(), free(), working()]));
    assert_eq!(effects(&decision), "+b");
    assert_eq!(decision.status.planned.status, CondStatus::Unknown);
    let decision = decide(&observed(Desired::Plan, [planned(), failed(), held(planned())]));
    assert_eq!((effects(&decision).as_str(), end(&decision)), ("", None));
    assert_eq!(waits(&decision), "a:PlanOnly c:PlanOnly");
    assert_eq!(decision.status.planned.reason, Reason::PlanOnly);
    assert_eq!(decision.status.planned.status, CondStatus::True);
    assert_eq!(
        decision.status.succeeded.message,
        "2 of 3 nodes are planned and nothing was changed; set spec.desiredState to Run to carry out the plan"
    );
    let decision = decide(&observed(Desired::Run, [planned(), planned(), planned(), free()]));
    assert_eq!(effects(&decision), "+a +b");
    assert_eq!(waits(&decision), "a:InProgress b:InProgress c:WaitingForSlot d:WaitingForSlot");
    let decision = decide(&observed(Desired::Plan, [failed(), failed()]));
    assert_eq!(end(&decision), Some((false, Reason::SomeFailed)));
}

/// Two runs that work on the same machine at the same time break it.
#[test]
fn a_node_of_another_run_is_waited_for() {
    let claimed = |facts| TargetFacts { claimed_by: Some(RunName::from("winter")), ..facts };
    let decision = decide(&observed(Desired::Run, [claimed(free()), claimed(planned())]));
    assert_eq!((effects(&decision).as_str(), end(&decision)), ("", None));
    assert_eq!(waits(&decision), "a:WaitingForNode b:WaitingForNode");
    assert!(decision.status.progressing.message.contains("run winter is working on this node"));
    assert_eq!(decision.wake, Wake::At(Millis(1_030_000)));
}

/// `kubectl wait` on a run must not wait forever for a machine that a user holds.
#[test]
fn held_nodes_are_given_up_when_all_others_are_done() {
    let decision = decide(&observed(Desired::Run, [held(free()), working()]));
    assert_eq!(waits(&decision), "a:Held b:InProgress");
    assert_eq!(decision.status.counts.pending, 1);
    let decision = decide(&observed(Desired::Run, [held(free()), held(planned()), failed()]));
    assert_eq!((effects(&decision).as_str(), end(&decision)), ("b=Cancel", None));
    assert_eq!(waits(&decision), "a:Held b:Cancelling");
    let decision = decide(&observed(Desired::Run, [held(free()), done(NodeEnd::Succeeded)]));
    assert_eq!(end(&decision), Some((false, Reason::Held)));
    assert_eq!(decision.status.counts.cancelled, 1);
    // A node that was started before it was held continues.
    assert_eq!(waits(&decide(&observed(Desired::Run, [held(working())]))), "a:InProgress");
}

/// A machine that was decommissioned during a run must not block the run.
#[test]
fn a_node_that_is_gone_has_failed() {
    let gone = TargetFacts { exists: false, ..free() };
    let decision = decide(&observed(Desired::Run, [gone, done(NodeEnd::Succeeded)]));
    assert_eq!(end(&decision), Some((false, Reason::SomeFailed)));
    let failing = &decision.status.failing;
    assert!(matches!(failing.as_slice(), [one] if one.reason == Reason::NodeNotFound), "{failing:?}");
}

/// An incomplete cancellation would leave the engine on machines of a run that has ended.
#[test]
fn a_cancelled_run_ends_when_everything_is_clean() {
    let told = with(Intent::Cancel, UpdatePhase::Working { step: "cleaning up".to_owned() });
    let decision = decide(&observed(Desired::Cancel, [working(), planned(), told, free(), failed()]));
    assert_eq!(effects(&decision), "a=Cancel b=Cancel");
    assert_eq!(waits(&decision), "a:Cancelling b:Cancelling c:Cancelling");
    assert_eq!(decision.status.succeeded.status, CondStatus::Unknown);
    let decision = decide(&observed(Desired::Cancel, [done(NodeEnd::Cancelled), free(), failed()]));
    assert_eq!(end(&decision), Some((false, Reason::Cancelled)));
    assert_eq!(
        decision.status.succeeded.message,
        "cancelled by spec.desiredState: 0 of 3 nodes succeeded, 1 failed, 2 cancelled; \
         see status.failing, or: kubectl get nodeupdates -l farrier.dev/run=r12-spring"
    );
    // The cancellation is too late: everything was done before.
    let decision = decide(&observed(Desired::Cancel, [done(NodeEnd::Succeeded)]));
    assert_eq!(end(&decision), Some((true, Reason::AllSucceeded)));
}

/// If a run were deleted while its engines are running, nothing would clean up.
#[test]
fn a_deleted_run_is_released_when_everything_is_clean() {
    let mut seen = observed(Desired::Run, [working(), free()]);
    seen.run.deleting = true;
    assert_eq!(effects(&decide(&seen)), "a=Cancel");
    seen.targets.insert(NodeName::from("a"), done(NodeEnd::Cancelled));
    assert_eq!(effects(&decide(&seen)), "release");
    // The state of the machines counts, even if the status says that the run has ended.
    seen.run.finished =
        Some(RunEnd { succeeded: true, reason: Reason::AllSucceeded, message: "all".to_owned() });
    assert_eq!(effects(&decide(&seen)), "release");
    seen.targets.insert(NodeName::from("a"), working());
    assert_eq!(effects(&decide(&seen)), "a=Cancel");
}

/// A run that has ended does not change, and is deleted when its TTL expires.
#[test]
fn a_finished_run_expires() {
    let mut seen = observed(Desired::Run, [done(NodeEnd::Succeeded), free()]);
    let message = "38 of 40 nodes succeeded".to_owned();
    seen.run.finished = Some(RunEnd { succeeded: false, reason: Reason::SomeFailed, message });
    seen.run.finished_at = Some(NOW);
    assert_eq!((effects(&decide(&seen)).as_str(), decide(&seen).wake), ("", Wake::OnChange));
    seen.run.ttl = Some(Duration::from_mins(1));
    assert_eq!((effects(&decide(&seen)).as_str(), decide(&seen).wake), ("", Wake::At(Millis(1_060_000))));
    seen.now = Millis(1_060_000);
    assert_eq!(effects(&decide(&seen)), "delete");
    assert_eq!(decide(&seen).status.end(), seen.run.finished);
}

/// Users forward the final message of a run.
#[test]
fn the_final_message_contains_counts() {
    let away = done(NodeEnd::Unreachable { reason: Reason::NoRoute, message: "no route".to_owned() });
    let decision = decide(&observed(Desired::Run, [done(NodeEnd::Succeeded), failed(), away]));
    assert_eq!(
        decision.status.succeeded.message,
        "1 of 3 nodes succeeded, 1 failed, 1 unreachable; \
         see status.failing, or: kubectl get nodeupdates -l farrier.dev/run=r12-spring"
    );
    let failing: Vec<_> = decision.status.failing.iter().map(|failing| failing.reason).collect();
    assert_eq!(failing, [Reason::InstallerFailed, Reason::NoRoute]);
    let expected = Counts { total: 3, succeeded: 1, failed: 1, unreachable: 1, ..Counts::default() };
    assert_eq!(decision.status.counts, expected);
}

/// A run in which every node waits must name the cause, and must decide again when the wait ends.
#[test]
fn retries_and_missing_runners_are_reported() {
    let at = |millis| {
        let phase = UpdatePhase::WaitingForRetry { at: Millis(millis), reason: Reason::NoRoute };
        with(Intent::Run, phase)
    };
    let decision = decide(&observed(Desired::Run, [at(1_009_000), at(1_005_000)]));
    assert_eq!(decision.status.progressing.reason, Reason::WaitingForRetry);
    assert_eq!(decision.wake, Wake::At(Millis(1_005_000)));
    let decision = decide(&observed(Desired::Run, [at(5), with(Intent::Run, UpdatePhase::Pending)]));
    assert_eq!(decision.status.progressing.reason, Reason::WaitingForRunner);
    assert_eq!(decision.wake, Wake::OnChange);
}

/// The status of a run over thousands of nodes would have half of their names twice.
#[test]
fn a_thousand_nodes_get_their_turn_in_several_decisions() {
    let mut seen = observed(Desired::Run, []);
    seen.run.max_concurrent = Limit::Count(1000);
    seen.targets = (0..1000).map(|number| (NodeName(format!("n{number:04}")), free())).collect();
    let mut recorded = 0;
    for decisions in 1..=4 {
        let turns = effects(&decide(&seen));
        let nodes: Vec<NodeName> =
            turns.split(' ').filter_map(|turn| turn.strip_prefix('+')).map(NodeName::from).collect();
        recorded += nodes.len();
        assert_eq!(recorded, decisions * 250);
        for node in nodes {
            seen.targets.insert(node, working());
        }
    }
    assert_eq!(effects(&decide(&seen)), "");
}
