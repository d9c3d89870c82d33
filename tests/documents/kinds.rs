//! The reference of all kinds, from the schemas of their CustomResourceDefinitions.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "part of a test")]

use crate::document;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use std::fmt::Write as _;

/// Schemas of Kubernetes itself, which its own documentation describes.
const FOREIGN: &[(&str, &str)] = &[
    (".conditions[]", "see [reasons.md](reasons.md)"),
    (".selector", "a label selector, as of a Deployment"),
    ("electors[]", "a label selector, as of a Deployment"),
];

/// Who writes a manifest should not have to read code, or ask a cluster with `kubectl explain` field by field.
#[test]
fn every_field_is_documented() {
    let mut text = String::from(
        "# Kinds\n\n\
         All kinds of `farrier.dev/v1alpha1`, with all of their fields; `kubectl explain updaterun.spec` shows the same in a cluster.\n\
         `[]` stands for each element of a list, `*` for each key of a map.\n\
         A field that is marked with * is required.\n\
         Users write `spec`, Farrier writes `status`.\n",
    );
    for definition in farrier::api::definitions() {
        kind(&mut text, &definition);
    }
    document("kinds.md", &text);
}

fn kind(text: &mut String, definition: &CustomResourceDefinition) {
    let names = &definition.spec.names;
    let version = &definition.spec.versions[0];
    let schema =
        version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()).expect("a schema");
    writeln!(text, "\n## {}\n\n{}", names.kind, words(schema)).unwrap();
    let all = std::iter::once(&names.plural).chain(names.short_names.iter().flatten());
    let all: Vec<String> = all.map(|name| format!("`{name}`")).collect();
    writeln!(text, "\nIn kubectl: {}.", all.join(", ")).unwrap();
    rules(text, schema);
    for part in ["spec", "status"] {
        let Some(schema) = schema.properties.as_ref().and_then(|all| all.get(part)) else { continue };
        writeln!(text, "\n| {part} | type | meaning |\n| --- | --- | --- |").unwrap();
        let mut rows = String::new();
        fields(&mut rows, "", schema);
        text.push_str(&rows);
        rules(text, schema);
    }
}

/// Writes what the API server checks beyond types.
fn rules(text: &mut String, schema: &JSONSchemaProps) {
    let messages = schema.x_kubernetes_validations.iter().flatten().filter_map(|rule| rule.message.as_ref());
    let messages: Vec<&str> = messages.map(String::as_str).collect();
    if !messages.is_empty() {
        writeln!(text, "\nThe API server refuses what breaks these rules:\n").unwrap();
        for message in messages {
            writeln!(text, "- {message}").unwrap();
        }
    }
}

/// Writes a row for each field below this one.
fn fields(text: &mut String, path: &str, schema: &JSONSchemaProps) {
    let required = schema.required.as_deref().unwrap_or_default();
    for (name, field) in schema.properties.iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let star = if required.contains(name) { " *" } else { "" };
        writeln!(text, "| `{path}`{star} | {} | {} |", type_of(field), meaning(field)).unwrap();
        inside(text, &path, field);
    }
}

/// Writes the fields of the elements of a list or a map, or of an object.
fn inside(text: &mut String, path: &str, field: &JSONSchemaProps) {
    let (path, inner) = match element(field) {
        Some((suffix, element)) => (format!("{path}{suffix}"), element),
        None => (path.to_owned(), field),
    };
    if let Some((_, words)) = FOREIGN.iter().find(|(end, _)| path.ends_with(end)) {
        if inner.properties.is_some() {
            writeln!(text, "| `{path}` | object | {words} |").unwrap();
        }
        return;
    }
    if element(inner).is_some() {
        inside(text, &path, inner);
    } else {
        fields(text, &path, inner);
    }
}

/// Returns the schema of the elements of a list or a map, and how its path is written.
fn element(field: &JSONSchemaProps) -> Option<(&'static str, &JSONSchemaProps)> {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaPropsOrBool;
    match (&field.items, &field.additional_properties) {
        (Some(JSONSchemaPropsOrArray::Schema(items)), _) => Some(("[]", items)),
        (_, Some(JSONSchemaPropsOrBool::Schema(values))) => Some((".*", values)),
        _ => None,
    }
}

fn type_of(field: &JSONSchemaProps) -> String {
    if field.x_kubernetes_int_or_string == Some(true) {
        return "integer or string".to_owned();
    }
    let own = field.format.as_deref().filter(|format| format.starts_with("date")).or(field.type_.as_deref());
    let own = own.unwrap_or("any").to_owned();
    match (own.as_str(), element(field)) {
        ("array", Some((_, element))) => format!("list of {}", type_of(element)),
        ("object", Some((_, element))) => format!("map of {}", type_of(element)),
        _ => own,
    }
}

/// Returns the description of a field, its values, its limits and its default.
fn meaning(field: &JSONSchemaProps) -> String {
    let mut parts = vec![words(field)];
    let values =
        field.enum_.iter().flatten().filter_map(|value| value.0.as_str()).map(|value| format!("`{value}`"));
    let values: Vec<String> = values.collect();
    if !values.is_empty() {
        parts.push(format!("One of {}.", values.join(", ")));
    }
    let limits = [
        field.minimum.map(|least| format!("at least {least}")),
        field.maximum.map(|most| format!("at most {most}")),
        field.max_length.map(|most| format!("at most {most} characters")),
        field.max_items.map(|most| format!("at most {most} elements")),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    if !limits.is_empty() {
        parts.push(format!("({})", limits.join(", ")));
    }
    if let Some(default) = &field.default {
        parts.push(format!("Default: `{}`.", default.0));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

/// Returns a description on one line.
fn words(schema: &JSONSchemaProps) -> String {
    let text = schema.description.as_deref().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
