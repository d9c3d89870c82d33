//! Typical cases of the ledger; the laws are in their own module.

use super::*;
use crate::table::{Range, table};

mod laws;
mod model;
mod race;

fn runner_host(runner: &str, host: &str, block: Option<Block>) -> RunnerHost {
    RunnerHost { runner: runner.to_owned(), host: host.to_owned(), block }
}

fn request(run: &str, runners: Vec<RunnerHost>, sharing: PairSharing) -> PairRequest {
    PairRequest {
        run: run.to_owned(),
        runners,
        wanted: Pair::USUAL,
        on_conflict: OnConflict::Next,
        sharing,
        previous: BTreeMap::new(),
    }
}

fn conflict(run: &str, host: &str, port: u16) -> Conflict {
    Conflict { run: run.to_owned(), host: host.to_owned(), port }
}

fn pair(http: u16, https: u16) -> Pair {
    Pair { http, https }
}

/// The chart's block of sixteen ports.
const BLOCK: Block = Block { first: 63001, count: 16 };

/// With Fail a site gets the ports that its firewall allows, or a reason that names their owners.
#[test]
fn with_fail_the_refusal_names_the_owners_of_the_ports() {
    let mut request = request("b", vec![runner_host("r0", "h0", None)], PairSharing::PerRunner);
    request.on_conflict = OnConflict::Fail;
    let claims = Claim::both("a", "r0", "h0", pair(63002, 63003));
    let refused = allocate(&request, &claims, &[conflict("b", "h0", 63001)]).refused;
    assert_eq!(
        refused["r0"].to_string(),
        "on h0 port 63001 is taken by another program, and port 63002 by run a"
    );
}

/// The same ports in two pods are no conflict: each pod has its own.
#[test]
fn runs_in_different_pods_have_the_same_pair() {
    let request = request("b", vec![runner_host("r1", "h1", Some(BLOCK))], PairSharing::PerRunner);
    let claims = Claim::both("a", "r0", "h0", Pair::USUAL);
    assert_eq!(allocate(&request, &claims, &[]).pairs["r1"], Pair::USUAL);
}

/// Two processes on one machine, as in a test without pods.
#[test]
fn two_runners_of_a_run_on_one_host_have_different_pairs() {
    let request = request(
        "a",
        vec![runner_host("r1", "h", None), runner_host("r0", "h", None)],
        PairSharing::PerRunner,
    );
    let pairs = allocate(&request, &[], &[]).pairs;
    assert_eq!((pairs["r0"], pairs["r1"]), (Pair::USUAL, pair(63003, 63004)));
}

/// A host port that the pod does not declare does not exist.
#[test]
fn ports_outside_the_block_are_not_given() {
    let block = Block { first: 40000, count: 4 };
    let mut request = request("a", vec![runner_host("r0", "h0", Some(block))], PairSharing::PerRunner);
    assert_eq!(allocate(&request, &[], &[]).pairs["r0"], pair(40000, 40001));
    // The distance of 80 and 443 does not fit into four ports.
    request.wanted = pair(80, 443);
    assert_eq!(allocate(&request, &[], &[]).pairs["r0"], pair(40000, 40001));
    request.on_conflict = OnConflict::Fail;
    assert_eq!(
        allocate(&request, &[], &[]).refused["r0"].to_string(),
        "on h0 only the ports 40000 to 40003 are reserved, and 80/443 are not among them"
    );
}

/// A pod that comes back with other host ports cannot use its previous ones.
#[test]
fn a_pair_outside_a_new_block_is_given_up() {
    let block = Block { first: 40000, count: 4 };
    let mut request = request("a", vec![runner_host("r0", "h0", Some(block))], PairSharing::PerRunner);
    request.previous.insert("r0".to_owned(), Pair::USUAL);
    assert_eq!(allocate(&request, &[], &[]).pairs["r0"], pair(40000, 40001));
}

/// A run that asks for ports in the middle of the block also gets ports from its beginning.
#[test]
fn the_search_continues_at_the_beginning_of_the_block() {
    let block = Block { first: 63001, count: 4 };
    let mut request = request("a", vec![runner_host("r0", "h0", Some(block))], PairSharing::PerRunner);
    request.wanted = pair(63003, 63004);
    let claims = Claim::both("b", "r0", "h0", pair(63003, 63004));
    assert_eq!(allocate(&request, &claims, &[]).pairs["r0"], Pair::USUAL);
}

/// The message for a full host says how many ports belong to runs and to others.
#[test]
fn a_full_block_is_named() {
    let request = request("z", vec![runner_host("r0", "h0", Some(BLOCK))], PairSharing::PerRunner);
    let mut claims: Vec<Claim> = Claim::both("a", "r0", "h0", Pair::USUAL).to_vec();
    claims.extend(Claim::both("b", "r0", "h0", pair(63003, 63004)));
    let conflicts: Vec<Conflict> = (63005..=63015).map(|port| conflict("z", "h0", port)).collect();
    let refused = &allocate(&request, &claims, &conflicts).refused["r0"];
    assert_eq!(
        refused.to_string(),
        "on h0 no free pair is left among the ports 63001 to 63016: 4 are allocated to runs, 11 are used by others"
    );
}

/// Port numbers do not wrap around.
#[test]
fn there_is_nothing_above_65535() {
    let mut request = request("a", vec![runner_host("r0", "h0", None)], PairSharing::PerRunner);
    request.wanted = pair(65534, 65535);
    let refused = &allocate(&request, &[], &[conflict("a", "h0", 65535)]).refused["r0"];
    assert!(matches!(
        refused,
        Refusal::Exhausted { first: 65534, last: 65535, by_runs: 0, by_others: 1, .. }
    ));
    let block = Block { first: 65530, count: 100 };
    assert_eq!(block.last(), Some(65535));
    assert_eq!(Block { first: 1, count: 0 }.last(), None);
}

/// One Service is in front of all pods: a pod with other ports would be unreachable.
#[test]
fn runners_behind_one_service_have_the_same_pair() {
    let runners = vec![runner_host("r0", "h0", None), runner_host("r1", "h1", None)];
    let mut request = request("b", runners, PairSharing::Shared);
    let claims = Claim::both("a", "r1", "h1", Pair::USUAL);
    let both = allocate(&request, &claims, &[]).pairs;
    assert_eq!((both["r0"], both["r1"]), (pair(63003, 63004), pair(63003, 63004)));

    // One runner cannot have the pair, so all of them move.
    request.previous = both;
    let moved = allocate(&request, &claims, &[conflict("b", "h0", 63004)]).pairs;
    assert_eq!((moved["r0"], moved["r1"]), (pair(63005, 63006), pair(63005, 63006)));
}

/// Engines are in the middle of their work: an additional replica must not disconnect them.
#[test]
fn a_runner_that_comes_later_does_not_move_the_others() {
    let runners = vec![runner_host("r0", "h0", None), runner_host("r1", "h1", None)];
    let mut request = request("b", runners, PairSharing::Shared);
    request.previous.insert("r0".to_owned(), Pair::USUAL);
    let claims = Claim::both("a", "r1", "h1", Pair::USUAL);
    let allocation = allocate(&request, &claims, &[]);
    assert_eq!(allocation.pairs["r0"], Pair::USUAL);
    assert!(matches!(allocation.refused["r1"], Refusal::PortsTaken { .. }));
    assert_eq!(allocate(&request, &[], &[]).pairs["r1"], Pair::USUAL);
}

/// Two processes on one machine cannot listen on the same port.
#[test]
fn runners_that_need_the_same_pair_are_not_on_one_host() {
    let runners = vec![runner_host("r0", "h", None), runner_host("r1", "h", None)];
    let allocation = allocate(&request("b", runners, PairSharing::Shared), &[], &[]);
    assert_eq!(allocation.pairs["r0"], Pair::USUAL);
    assert_eq!(
        allocation.refused["r1"].to_string(),
        "on h r0 already uses the ports, and both runners need the same ports"
    );
}

/// Released ports can be allocated again.
#[test]
fn released_ports_are_allocated_again() {
    let block = Some(BLOCK);
    let mut claims = Vec::new();
    for run in 0..8_u16 {
        let request =
            request(&format!("run-{run}"), vec![runner_host("r0", "h0", block)], PairSharing::PerRunner);
        let given = allocate(&request, &claims, &[]).pairs["r0"];
        claims.extend(Claim::both(&request.run, "r0", "h0", given));
    }
    let late = request("late", vec![runner_host("r0", "h0", block)], PairSharing::PerRunner);
    assert!(matches!(allocate(&late, &claims, &[]).refused["r0"], Refusal::Exhausted { by_runs: 16, .. }));
    claims.retain(|claim| claim.run != "run-5");
    assert_eq!(allocate(&late, &claims, &[]).pairs["r0"], pair(63011, 63012));
}

fn profile(id: &str) -> RangeProfile {
    let range: &Range = table().range(id).unwrap();
    range.into()
}

fn asks(runner: &str) -> RangeRequest {
    RangeRequest { run: "a".to_owned(), runner: runner.to_owned(), host: "h0".to_owned(), previous: None }
}

/// Row E5: the owner of the lowest port depends on the interfaces.
#[test]
fn with_one_interface_and_no_ipv6_the_nodes_get_the_second_port() {
    let range = profile("target_to_controller");
    let one = HostNetwork { ipv6: false, interfaces: 1 };
    let given = |way, conflicts: &[Conflict]| {
        let ports = take_return(range, &asks("r0"), None, way, &[], conflicts).unwrap();
        (ports.local.map(|taken| taken.port), ports.nodes.port)
    };
    assert_eq!(given(one, &[]), (Some(61000), 61001));
    assert_eq!(given(one, &[conflict("a", "h0", 61000)]), (Some(61001), 61002));
    assert_eq!(given(one, &[conflict("a", "h0", 61001)]), (Some(61000), 61002));
    assert_eq!(given(HostNetwork { ipv6: true, interfaces: 1 }, &[]), (None, 61000));
    assert_eq!(given(HostNetwork { ipv6: false, interfaces: 2 }, &[]), (None, 61000));
}

/// The nodes were given their port; only that of the local processes may change.
#[test]
fn a_conflict_on_the_local_port_keeps_the_port_of_the_nodes() {
    let request = RangeRequest { previous: Some(61001), ..asks("r0") };
    let one = HostNetwork { ipv6: false, interfaces: 1 };
    let range = profile("target_to_controller");
    let reported = [conflict("a", "h0", 61000)];
    let ports = take_return(range, &request, Some(61000), one, &[], &reported).unwrap();
    assert_eq!((ports.local.map(|t| t.port), ports.nodes.port), (Some(61002), 61001));
}

/// The text gives six ports and no more; firewalls block a seventh.
#[test]
fn the_log_server_does_not_leave_its_range() {
    let taken: Vec<Conflict> =
        [80].into_iter().chain(63000..=63005).map(|port| conflict("a", "h0", port)).collect();
    let refused = take(profile("log_server"), &asks("r0"), &[], &taken, 7).unwrap_err();
    assert!(matches!(refused, Refusal::Exhausted { first: 63000, last: 63005, by_others: 6, .. }));
    assert_eq!(take(profile("log_server"), &asks("r0"), &[], &[], 7).unwrap().port, 80);
}

/// Row E6: above 1024 means at least 1025.
#[test]
fn a_dedicated_port_is_a_high_one() {
    let mut claims = Vec::new();
    for session in 0..200_u16 {
        let asks = asks(&format!("session-{session}"));
        let RangePort { port, beyond } = take(profile("dedicated_high"), &asks, &claims, &[], 0).unwrap();
        assert_eq!((port, beyond), (1025 + session, false));
        claims.push(Claim { run: asks.run, runner: asks.runner, host: asks.host, port });
    }
}

/// Users do not know a host by the identifiers of its boot and network namespace.
#[test]
fn a_refusal_names_the_place_that_the_caller_knows() {
    let taken = vec![(63001, PortOwner::Run("fleet/other".to_owned()))];
    let refusal = Refusal::PortsTaken { host: "d7a3b3c5/net:[4026532251]".to_owned(), taken };
    assert_eq!(
        refusal.at("the host of runner a"),
        "on the host of runner a port 63001 is taken by run fleet/other"
    );
}
