//! Every rule of every CRD, with samples that pass and samples that do not.
//!
//! The samples are in `rules/KIND.yaml`, one line for a rule:
//!
//! ```yaml
//! - {at: spec.ssh.port, is: maximum, accept: [65535], refuse: [65536]}
//! ```
//!
//! `at` is the field with the rule, `is` the keyword of the schema or the message of a CEL rule. A
//! refusal must name the field and say what the definition requires. `required` needs no samples.
//! Further keys: see [`samples::Row`](crate::samples::Row).

use crate::samples::{Row, Table};
use crate::schema::{Definition, Demand};
use crate::server::{Server, server};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A rule without samples may refuse valid values, or nothing at all, unnoticed.
#[test]
fn every_rule_has_samples_that_pass_and_samples_that_do_not() {
    let mut problems = Vec::new();
    for definition in Definition::all() {
        let table = Table::of(&definition.kind);
        let demand = |row: &Row| Demand { at: row.schema_path(), is: row.is.clone() };
        let samples_of = |has: fn(&Row) -> bool| -> BTreeSet<Demand> {
            table.rules.iter().filter(|row| has(row)).map(demand).collect()
        };
        let accepting = samples_of(|row| row.is == "required" || !row.accept.is_empty());
        let refusing = samples_of(|row| !row.refuse.is_empty());
        let demands: BTreeSet<Demand> = definition.demands().into_iter().collect();
        let complaints = [
            ("no sample that passes", demands.difference(&accepting).collect::<Vec<_>>()),
            ("no sample that does not", demands.difference(&refusing).collect()),
            ("samples for no rule", accepting.union(&refusing).filter(|d| !demands.contains(d)).collect()),
        ];
        for (complaint, demands) in complaints {
            problems.extend(
                demands.iter().map(|d| format!("{} {}: {}: {complaint}", definition.kind, d.at, d.is)),
            );
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// A machine that cannot be reached as described must be refused, and a valid one accepted.
#[tokio::test]
async fn a_managed_node_is_refused_for_each_wrong_field_and_for_no_right_one() {
    server(async |server| check(server, "ManagedNode").await).await;
}

/// A wrong digest, a second component of the same name or a later change must not reach machines.
#[tokio::test]
async fn a_baseline_is_refused_for_each_wrong_field_and_for_no_right_one() {
    server(async |server| check(server, "Baseline").await).await;
}

/// A run must not become another run while it works, and a cancelled run must not restart.
#[tokio::test]
async fn an_update_run_is_refused_for_each_wrong_field_and_for_no_right_one() {
    server(async |server| check(server, "UpdateRun").await).await;
}

/// A runner must not lose a cancelled machine to a late write, nor its record to a wrong one.
#[tokio::test]
async fn a_node_update_is_refused_for_each_wrong_field_and_for_no_right_one() {
    server(async |server| check(server, "NodeUpdate").await).await;
}

/// An inventory must not be taken for that of another machine.
#[tokio::test]
async fn a_node_inventory_is_refused_for_each_wrong_field_and_for_no_right_one() {
    server(async |server| check(server, "NodeInventory").await).await;
}

/// The log of an earlier NodeUpdate of the same name must not be read.
#[tokio::test]
async fn a_log_request_is_refused_for_each_wrong_field_and_for_no_right_one() {
    server(async |server| check(server, "LogRequest").await).await;
}

/// Sends every sample for a kind, and reports all failures at once.
async fn check(server: &Server, kind: &str) {
    let definition = Definition::of(kind);
    let table = Table::of(kind);
    let fields = definition.with_rules();
    let mut problems = Vec::new();
    for (number, row) in table.rules.iter().enumerate() {
        let path = row.schema_path();
        let Some(field) = fields.iter().find(|field| field.path == path) else {
            problems.push(format!("{path}: there is no such field"));
            continue;
        };
        let name = row.name.clone().unwrap_or_else(|| format!("row-{number}"));
        let sent = Sent::prepare(server, &definition, &table, row, name).await;
        for sample in &row.accept {
            if let Err(message) = sent.send(sample).await {
                problems.push(format!("{}: {}: refuses {}: {message}", row.at, row.is, short(sample)));
            }
        }
        for sample in &row.refuse {
            let words = field.words(&row.is);
            match sent.send(sample).await {
                Ok(_) => problems.push(format!("{}: {}: accepts {}", row.at, row.is, short(sample))),
                Err(message) if says(&message, &row.at, &words) => {}
                Err(message) => {
                    problems.push(format!("{}: instead of {words:?} it is said: {message}", row.at));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{} of {kind}:\n{}", problems.len(), problems.join("\n"));
}

/// Reports whether a refusal names the field and contains all these words.
fn says(message: &str, field: &str, words: &[String]) -> bool {
    message.contains(field) && words.iter().all(|word| message.contains(word.as_str()))
}

fn short(sample: &Value) -> String {
    sample.to_string().chars().take(120).collect()
}

/// The target of the samples of one row.
struct Sent<'a> {
    server: &'a Server,
    definition: &'a Definition,
    table: &'a Table,
    row: &'a Row,
    name: String,
    /// Resource version of the object to be changed. `None`: the object is new.
    version: Option<Value>,
}

impl<'a> Sent<'a> {
    /// Creates the object to be changed, unless the samples are new objects.
    async fn prepare(
        server: &'a Server,
        definition: &'a Definition,
        table: &'a Table,
        row: &'a Row,
        name: String,
    ) -> Self {
        let mut sent = Self { server, definition, table, row, name, version: None };
        let mut object = match &row.was {
            Some(was) => table.object(row, &sent.name, was),
            None if sent.of_status() => table.base.clone(),
            None => return sent,
        };
        object["metadata"] = json!({"name": sent.name});
        let made = server.create(definition, &object, false).await;
        let made = made.unwrap_or_else(|message| panic!("{}: cannot be prepared: {message}", row.at));
        sent.version = Some(made["metadata"]["resourceVersion"].clone());
        sent
    }

    fn of_status(&self) -> bool {
        self.row.at.starts_with("status")
    }

    async fn send(&self, sample: &Value) -> Result<Value, String> {
        let mut object = self.table.object(self.row, &self.name, sample);
        let Some(version) = &self.version else {
            return self.server.create(self.definition, &object, true).await;
        };
        object["metadata"]["resourceVersion"] = version.clone();
        if self.of_status() {
            self.server.replace_status(self.definition, &object, true).await
        } else {
            self.server.try_replace(self.definition, &object).await
        }
    }
}
