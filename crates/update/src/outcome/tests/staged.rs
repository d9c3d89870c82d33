//! Tests of the results of a run that stages payloads.

use super::*;
use crate::outcome::conclude_staged;
use crate::plan::NodePlan;
use std::collections::BTreeMap;

/// Otherwise a run that has carried everything would fail, or one that has installed nothing would say that it did.
#[test]
fn what_would_be_installed_is_staged_and_nothing_else_changes() {
    let named = |name: &str, item: PlanItem| {
        let component = Component { name: name.to_owned(), ..item.component.clone() };
        PlanItem { component, ..item }
    };
    let current =
        PlanItem { action: Action::UpToDate { at: "1.1".into(), newer: false }, ..item(Some("1.1")) };
    let mut from_repository = named("tools", item(None));
    from_repository.component.payload = None;
    let blocked = Action::Blocked { why: "it cannot be read".into(), reason: Reason::NotVerified };
    let blocked = PlanItem { action: blocked, ..named("odd", item(Some("1.0"))) };
    let items = vec![item(Some("1.0")), named("kept", current), from_repository];
    let plan = NodePlan { items: items.clone() };
    let results = conclude_staged(&plan, &BTreeMap::new(), "2026-12-08T00:00:00Z");
    let told: Vec<_> = results.iter().map(|result| (result.outcome, result.reason)).collect();
    assert_eq!(
        told,
        [
            (Outcome::Staged, Reason::Staged),
            (Outcome::UpToDate, Reason::AlreadyCurrent),
            (Outcome::NotApplicable, Reason::NotRequired),
        ]
    );
    let [staged, ..] = results.as_slice() else { panic!("{results:?}") };
    assert_eq!((staged.before.as_str(), staged.after.as_str(), staged.started_at), ("1.0", "1.0", None));
    assert!(staged.message.contains("before 2026-12-08T00:00:00Z"), "{}", staged.message);
    assert!(matches!(summarize(&results), NodeVerdict::Succeeded { reason: Reason::Staged, .. }));
    let results =
        conclude_staged(&NodePlan { items: [items, vec![blocked]].concat() }, &BTreeMap::new(), "x");
    assert!(matches!(summarize(&results), NodeVerdict::Failed { .. }), "what is not known is not a success");
}
