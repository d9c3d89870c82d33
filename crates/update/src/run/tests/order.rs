//! Tests of the order of nodes: what comes before what, partners, and what follows a failure.

use super::*;
use MachineKind::{Complex, HpuxServer, ManagementProcessor, OnboardAdministrator, Server, VirtualConnect};

fn placed(facts: TargetFacts, kind: MachineKind) -> TargetFacts {
    TargetFacts { relations: Relations { kind, ..facts.relations.clone() }, ..facts }
}

/// Makes a node managed by another one, of this kind; `None` if that does not exist.
fn managed(facts: TargetFacts, by: &str, kind: Option<MachineKind>) -> TargetFacts {
    let managed_by = Some(Manager { name: NodeName::from(by), kind });
    TargetFacts { relations: Relations { managed_by, ..facts.relations.clone() }, ..facts }
}

fn partner(facts: TargetFacts) -> TargetFacts {
    TargetFacts {
        relations: Relations { group: Some(NodeName::from("a")), ..facts.relations.clone() },
        ..facts
    }
}

fn succeeded() -> TargetFacts {
    done(NodeEnd::Succeeded)
}

fn away() -> TargetFacts {
    done(NodeEnd::Unreachable { reason: Reason::NoRoute, message: "no route".to_owned() })
}

/// The names and messages of the nodes that did not succeed.
fn failing(decision: &Decision) -> String {
    let short = |failing: &Failing| format!("{}:{} {}", failing.node, failing.reason, failing.message);
    decision.status.failing.iter().map(short).collect::<Vec<_>>().join("\n")
}

/// Decides about a run that may have ten nodes in progress.
fn wide<const N: usize>(desired: Desired, targets: [TargetFacts; N]) -> Observed {
    let mut seen = observed(desired, targets);
    seen.run.max_concurrent = Limit::Count(10);
    seen
}

/// An Onboard Administrator that restarts in the middle of the update of a module that is reached through
/// it may leave the module unusable.
#[test]
fn types_are_begun_in_their_order_and_a_wait_takes_no_slot() {
    let nodes = |vc: TargetFacts, oa: TargetFacts| {
        let [ilo, server] = [ManagementProcessor, Server].map(|kind| placed(free(), kind));
        [server, ilo, placed(oa, OnboardAdministrator), placed(vc, VirtualConnect), free()]
    };
    let decision = decide(&observed(Desired::Run, nodes(free(), free())));
    assert_eq!(effects(&decision), "+d +e");
    assert_eq!(
        waits(&decision),
        "a:WaitingForPredecessor b:WaitingForPredecessor c:WaitingForPredecessor d:InProgress e:InProgress"
    );
    assert_eq!(
        decision.waiting[0].1.message,
        "b comes before this node, which is begun when b has succeeded"
    );
    assert_eq!(
        decision.status.progressing.message,
        "2 of 5 nodes in progress, 0 ended; 3 wait for others: a for b, b for c, c for d"
    );
    let decision = decide(&wide(Desired::Run, nodes(succeeded(), working())));
    assert_eq!(effects(&decision), "+e");
    let decision = decide(&wide(Desired::Run, nodes(succeeded(), succeeded())));
    assert_eq!(effects(&decision), "+b +e");
    let mut seen = wide(Desired::Run, nodes(free(), free()));
    seen.run.order = OrderPolicy::None;
    assert_eq!(effects(&decide(&seen)), "+a +b +c +d +e");
    for operation in [Operation::Inventory, Operation::Stage] {
        let mut seen = wide(Desired::Run, nodes(free(), free()));
        seen.run.operation = operation;
        assert_eq!(effects(&decide(&seen)), "+a +b +c +d +e", "{operation:?} changes nothing");
    }
    assert_eq!(effects(&decide(&wide(Desired::Plan, nodes(free(), free())))), "+a +b +c +d +e");
}

/// A module that is reached through one enclosure's administrator would wait for all enclosures.
#[test]
fn a_manager_comes_first_and_replaces_the_order_of_its_type() {
    let vc = || managed(placed(free(), VirtualConnect), "b", Some(OnboardAdministrator));
    let oa = |facts| placed(facts, OnboardAdministrator);
    assert_eq!(effects(&decide(&wide(Desired::Run, [vc(), oa(free()), oa(free())]))), "+b +c");
    assert_eq!(effects(&decide(&wide(Desired::Run, [vc(), oa(succeeded()), oa(free())]))), "+a +c");
    let mut seen = wide(Desired::Run, [vc(), oa(free()), oa(free())]);
    seen.run.order = OrderPolicy::None;
    assert_eq!(effects(&decide(&seen)), "+b +c", "what a machine is reached through stays first");
    // The manager exists and is not in the run: it is not worked on.
    let elsewhere = managed(placed(free(), VirtualConnect), "z", Some(OnboardAdministrator));
    assert_eq!(effects(&decide(&wide(Desired::Run, [elsewhere, oa(free())]))), "+a +b");
}

/// Work on what depends on a failed device makes a bad state worse, and a run that ends without a word about
/// it looks complete.
#[test]
fn what_comes_after_a_failure_is_skipped_and_names_it() {
    let chain = |first: TargetFacts| {
        let [ilo, server] = [ManagementProcessor, Server].map(|kind| placed(free(), kind));
        [placed(first, OnboardAdministrator), ilo, server]
    };
    let decision = decide(&wide(Desired::Run, chain(failed())));
    assert_eq!(end(&decision), Some((false, Reason::SomeFailed)));
    assert_eq!(
        failing(&decision),
        "a:InstallerFailed dpkg exited with 1\n\
         b:Skipped not begun, because a, which comes before it, failed; see to a, then start a new run\n\
         c:Skipped not begun, because b, which comes before it, was not begun either: a failed; see to a, then start a new run"
    );
    let expected = Counts { total: 3, failed: 1, skipped: 2, ..Counts::default() };
    assert_eq!(decision.status.counts, expected);
    assert!(decision.status.succeeded.message.contains("1 failed, 2 skipped"), "{decision:?}");
    let cancelled = decide(&wide(Desired::Run, chain(done(NodeEnd::Cancelled))));
    assert!(
        failing(&cancelled)
            .starts_with("b:Skipped not begun, because a, which comes before it, was cancelled")
    );
    let gone = TargetFacts { exists: false, ..free() };
    let managed_by_gone = managed(free(), "a", None);
    let decision = decide(&wide(Desired::Run, [gone, managed_by_gone]));
    assert!(failing(&decision).contains("b:Skipped"), "{}", failing(&decision));
    // A held node is not worked on, and keeps no other.
    assert_eq!(effects(&decide(&wide(Desired::Run, chain(held(free()))))), "+b");
    // In a cancelled run the others are cancelled, not skipped.
    let decision = decide(&wide(Desired::Cancel, chain(done(NodeEnd::Cancelled))));
    assert_eq!(decision.status.counts, Counts { total: 3, cancelled: 3, ..Counts::default() });
}

/// Where only the production network can be reached, the part there must be done; elsewhere an unreachable
/// management processor is a reason to stop.
#[test]
fn an_unreachable_management_processor_keeps_no_hpux_server() {
    let pair = |manager, kind| {
        let server = managed(placed(free(), kind), "a", Some(manager));
        effects(&decide(&wide(Desired::Run, [placed(away(), manager), server])))
    };
    assert_eq!(pair(Complex, HpuxServer), "+b");
    assert_eq!(pair(ManagementProcessor, HpuxServer), "+b");
    assert_eq!(pair(ManagementProcessor, Server), "");
    let by_type = [placed(away(), Complex), placed(free(), HpuxServer), placed(free(), Server)];
    let decision = decide(&wide(Desired::Run, by_type));
    assert_eq!(effects(&decision), "+b");
    assert!(
        failing(&decision).contains("c:Skipped not begun, because a, which comes before it, was not reached")
    );
    assert_eq!(decision.status.counts.unreachable, 1);
    let failed_mp = [placed(failed(), Complex), placed(free(), HpuxServer)];
    assert_eq!(end(&decide(&wide(Desired::Run, failed_mp))), Some((false, Reason::SomeFailed)));
}

/// Both halves of a fabric at once are an outage, and so is the second half after the first has failed.
#[test]
fn partners_are_never_in_flight_together_and_not_after_a_failure() {
    let decision = decide(&wide(Desired::Run, [partner(free()), partner(free()), free()]));
    assert_eq!(effects(&decision), "+a +c");
    assert_eq!(waits(&decision), "a:InProgress b:PartnerAtWork c:InProgress");
    let decision = decide(&wide(Desired::Run, [partner(free()), partner(working())]));
    assert_eq!(waits(&decision), "a:PartnerAtWork b:InProgress");
    assert!(decision.waiting[0].1.message.starts_with("its partner b is in progress"));
    let retrying = UpdatePhase::WaitingForRetry { at: Millis(1_005_000), reason: Reason::NoRoute };
    let decision = decide(&wide(Desired::Run, [partner(free()), partner(with(Intent::Run, retrying))]));
    assert_eq!(effects(&decision), "", "a partner whose attempt is repeated is not done");
    let decision = decide(&wide(Desired::Run, [partner(free()), partner(succeeded())]));
    assert_eq!(effects(&decision), "+a");
    for bad in [failed(), away(), done(NodeEnd::Cancelled)] {
        let decision = decide(&wide(Desired::Run, [partner(free()), partner(bad)]));
        assert_eq!(effects(&decision), "");
        assert!(failing(&decision).contains("a:Skipped not begun, because its partner b did not succeed"));
    }
    let mut elsewhere = partner(free());
    elsewhere.relations.partner_at_work = Some((NodeName::from("fc-2"), RunName::from("winter")));
    let decision = decide(&wide(Desired::Run, [elsewhere]));
    assert_eq!((effects(&decision).as_str(), waits(&decision).as_str()), ("", "a:PartnerAtWork"));
    assert!(decision.status.progressing.message.contains("run winter is working on its partner fc-2"));
    assert_eq!(decision.wake, Wake::At(Millis(1_030_000)));
    // One reads the other's inventory in peace, also after a failure.
    let mut seen = wide(Desired::Run, [partner(free()), partner(failed())]);
    seen.run.operation = Operation::Inventory;
    assert_eq!(effects(&decide(&seen)), "+a");
}

/// A run whose nodes wait for each other never ends.
#[test]
fn a_cycle_is_refused_and_drawn_before_anything_starts() {
    let by = |name| managed(free(), name, Some(MachineKind::Other));
    for desired in [Desired::Run, Desired::Plan] {
        let decision = decide(&wide(desired, [by("c"), by("a"), by("b"), free()]));
        assert_eq!((effects(&decision).as_str(), end(&decision)), ("", Some((false, Reason::OrderCycle))));
        let mut cached = wide(desired, [by("c"), by("a"), by("b"), free()]);
        cached.arrivals.confirmed = false;
        let cached = decide(&cached);
        assert!(cached.confirm && cached.status.starting.is_empty(), "the order may have been corrected");
        assert!(
            decision.status.stalled.message.contains("in a circle: a → b → c → a; correct"),
            "{decision:?}"
        );
    }
    // With the table: an administrator before its processor, that before the server that manages the first.
    let oa = managed(placed(free(), OnboardAdministrator), "c", Some(Server));
    let circle = [oa, placed(free(), ManagementProcessor), placed(free(), Server)];
    assert!(decide(&wide(Desired::Run, circle)).status.stalled.message.contains("a → b → c → a"));
    // Later, the nodes that are not in the cycle go on, and the run still ends.
    let decision = decide(&wide(Desired::Run, [by("b"), by("a"), free(), succeeded()]));
    assert_eq!(effects(&decision), "+c");
    assert!(failing(&decision).contains("a:OrderCycle the order of the nodes goes in a circle: a → b → a"));
    let decision = decide(&wide(Desired::Run, [by("b"), by("a"), succeeded()]));
    assert_eq!(end(&decision), Some((false, Reason::SomeFailed)));
    // What has ended before does not matter.
    let settled = managed(succeeded(), "b", Some(MachineKind::Other));
    assert_eq!(effects(&decide(&wide(Desired::Run, [settled, by("a")]))), "+b");
}

/// Manifests are applied in any order; a typing error must not hold a run for ever.
#[test]
fn a_missing_manager_is_waited_for_until_the_deadline() {
    let mut seen = wide(Desired::Run, [managed(free(), "oa-1", None), free()]);
    seen.arrivals.timeout = Duration::from_mins(1);
    seen.run.targets_recorded = false;
    let decision = decide(&seen);
    assert_eq!((effects(&decision).as_str(), decision.wake), ("", Wake::At(Millis(1_060_000))));
    assert_eq!(decision.status.progressing.reason, Reason::ManagerNotFound);
    assert!(
        decision.status.progressing.message.contains("ManagedNode a: spec.managedBy names ManagedNode oa-1")
    );
    seen.run.targets_recorded = true;
    seen.arrivals.deadline = Some(Millis(1_060_000));
    let decision = decide(&seen);
    assert_eq!(
        (effects(&decision).as_str(), waits(&decision).as_str()),
        ("+b", "a:ManagerNotFound b:InProgress")
    );
    seen.now = Millis(1_060_000);
    seen.targets.insert(NodeName::from("b"), succeeded());
    seen.arrivals.confirmed = false;
    assert!(decide(&seen).confirm, "only a cache shows that it is missing");
    seen.arrivals.confirmed = true;
    let decision = decide(&seen);
    assert_eq!(end(&decision), Some((false, Reason::SomeFailed)));
    assert!(failing(&decision).contains("a:ManagerNotFound not begun, because spec.managedBy names"));
}

/// A hold that is lifted late must not restart a device under the work on another.
#[test]
fn a_node_is_not_begun_while_one_that_comes_after_it_is_at_work() {
    let late = [placed(free(), OnboardAdministrator), placed(working(), ManagementProcessor)];
    let decision = decide(&wide(Desired::Run, late));
    assert_eq!(
        (effects(&decision).as_str(), waits(&decision).as_str()),
        ("", "a:WaitingForPredecessor b:InProgress")
    );
    assert!(decision.waiting[0].1.message.contains("b comes after this node and is in progress already"));
}

/// A turn to be planned is given without an order. It must not become a turn to be updated.
#[test]
fn the_turn_of_a_plan_stays_a_plan() {
    let pair = || [placed(free(), OnboardAdministrator), placed(free(), ManagementProcessor)];
    let mut seen = wide(Desired::Plan, pair());
    let decision = decide(&seen);
    assert_eq!(decision.status.planning.len(), 2);
    assert!(decision.status.starting.is_empty());
    seen.run.planning = decision.status.planning.into_iter().collect();
    seen.run.desired = Desired::Run;
    let decision = decide(&seen);
    assert_eq!(effects(&decision), "a:Plan b:Plan");
    seen.targets =
        wide(Desired::Run, [placed(planned(), OnboardAdministrator), placed(planned(), ManagementProcessor)])
            .targets;
    let decision = decide(&seen);
    assert_eq!((effects(&decision).as_str(), decision.status.planning.len()), ("+a", 0));
    // A plan behind a failure is given up, and its node counts as skipped.
    let after_failure = |second| {
        wide(Desired::Run, [placed(failed(), OnboardAdministrator), placed(second, ManagementProcessor)])
    };
    let decision = decide(&after_failure(planned()));
    assert_eq!((effects(&decision).as_str(), waits(&decision).as_str()), ("b=Cancel", "b:Cancelling"));
    let decision = decide(&after_failure(done(NodeEnd::Cancelled)));
    assert_eq!((decision.status.counts.skipped, end(&decision)), (1, Some((false, Reason::SomeFailed))));
}

/// Users approve a plan; they must see in which order it is carried out, also that of thousands of machines.
#[test]
fn the_status_shows_the_steps() {
    let vc = || partner(managed(placed(free(), VirtualConnect), "b", Some(OnboardAdministrator)));
    let oa = || placed(free(), OnboardAdministrator);
    let decision = decide(&wide(Desired::Plan, [vc(), oa(), vc(), free()]));
    let short = |step: &OrderStep| {
        let node = |n: &OrderedNode| format!("{} after {:?} not with {:?}", n.node, n.after, n.not_with);
        format!("{}: {}", step.count, step.nodes.iter().map(node).collect::<Vec<_>>().join(", "))
    };
    let steps: Vec<_> = decision.status.order.iter().map(short).collect();
    assert_eq!(
        steps,
        [
            "2: b after None not with None, d after None not with None",
            r#"2: a after Some("b") not with Some("c"), c after Some("b") not with Some("a")"#
        ]
    );
    assert!(decide(&wide(Desired::Plan, [free(), free()])).status.order.is_empty());
    let mut seen = wide(Desired::Plan, []);
    for number in 0..3000_usize {
        let kind = if number < 5 { OnboardAdministrator } else { ManagementProcessor };
        seen.targets.insert(NodeName(format!("n{number:04}")), placed(free(), kind));
    }
    let order = decide(&seen).status.order;
    assert_eq!(order.iter().map(|step| step.count).collect::<Vec<_>>(), [5, 2995]);
    assert_eq!(order.iter().map(|step| step.nodes.len()).sum::<usize>(), 30);
    assert_eq!(order[1].nodes[0].after.as_deref(), Some("n0000, n0001, n0002 and 2 more"));
    for number in 1..3000_usize {
        let by = managed(free(), &format!("n{:04}", number - 1), Some(MachineKind::Other));
        seen.targets.insert(NodeName(format!("n{number:04}")), by);
    }
    let order = decide(&seen).status.order;
    assert_eq!((order.len(), order[49].count), (50, 2951));
}
