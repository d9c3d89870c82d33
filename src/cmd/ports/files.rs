//! Reads machines and runs from YAML files.

use super::subject::Input;
use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Reads all files. Objects of other kinds are skipped, so that the files of a whole site can be given.
pub(in crate::cmd) fn read(files: &[PathBuf], namespace: Option<&str>) -> anyhow::Result<Input> {
    let mut found = Input::default();
    for path in files {
        add(&text(path)?, &mut found).with_context(|| path.display().to_string())?;
    }
    // As with kubectl, objects without a namespace belong to the requested namespace.
    let wanted = namespace.unwrap_or("default");
    let metadata = found.nodes.iter_mut().map(|node| &mut node.metadata);
    for metadata in metadata.chain(found.runs.iter_mut().map(|run| &mut run.metadata)) {
        metadata.namespace.get_or_insert_with(|| wanted.to_owned());
    }
    if namespace.is_some() {
        found.nodes.retain(|node| node.metadata.namespace.as_deref() == namespace);
        found.runs.retain(|run| run.metadata.namespace.as_deref() == namespace);
    }
    anyhow::ensure!(
        !found.nodes.is_empty(),
        "there is no ManagedNode in {}{}; name a file that has one",
        files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
        namespace.map(|name| format!(" for the namespace {name}")).unwrap_or_default()
    );
    Ok(found)
}

fn text(path: &Path) -> anyhow::Result<String> {
    if path.as_os_str() != "-" {
        return std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()));
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("failed to read standard input")?;
    Ok(text)
}

fn add(text: &str, found: &mut Input) -> anyhow::Result<()> {
    // A file may hold a whole fleet; the parser's default limits end at 1,024 machines.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: usize::MAX,
            max_events: usize::MAX,
            max_nodes: usize::MAX,
        },
    };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).context("failed to read the YAML")?;
    for (n, document) in documents.into_iter().enumerate() {
        add_object(document, found).with_context(|| format!("document {}", n + 1))?;
    }
    Ok(())
}

fn add_object(object: Value, found: &mut Input) -> anyhow::Result<()> {
    let word = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if word("/apiVersion").split('/').next() != Some(crate::api::GROUP) {
        // A list, as kubectl prints it.
        if let (Some(Value::Array(items)), true) = (object.get("items"), word("/kind").ends_with("List")) {
            return items.iter().try_for_each(|item| add_object(item.clone(), found));
        }
        return Ok(());
    }
    let (kind, name) = (word("/kind").to_owned(), word("/metadata/name").to_owned());
    match kind.as_str() {
        "ManagedNode" => found.nodes.push(typed(object, &kind, &name)?),
        "UpdateRun" => found.runs.push(typed(object, &kind, &name)?),
        _ => {}
    }
    Ok(())
}

fn typed<T: DeserializeOwned>(object: Value, kind: &str, name: &str) -> anyhow::Result<T> {
    anyhow::ensure!(is_a_name(name), "{kind} {name:?}: metadata.name is no name; example: db-01");
    serde_json::from_value(object).with_context(|| format!("{kind} {name}"))
}

/// Reports whether the API server accepts the name; no other text may reach a ruleset.
fn is_a_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    !name.is_empty() && name.len() <= 253 && name.chars().all(good)
}
