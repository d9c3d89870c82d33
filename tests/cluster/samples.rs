//! Reads the sample tables in `rules/`, and puts values into objects.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Stands for a value: the field is left out.
pub(crate) const LEFT_OUT: &str = "(left out)";

/// The samples for one kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// A valid object.
    pub(crate) base: Value,
    /// Samples for all rules of the definition.
    pub(crate) rules: Vec<Row>,
}

/// Samples for one rule of a definition.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    /// The field with the rule; empty for a rule of the whole object.
    pub(crate) at: String,
    /// The rule: a keyword of the schema, or the message of a CEL rule.
    pub(crate) is: String,
    /// The field that gets the samples, if it is another field.
    field: Option<String>,
    /// The field's value in the cluster. If absent, the object is new.
    pub(crate) was: Option<Value>,
    /// The name of the object, if the rule depends on it.
    pub(crate) name: Option<String>,
    /// Other fields of the object, by path.
    #[serde(default)]
    with: BTreeMap<String, Value>,
    /// Values that must be accepted.
    #[serde(default)]
    pub(crate) accept: Vec<Value>,
    /// Values that must be refused.
    #[serde(default)]
    pub(crate) refuse: Vec<Value>,
}

impl Table {
    /// Returns the samples for a kind.
    pub(crate) fn of(kind: &str) -> Self {
        let text = match kind {
            "ManagedNode" => include_str!("rules/managed_node.yaml"),
            "Baseline" => include_str!("rules/baseline.yaml"),
            "UpdateRun" => include_str!("rules/update_run.yaml"),
            "NodeUpdate" => include_str!("rules/node_update.yaml"),
            "NodeInventory" => include_str!("rules/node_inventory.yaml"),
            "LogRequest" => include_str!("rules/log_request.yaml"),
            other => panic!("there are no samples for {other}"),
        };
        let mut table: Self = serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{kind}: {e}"));
        for row in &mut table.rules {
            if row.is == "required" {
                row.refuse = vec![json!(LEFT_OUT)];
            }
            let samples = row.accept.iter_mut().chain(&mut row.refuse).chain(&mut row.was);
            samples.for_each(|sample| *sample = expand(sample));
        }
        table
    }

    /// Returns the base object with a sample in it.
    pub(crate) fn object(&self, row: &Row, name: &str, sample: &Value) -> Value {
        let mut object = self.base.clone();
        for (path, value) in &row.with {
            put(&mut object, path, value);
        }
        put(&mut object, row.field.as_ref().unwrap_or(&row.at), sample);
        object["metadata"] = json!({"name": name});
        object
    }
}

impl Row {
    /// Returns the path as in the schema, without indexes.
    pub(crate) fn schema_path(&self) -> String {
        let mut path = String::new();
        for part in self.at.split_inclusive('[') {
            path.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
        path
    }
}

/// Expands `{$text: a, $times: 3}` to `aaa`, and `{$list: n$i, $times: 2}` to `[n0, n1]`.
fn expand(sample: &Value) -> Value {
    let times = sample["$times"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
    if let Some(text) = sample["$text"].as_str() {
        return json!(text.repeat(times));
    }
    match sample.get("$list") {
        Some(element) => (0..times).map(|i| numbered(element, i)).collect(),
        None => sample.clone(),
    }
}

fn numbered(element: &Value, i: usize) -> Value {
    serde_json::from_str(&element.to_string().replace("$i", &i.to_string())).expect("JSON")
}

/// Puts a value at a path like `spec.components[0].name`, or removes the value that is there.
pub(crate) fn put(object: &mut Value, path: &str, value: &Value) {
    let (parent, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut place = object;
    for name in parent.split('.').filter(|name| !name.is_empty()) {
        place = step(place, name);
    }
    if value == LEFT_OUT {
        step(place, last);
        place.as_object_mut().expect("a field is left out of an object").remove(last);
    } else {
        *step(place, last) = value.clone();
    }
}

fn step<'a>(place: &'a mut Value, name: &str) -> &'a mut Value {
    let (name, index) = match name.split_once('[') {
        Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
        None => (name, None),
    };
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    let place = &mut place[name];
    let Some(index) = index else { return place };
    if !place.is_array() {
        *place = json!([]);
    }
    let list = place.as_array_mut().expect("a list");
    while list.len() <= index {
        list.push(Value::Null);
    }
    &mut list[index]
}
