//! Validates each Baseline and reports the result in its status.

use super::Context;
use crate::api::baseline::BaselineStatus;
use crate::api::{Baseline, condition};
use crate::convert;
use crate::drivers::Register;
use crate::failure::chain;
use crate::publish::{self, CONTROLLER};
use farrier_update::plan::Problem;
use farrier_update::{Reason, validate_baseline};
use kube::{Resource, ResourceExt};

/// Reviews every baseline.
pub(super) async fn review_all(context: &Context) {
    for baseline in context.caches.baselines.state() {
        review(context, &baseline).await;
    }
}

/// Writes the status of a baseline, if the status changes.
pub(super) async fn review(context: &Context, baseline: &Baseline) {
    let status = judge(&context.register, baseline);
    if baseline.status.as_ref() == Some(&status) {
        return;
    }
    if let Err(error) = publish::status(&context.client, baseline, CONTROLLER, &status).await
        && !publish::is_gone(&error)
    {
        tracing::warn!(namespace = baseline.namespace(), baseline = %baseline.name_any(), error = %chain(&error), "a baseline's status could not be written");
    }
}

/// Returns the problems of a baseline.
pub(super) fn problems(register: &Register, baseline: &Baseline) -> Vec<Problem> {
    let components: Vec<_> = baseline.spec.components.iter().map(convert::component).collect();
    validate_baseline(&components, register.installers())
}

fn judge(register: &Register, baseline: &Baseline) -> BaselineStatus {
    let problems = problems(register, baseline);
    let old = baseline.status.clone().unwrap_or_default();
    let generation = baseline.meta().generation;
    let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let (status, reason, message) = match problems.first() {
        None => ("True", Reason::Succeeded, format!("{} components", baseline.spec.components.len())),
        Some(first) => ("False", first.reason(), words.join("; ")),
    };
    let mut conditions = old.conditions;
    let now = condition::now();
    let stalled = if problems.is_empty() { "False" } else { "True" };
    for (type_, status) in [("Ready", status), ("Reconciling", "False"), ("Stalled", stalled)] {
        condition::set(&mut conditions, type_, status, reason.as_str(), &message, generation, &now);
    }
    BaselineStatus {
        observed_generation: generation,
        components: i64::try_from(baseline.spec.components.len()).unwrap_or(i64::MAX),
        conditions,
    }
}
