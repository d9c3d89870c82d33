//! Fixtures of the tests of objects that are created for a run.

use crate::api::UpdateRun;
use serde_json::json;
use std::collections::BTreeMap;

/// A run that objects are created for.
pub(super) fn run() -> UpdateRun {
    serde_json::from_value(json!({
        "apiVersion": "farrier.dev/v1alpha1",
        "kind": "UpdateRun",
        "metadata": {"name": "r1", "namespace": "fleet", "uid": "0001"},
        "spec": {"selector": {}},
    }))
    .unwrap()
}

/// Labels of the operator's pods.
pub(super) fn selector() -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), "farrier".to_owned())])
}
