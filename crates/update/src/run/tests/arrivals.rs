//! Tests of objects that are created after the run, and of views that may be stale.

use super::*;

/// Two minutes after the first decision.
const UNTIL: Millis = Millis(NOW.0 + 120_000);

/// Creates a run over these nodes that was just created and waits for two minutes.
fn young<const N: usize>(targets: [TargetFacts; N]) -> Observed {
    let mut seen = observed(Desired::Run, targets);
    seen.run.targets_recorded = false;
    seen.arrivals.timeout = Duration::from_mins(2);
    seen
}

/// Creates the same run after the two minutes.
fn old<const N: usize>(targets: [TargetFacts; N]) -> Observed {
    let seen = young(targets);
    Observed { now: UNTIL, arrivals: Arrivals { deadline: Some(UNTIL), ..seen.arrivals }, ..seen }
}

fn created(millis: u64) -> TargetFacts {
    TargetFacts { created: Millis(millis), ..free() }
}

/// Without a wait, a run that is applied three seconds before its nodes would end at once,
/// permanently.
#[test]
fn nodes_are_waited_for_until_the_deadline_and_then_the_run_ends() {
    let decision = decide(&young([]));
    assert_eq!((effects(&decision).as_str(), end(&decision)), ("", None));
    assert_eq!(decision.wake, Wake::At(UNTIL));
    assert_eq!(decision.status.arrival_deadline, Some(UNTIL));
    assert_eq!(decision.status.progressing.reason, Reason::NoNodesSelected);
    assert_eq!(decision.status.progressing.status, CondStatus::False);
    assert_eq!(decision.status.reconciling.status, CondStatus::True);
    let words = "spec.selector matches no node; check the labels of the ManagedNodes in this namespace; \
                 the run continues as soon as that changes, and waits until 1970-01-01T00:18:40Z";
    assert_eq!(decision.status.succeeded.message, words);
    let decision = decide(&old([]));
    assert_eq!(end(&decision), Some((false, Reason::NoNodesSelected)));
    assert!(
        decision.status.succeeded.message.contains("waited 120 s for it, see spec.arrivalTimeout"),
        "{:?}",
        decision.status.succeeded
    );
    // A node that arrives before the deadline is selected.
    let recorded = Arrivals { deadline: Some(UNTIL), ..young([]).arrivals };
    let late = Observed { now: Millis(UNTIL.0 - 1), arrivals: recorded, ..young([free()]) };
    assert_eq!(effects(&decide(&late)), "record 1/0");
}

/// Without a wait, a node that is held temporarily would end a run that is applied at the
/// same time.
#[test]
fn held_nodes_are_waited_for_too() {
    assert_eq!(end(&decide(&young([held(free())]))), None);
    assert_eq!(end(&decide(&old([held(free())]))), Some((false, Reason::NoNodesSelected)));
}

/// Without a deadline, a run whose baseline is never created would wait forever.
#[test]
fn a_baseline_is_waited_for_until_the_deadline_and_then_the_run_ends() {
    let missing = BaselineFacts::Missing { name: "spring".to_owned() };
    let decision = decide(&Observed { baseline: missing.clone(), ..young([free()]) });
    assert_eq!((end(&decision), decision.wake), (None, Wake::At(UNTIL)));
    let message = &decision.status.succeeded.message;
    assert!(
        message.starts_with("baseline spring does not exist") && message.ends_with("00:18:40Z"),
        "{message}"
    );
    let late = Observed { baseline: missing.clone(), ..old([free()]) };
    assert_eq!(end(&decide(&late)), Some((false, Reason::BaselineNotFound)));
    // A plan waits for the user anyway, and a paused run waits until the pause ends.
    for desired in [Desired::Plan, Desired::Pause] {
        let mut patient = late.clone();
        patient.run.desired = desired;
        assert_eq!(end(&decide(&patient)), None, "{desired:?}");
    }
    // A node that was started is not abandoned when its baseline is deleted.
    let mut begun = old([working()]);
    begun.baseline = missing;
    assert_eq!((end(&decide(&begun)), waits(&decide(&begun)).as_str()), (None, "a:InProgress"));
}

/// A run that was applied as paused or as a plan, and is started an hour later together with its nodes,
/// would otherwise end at once.
#[test]
fn the_wait_begins_when_the_user_starts_the_run() {
    for desired in [Desired::Plan, Desired::Pause] {
        for mut seen in [young([]), old([]), old([free()])] {
            seen.run.desired = desired;
            assert_eq!(decide(&seen).status.arrival_deadline, None, "{desired:?}");
        }
        let mut recorded = old([free()]);
        recorded.run.desired = desired;
        recorded.run.targets_recorded = true;
        assert_eq!(decide(&recorded).status.arrival_deadline, Some(UNTIL), "{desired:?}");
    }
    let mut ended = old([]);
    assert_eq!(decide(&ended).status.arrival_deadline, Some(UNTIL));
    ended.run.finished = decide(&ended).status.end();
    assert_eq!(decide(&ended).status.arrival_deadline, Some(UNTIL), "the record stays");
}

/// A run that recorded its list after the first of ten nodes would silently omit nine
/// nodes.
#[test]
fn the_list_is_recorded_when_no_node_has_come_for_a_while() {
    let mut seen = young([created(NOW.0 - 1000)]);
    let decision = decide(&seen);
    assert_eq!(effects(&decision), "");
    assert_eq!(decision.wake, Wake::At(NOW.after(SETTLE)));
    assert_eq!(decision.status.planned.status, CondStatus::Unknown);
    seen.now = NOW.after(SETTLE);
    assert_eq!(effects(&decide(&seen)), "record 1/0");
    // Another node has arrived meanwhile.
    seen.arrivals.changed = Millis(NOW.0 + 2000);
    assert_eq!(decide(&seen).wake, Wake::At(Millis(NOW.0 + 5000)));
    // Nodes may keep arriving forever; the deadline applies nevertheless.
    seen.arrivals.deadline = Some(Millis(NOW.0 + 4000));
    assert_eq!(decide(&seen).wake, Wake::At(Millis(NOW.0 + 4000)));
    seen.now = Millis(NOW.0 + 4000);
    assert_eq!(effects(&decide(&seen)), "record 1/0");
}

/// Otherwise the most common case would take seconds longer than necessary.
#[test]
fn a_run_that_is_created_after_its_nodes_begins_at_once() {
    assert_eq!(effects(&decide(&young([created(NOW.0 - 4000), created(NOW.0 - 9000)]))), "record 2/0");
    assert_eq!(effects(&decide(&young([created(NOW.0 - 4000), created(NOW.0 - 3000)]))), "");
    // A run that does not wait for missing objects does not wait for existing ones either.
    let hasty = Arrivals { timeout: Duration::ZERO, ..young([]).arrivals };
    assert_eq!(effects(&decide(&Observed { arrivals: hasty, ..young([created(NOW.0)]) })), "record 1/0");
    // A lost status: nodes in progress do not make the run new.
    let begun = TargetFacts { created: NOW, ..working() };
    assert_eq!(effects(&decide(&young([begun]))), "record 1/0");
}

/// A watch that lags behind the others could end a run permanently, or omit half of its
/// nodes.
#[test]
fn nothing_ends_or_is_recorded_based_on_an_unconfirmed_view() {
    let gone = TargetFacts { exists: false, ..free() };
    let lost = Observed { run: run(Desired::Run), ..old([gone, done(NodeEnd::Succeeded)]) };
    let invalid = BaselineFacts::Invalid { message: "a circle".to_owned() };
    let cases = [
        old([]),
        old([free()]),
        old([held(free())]),
        Observed { baseline: BaselineFacts::Missing { name: "spring".to_owned() }, ..old([free()]) },
        Observed { baseline: invalid.clone(), ..old([free()]) },
        Observed { baseline: invalid.clone(), ..observed(Desired::Run, [working(), free()]) },
        Observed { baseline: invalid, ..observed(Desired::Run, [done(NodeEnd::Cancelled)]) },
        lost,
        observed(Desired::Run, [held(free()), done(NodeEnd::Succeeded)]),
        observed(Desired::Run, [held(planned()), done(NodeEnd::Succeeded)]),
    ];
    for confirmed in cases {
        let decision = decide(&confirmed);
        let does = !decision.effects.is_empty() || decision.status.end().is_some();
        assert!(does && !decision.confirm, "{decision:?}");
        let arrivals = Arrivals { confirmed: false, ..confirmed.arrivals };
        let decision = decide(&Observed { arrivals, ..confirmed });
        assert!(decision.confirm && decision.effects.is_empty(), "{decision:?}");
        assert_eq!(end(&decision), None);
    }
    // The user's desired state and the state of the nodes themselves need no confirmation.
    let mut cancelled = old([working()]);
    cancelled.arrivals.confirmed = false;
    cancelled.run.desired = Desired::Cancel;
    assert_eq!((effects(&decide(&cancelled)).as_str(), decide(&cancelled).confirm), ("a=Cancel", false));
    let mut over = observed(Desired::Run, [done(NodeEnd::Succeeded)]);
    over.arrivals.confirmed = false;
    assert_eq!(end(&decide(&over)), Some((true, Reason::AllSucceeded)));
}

/// A node that waits for its Secret must not look as if it were in progress.
#[test]
fn what_a_runner_waits_for_is_reported_with_its_deadline() {
    let message = "there is no secret db; waiting until 1970-01-01T00:18:40Z".to_owned();
    let awaiting = with(Intent::Run, UpdatePhase::Awaiting { reason: Reason::SecretNotFound, message });
    let mut seen = observed(Desired::Run, [awaiting, done(NodeEnd::Succeeded)]);
    seen.arrivals.deadline = Some(UNTIL);
    let decision = decide(&seen);
    assert_eq!(waits(&decision), "a:SecretNotFound");
    assert_eq!(decision.waiting[0].1.until, Some(UNTIL));
    assert_eq!(decision.status.progressing.reason, Reason::SecretNotFound);
    assert!(decision.status.progressing.message.contains("a: there is no secret db; waiting until"));
    seen.targets.insert(NodeName::from("b"), working());
    assert_eq!(decide(&seen).status.progressing.reason, Reason::InProgress);
}
