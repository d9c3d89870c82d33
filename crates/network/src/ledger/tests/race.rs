//! Runners bind the ports that they were given, in any order, on hosts with foreign listeners.

use super::super::*;
use super::{request, runner_host};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const HOSTS: [&str; 2] = ["h0", "h1"];

/// The listener of one run on one host.
type Place = (String, String);

/// The state of the operating systems and the API server.
#[derive(Debug, Default)]
struct World {
    /// Ports that other programs listen on.
    foreign: BTreeSet<(String, u16)>,
    /// The pair of each listener.
    given: BTreeMap<Place, Pair>,
    /// The listeners that are bound.
    bound: BTreeSet<Place>,
    /// The conflicts that runners reported.
    conflicts: Vec<Conflict>,
}

impl World {
    fn claims(&self) -> Vec<Claim> {
        self.given.iter().flat_map(|((run, host), pair)| Claim::both(run, host, host, *pair)).collect()
    }

    fn ask(&self, run: &str, block: Option<Block>, claims: &[Claim]) -> Allocation {
        let mut request =
            request(run, HOSTS.map(|host| runner_host(host, host, block)).to_vec(), PairSharing::PerRunner);
        request.previous = HOSTS
            .iter()
            .filter_map(|host| Some(((*host).to_owned(), *self.given.get(&place(run, host))?)))
            .collect();
        allocate(&request, claims, &self.conflicts)
    }

    /// A leader with this view of the claims allocates for a run. Returns whether anything changed.
    fn decide(&mut self, run: &str, block: Option<Block>, claims: &[Claim]) -> bool {
        let before = self.given.clone();
        let allocation = self.ask(run, block, claims);
        for host in HOSTS {
            let place = place(run, host);
            let pair = allocation.pairs.get(host).copied();
            if pair != before.get(&place).copied() {
                self.bound.remove(&place);
                self.given.remove(&place);
                self.given.extend(pair.map(|pair| (place, pair)));
            }
        }
        self.given != before
    }

    /// A runner tries to bind, and reports the ports that it could not bind. Returns whether
    /// anything changed.
    fn bind(&mut self, place: &Place) -> bool {
        let Some(pair) = self.given.get(place).copied() else { return false };
        if self.bound.contains(place) {
            return false;
        }
        let (run, host) = place;
        let busy: Vec<u16> = pair.ports().into_iter().filter(|port| self.held(host, *port)).collect();
        let new: Vec<Conflict> = busy
            .iter()
            .map(|port| Conflict { run: run.clone(), host: host.clone(), port: *port })
            .filter(|conflict| !self.conflicts.contains(conflict))
            .collect();
        if busy.is_empty() {
            self.bound.insert(place.clone());
            return true;
        }
        self.conflicts.extend(new.iter().cloned());
        !new.is_empty()
    }

    fn held(&self, host: &str, port: u16) -> bool {
        let by_us = |(place, pair): (&Place, &Pair)| {
            place.1 == host && self.bound.contains(place) && pair.ports().contains(&port)
        };
        self.foreign.contains(&(host.to_owned(), port)) || self.given.iter().any(by_us)
    }
}

fn place(run: &str, host: &str) -> Place {
    (run.to_owned(), host.to_owned())
}

proptest! {
    /// Two leaders that do not see each other's writes, runners in any order, foreign listeners: in
    /// the end no port of a host has two owners, and a run without a pair could not have one.
    #[test]
    fn every_run_that_can_be_served_is_served(
        runs in 2..7_usize,
        count in prop_oneof![Just(None), (2..16_u16).prop_map(Some)],
        foreign in prop::collection::btree_set((0..HOSTS.len(), 63001..63020_u16), 0..10),
        order in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), any::<bool>()), 0..60),
    ) {
        let block = count.map(|count| Block { first: 63001, count });
        let mut world = World::default();
        world.foreign.extend(foreign.into_iter().map(|(host, port)| (HOSTS[host].to_owned(), port)));
        let runs: Vec<String> = (0..runs).map(|n| format!("run-{n}")).collect();
        // First a phase in which anything goes, blind leaders included.
        for (which, decides, blind) in order {
            let run = which.get(&runs).clone();
            if decides {
                let claims = if blind { Vec::new() } else { world.claims() };
                world.decide(&run, block, &claims);
            } else {
                for host in HOSTS {
                    world.bind(&place(&run, host));
                }
            }
        }
        // Then one leader that sees everything, until nothing changes any more.
        let mut rounds = 0;
        loop {
            let mut changed = false;
            for run in &runs {
                let claims = world.claims();
                changed |= world.decide(run, block, &claims);
                for host in HOSTS {
                    changed |= world.bind(&place(run, host));
                }
            }
            rounds += 1;
            prop_assert!(rounds < 200, "it never settles");
            if !changed {
                break;
            }
        }
        for host in HOSTS {
            let mut held = BTreeSet::new();
            for place in world.bound.iter().filter(|place| place.1 == host) {
                for port in world.given[place].ports() {
                    prop_assert!(held.insert(port), "{host} has {port} twice");
                    prop_assert!(!world.foreign.contains(&(host.to_owned(), port)));
                }
            }
            let (first, last) = block.map_or((63001, u16::MAX), |block| (block.first, block.last().unwrap()));
            let left = (first..last).any(|port| !world.held(host, port) && !world.held(host, port + 1));
            for run in &runs {
                let served = world.bound.contains(&place(run, host));
                prop_assert!(served || !left, "{run} has nothing on {host}, and there is a pair");
            }
        }
    }
}
