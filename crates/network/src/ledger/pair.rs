//! Pairs of ports for the callback servers of a run.

use super::{Block, Claim, Conflict, Occupied, OnConflict, Pair, Refusal};
use std::collections::{BTreeMap, BTreeSet};

/// A runner that needs a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Its name.
    pub runner: String,
    /// Where it is.
    pub host: String,
    /// The ports that it may have; without it: any.
    pub block: Option<Block>,
}

/// Whether runners may have different pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Each its own: host ports.
    Each,
    /// All the same: one Service stands before them.
    Same,
}

/// What a run needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairRequest {
    /// Which run.
    pub run: String,
    /// The runners that serve it. Their order plays no part.
    pub seats: Vec<Seat>,
    /// The ports that it asks for.
    pub wanted: Pair,
    /// What to do when they are taken.
    pub on_conflict: OnConflict,
    /// Whether the runners may have different ones.
    pub sharing: Sharing,
    /// What was given before, by name of the runner.
    pub standing: BTreeMap<String, Pair>,
}

/// What came of a request: every seat is in one of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allocation {
    /// Pairs, by name of the runner.
    pub pairs: BTreeMap<String, Pair>,
    /// Why some have none, by name of the runner.
    pub refused: BTreeMap<String, Refusal>,
}

/// Gives a pair to each runner of a run.
///
/// First what was asked for, then the next free pair above it: both ports free on that host, with
/// the same distance between them. Within a block the search goes on at its beginning, and takes
/// neighbours where the distance does not fit. `claims` are everybody's, the run's own included.
pub fn allocate(request: &PairRequest, claims: &[Claim], conflicts: &[Conflict]) -> Allocation {
    let mut seats: Vec<&Seat> = request.seats.iter().collect();
    seats.sort_by(|a, b| a.runner.cmp(&b.runner));
    seats.dedup_by(|a, b| a.runner == b.runner);
    // What this run had is either given again below, or given up.
    let occupied = Occupied::of(claims, conflicts, |claim| claim.run == request.run);
    match request.sharing {
        Sharing::Each => each(request, &seats, occupied, conflicts),
        Sharing::Same => same(request, &seats, &occupied, conflicts),
    }
}

/// Gives a pair to each runner of a run, after all those that asked before it have had theirs:
/// `before`, the first one first. What they have not been given yet is kept free for them, so that
/// a run that asks later never passes one that waits.
pub fn allocate_after<'a>(
    before: impl IntoIterator<Item = &'a PairRequest>,
    request: &PairRequest,
    claims: &[Claim],
    conflicts: &[Conflict],
) -> Allocation {
    let mut claims = claims.to_vec();
    let mut in_vain: Vec<&PairRequest> = Vec::new();
    for other in before {
        // What is nobody's turn costs next to nothing: mostly all ask for the same.
        if in_vain.iter().any(|told| asks_the_same(told, other)) {
            continue;
        }
        let given = allocate(other, &claims, conflicts).pairs;
        if given == other.standing {
            in_vain.extend(given.is_empty().then_some(other));
            continue;
        }
        for seat in &other.seats {
            let Some(pair) = given.get(&seat.runner) else { continue };
            claims.extend(Claim::both(&other.run, &seat.runner, &seat.host, *pair));
        }
    }
    allocate(request, &claims, conflicts)
}

/// Whether two runs that have nothing would be given the same.
fn asks_the_same(one: &PairRequest, other: &PairRequest) -> bool {
    let PairRequest { run: _, seats, wanted, on_conflict, sharing, standing } = one;
    standing.is_empty()
        && other.standing.is_empty()
        && (seats, wanted, on_conflict, sharing)
            == (&other.seats, &other.wanted, &other.on_conflict, &other.sharing)
}

fn each(
    request: &PairRequest,
    seats: &[&Seat],
    mut occupied: Occupied,
    conflicts: &[Conflict],
) -> Allocation {
    let mut allocation = Allocation::default();
    let mut keep = |seat: &Seat, pair: Pair, occupied: &mut Occupied| {
        for port in pair.ports() {
            occupied.add(&seat.host, port, super::Occupant::Run(request.run.clone()));
        }
        allocation.pairs.insert(seat.runner.clone(), pair);
    };
    let mut new = Vec::new();
    let mut standing_on: BTreeSet<(&str, u16)> = BTreeSet::new();
    for seat in seats {
        // Of two runners of one run on one host, only one can have a port.
        let stands = standing(request, seat, conflicts).filter(|pair| {
            pair.ports().iter().all(|port| !standing_on.contains(&(seat.host.as_str(), *port)))
        });
        match stands {
            Some(pair) => {
                standing_on.extend(pair.ports().map(|port| (seat.host.as_str(), port)));
                keep(seat, pair, &mut occupied);
            }
            None => new.push(*seat),
        }
    }
    let mut refused = BTreeMap::new();
    for seat in new {
        match search(request, &[seat], &occupied) {
            Ok(pair) => keep(seat, pair, &mut occupied),
            Err(refusal) => {
                refused.insert(seat.runner.clone(), refusal);
            }
        }
    }
    allocation.refused = refused;
    allocation
}

fn same(request: &PairRequest, seats: &[&Seat], occupied: &Occupied, conflicts: &[Conflict]) -> Allocation {
    let mut allocation = Allocation::default();
    let mut hosts: BTreeMap<&str, &str> = BTreeMap::new();
    let mut served: Vec<&Seat> = Vec::new();
    for seat in seats {
        if let Some(other) = hosts.insert(&seat.host, &seat.runner) {
            let refusal = Refusal::HostShared { host: seat.host.clone(), other: other.to_owned() };
            allocation.refused.insert(seat.runner.clone(), refusal);
            hosts.insert(&seat.host, other);
        } else {
            served.push(seat);
        }
    }
    if let Some(pair) = common(request, &served, conflicts) {
        for seat in served {
            let had = request.standing.contains_key(&seat.runner);
            if had || fits(pair, &[seat], occupied) {
                allocation.pairs.insert(seat.runner.clone(), pair);
            } else {
                // The others are in use; moving them all for one that came later would cut engines off.
                allocation.refused.insert(seat.runner.clone(), taken(pair, seat, occupied));
            }
        }
        return allocation;
    }
    match search(request, &served, occupied) {
        Ok(pair) => allocation.pairs.extend(served.iter().map(|seat| (seat.runner.clone(), pair))),
        Err(refusal) => {
            let all = served.iter().map(|seat| (seat.runner.clone(), refusal.clone()));
            allocation.refused.extend(all);
        }
    }
    allocation
}

/// The pair that all who have one have, if it still stands for each of them.
fn common(request: &PairRequest, seats: &[&Seat], conflicts: &[Conflict]) -> Option<Pair> {
    let mut common = None;
    for seat in seats.iter().filter(|seat| request.standing.contains_key(&seat.runner)) {
        let pair = standing(request, seat, conflicts)?;
        if *common.get_or_insert(pair) != pair {
            return None;
        }
    }
    common
}

/// What the runner was given before, unless it cannot have it any more.
fn standing(request: &PairRequest, seat: &Seat, conflicts: &[Conflict]) -> Option<Pair> {
    let pair = *request.standing.get(&seat.runner)?;
    let reported = conflicts
        .iter()
        .any(|c| c.run == request.run && c.host == seat.host && pair.ports().contains(&c.port));
    let allowed = pair.ports().iter().all(|port| seat.block.is_none_or(|block| block.contains(*port)));
    (allowed && !reported).then_some(pair)
}

/// A pair that all the seats can have.
fn search(request: &PairRequest, seats: &[&Seat], occupied: &Occupied) -> Result<Pair, Refusal> {
    let wanted = request.wanted;
    if fits(wanted, seats, occupied) {
        return Ok(wanted);
    }
    let Some(seat) = seats.iter().find(|seat| !fits(wanted, &[seat], occupied)) else {
        // No seat at all: nobody is there to take it.
        return Ok(wanted);
    };
    match request.on_conflict {
        OnConflict::Fail => Err(taken(wanted, seat, occupied)),
        OnConflict::Next => candidates(wanted, seat.block)
            .find(|pair| fits(*pair, seats, occupied))
            .ok_or_else(|| exhausted(wanted, seats, occupied)),
    }
}

fn fits(pair: Pair, seats: &[&Seat], occupied: &Occupied) -> bool {
    seats.iter().all(|seat| {
        pair.ports().iter().all(|port| {
            occupied.is_free(&seat.host, *port) && seat.block.is_none_or(|block| block.contains(*port))
        })
    })
}

/// All pairs that may be given instead of `wanted`, best first.
fn candidates(wanted: Pair, block: Option<Block>) -> impl Iterator<Item = Pair> {
    // Nothing above the block is looked at: runs that wait ask again and again.
    let highest = block.map_or(u16::MAX, |block| block.last().unwrap_or(0));
    let above = (wanted.http.saturating_add(1)..=highest).filter_map(move |http| moved(wanted, http));
    let (below, neighbours) = match block {
        // Anything in the block is as good; outside of one, ports below are somebody's for a reason.
        Some(block) => (block.first..wanted.http, block.first..block.last().unwrap_or(block.first)),
        None => (0..0, 0..0),
    };
    above
        .chain(below.filter_map(move |http| moved(wanted, http)))
        .chain(neighbours.map(|http| Pair { http, https: http.saturating_add(1) }))
}

/// `wanted`, moved so that it begins at `http`, with the distance kept.
fn moved(wanted: Pair, http: u16) -> Option<Pair> {
    let https = i32::from(http) + i32::from(wanted.https) - i32::from(wanted.http);
    u16::try_from(https).ok().filter(|https| *https > 0).map(|https| Pair { http, https })
}

fn taken(wanted: Pair, seat: &Seat, occupied: &Occupied) -> Refusal {
    let host = seat.host.clone();
    if let Some(block) = seat.block
        && wanted.ports().iter().any(|port| !block.contains(*port))
    {
        return Refusal::OutsideBlock {
            host,
            wanted,
            first: block.first,
            last: block.last().unwrap_or(block.first),
        };
    }
    let taken = wanted
        .ports()
        .into_iter()
        .filter_map(|port| Some((port, occupied.by(&seat.host, port)?.clone())))
        .collect();
    Refusal::PortsTaken { host, taken }
}

fn exhausted(wanted: Pair, seats: &[&Seat], occupied: &Occupied) -> Refusal {
    let range = |seat: &Seat| match seat.block {
        Some(block) => (block.first, block.last().unwrap_or(block.first)),
        None => (wanted.http.min(wanted.https), u16::MAX),
    };
    // The host that has least left is the one to look at.
    let worst = seats
        .iter()
        .max_by_key(|seat| {
            let (first, last) = range(seat);
            (first..=last).filter(|port| !occupied.is_free(&seat.host, *port)).count()
        })
        .map(|seat| (seat.host.as_str(), range(seat)));
    let (host, (first, last)) = worst.unwrap_or_default();
    occupied.exhausted(host, first, last)
}
