//! Whether the cluster's definitions have all fields of the statuses that this operator writes.
//!
//! The API server rejects a status with a field that its definition does not have. With definitions of an
//! earlier version the operator would look ready, and no run would make progress.

use crate::api::{GROUP, definitions};
use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::Client;
use serde_json::Value;
use std::time::Duration;

/// Maximum number of reads: the API server publishes the schema of a definition some time after it accepted
/// the definition.
const MAX_READS: u32 = 10;

/// Time between two reads.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// Timeout for one read.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Checks that no field is missing. If the schemas cannot be read, nothing is checked.
///
/// # Errors
/// When the definitions are of an earlier version.
pub(super) async fn check(client: &Client) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for read in 1..=MAX_READS {
        match tokio::time::timeout(READ_TIMEOUT, published(client)).await {
            Ok(Ok(published)) => missing = missing_fields(&published),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the definitions' schemas could not be read; they are not checked");
                return Ok(());
            }
            Err(_) => return Ok(()),
        }
        if missing.is_empty() {
            return Ok(());
        }
        if read < MAX_READS {
            // sleep: the definitions may be being applied at this moment.
            tokio::time::sleep(READ_INTERVAL).await;
        }
    }
    anyhow::bail!(
        "the cluster's definitions are of an earlier version than this operator, they do not have {}; apply those of this version first: farrier crd | kubectl apply --server-side -f -",
        missing.join(", ")
    );
}

/// Reads the schemas of all kinds. Every signed-in user may do so by default.
async fn published(client: &Client) -> anyhow::Result<Value> {
    let path = format!("/openapi/v3/apis/{GROUP}/v1alpha1");
    let request = hyper::Request::get(path).body(Vec::new()).context("failed to make a request")?;
    Ok(client.request(request).await?)
}

/// Returns the fields of statuses that the published schemas do not have, such as `NodeUpdate.status.phase`.
fn missing_fields(published: &Value) -> Vec<String> {
    let mut missing = Vec::new();
    for definition in definitions() {
        let kind = definition.spec.names.kind;
        let ours = definition.spec.versions.into_iter().find_map(|v| v.schema?.open_api_v3_schema);
        let ours = ours.and_then(|schema| schema.properties?.remove("status"));
        let theirs =
            schema_of(published, &kind).map(|s| s.pointer("/properties/status").unwrap_or(&Value::Null));
        // A schema that is not published says nothing about the definition.
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            compare(&ours, theirs, &format!("{kind}.status"), &mut missing);
        }
    }
    missing
}

fn schema_of<'a>(published: &'a Value, kind: &str) -> Option<&'a Value> {
    let is_of = |schema: &&Value| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(|k| k["group"] == GROUP && k["kind"] == kind))
    };
    published.pointer("/components/schemas")?.as_object()?.values().find(is_of)
}

fn compare(ours: &JSONSchemaProps, theirs: &Value, path: &str, missing: &mut Vec<String>) {
    for (name, field) in ours.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        match theirs["properties"].get(name) {
            Some(theirs) => compare(field, theirs, &path, missing),
            None => missing.push(path),
        }
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &ours.items {
        compare(items, &theirs["items"], path, missing);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &ours.additional_properties {
        compare(values, &theirs["additionalProperties"], path, missing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Returns our own definitions in the form in which an API server publishes them.
    fn ours() -> Value {
        let schemas = definitions().into_iter().map(|definition| {
            let kind = definition.spec.names.kind;
            let version = definition.spec.versions.into_iter().next().unwrap();
            let mut schema = json!(version.schema.unwrap().open_api_v3_schema);
            schema["x-kubernetes-group-version-kind"] =
                json!([{"group": GROUP, "version": "v1alpha1", "kind": kind}]);
            (format!("dev.farrier.v1alpha1.{kind}"), schema)
        });
        json!({"components": {"schemas": schemas.collect::<serde_json::Map<_, _>>()}})
    }

    /// Without this check, an operator with definitions of an earlier version writes no status, and every run
    /// stands still.
    #[test]
    fn fields_that_the_definitions_lack_are_named() {
        let mut published = ours();
        assert_eq!(missing_fields(&published), Vec::<String>::new());
        let schemas = &mut published["components"]["schemas"];
        let status = &mut schemas["dev.farrier.v1alpha1.NodeUpdate"]["properties"]["status"]["properties"];
        status.as_object_mut().unwrap().remove("phase").unwrap();
        let component = &mut status["components"]["items"]["properties"];
        component.as_object_mut().unwrap().remove("outcome").unwrap();
        assert_eq!(
            missing_fields(&published),
            ["NodeUpdate.status.components.outcome", "NodeUpdate.status.phase"]
        );
    }

    /// An operator must not refuse definitions of a later version, nor a server that publishes nothing.
    #[test]
    fn more_fields_and_schemas_that_are_not_published_are_accepted() {
        let mut published = ours();
        published["components"]["schemas"]["dev.farrier.v1alpha1.UpdateRun"]["properties"]["status"]["properties"]
            ["later"] = json!({"type": "string"});
        assert_eq!(missing_fields(&published), Vec::<String>::new());
        assert_eq!(missing_fields(&json!({})), Vec::<String>::new());
    }
}
