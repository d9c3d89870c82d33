//! Compares the ledger with the model, whichever ports are taken.

use super::super::*;
use super::{BLOCK, conflict, model, profile, request, runner_host};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn wanted() -> impl Strategy<Value = Pair> {
    prop_oneof![
        Just(Pair::USUAL),
        Just(Pair { http: 80, https: 443 }),
        Just(Pair { http: 63002, https: 63001 }),
        Just(Pair { http: 63010, https: 63013 }),
        (1..=u16::MAX, 1..=u16::MAX)
            .prop_filter("they differ", |(a, b)| a != b)
            .prop_map(|(http, https)| Pair { http, https }),
    ]
}

fn block() -> impl Strategy<Value = Option<Block>> {
    prop_oneof![
        Just(None),
        Just(Some(BLOCK)),
        (1..=u16::MAX, 1..40_u16).prop_map(|(first, count)| Some(Block { first, count })),
        (62990..63010_u16, 1..40_u16).prop_map(|(first, count)| Some(Block { first, count })),
    ]
}

/// Ports near the beginning of the block or of the usual pair, each owned by a run or by another
/// program.
fn taken(near: u16) -> impl Strategy<Value = Vec<(u16, bool)>> {
    prop::collection::vec((0..24_u16, any::<bool>()), 0..30)
        .prop_map(move |some| some.into_iter().map(|(n, run)| (near.saturating_add(n), run)).collect())
}

fn split(taken: &[(u16, bool)]) -> (Vec<Claim>, Vec<Conflict>) {
    let mut claims = Vec::new();
    let mut conflicts = Vec::new();
    for (n, (port, by_run)) in taken.iter().enumerate() {
        if *by_run {
            claims.push(Claim {
                run: format!("other-{n}"),
                runner: "r0".into(),
                host: "h0".into(),
                port: *port,
            });
        } else {
            conflicts.push(conflict("other", "h0", *port));
        }
    }
    (claims, conflicts)
}

proptest! {
    /// The ledger allocates what the model allows, whichever ports are missing.
    #[test]
    fn a_pair_is_the_first_that_the_model_allows(
        wanted in wanted(),
        (block, taken) in block().prop_flat_map(|block| {
            (Just(block), taken(block.map_or(63001, |block| block.first)))
        }),
        at_wanted in 0..4_u8,
    ) {
        let mut taken = taken;
        // Both, one or none of the wanted ports are taken.
        taken.extend((at_wanted & 1 != 0).then_some((wanted.http, true)));
        taken.extend((at_wanted & 2 != 0).then_some((wanted.https, false)));
        let (claims, conflicts) = split(&taken);
        let mut request = request("run", vec![runner_host("r0", "h0", block)], PairSharing::PerRunner);
        request.wanted = wanted;
        let given = allocate(&request, &claims, &conflicts);
        let of = i64::from;
        let expected = model::pair(
            (of(wanted.http), of(wanted.https)),
            block.map(|block| (of(block.first), of(block.last().unwrap()))),
            &taken.iter().map(|(port, _)| of(*port)).collect(),
        );
        let got = given.pairs.get("r0").map(|pair| (of(pair.http), of(pair.https)));
        prop_assert_eq!(got, expected);
        prop_assert_eq!(given.refused.contains_key("r0"), expected.is_none());
    }

    /// Any subset of the sixteen host ports may be foreign.
    #[test]
    fn any_subset_of_the_block_may_be_taken(mask: u16) {
        let foreign: BTreeSet<u16> = (0..16).filter(|bit| mask & (1 << bit) != 0).map(|bit| 63001 + bit).collect();
        let mut conflicts: Vec<Conflict> = foreign.iter().map(|port| conflict("x", "h0", *port)).collect();
        conflicts.reverse();
        let mut claims = Vec::new();
        let mut served = 0;
        for run in 0..9 {
            let request = request(&format!("run-{run}"), vec![runner_host("r0", "h0", Some(BLOCK))], PairSharing::PerRunner);
            if let Some(pair) = allocate(&request, &claims, &conflicts).pairs.get("r0") {
                served += 1;
                claims.extend(Claim::both(&request.run, "r0", "h0", *pair));
            }
        }
        let held: BTreeSet<u16> = claims.iter().map(|claim| claim.port).collect();
        prop_assert_eq!(held.len(), claims.len());
        prop_assert!(held.is_disjoint(&foreign));
        // As many pairs as fit into the gaps.
        let free: Vec<bool> = (63001..=63016).map(|port| !foreign.contains(&port)).collect();
        let possible: usize = free.split(|is_free| !is_free).map(|gap| gap.len() / 2).sum();
        prop_assert_eq!(served, possible);
    }

    /// Whatever others claim or report afterwards, a runner that reported no conflict keeps its
    /// pair.
    #[test]
    fn undisputed_pairs_stay(block in block(), before in taken(63001), after in taken(63001), same: bool) {
        let sharing = if same { PairSharing::Shared } else { PairSharing::PerRunner };
        let runners = vec![runner_host("r0", "h0", block), runner_host("r1", "h1", block)];
        let mut request = request("run", runners, sharing);
        let (claims, conflicts) = split(&before);
        let first = allocate(&request, &claims, &conflicts);
        prop_assert_eq!(&first, &allocate(&request, &claims, &conflicts));
        request.previous = first.pairs.clone();
        let (claims, conflicts) = split(&after);
        let second = allocate(&request, &claims, &conflicts);
        for (runner, pair) in first.pairs {
            prop_assert_eq!(second.pairs.get(&runner), Some(&pair));
        }
    }

    /// The order of all lists is irrelevant.
    #[test]
    fn the_order_does_not_matter(taken in taken(63001), block in block()) {
        let runners = vec![runner_host("r0", "h0", block), runner_host("r1", "h0", block), runner_host("r2", "h1", block)];
        let mut request = request("run", runners, PairSharing::PerRunner);
        let (mut claims, mut conflicts) = split(&taken);
        let one = allocate(&request, &claims, &conflicts);
        request.runners.reverse();
        claims.reverse();
        conflicts.reverse();
        prop_assert_eq!(one, allocate(&request, &claims, &conflicts));
    }

    /// The ranges of the SOAP era continue above their soft end, however many nodes there are.
    #[test]
    fn a_range_gives_the_next_available_port(mask: u16, id in 0..3_usize, nodes in 1..64_usize) {
        let (id, first, soft_last) =
            [("controller_to_target", 60000, 60007), ("target_to_controller", 61000, 61007), ("internal", 62286, 62286)][id];
        let mut taken: BTreeSet<u16> = (0..16).filter(|bit| mask & (1 << bit) != 0).map(|bit| first + bit).collect();
        let conflicts: Vec<Conflict> = taken.iter().map(|port| conflict("x", "h0", *port)).collect();
        let mut claims = Vec::new();
        for node in 0..nodes {
            let request = RangeRequest { run: "a".into(), runner: format!("node-{node}"), host: "h0".into(), previous: None };
            let given = take(profile(id), &request, &claims, &conflicts, 0).unwrap();
            prop_assert_eq!(Some(given.port), model::next_available(first, &taken));
            prop_assert_eq!(given.beyond, given.port > soft_last);
            taken.insert(given.port);
            claims.push(Claim { run: request.run, runner: request.runner, host: request.host, port: given.port });
        }
    }

    /// 80 if available, else any of the six: each of them for some seed, and no other port.
    #[test]
    fn the_log_server_is_where_the_text_says(mask: u8) {
        let all = [80, 63000, 63001, 63002, 63003, 63004, 63005];
        let taken: BTreeSet<u16> = all.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, p)| *p).collect();
        let conflicts: Vec<Conflict> = taken.iter().map(|port| conflict("x", "h0", *port)).collect();
        let request = RangeRequest { run: "a".into(), runner: "r0".into(), host: "h0".into(), previous: None };
        let given: BTreeSet<u16> = (0..60)
            .filter_map(|seed| take(profile("log_server"), &request, &[], &conflicts, seed).ok())
            .map(|taken| taken.port)
            .collect();
        prop_assert_eq!(given, model::log_server(&taken));
    }
}

proptest! {
    /// A later run takes nothing that a waiting run could have had, and the first run that can use
    /// a remaining port gets it.
    #[test]
    fn a_later_run_does_not_overtake_a_waiting_one(
        count in 1..20_u16,
        foreign in taken(63001),
        asked in prop::collection::vec((0..4_usize, any::<bool>()), 1..12),
    ) {
        let block = Some(Block { first: 63001, count });
        let wishes = [Pair::USUAL, Pair { http: 63003, https: 63004 }, Pair { http: 63001, https: 63005 }, Pair { http: 80, https: 443 }];
        let requests: Vec<PairRequest> = asked.iter().enumerate().map(|(n, (wish, fails))| {
            let mut request = request(&format!("run-{n}"), vec![runner_host("r0", "h0", block)], PairSharing::PerRunner);
            request.wanted = wishes[*wish];
            if *fails {
                request.on_conflict = OnConflict::Fail;
            }
            request
        }).collect();
        let (claims, conflicts) = split(&foreign);
        // One request after the other, each after the earlier ones were really given their pairs …
        let mut one_by_one = claims.clone();
        let mut expected = Vec::new();
        for request in &requests {
            let given = allocate(request, &one_by_one, &conflicts);
            one_by_one.extend(given.pairs.get("r0").into_iter().flat_map(|pair| Claim::both(&request.run, "r0", "h0", *pair)));
            expected.push(given);
        }
        // … gives the same result as any of them alone after its predecessors.
        for (n, request) in requests.iter().enumerate() {
            prop_assert_eq!(&allocate_after(&requests[..n], request, &claims, &conflicts).pairs, &expected[n].pairs);
        }
    }
}

/// Sixty-four runs begin in the same second; each gets its own pair, in order.
#[test]
fn sixty_four_runs_at_once() {
    let mut claims = Vec::new();
    for run in 0..64_u16 {
        let runners = vec![runner_host("r0", "h0", None), runner_host("r1", "h1", None)];
        let request = request(&format!("run-{run:02}"), runners, PairSharing::PerRunner);
        let expected = Pair { http: 63001 + 2 * run, https: 63002 + 2 * run };
        for (runner, host) in [("r0", "h0"), ("r1", "h1")] {
            let given = allocate(&request, &claims, &[]).pairs[runner];
            assert_eq!(given, expected);
            claims.extend(Claim::both(&request.run, runner, host, given));
        }
    }
}
