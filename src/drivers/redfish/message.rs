//! What a device says about a request: the messages of Redfish in the body of an answer.

use crate::drivers::text::{clean, without_paths};
use serde_json::Value;
use std::fmt;

/// Longest text of one message that is shown.
const LONGEST: usize = 300;

/// Maximum number of messages that are kept. Devices repeat themselves, and a condition has no room for more.
const MOST: usize = 3;

/// One message (`Message` in the standard).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Its identifier with registry and version, such as `Base.1.18.SessionLimitExceeded`. May be empty.
    pub id: String,
    /// What it says. May be empty: iLO sends identifiers and arguments only.
    pub text: String,
    /// What to do. May be empty.
    pub resolution: String,
}

/// The messages in one answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Messages(Vec<Message>);

impl Message {
    /// Returns the identifier without registry and version.
    pub fn key(&self) -> &str {
        self.id.rsplit('.').next().unwrap_or_default()
    }

    fn read(value: &Value) -> Option<Self> {
        let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let args: Vec<String> = value
            .get("MessageArgs")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .take(9)
            .map(|arg| arg.as_str().map_or_else(|| arg.to_string(), str::to_owned))
            .collect();
        let mut text = field("Message").to_owned();
        for (n, arg) in args.iter().enumerate() {
            text = text.replace(&format!("%{}", n + 1), &clean(arg, LONGEST));
        }
        if text.is_empty() && !args.is_empty() {
            text = args.join(", ");
        }
        let says_nothing = |text: &str| text.trim_end_matches('.').eq_ignore_ascii_case("none");
        let resolution = clean(&without_paths(field("Resolution")), LONGEST);
        let message = Self {
            id: clean(field("MessageId"), 100),
            text: clean(&without_paths(&text), LONGEST),
            resolution: if says_nothing(&resolution) { String::new() } else { resolution },
        };
        (!message.id.is_empty() || !message.text.is_empty()).then_some(message)
    }

    /// Removes what the device repeats of a secret.
    fn redact(&mut self, secret: &str) {
        if self.text.contains(secret) || self.resolution.contains(secret) {
            self.text.clear();
            self.resolution.clear();
        }
    }
}

impl Messages {
    /// Reads the messages in the body of an answer; none if it has none.
    pub fn read(body: &Value) -> Self {
        Self::read_some(body, 0)
    }

    /// Reads the last messages of a log, such as that of a task.
    pub(super) fn read_last(body: &Value) -> Self {
        let count = body.get("Messages").and_then(Value::as_array).map_or(0, Vec::len);
        Self::read_some(body, count.saturating_sub(MOST))
    }

    fn read_some(body: &Value, skipped: usize) -> Self {
        let error = body.get("error").unwrap_or(body);
        let info = ["@Message.ExtendedInfo", "Messages"].iter().find_map(|name| {
            // OpenBMC and others put the array beside `error`.
            error.get(name).or_else(|| body.get(name))
        });
        let mut found: Vec<Message> = match info {
            Some(Value::Array(items)) => {
                items.iter().skip(skipped).filter_map(Message::read).take(MOST).collect()
            }
            Some(one) => Message::read(one).into_iter().collect(),
            None => Vec::new(),
        };
        found.dedup();
        let text = |name| error.get(name).and_then(Value::as_str).unwrap_or_default();
        let field = |name| clean(&without_paths(text(name)), LONGEST);
        // Others say "See ExtendedInfo" there, in words of their own.
        let general = Some(field("message")).filter(|text| !text.contains("ExtendedInfo"));
        match &mut found[..] {
            [] if body.get("error").is_some() => {
                let only = Message { id: field("code"), text: field("message"), resolution: String::new() };
                found.extend((!only.text.is_empty() || !only.id.is_empty()).then_some(only));
            }
            [only] if only.text.is_empty() => only.text = general.unwrap_or_default(),
            _ => {}
        }
        Self(found)
    }

    /// Reports whether a message has one of these identifiers, whatever its registry and version.
    pub fn has(&self, keys: &[&str]) -> bool {
        self.0.iter().any(|message| keys.contains(&message.key()))
    }

    /// Returns the messages without those that repeat a secret.
    #[must_use]
    pub fn without(mut self, secret: &str) -> Self {
        if !secret.is_empty() {
            self.0.iter_mut().for_each(|message| message.redact(secret));
        }
        self
    }

    /// Returns the messages.
    pub fn as_slice(&self) -> &[Message] {
        &self.0
    }

    /// Reports whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, text, resolution } = self;
        let text = text.trim_end_matches('.');
        match (text.is_empty(), id.is_empty()) {
            (true, _) => f.write_str(id)?,
            (false, true) => f.write_str(text)?,
            (false, false) => write!(f, "{text} ({id})")?,
        }
        if resolution.is_empty() { Ok(()) } else { write!(f, ": {}", resolution.trim_end_matches('.')) }
    }
}

impl fmt::Display for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, message) in self.0.iter().enumerate() {
            write!(f, "{}{message}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// An iDRAC that has no session left, as its users report it.
    #[test]
    fn messages_are_words_with_their_resolution() {
        let messages = Messages::read(&json!({"error": {
            "@Message.ExtendedInfo": [{
                "Message": "The maximum number of user sessions is reached.", "MessageArgs": [],
                "MessageArgs@odata.count": 0, "MessageId": "IDRAC.2.1.RAC0218", "RelatedProperties": [],
                "Resolution": "Close one or more sessions before opening another session.",
                "Severity": "Informational",
            }],
            "code": "Base.1.5.GeneralError",
            "message": "A general error has occurred. See ExtendedInfo for more information",
        }}));
        assert!(messages.has(&["RAC0218"]) && !messages.has(&["RAC021"]));
        assert_eq!(
            messages.to_string(),
            "The maximum number of user sessions is reached (IDRAC.2.1.RAC0218): Close one or more sessions before opening another session"
        );
    }

    /// iLO sends identifiers without texts.
    #[test]
    fn an_identifier_is_enough() {
        let messages = Messages::read(&json!({"error": {
            "code": "iLO.0.10.ExtendedInfo",
            "message": "See @Message.ExtendedInfo for more information.",
            "@Message.ExtendedInfo": [
                {"MessageArgs": ["/redfish/v1/x"], "MessageId": "Base.1.4.ResourceMissingAtURI"},
                {"MessageId": "Base.1.12.NoValidSession"},
            ],
        }}));
        assert_eq!(
            messages.to_string(),
            "/redfish/v1/x (Base.1.4.ResourceMissingAtURI); Base.1.12.NoValidSession"
        );
    }

    #[test]
    fn odd_forms_of_errors_are_read() {
        let one = json!({"@Message.ExtendedInfo": {"Message": "%1 is wrong", "MessageArgs": [5], "Resolution": "None."}});
        assert_eq!(Messages::read(&one).to_string(), "5 is wrong");
        let plain = json!({"error": {"code": "Base.1.0.GeneralError", "message": "no\u{1b}[31m\r\nroom"}});
        assert_eq!(Messages::read(&plain).to_string(), "no [31m room (Base.1.0.GeneralError)");
        for none in [
            json!(null),
            json!([]),
            json!({"error": 5}),
            json!({"error": {"@Message.ExtendedInfo": [null, 3]}}),
        ] {
            assert!(Messages::read(&none).is_empty(), "{none}");
        }
    }

    /// A condition has room for 32 KiB, and a terminal must not be controlled by a device.
    #[test]
    fn messages_are_bounded() {
        let long = json!({"MessageId": "x".repeat(5000), "Message": "y".repeat(5000), "Resolution": "z".repeat(5000)});
        let messages = Messages::read(
            &json!({"@Message.ExtendedInfo": vec![long.clone(), json!({"Message": "b"}), long]}),
        );
        assert!(messages.to_string().len() < 2000);
    }

    /// Devices quote the values that they reject.
    #[test]
    fn a_secret_that_the_device_repeats_is_left_out() {
        let body = json!({"@Message.ExtendedInfo": [{
            "MessageId": "Base.1.8.PropertyValueFormatError", "Message": "The value '%1' is wrong.", "MessageArgs": ["hunter2"],
        }]});
        assert_eq!(Messages::read(&body).without("hunter2").to_string(), "Base.1.8.PropertyValueFormatError");
    }
}
