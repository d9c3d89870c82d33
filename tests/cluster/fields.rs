//! Fields as users see them: described by `kubectl explain`, selected by `--field-selector`.

use crate::samples::{Table, put};
use crate::schema::{Definition, Field, walk};
use crate::server::{server, until};
use serde_json::{Value, json};

/// Rust identifiers and markup, which mean nothing to a user of `kubectl explain`.
const OF_THE_SOURCE: [&str; 7] = ["[`", "`]", "crate::", "Option<", "Vec<", "BTreeMap", "#["];

/// Returns the condition types that a definition declares in the description of its conditions, which
/// reads `Conditions: Ready, Reconciling, …`.
pub(crate) fn declared_conditions(definition: &Definition) -> Vec<String> {
    let fields = definition.fields();
    let conditions = fields.iter().find(|field| field.path == "status.conditions").expect("conditions");
    let text = conditions.schema["description"].as_str().expect("a description");
    let list = text.strip_prefix("Conditions: ").expect("a list of conditions");
    let words = list.split(|c: char| !c.is_alphanumeric());
    words.filter(|word| word.starts_with(char::is_uppercase)).map(str::to_owned).collect()
}

/// `kubectl explain` must describe every field, without Rust terms.
#[test]
fn every_field_is_described_for_its_users() {
    for definition in Definition::all() {
        described(&definition.kind, &definition.fields());
    }
}

/// If the server did not publish the descriptions, `kubectl explain` would be empty.
#[tokio::test]
async fn the_server_publishes_the_descriptions() {
    server(async |server| {
        let mut published = Value::Null;
        // The schema is published some time after the definition is served.
        until("the server publishes all kinds", async || {
            let path = "/openapi/v3/apis/farrier.dev/v1alpha1";
            let text = server.kubectl(&["get", "--raw", path], None).await.unwrap_or_default();
            published = serde_json::from_str(&text).unwrap_or_default();
            Definition::all().iter().all(|d| schema_in(&published, d).is_object())
        })
        .await;
        for definition in Definition::all() {
            let mut fields = Vec::new();
            walk(schema_in(&published, &definition), "", &mut fields);
            fields.retain(|field| !field.path.starts_with("metadata"));
            assert!(fields.len() > definition.fields().len(), "{}: fields are missing", definition.kind);
            described(&definition.kind, &fields);
        }
        let said = server.kubectl(&["explain", "mn.spec.ssh.port"], None).await.expect("an explanation");
        assert!(said.contains("TCP port of the SSH server."), "{said}");
    })
    .await;
}

fn schema_in<'a>(published: &'a Value, definition: &Definition) -> &'a Value {
    &published["components"]["schemas"][format!("dev.farrier.v1alpha1.{}", definition.kind)]
}

fn described(kind: &str, fields: &[Field]) {
    for Field { path, schema, .. } in fields.iter().filter(|f| !f.path.ends_with([']', '}'])) {
        let text = schema["description"].as_str().unwrap_or_default();
        assert!(!text.trim().is_empty(), "{kind} {path}: no description");
        let foreign = OF_THE_SOURCE.iter().find(|mark| text.contains(**mark));
        assert_eq!(foreign, None, "{kind} {path}: {text}");
    }
}

/// A dashboard or a script that selects the updates of one machine must not get those of all machines,
/// or none.
#[tokio::test]
async fn objects_are_selected_by_every_selectable_field() {
    let selectable = [
        ("ManagedNode", ".spec.type", "Linux", "Windows"),
        ("UpdateRun", ".spec.desiredState", "Run", "Pause"),
        ("NodeUpdate", ".spec.nodeRef.name", "db-01", "db-02"),
        ("NodeUpdate", ".spec.runRef.name", "r1", "r2"),
        ("NodeUpdate", ".spec.runner", "farrier-0", "farrier-1"),
        ("NodeInventory", ".spec.nodeRef.name", "db-01", "db-02"),
    ];
    for definition in Definition::all() {
        let fields = definition.version()["selectableFields"].as_array().into_iter().flatten();
        for path in fields.map(|field| field["jsonPath"].as_str().expect("a path")) {
            let tested =
                selectable.iter().any(|(kind, field, ..)| *kind == definition.kind && *field == path);
            assert!(tested, "{} {path} is selectable and not in this test", definition.kind);
        }
    }
    server(async |server| {
        for (number, (kind, path, value, other)) in selectable.into_iter().enumerate() {
            let definition = Definition::of(kind);
            let path = path.trim_start_matches('.');
            for (name, value) in [("wanted", value), ("unwanted", other)] {
                let mut object = Table::of(kind).base;
                let labels = json!({"test": number.to_string()});
                object["metadata"] = json!({"name": format!("{name}-{number}"), "labels": labels});
                put(&mut object, path, &json!(value));
                server.create(&definition, &object, false).await.expect(kind);
            }
            let (selector, label) = (format!("{path}={value}"), format!("test={number}"));
            let arguments =
                ["get", definition.plural(), "--field-selector", &selector, "-l", &label, "-o", "name"];
            let selected = server.kubectl(&arguments, None).await.expect(path);
            assert!(selected.trim_end().ends_with(&format!("/wanted-{number}")), "{kind} {path}: {selected}");
            assert_eq!(selected.lines().count(), 1, "{kind} {path}: {selected}");
        }
    })
    .await;
}
