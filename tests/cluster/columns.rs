//! The output of `kubectl get`: columns, short names, the category.

use crate::fields::declared_conditions;
use crate::samples::Table;
use crate::schema::Definition;
use crate::server::server;
use serde_json::{Value, json};
use std::path::Path;

/// A column whose path matches no field stays empty forever.
#[test]
fn each_column_shows_an_existing_field_or_condition() {
    for definition in Definition::all() {
        let paths: Vec<String> = definition.fields().into_iter().map(|field| field.path).collect();
        for column in columns(&definition) {
            let path = column["jsonPath"].as_str().unwrap().trim_start_matches('.').to_owned();
            let place = format!("{} column {}: {path}", definition.kind, column["name"]);
            if path == "metadata.creationTimestamp" {
                continue;
            }
            let path = match condition(&path) {
                Some((type_, field)) => {
                    let declared = declared_conditions(&definition);
                    assert!(declared.contains(&type_), "{place}: its conditions are {declared:?}");
                    assert!(is_written(&type_), "{place}: nothing writes this condition");
                    format!("status.conditions[].{field}")
                }
                None => path.replace("[0]", "[]"),
            };
            assert!(paths.contains(&path), "{place}: there is no such field");
        }
    }
}

/// Returns type and field of a path like `status.conditions[?(@.type=="Ready")].reason`.
fn condition(path: &str) -> Option<(String, String)> {
    let (type_, field) = path.strip_prefix("status.conditions[?(@.type==\"")?.split_once("\")].")?;
    Some((type_.to_owned(), field.to_owned()))
}

/// Reports whether the operator's sources, except the definitions themselves, mention this condition.
fn is_written(type_: &str) -> bool {
    fn search(dir: &Path, wanted: &str) -> bool {
        std::fs::read_dir(dir).expect("sources").any(|entry| {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                return path.file_name() != Some("api".as_ref()) && search(&path, wanted);
            }
            std::fs::read_to_string(&path).expect("a source").contains(wanted)
        })
    }
    search(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &format!("\"{type_}\""))
}

fn columns(definition: &Definition) -> Vec<Value> {
    definition.version()["additionalPrinterColumns"].as_array().expect("columns").clone()
}

/// Users must see all columns filled, and the short names must work.
#[tokio::test]
async fn every_kind_is_printed_under_its_short_name_with_all_its_columns_filled() {
    let short = [
        ("ManagedNode", "mn"),
        ("Baseline", "bl"),
        ("UpdateRun", "ur"),
        ("NodeUpdate", "nu"),
        ("NodeInventory", "ni"),
    ];
    server(async |server| {
        for (kind, short) in short {
            let definition = Definition::of(kind);
            let mut object = Table::of(kind).base;
            object["metadata"] = json!({"name": "seen"});
            let made = server.create(&definition, &object, false).await.expect(kind);
            object["metadata"] = made["metadata"].clone();
            object["status"] = status_of(&definition);
            server.replace_status(&definition, &object, false).await.expect(kind);

            for (wide, arguments) in [(false, vec!["get", short]), (true, vec!["get", short, "-o", "wide"])] {
                let shown = columns(&definition);
                let shown = shown.iter().filter(|c| wide || c["priority"].as_i64().unwrap_or(0) == 0);
                let names = shown.map(|c| c["name"].as_str().unwrap().to_uppercase());
                let expected: Vec<String> = std::iter::once("NAME".to_owned()).chain(names).collect();
                let table = server.kubectl(&arguments, None).await.expect(short);
                let rows: Vec<Vec<&str>> =
                    table.lines().map(|line| line.split_whitespace().collect()).collect();
                assert_eq!(rows[0], expected, "the header of {kind}");
                assert_eq!(rows[1].len(), expected.len(), "an empty column:\n{table}");
                assert!(!table.contains('<') && !table.contains('{'), "not for people:\n{table}");
            }
        }
    })
    .await;
}

/// Returns a status in which every field is set.
fn status_of(definition: &Definition) -> Value {
    let conditions = declared_conditions(definition).into_iter().map(|type_| {
        json!({
            "type": type_,
            "status": "True",
            "reason": "Fine",
            "message": "Fine",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    });
    let mut status = match definition.kind.as_str() {
        "ManagedNode" => json!({
            "lastRun": "r1",
            "os": "Debian",
            "baseline": {"name": "spring", "uid": "u", "digest": "sha256:0", "run": "r1", "at": "2026-01-01T00:00:00Z"},
            "inventory": {"takenAt": "2026-01-01T00:00:00Z"},
        }),
        "Baseline" => json!({"components": 1}),
        "UpdateRun" => json!({"counts": {"total": 1}, "stage": "canary"}),
        "NodeUpdate" => json!({"step": "Install", "changed": "0/1"}),
        "NodeInventory" => json!({
            "takenAt": "2026-01-01T00:00:00Z",
            "packageCount": 1,
            "facts": {
                "osName": "Debian",
                "arch": "x86_64",
                "kernel": "6.1.0",
                "vendor": "HPE",
                "model": "DL380",
                "serial": "CZ1",
            },
        }),
        other => panic!("{other} is none of our kinds"),
    };
    status["conditions"] = conditions.collect();
    status
}

/// `kubectl get farrier` must not miss a kind. A LogRequest is there for a minute and is none that users keep.
#[tokio::test]
async fn the_category_lists_every_kind() {
    server(async |server| {
        for definition in Definition::all() {
            let mut object = Table::of(&definition.kind).base;
            object["metadata"] = json!({"name": "listed"});
            server.create(&definition, &object, false).await.expect("an object");
        }
        let listed = server.kubectl(&["get", "farrier", "-o", "name"], None).await.expect("the category");
        let mut listed: Vec<&str> = listed.lines().collect();
        listed.sort_unstable();
        assert_eq!(
            listed,
            [
                "baseline.farrier.dev/listed",
                "managednode.farrier.dev/listed",
                "nodeinventory.farrier.dev/listed",
                "nodeupdate.farrier.dev/listed",
                "updaterun.farrier.dev/listed",
            ]
        );
    })
    .await;
}
