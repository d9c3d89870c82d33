//! How many nodes of each fault domain are in flight.

use super::Spread;
use crate::model::NodeName;
use crate::reason::Reason;
use crate::run::progress::{NodeProgress, with_facts};
use crate::run::{Intent, Observed, TargetFacts, WaitingOn};
use std::collections::BTreeMap;

/// The fault domains of nodes in flight, in this run and in others. Empty if the run is not spread.
#[derive(Debug, Clone, Default)]
pub(in crate::run) struct Domains<'a> {
    spread: Option<&'a Spread>,
    busy: BTreeMap<Option<&'a str>, usize>,
}

impl<'a> Domains<'a> {
    pub(in crate::run) fn of(
        observed: &'a Observed,
        nodes: &BTreeMap<&'a NodeName, NodeProgress<'a>>,
    ) -> Self {
        let Some(spread) = &observed.run.rollout.spread else { return Self::default() };
        let elsewhere = observed.busy_elsewhere.iter();
        let busy = elsewhere.map(|(domain, count)| (domain.as_deref(), *count)).collect();
        let mut domains = Self { spread: Some(spread), busy };
        for (_, facts, progress) in with_facts(observed, nodes) {
            let changes_machine = match progress {
                NodeProgress::Active(update) => update.in_flight() && update.intent != Intent::Plan,
                NodeProgress::Due { goal, planned: _ } => *goal != Intent::Plan,
                NodeProgress::Done(_) | NodeProgress::Skipped(_) | NodeProgress::Idle { .. } => false,
            };
            if changes_machine {
                domains.add(facts);
            }
        }
        domains
    }

    /// Adds a node that is about to be started.
    pub(in crate::run) fn add(&mut self, facts: &'a TargetFacts) {
        *self.busy.entry(facts.domain.as_deref()).or_default() += 1;
    }

    /// Returns what a node waits for whose domain has as many nodes in flight as it may.
    pub(in crate::run) fn wait(&self, facts: &'a TargetFacts) -> Option<WaitingOn> {
        let spread = self.spread?;
        let domain = facts.domain.as_deref();
        let busy = self.busy.get(&domain).copied().unwrap_or_default();
        if busy < spread.max_unavailable {
            return None;
        }
        let label = &spread.label;
        let place = domain
            .map_or_else(|| format!("without the label {label}"), |value| format!("with {label}={value}"));
        let message = format!(
            "{busy} nodes {place} are in progress, which is the maximum of spec.strategy.spread; this node is started when one of them is done"
        );
        Some(WaitingOn { reason: Reason::WaitingForFaultDomain, message, until: None })
    }
}
