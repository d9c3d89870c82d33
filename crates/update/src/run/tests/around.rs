//! Tests of what a node depends on besides itself: open ports, a recorded turn, a runner, a valid
//! address.

use super::*;

fn caller() -> TargetFacts {
    TargetFacts { calls_back: true, ..free() }
}

/// A node that calls back waits for the ports; a node that does not starts immediately.
#[test]
fn only_nodes_that_call_back_wait_for_ports() {
    let run = observed(Desired::Run, [caller(), free()]);
    let decision = decide(&run);
    assert_eq!(effects(&decision), "open +b");
    assert_eq!(waits(&decision), "a:Exposing b:InProgress");
    let message = || "no load balancer; use another exposure".to_owned();
    let stuck = PathState::Blocked { reason: Reason::LoadBalancerPending, message: message(), until: None };
    let decision =
        decide(&Observed { paths: NetworkPaths { back: stuck, ..NetworkPaths::free() }, ..run.clone() });
    assert_eq!(waits(&decision), "a:LoadBalancerPending b:InProgress");
    assert_eq!(decision.status.exposed.status, CondStatus::False);
    let taken = |open| PathState::Refused { reason: Reason::PortsTaken, message: message(), open };
    let decision = decide(&Observed {
        paths: NetworkPaths { back: taken(true), ..NetworkPaths::free() },
        ..run.clone()
    });
    assert_eq!((effects(&decision), end(&decision)), ("close".to_owned(), None));
    let decision =
        decide(&Observed { paths: NetworkPaths { back: taken(false), ..NetworkPaths::free() }, ..run });
    assert_eq!(end(&decision), Some((false, Reason::PortsTaken)));
}

/// A BMC that begins to fetch its image in the middle of a run would wait forever for ports that nobody
/// opens; and ports that nobody needs any more would stay open until the end.
#[test]
fn ports_are_open_while_a_node_at_work_needs_them() {
    let open = || PathState::Open { message: "63001".to_owned() };
    let exposed = |nodes: [TargetFacts; 2], back| {
        let paths = NetworkPaths { back, ..NetworkPaths::free() };
        let decision = decide(&Observed { paths, ..observed(Desired::Run, nodes) });
        (effects(&decision), decision.status.exposed)
    };
    let fetching = || TargetFacts { calls_back: true, ..working() };
    let (done, said) = exposed([working(), working()], PathState::Closed);
    assert_eq!((done.as_str(), said.status, said.reason), ("", CondStatus::True, Reason::NotRequired));
    assert_eq!(said.message, "no node has to connect to the operator; no port of the run is open");
    let (done, said) = exposed([fetching(), working()], PathState::Closed);
    assert_eq!((done.as_str(), said.status), ("open", CondStatus::Unknown));
    let (done, said) = exposed([fetching(), working()], open());
    assert_eq!((done.as_str(), said.reason), ("open", Reason::Exposed));
    let (done, said) = exposed([working(), working()], open());
    assert_eq!((done.as_str(), said.reason), ("close", Reason::Exposed), "it is still open");
    let (_, said) = exposed([working(), working()], PathState::Closing { message: "one listens".to_owned() });
    assert_eq!(said.reason, Reason::Closing);
}

/// The end of a run is reported only after all its network paths are closed.
#[test]
fn a_run_ends_after_its_ports_are_closed() {
    let open = PathState::Open { message: "63002".to_owned() };
    let done = TargetFacts { calls_back: true, ..done(NodeEnd::Succeeded) };
    let run = observed(Desired::Run, [done]);
    let decision =
        decide(&Observed { paths: NetworkPaths { back: open, ..NetworkPaths::free() }, ..run.clone() });
    assert_eq!(effects(&decision), "close");
    assert_eq!((end(&decision), decision.status.progressing.reason), (None, Reason::Closing));
    let decision = decide(&run);
    assert_eq!((effects(&decision), end(&decision)), (String::new(), Some((true, Reason::AllSucceeded))));
}

/// A NodeUpdate from an earlier leader that arrived after its turn was no longer counted would
/// exceed the limit.
#[test]
fn a_node_whose_turn_is_recorded_counts_and_is_begun() {
    let mut seen = observed(Desired::Run, [planned(), free(), free()]);
    seen.run.starting = BTreeSet::from([NodeName::from("a"), NodeName::from("b")]);
    let decision = decide(&seen);
    assert_eq!((effects(&decision), decision.status.counts.in_progress), ("a=Run b:Run".to_owned(), 2));
    assert_eq!(waits(&decision), "a:InProgress b:InProgress c:WaitingForSlot");
    assert_eq!(decision.status.starting, ["a", "b"].map(NodeName::from));
    seen.run.desired = Desired::Pause;
    let decision = decide(&seen);
    assert_eq!(effects(&decision), "a=Run b:Run", "a pause leaves alone what is begun");
    assert_eq!(waits(&decision), "a:InProgress b:InProgress c:Paused");
    seen.run.desired = Desired::Cancel;
    assert_eq!(effects(&decide(&seen)), "a=Cancel b:Cancel");
    seen.targets.insert(NodeName::from("b"), working());
    seen.run.desired = Desired::Run;
    assert_eq!(decide(&seen).status.starting, [NodeName::from("a")]);
}

/// Otherwise the nodes of a lost runner would be abandoned, or would all be assigned to the same
/// runner.
#[test]
fn nodes_go_to_the_runner_with_the_least_load_and_stay_with_live_runners() {
    let with = |runner: &str, phase| UpdateFacts {
        intent: Intent::Run,
        phase,
        runner: RunnerName::from(runner),
        kept: true,
    };
    let works = |runner| with(runner, UpdatePhase::Working { step: String::new() });
    let ended = |kept| UpdateFacts { kept, ..with("gone", UpdatePhase::Done(NodeEnd::Succeeded)) };
    let updates = [works("gone"), works("b"), works("gone"), works("gone"), ended(true), ended(false)];
    let runners = Runners::new(["a", "b"].map(RunnerName::from), &updates);
    let handed = reassign(updates.iter().enumerate(), runners.clone());
    let short: Vec<_> = handed.iter().map(|(n, runner)| format!("{n}:{runner}")).collect();
    assert_eq!(short, ["0:a", "2:a", "3:b", "4:a"]);
    assert_eq!(reassign(updates.iter().enumerate(), Runners::default()), []);
    let over = with("a", UpdatePhase::Done(NodeEnd::Succeeded));
    let mut later = Runners::new(["a", "b"].map(RunnerName::from), [&over]);
    assert_eq!(later.pick(|_| true), Some(RunnerName::from("b")), "one that came later gets its turn");
    let mut seen = observed(Desired::Run, [working(), free()]);
    seen.runners = Runners::default();
    assert_eq!(waits(&decide(&seen)), "a:WaitingForRunner b:WaitingForRunner");
    assert_eq!(effects(&decide(&seen)), "");
    seen.runners = runners;
    assert_eq!(waits(&decide(&seen)), "a:WaitingForRunner b:InProgress");
}

/// An error of one machine is reported for that machine; the other machines do not wait.
#[test]
fn a_node_that_must_be_corrected_does_not_delay_the_others() {
    let wrong = (Reason::AddressInClusterRange, "a lies inside the service range".to_owned());
    let run = observed(Desired::Run, [TargetFacts { unfit: Some(wrong), ..free() }, free()]);
    let decision = decide(&run);
    assert_eq!(waits(&decision), "a:AddressInClusterRange b:InProgress");
    let run = observed(Desired::Run, [run.targets[&NodeName("a".to_owned())].clone()]);
    let decision = decide(&run);
    assert_eq!((effects(&decision), end(&decision)), (String::new(), None));
    assert_eq!(decision.status.progressing.reason, Reason::AddressInClusterRange);
}
