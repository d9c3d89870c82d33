//! Errors of the API server about a Service that it rejects, as version 1.33 returns them.

use super::*;
use kube::core::Status;
use serde_json::json;

fn refused(field: &str, words: &str) -> kube::Error {
    let status: Status = serde_json::from_value(json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": format!("Service \"c\" is invalid: {field}: {words}"),
        "reason": "Invalid",
        "details": {
            "name": "c",
            "kind": "Service",
            "causes": [{"reason": "FieldValueInvalid", "message": words, "field": field}],
        },
        "code": 422,
    }))
    .unwrap();
    kube::Error::Api(status.boxed())
}

/// If this fails, any error makes machines learn another port, and a Service that cannot be changed
/// is never replaced.
#[test]
fn only_an_unavailable_node_port_is_given_up() {
    for (field, words, lost) in [
        ("spec.ports[0].nodePort", "Invalid value: 30101: provided port is already allocated", true),
        (
            "spec.ports[1].nodePort",
            "Invalid value: 101: provided port is not in the valid range. The range of valid ports is 30000-32767",
            true,
        ),
        (
            "spec.clusterIPs[0]",
            "Invalid value: \"None\": may not be set to 'None' for NodePort services",
            false,
        ),
        ("spec.clusterIPs[0]", "Invalid value: [\"10.0.0.9\"]: may not change once set", false),
        ("spec.ports[0].port", "Invalid value: 0: must be between 1 and 65535, inclusive", false),
    ] {
        let error = refused(field, words);
        assert!(is_invalid(&error));
        assert_eq!(lacks_node_port(&error), lost, "{field}: {words}");
    }
}
