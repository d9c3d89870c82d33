//! Which machines a run has: those that it recorded, or those that it names, selects or repeats now.

use super::super::Context;
use super::facts::is_of;
use super::{is_finished, namespace};
use crate::api::update_run::UpdateRunSpec;
use crate::api::{ManagedNode, NodeUpdate, UpdateRun, condition};
use crate::convert;
use farrier_update::RunName;
use farrier_update::run::{BaselineId, RetryProblem};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The machines of a run.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Their names.
    pub(super) names: Vec<String>,
    /// Why the selector of the run or of a stage cannot be parsed.
    pub(super) selector_error: Option<String>,
    /// What prevents the run from repeating another one.
    pub(super) retry: Option<RetryProblem>,
    /// The selectors of the stages; empty after the list of machines is recorded.
    stages: Vec<Option<Selector>>,
}

impl Members {
    /// Returns the machines of a run. `nodes` and `updates` are those of its namespace, `runs` are all runs.
    pub(super) fn of<'a>(
        run: &UpdateRun,
        nodes: &[Arc<ManagedNode>],
        updates: impl IntoIterator<Item = &'a NodeUpdate>,
        runs: &[Arc<UpdateRun>],
    ) -> Self {
        let spec = &run.spec;
        if let Some(names) = run.status.as_ref().and_then(|status| status.nodes.clone()) {
            return Self { names, ..Self::default() };
        }
        let mut members = Self::default();
        for stage in &spec.strategy.stages {
            match stage.selector.clone().map(Selector::try_from).transpose() {
                Ok(selector) => members.stages.push(selector),
                Err(error) => {
                    members.selector_error =
                        Some(format!("the selector of stage {} cannot be parsed: {error}", stage.name));
                }
            }
        }
        if let Some(earlier) = &spec.retry_of {
            let earlier = earlier.name.as_str();
            let here = |other: &&Arc<UpdateRun>| other.namespace() == run.namespace();
            match runs.iter().filter(here).find(|other| other.name_any() == earlier) {
                Some(earlier) => members.repeat(run, earlier, updates),
                None => members.retry = Some(RetryProblem::Missing { run: RunName(earlier.to_owned()) }),
            }
        } else if spec.nodes.is_empty() {
            members.select(spec.selector.clone().unwrap_or_default(), nodes);
        } else {
            members.names.clone_from(&spec.nodes);
        }
        members
    }

    /// Selects machines by their labels.
    fn select(&mut self, selector: LabelSelector, nodes: &[Arc<ManagedNode>]) {
        match Selector::try_from(selector) {
            Ok(selector) => {
                let selected = nodes
                    .iter()
                    .filter(|n| n.metadata.deletion_timestamp.is_none() && selector.matches(n.labels()));
                self.names = selected.map(|node| node.name_any()).collect();
            }
            Err(error) => self.selector_error = Some(format!("spec.selector cannot be parsed: {error}")),
        }
    }

    /// Selects the machines that did not succeed in an earlier run.
    fn repeat<'a>(
        &mut self,
        run: &UpdateRun,
        earlier: &UpdateRun,
        updates: impl IntoIterator<Item = &'a NodeUpdate>,
    ) {
        let name = RunName(earlier.name_any());
        if earlier.uid() == run.uid() {
            self.retry = Some(RetryProblem::Itself);
            return;
        }
        let fields = differences(&run.spec, &earlier.spec);
        if !fields.is_empty() {
            self.retry = Some(RetryProblem::Differs { run: name, fields });
        } else if is_finished(earlier) {
            let has_succeeded = |update: &&NodeUpdate| {
                update.status.as_ref().is_some_and(|s| condition::is(&s.conditions, "Succeeded", "True"))
            };
            let of_earlier =
                updates.into_iter().filter(|update| is_of(update, earlier)).filter(has_succeeded);
            let succeeded: BTreeSet<&str> =
                of_earlier.map(|update| update.spec.node_ref.name.as_str()).collect();
            let recorded = earlier.status.iter().flat_map(|status| status.nodes.iter().flatten());
            self.names = recorded.filter(|name| !succeeded.contains(name.as_str())).cloned().collect();
        } else {
            self.retry = Some(RetryProblem::Unfinished { run: name });
        }
    }

    /// Refuses to repeat a run with a baseline that has another content than then.
    pub(super) fn compare_baseline(&mut self, earlier: &UpdateRun, baseline: &BaselineId) {
        if self.retry.is_none() && !convert::is_baseline_of(earlier, baseline) {
            let fields = vec!["baselineRef, of which the content has changed".to_owned()];
            self.retry = Some(RetryProblem::Differs { run: RunName(earlier.name_any()), fields });
        }
    }

    /// Returns the stages whose selectors select a machine.
    pub(super) fn selected_by(&self, node: Option<&ManagedNode>) -> Vec<usize> {
        let selects = |selector: &Option<Selector>| match (selector, node) {
            (None, _) => true,
            (Some(selector), Some(node)) => selector.matches(node.labels()),
            (Some(_), None) => false,
        };
        let numbers = self.stages.iter().enumerate();
        numbers.filter(|(_, selector)| selects(selector)).map(|(number, _)| number).collect()
    }
}

/// Returns the stage of each recorded machine, in the order of the list: the machines are listed by stage.
pub(super) fn recorded_stages(run: &UpdateRun) -> impl Iterator<Item = usize> {
    let stages = run.status.as_ref().map(|status| status.stages.as_slice()).unwrap_or_default();
    let numbers = stages.iter().enumerate();
    numbers
        .flat_map(|(number, stage)| {
            std::iter::repeat_n(number, usize::try_from(stage.nodes).unwrap_or(usize::MAX))
        })
        .chain(std::iter::repeat(stages.len().saturating_sub(1)))
}

/// Returns the fields in which two runs differ that say what is done on machines.
fn differences(one: &UpdateRunSpec, other: &UpdateRunSpec) -> Vec<String> {
    let fields = [
        ("operation", one.operation == other.operation),
        ("baselineRef", one.baseline_ref == other.baseline_ref),
        ("channel", one.channel == other.channel),
        ("order", one.order == other.order),
        ("reboot", one.reboot == other.reboot),
        ("onFailedDependency", one.on_failed_dependency == other.on_failed_dependency),
        ("force", one.force == other.force),
        ("acceptEula", one.accept_eula == other.accept_eula),
    ];
    fields.into_iter().filter(|(_, same)| !same).map(|(field, _)| field.to_owned()).collect()
}

/// Returns the run that a run repeats, if it exists.
pub(super) fn repeated(context: &Context, run: &UpdateRun) -> Option<Arc<UpdateRun>> {
    let name = &run.spec.retry_of.as_ref()?.name;
    context.own_writes.run(&context.caches, &namespace(run), name)
}
