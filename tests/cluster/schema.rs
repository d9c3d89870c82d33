//! The CRDs as data: their fields, and the rules of each field.

use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use serde_json::Value;

/// Keywords of a schema that reject values, besides `required` and CEL rules.
const KEYWORDS: [&str; 9] = [
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
    "x-kubernetes-list-type",
];

/// The definition of a kind.
#[derive(Debug)]
pub(crate) struct Definition {
    /// Name of the kind.
    pub(crate) kind: String,
    /// The whole definition as JSON.
    pub(crate) all: Value,
}

/// A field, or the elements of a list or map.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    /// Path, with `[]` for the elements of a list and `{}` for those of a map.
    pub(crate) path: String,
    /// Its schema.
    pub(crate) schema: Value,
    /// Whether the field is required.
    pub(crate) required: bool,
}

/// A rule of a schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Demand {
    /// The path of the field.
    pub(crate) at: String,
    /// A keyword of the schema, or the message of a CEL rule.
    pub(crate) is: String,
}

impl Definition {
    /// Returns all definitions.
    pub(crate) fn all() -> Vec<Self> {
        farrier::api::definitions()
            .into_iter()
            .map(|definition| Self {
                kind: definition.spec.names.kind.clone(),
                all: serde_json::to_value(definition).expect("JSON"),
            })
            .collect()
    }

    /// Returns the definition of a kind.
    pub(crate) fn of(kind: &str) -> Self {
        Self::all().into_iter().find(|d| d.kind == kind).expect("one of our kinds")
    }

    /// Returns the name of the definition.
    pub(crate) fn name(&self) -> &str {
        self.all["metadata"]["name"].as_str().expect("a name")
    }

    /// Returns the plural name of the kind.
    pub(crate) fn plural(&self) -> &str {
        self.all["spec"]["names"]["plural"].as_str().expect("a plural")
    }

    /// Returns the only version of the kind.
    pub(crate) fn version(&self) -> &Value {
        &self.all["spec"]["versions"][0]
    }

    /// Returns the definition as a document of a YAML file.
    pub(crate) fn as_document(&self) -> String {
        format!("---\n{}\n", self.all)
    }

    /// Returns the API resource of the kind.
    pub(crate) fn resource(&self) -> ApiResource {
        let kind = GroupVersionKind::gvk("farrier.dev", "v1alpha1", &self.kind);
        ApiResource::from_gvk_with_plural(&kind, self.plural())
    }

    /// Returns all fields, including nested ones.
    pub(crate) fn fields(&self) -> Vec<Field> {
        let mut fields = Vec::new();
        walk(&self.version()["schema"]["openAPIV3Schema"], "", &mut fields);
        fields
    }

    /// Returns the whole object as a field without a path, and all fields.
    pub(crate) fn with_rules(&self) -> Vec<Field> {
        let schema = self.version()["schema"]["openAPIV3Schema"].clone();
        let mut fields = vec![Field { path: String::new(), schema, required: false }];
        fields.extend(self.fields());
        fields
    }

    /// Returns all rules, except those of the fields of conditions, which are Kubernetes' own.
    pub(crate) fn demands(&self) -> Vec<Demand> {
        let fields = self.with_rules();
        let own = fields.iter().filter(|f| !f.path.starts_with("status.conditions[]"));
        own.flat_map(Field::demands).collect()
    }
}

/// Adds the fields of a schema to a list.
pub(crate) fn walk(schema: &Value, path: &str, fields: &mut Vec<Field>) {
    let mut add = |path: String, schema: &Value, required: bool| {
        fields.push(Field { path: path.clone(), schema: schema.clone(), required });
        walk(schema, &path, fields);
    };
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let dot = if path.is_empty() { "" } else { "." };
        add(format!("{path}{dot}{name}"), property, required.contains(&name.as_str()));
    }
    if schema["items"].is_object() {
        add(format!("{path}[]"), &schema["items"], false);
    }
    if schema["additionalProperties"].is_object() {
        add(format!("{path}{{}}"), &schema["additionalProperties"], false);
    }
}

impl Field {
    /// Returns all rules of the field.
    fn demands(&self) -> Vec<Demand> {
        let rules = self.schema["x-kubernetes-validations"].as_array().into_iter().flatten();
        let rules = rules.map(|rule| rule["message"].as_str().expect("every rule has a message").to_owned());
        let keywords = KEYWORDS.iter().filter(|k| !self.schema[**k].is_null()).map(|k| (*k).to_owned());
        let required = self.required.then(|| "required".to_owned());
        rules.chain(keywords).chain(required).map(|is| Demand { at: self.path.clone(), is }).collect()
    }

    /// Returns the words that the server's message must contain when the rule is violated.
    pub(crate) fn words(&self, demand: &str) -> Vec<String> {
        let value = &self.schema[demand];
        let number = value.as_f64().unwrap_or_default();
        match demand {
            "required" => vec!["Required value".to_owned()],
            "enum" => {
                let values = value.as_array().into_iter().flatten();
                std::iter::once("Unsupported value".to_owned()).chain(values.map(Value::to_string)).collect()
            }
            "pattern" => vec![format!("should match '{}'", value.as_str().unwrap_or_default())],
            "minLength" => vec![format!("should be at least {number} chars long")],
            "maxLength" => vec![format!("may not be more than {number} bytes")],
            "minItems" => vec![format!("should have at least {number} items")],
            "maxItems" => vec![format!("must have at most {number} items")],
            "minimum" => vec![format!("should be greater than or equal to {number}")],
            "maximum" => vec![format!("should be less than or equal to {number}")],
            "x-kubernetes-list-type" => vec!["Duplicate value".to_owned()],
            rule => vec![rule.to_owned()],
        }
    }
}
