//! Whether a machine has its baseline: the one that an update has brought it to.

use super::super::verdict::Verdict;
use super::RunOfNode;
use crate::api::managed_node::AppliedBaseline;
use crate::api::update_run::{Operation, UpdateRun};
use crate::attempt::{End, View};
use crate::failure::Failure;
use farrier_update::drift::Standing;
use farrier_update::{NodeVerdict, Reason};
use jiff::Unit;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

/// Returns the baseline that an attempt has brought the machine to, also if not all of it succeeded: then the machine
/// is behind. `None` if it was none of an update, or if the user has cancelled it.
pub(in crate::runner) fn applied_baseline(run: &UpdateRun, end: &End, now: &Time) -> Option<AppliedBaseline> {
    let is_update = run.spec.operation == Operation::Update;
    let is_finished =
        matches!(end, End::Finished(NodeVerdict::Succeeded { .. } | NodeVerdict::Failed { .. }));
    let recorded = run.status.as_ref()?.baseline.as_ref().filter(|_| is_update && is_finished)?;
    Some(AppliedBaseline {
        name: run.spec.baseline_ref.as_ref()?.name.clone(),
        uid: recorded.uid.clone(),
        digest: recorded.digest.clone(),
        run: run.name_any(),
        at: now.clone(),
    })
}

/// Returns the condition `InBaseline` after an attempt, `None` if the attempt says nothing about it. `applied` is the
/// baseline that was last applied before, `looked` the time of the last inventory.
pub(super) fn in_baseline(
    applied: Option<&AppliedBaseline>,
    looked: Option<&Time>,
    view: &View,
    end: &End,
    run: RunOfNode<'_>,
) -> Option<Verdict> {
    let name = run.name;
    match end {
        // What is staged is not installed.
        End::Finished(_) if run.operation == Some(Operation::Stage) => None,
        End::Finished(NodeVerdict::Succeeded { message, .. }) => {
            Some(Verdict::yes(Reason::Verified, format!("run {name}: {message}")))
        }
        End::Finished(NodeVerdict::Failed { reason, message }) => {
            Some(Verdict::no(*reason, format!("run {name}: {message}")))
        }
        End::Finished(NodeVerdict::Cancelled { message }) => {
            Some(Verdict::no(Reason::Cancelled, format!("run {name}: {message}")))
        }
        End::Planned => planned(applied, view, run),
        End::Inventoried => Some(compared(applied, view, name)),
        End::Failed(failure) if run.operation == Some(Operation::Inventory) => {
            Some(not_compared(applied?, looked, failure, name))
        }
        End::Failed(_) | End::Cancelled => None,
    }
}

/// A machine that is off, or lets nobody in, may have been changed since the last look.
fn not_compared(applied: &AppliedBaseline, looked: Option<&Time>, failure: &Failure, run: &str) -> Verdict {
    let since = looked.unwrap_or(&applied.at).0;
    let since = since.round(Unit::Second).unwrap_or(since);
    let (name, why) = (&applied.name, &failure.message);
    let message = format!("whether it has Baseline {name} is not known since {since}: run {run}: {why}");
    Verdict { status: "Unknown", reason: failure.reason, message }
}

/// A plan for a baseline that was not applied yet says nothing about the one that was.
fn planned(applied: Option<&AppliedBaseline>, view: &View, run: RunOfNode<'_>) -> Option<Verdict> {
    let name = run.name;
    let planned = run.baseline.map(|baseline| &baseline.digest);
    if applied.is_some_and(|applied| Some(&applied.digest) != planned) {
        return None;
    }
    let changes = view.plan.as_ref()?.changes();
    Some(match changes {
        0 => Verdict::yes(Reason::AlreadyCurrent, format!("run {name} found nothing to install")),
        n => Verdict::no(Reason::Planned, format!("run {name} would install {n} components")),
    })
}

fn compared(applied: Option<&AppliedBaseline>, view: &View, run: &str) -> Verdict {
    let unknown = |reason, message| Verdict { status: "Unknown", reason, message };
    let Some(applied) = applied else {
        let words = "no UpdateRun with operation Update has brought this machine to a baseline yet";
        return unknown(Reason::Unknown, words.to_owned());
    };
    let AppliedBaseline { name, run: by, .. } = applied;
    let Some(comparison) = &view.comparison else {
        let words = format!(
            "run {run}: Baseline {name}, which run {by} has applied, does not exist any more with that content; create it again, or update this machine to another one"
        );
        return unknown(Reason::BaselineNotFound, words);
    };
    let standing = comparison.standing();
    let status = match standing {
        Standing::InBaseline => "True",
        Standing::Behind => "False",
        Standing::Unknown => "Unknown",
    };
    let words = format!("run {run} compared it with Baseline {name}: {}", comparison.message());
    Verdict { status, reason: standing.reason(), message: words }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::condition;
    use crate::api::update_run::RecordedBaseline;
    use farrier_update::NodePlan;
    use farrier_update::drift::Comparison;
    use serde_json::json;
    use std::sync::Arc;

    fn run(operation: &str) -> UpdateRun {
        let spec = json!({"operation": operation, "selector": {}, "baselineRef": {"name": "spring"}});
        let status = json!({"baseline": {"uid": "u", "digest": "sha256:1"}});
        serde_json::from_value(json!({"metadata": {"name": "r2"}, "spec": spec, "status": status})).unwrap()
    }

    fn finished(outcome: &str) -> End {
        let (reason, message) = (Reason::InstallerFailed, "said".to_owned());
        End::Finished(match outcome {
            "succeeded" => NodeVerdict::Succeeded { reason, message },
            "failed" => NodeVerdict::Failed { reason, message },
            _ => NodeVerdict::Cancelled { message },
        })
    }

    fn applied() -> AppliedBaseline {
        let (name, uid, digest, run) = ("spring".into(), "u".into(), "sha256:1".into(), "r1".into());
        AppliedBaseline { name, uid, digest, run, at: condition::now() }
    }

    /// Returns status, reason and message after a run of this operation.
    fn after(
        operation: Operation,
        applied: Option<&AppliedBaseline>,
        view: &View,
        end: &End,
    ) -> Option<(&'static str, Reason, String)> {
        let baseline = RecordedBaseline { uid: "u".into(), digest: "sha256:2".into() };
        let run = RunOfNode { name: "r2", operation: Some(operation), baseline: Some(&baseline) };
        in_baseline(applied, None, view, end, run)
            .map(|verdict| (verdict.status, verdict.reason, verdict.message))
    }

    /// A machine would be compared with a baseline that was never installed on it, or that its user has called off.
    #[test]
    fn the_last_update_that_was_carried_out_decides_the_baseline() {
        let now = condition::now();
        let of = |operation: &str, end: &End| applied_baseline(&run(operation), end, &now);
        let expected = AppliedBaseline { run: "r2".into(), at: now.clone(), ..applied() };
        assert_eq!(of("Update", &finished("succeeded")), Some(expected.clone()));
        assert_eq!(of("Update", &finished("failed")), Some(expected));
        for (operation, end) in [
            ("Update", finished("cancelled")),
            ("Update", End::Planned),
            ("Update", End::Cancelled),
            ("Stage", finished("succeeded")),
            ("Inventory", End::Inventoried),
        ] {
            assert_eq!(of(operation, &end), None, "{operation} {end:?}");
        }
    }

    /// Users would not see that a machine has drifted, or from what.
    #[test]
    fn an_inventory_says_what_is_behind_and_of_which_baseline() {
        let view =
            |comparison: Comparison| View { comparison: Some(Arc::new(comparison)), ..View::default() };
        let applied = applied();
        let of = |view: &View| after(Operation::Inventory, Some(&applied), view, &End::Inventoried).unwrap();
        let behind = Comparison { behind: vec!["a is 1".into()], current: 2, ..Comparison::default() };
        let words = "run r2 compared it with Baseline spring: 1 of 3 components are behind: a is 1";
        assert_eq!(of(&view(behind)), ("False", Reason::BehindBaseline, words.to_owned()));
        let current = of(&view(Comparison { current: 2, ..Comparison::default() }));
        assert_eq!((current.0, current.1), ("True", Reason::AlreadyCurrent));
        let unknown = of(&view(Comparison { unknown: vec!["a: no".into()], ..Comparison::default() }));
        assert_eq!((unknown.0, unknown.1), ("Unknown", Reason::NotVerified));
        let gone = of(&View::default());
        assert_eq!((gone.0, gone.1), ("Unknown", Reason::BaselineNotFound));
        assert!(gone.2.contains("Baseline spring, which run r1 has applied"), "{}", gone.2);
        let never = after(Operation::Inventory, None, &View::default(), &End::Inventoried).unwrap();
        assert_eq!((never.0, never.1), ("Unknown", Reason::Unknown));
    }

    /// A machine that is off would count as one that has its baseline, or as one that needs an update.
    #[test]
    fn a_machine_that_is_not_reached_is_not_known_to_have_its_baseline_since_the_last_look() {
        let at = |seconds| Time(jiff::Timestamp::from_second(seconds).unwrap());
        let applied = AppliedBaseline { at: at(0), ..applied() };
        let end = End::Failed(Failure::new(Reason::NoRoute, "db is off"));
        let of = |applied, looked: Option<&Time>, operation, end: &End| {
            let run = RunOfNode { name: "r2", operation: Some(operation), baseline: None };
            let verdict = in_baseline(applied, looked, &View::default(), end, run)?;
            Some((verdict.status, verdict.reason, verdict.message))
        };
        let told = |since: &str| {
            let words =
                format!("whether it has Baseline spring is not known since {since}: run r2: db is off");
            Some(("Unknown", Reason::NoRoute, words))
        };
        let inventory = Operation::Inventory;
        assert_eq!(of(Some(&applied), Some(&at(86_400)), inventory, &end), told("1970-01-02T00:00:00Z"));
        assert_eq!(
            of(Some(&applied), None, inventory, &end),
            told("1970-01-01T00:00:00Z"),
            "since the update"
        );
        assert_eq!(of(None, None, inventory, &end), None, "it never had one");
        assert_eq!(of(Some(&applied), None, inventory, &End::Cancelled), None);
        assert_eq!(of(Some(&applied), None, Operation::Update, &end), None, "an update compares nothing");
    }

    /// The alert about drift would fire for a fleet whose next baseline somebody looks at, or be silenced by images
    /// that are only staged.
    #[test]
    fn plans_for_another_baseline_and_staging_say_nothing() {
        let view = View { plan: Some(Arc::new(NodePlan { items: Vec::new() })), ..View::default() };
        let other = applied();
        assert_eq!(after(Operation::Update, Some(&other), &view, &End::Planned), None);
        let same = AppliedBaseline { digest: "sha256:2".into(), ..applied() };
        for applied in [Some(&same), None] {
            let verdict = after(Operation::Update, applied, &view, &End::Planned).unwrap();
            assert_eq!((verdict.0, verdict.1), ("True", Reason::AlreadyCurrent));
        }
        assert_eq!(after(Operation::Stage, Some(&same), &view, &finished("succeeded")), None);
        let updated = after(Operation::Update, Some(&other), &view, &finished("succeeded")).unwrap();
        assert_eq!((updated.0, updated.1), ("True", Reason::Verified));
    }
}
