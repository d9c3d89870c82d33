//! Refusals and steps of an operator or engine of a neighbouring version can be read. During an upgrade the
//! two sides of a connection differ by one version, and the update must continue.

#![allow(clippy::unwrap_used, reason = "clippy knows this exception for tests in modules only")]

use farrier_protocol::{FailureCode, PackageRef, Refusal, Step, StepExit};
use serde_json::json;

/// If a refusal could not be read, it would be sent again and again, and the update of the machine would
/// never end.
#[test]
fn refusals_are_read_by_both_neighbours() {
    let exit = |value| serde_json::from_value::<StepExit>(value).unwrap();
    let before = json!({"how": "notStarted", "code": "Other", "detail": "why"});
    assert_eq!(exit(before.clone()), StepExit::not_started(FailureCode::Other, "why".into()));
    assert_eq!(serde_json::to_value(exit(before.clone())).unwrap(), before);
    let refused = StepExit::refused(Refusal::RemovesBooted, "why".into());
    let written = serde_json::to_value(&refused).unwrap();
    // The previous version reads it as an installer that could not be started, with the detail.
    assert_eq!([&written["how"], &written["code"], &written["detail"]], ["notStarted", "Other", "why"]);
    assert_eq!(exit(written), refused);
    let later = json!({"how": "notStarted", "code": "Later", "detail": "", "refusal": "later"});
    assert_eq!(exit(later), StepExit::refused(Refusal::Unknown, String::new()));
}

/// A step that names no package installs any payload, as in the previous version.
#[test]
fn a_step_without_a_package_is_read() {
    let mut value = json!({
        "component": "fx", "version": "1", "installer": "Deb", "after": [],
        "payload": {"digest": "", "size": 0, "fileName": ""},
        "timeoutSeconds": 1, "interruptible": true, "downgrade": false, "rewrite": false,
    });
    let step: Step = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(step.package, None);
    assert_eq!(serde_json::to_value(&step).unwrap(), value);
    value["package"] = json!({"name": "fx"});
    let step: Step = serde_json::from_value(value).unwrap();
    assert_eq!(step.package, Some(PackageRef { name: "fx".into(), arches: vec![] }));
    assert!(step.package.unwrap().is_for("riscv64"), "without architectures every one will do");
}
