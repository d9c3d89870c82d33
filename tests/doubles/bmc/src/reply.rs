//! An answer before it goes on the wire, and the errors of Redfish.

use serde_json::{Value, json};

use crate::message::Word;
use crate::variant::Variant;

#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    None,
    Json(Value),
    Text { kind: &'static str, text: String },
}

impl Reply {
    pub(crate) const fn empty(status: u16) -> Self {
        Self { status, headers: vec![], content: Content::None }
    }

    pub(crate) const fn json(status: u16, value: Value) -> Self {
        Self { status, headers: vec![], content: Content::Json(value) }
    }

    pub(crate) fn text(kind: &'static str, text: impl Into<String>) -> Self {
        Self { status: 200, headers: vec![], content: Content::Text { kind, text: text.into() } }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same header with another value.
    pub(crate) fn replaced(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.with(name, value)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The vendor's error for this occasion.
    pub(crate) fn error(variant: &Variant, word: Word, args: &[&str]) -> Self {
        let message = variant.message(word);
        // Some occasions are told by a task; if they come up in an answer, it is a bad request.
        let status = if message.status < 400 { 400 } else { message.status };
        let reply = Self::json(status, extended(&[message.render(args)]));
        match status {
            401 => reply.with("www-authenticate", "Basic realm=\"Redfish\""),
            503 => reply.with("retry-after", "5"),
            _ => reply,
        }
    }

    /// `Success` as HPE says it, with status 200.
    pub(crate) fn success(variant: &Variant) -> Self {
        Self::json(200, extended(&[variant.message(Word::Success).render(&[])]))
    }

    pub(crate) fn not_allowed(variant: &Variant, allow: &[&str]) -> Self {
        Self::error(variant, Word::MethodNotAllowed, &[]).with("allow", allow.join(", "))
    }

    pub(crate) fn not_found(variant: &Variant, path: &str) -> Self {
        Self::error(variant, Word::NotFound, &[path])
    }
}

/// The object `error` around messages.
pub(crate) fn extended(messages: &[Value]) -> Value {
    json!({
        "error": {
            "code": "Base.1.18.GeneralError",
            "message": "See @Message.ExtendedInfo for more information.",
            "@Message.ExtendedInfo": messages,
        }
    })
}

/// Every link with a slash at its end, as HPE writes them.
pub(crate) fn slash_links(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if let (true, Value::String(link)) = (is_link(name), &mut *field)
                    && link.starts_with("/redfish/")
                    && !link.ends_with('/')
                    && !link.contains(['?', '#'])
                {
                    link.push('/');
                }
                slash_links(field);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(slash_links),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_link(name: &str) -> bool {
    matches!(name, "@odata.id" | "target" | "TaskMonitor")
}
