//! The CRDs: accepted by a server, and written by `farrier crd`.

use crate::schema::Definition;
use crate::server::{installed, server};
use crate::startup::farrier;
use std::collections::BTreeMap;
use std::path::Path;

/// An installation must not be refused, nor print warnings that a user cannot act on.
#[tokio::test]
async fn the_server_takes_the_definitions_without_a_warning() {
    server(async |_| {
        let said = &installed().applied;
        assert_eq!(said.to_lowercase().matches("warning").count(), 0, "{said}");
    })
    .await;
}

/// A definition that is stored but not served, or served without schema validation, is useless.
#[tokio::test]
async fn the_definitions_are_established_and_structural() {
    server(async |server| {
        for definition in Definition::all() {
            let path = "jsonpath={range .status.conditions[*]}{.type}={.status} {end}";
            let conditions = server.kubectl(&["get", "crd", definition.name(), "-o", path], None).await;
            let conditions = conditions.expect("the definition");
            let conditions: Vec<&str> = conditions.split_whitespace().collect();
            for wanted in ["NamesAccepted=True", "Established=True"] {
                assert!(conditions.contains(&wanted), "{}: {conditions:?}", definition.name());
            }
            let unwanted = ["NonStructuralSchema=True", "KubernetesAPIApprovalPolicyConformant=False"];
            let unwanted: Vec<_> = conditions.iter().filter(|c| unwanted.contains(c)).collect();
            assert!(unwanted.is_empty(), "{}: {conditions:?}", definition.name());
        }
    })
    .await;
}

/// Users who install the committed CRDs must get those that the operator works with.
#[tokio::test]
async fn the_command_prints_the_definitions_that_are_committed() {
    let printed = farrier(&["crd"]).output().await.expect("farrier crd");
    assert!(printed.status.success(), "{printed:?}");
    let printed = String::from_utf8(printed.stdout).expect("text");
    let printed: Vec<&str> = printed.split("---\n").filter(|document| !document.is_empty()).collect();
    let mut printed: Vec<String> = printed.into_iter().map(str::to_owned).collect();
    printed.sort();
    let mut committed: Vec<String> = committed().into_values().collect();
    committed.sort();
    assert!(printed == committed, "run `cargo run -p farrier -- crd --dir crds`, and commit what it writes");
}

/// `--dir` must write the same definitions as the command prints.
#[tokio::test]
async fn the_command_writes_the_definitions_that_are_committed() {
    let dir = tempfile::tempdir().expect("a directory");
    let into = dir.path().join("made/by/the/command");
    let written = farrier(&["crd", "--dir", into.to_str().unwrap()]).output().await.expect("farrier crd");
    assert!(written.status.success(), "{written:?}");
    assert!(written.stdout.is_empty(), "it prints what it has written");
    assert!(files(&into) == committed(), "run `cargo run -p farrier -- crd --dir crds`, and commit it");
}

/// If a directory cannot be written, the message must name it.
#[tokio::test]
async fn the_command_names_a_directory_that_it_cannot_write() {
    let written = farrier(&["crd", "--dir", "/proc/no"]).output().await.expect("farrier crd");
    assert_eq!(written.status.code(), Some(1));
    let words = String::from_utf8_lossy(&written.stderr);
    assert!(words.contains("/proc/no"), "{words}");
}

fn committed() -> BTreeMap<String, String> {
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("crds"))
}

fn files(dir: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let read = |path: &Path| std::fs::read_to_string(path).expect("a file");
    paths.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), read(&path))).collect()
}
