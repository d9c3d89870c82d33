//! A resource as a device has sent it, read with tolerance.

use super::link::{Link, NotALink};
use super::message::Messages;
use crate::drivers::text::clean;
use serde_json::{Value, json};

/// Longest text that is taken over from a device; the rest is cut off.
const LONGEST: usize = 256;

/// What devices write where they know nothing.
const NOTHING: &[&str] = &["", "N/A", "NA", "null", "None", "Not Available", "Unknown"];

/// A resource: a JSON object whose values may have odd types, may be null or missing.
///
/// Paths are JSON pointers (RFC 6901), such as `/Status/Health`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resource(Value);

impl Resource {
    /// Creates a resource from JSON.
    pub fn new(value: Value) -> Self {
        Self(value)
    }

    /// Returns a text without control characters. Numbers are texts too; empty texts and words for "unknown"
    /// count as missing.
    pub fn text(&self, path: &str) -> Option<String> {
        text(self.0.pointer(path)?)
    }

    /// Returns a text as it was sent, whatever its length: a certificate.
    pub(super) fn whole(&self, path: &str) -> Option<&str> {
        self.0.pointer(path)?.as_str()
    }

    /// Returns the texts of an array, or the only text that is there instead of one. `None` if there is
    /// neither.
    pub fn texts(&self, path: &str) -> Option<Vec<String>> {
        let value = self.0.pointer(path)?;
        match value.as_array() {
            Some(items) => Some(items.iter().filter_map(text).collect()),
            None => text(value).map(|only| vec![only]),
        }
    }

    /// Returns the objects of an array.
    pub(super) fn objects(&self, path: &str) -> Vec<Self> {
        let items = self.0.pointer(path).and_then(Value::as_array).into_iter().flatten();
        items.filter(|item| item.is_object()).cloned().map(Self::new).collect()
    }

    /// Returns a truth value, also one that is written as a text or a number.
    pub fn flag(&self, path: &str) -> Option<bool> {
        let value = self.0.pointer(path)?;
        value.as_bool().or_else(|| match text(value)?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "enabled" | "1" => Some(true),
            "false" | "no" | "disabled" | "0" => Some(false),
            _ => None,
        })
    }

    /// Returns a number that is not negative, also one that is written as a text.
    pub fn number(&self, path: &str) -> Option<u64> {
        text(self.0.pointer(path)?)?.parse().ok()
    }

    /// Returns a link: an object with `@odata.id`, or the text itself. `None` if there is none.
    ///
    /// # Errors
    /// [`NotALink`] if there is one that must not be followed.
    pub fn link(&self, path: &str) -> Result<Option<Link>, NotALink> {
        self.0.pointer(path).and_then(target).map(Link::parse).transpose()
    }

    /// Returns the links of an array, or the only link that is there instead of one. Elements that are no
    /// links are left out.
    pub fn links(&self, path: &str) -> Vec<Link> {
        let parse = |value: &Value| target(value).and_then(|text| Link::parse(text).ok());
        match self.0.pointer(path) {
            Some(Value::Array(items)) => items.iter().filter_map(parse).collect(),
            Some(one) => parse(one).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// Returns the elements of an array of objects as resources. Elements of other types are left out.
    pub fn parts(&self, path: &str) -> Vec<Self> {
        let items = self.0.pointer(path).and_then(Value::as_array);
        items.into_iter().flatten().filter(|item| item.is_object()).cloned().map(Self).collect()
    }

    /// Returns the number of elements of an array; 0 if there is none.
    pub fn count(&self, path: &str) -> usize {
        self.0.pointer(path).and_then(Value::as_array).map_or(0, Vec::len)
    }

    /// Returns the names of the fields at this path.
    pub fn names(&self, path: &str) -> Vec<&str> {
        let fields = self.0.pointer(path).and_then(Value::as_object);
        fields.into_iter().flatten().map(|(name, _)| name.as_str()).collect()
    }

    /// Returns what the device says about the resource: the last messages in it, or the result of an entry of a
    /// queue.
    pub(super) fn messages(&self) -> Messages {
        for path in ["", "/Result", "/Oem/Hpe/Result", "/Oem/Hp/Result", "/Oem/Dell"] {
            let found = self.0.pointer(path).map(|part| match part.get("MessageId") {
                Some(_) => Messages::read_last(&json!({"Messages": part})),
                None => Messages::read_last(part),
            });
            if let Some(found) = found.filter(|found| !found.is_empty()) {
                return found;
            }
        }
        Messages::default()
    }

    /// Returns what is found first in any text of the resource.
    pub(super) fn find<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        fn search<T>(value: &Value, find: &impl Fn(&str) -> Option<T>) -> Option<T> {
            match value {
                Value::String(text) => find(text),
                Value::Array(items) => items.iter().find_map(|item| search(item, find)),
                Value::Object(fields) => fields.values().find_map(|field| search(field, find)),
                Value::Null | Value::Bool(_) | Value::Number(_) => None,
            }
        }
        search(&self.0, &find)
    }

    /// Reports whether there is a value other than null at this path.
    pub fn has(&self, path: &str) -> bool {
        self.0.pointer(path).is_some_and(|value| !value.is_null())
    }
}

fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => clean(text, LONGEST),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (!NOTHING.iter().any(|word| word.eq_ignore_ascii_case(&text))).then_some(text)
}

fn target(value: &Value) -> Option<&str> {
    let text = value.get("@odata.id").unwrap_or(value).as_str()?;
    (!text.trim().is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One odd value would cost a whole inventory.
    #[test]
    fn values_of_odd_types_are_read_or_left_out() {
        let resource = Resource::new(json!({
            "Version": 2.14, "Build": 7, "Name": " iLO 5\u{7}\n", "None": null, "Empty": "", "NA": "N/A",
            "List": ["HTTP", 3, null, {"a": 1}], "One": "HTTPS", "Yes": "True", "No": 0, "Max": "33554432",
        }));
        assert_eq!(resource.text("/Version").as_deref(), Some("2.14"));
        assert_eq!(resource.text("/Build").as_deref(), Some("7"));
        assert_eq!(resource.text("/Name").as_deref(), Some("iLO 5"));
        for path in ["/None", "/Empty", "/NA", "/Missing", "/List", "/Name/Deeper"] {
            assert_eq!(resource.text(path), None, "{path}");
        }
        assert_eq!(resource.texts("/List"), Some(vec!["HTTP".to_owned(), "3".to_owned()]));
        assert_eq!(resource.texts("/One"), Some(vec!["HTTPS".to_owned()]));
        assert_eq!(
            (resource.flag("/Yes"), resource.flag("/No"), resource.flag("/Name")),
            (Some(true), Some(false), None)
        );
        assert_eq!((resource.number("/Max"), resource.number("/Name")), (Some(33_554_432), None));
    }

    #[test]
    fn links_are_objects_or_texts_and_others_are_left_out() {
        let resource = Resource::new(json!({
            "Systems": {"@odata.id": "/redfish/v1/Systems"},
            "HttpPushUri": "/cgi-bin/uploadFile",
            "Members": [{"@odata.id": null}, "/redfish/v1/X", {"Name": "no link"}, null, {"@odata.id": "/a"}],
            "Elsewhere": {"@odata.id": "https://other.example/x"},
        }));
        assert_eq!(resource.link("/Systems").unwrap().unwrap().as_str(), "/redfish/v1/Systems");
        assert_eq!(resource.link("/HttpPushUri").unwrap().unwrap().as_str(), "/cgi-bin/uploadFile");
        assert_eq!(resource.link("/Missing"), Ok(None));
        assert!(resource.link("/Elsewhere").is_err());
        let links: Vec<_> = resource.links("/Members").iter().map(|link| link.as_str().to_owned()).collect();
        assert_eq!(links, ["/redfish/v1/X", "/a"]);
    }
}
