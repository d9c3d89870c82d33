//! What tests of what is made for a run have in common.

use crate::api::UpdateRun;
use serde_json::json;
use std::collections::BTreeMap;

/// A run that something is made for.
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
