//! Commands with values in them: `firmwaredownload -p {protocol} {host},{user},{path},{password}`.
//!
//! There is no quoting, because devices differ in it: a value that has other characters than the product file
//! allows is refused, and one with control characters always.

use regex::Regex;
use std::collections::BTreeMap;
use std::fmt;

/// What is shown in the place of a secret.
pub const BLOT: &str = "***";

/// A value of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The product's word for the protocol by which the image is fetched.
    Protocol,
    /// Address or name of the server with the image.
    Host,
    /// Port of that server.
    Port,
    /// Who signs in there.
    User,
    /// With what password.
    Password,
    /// Path of the image on the server.
    Path,
    /// The file name of the image alone.
    File,
    /// The URL of the image.
    Url,
    /// The version that is to be installed.
    Version,
    /// The password of this session, for a mode with more rights.
    SessionPassword,
}

impl Slot {
    const ALL: [(&'static str, Self); 10] = [
        ("protocol", Self::Protocol),
        ("host", Self::Host),
        ("port", Self::Port),
        ("user", Self::User),
        ("password", Self::Password),
        ("path", Self::Path),
        ("file", Self::File),
        ("url", Self::Url),
        ("version", Self::Version),
        ("sessionPassword", Self::SessionPassword),
    ];

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, slot)| *slot)
    }

    /// Reports whether the value is never shown.
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::Password | Self::SessionPassword)
    }
}

/// Values for a command.
#[derive(Clone, Default)]
pub struct Values(BTreeMap<Slot, String>);

impl Values {
    /// Adds a value.
    #[must_use]
    pub fn with(mut self, slot: Slot, value: impl Into<String>) -> Self {
        self.0.insert(slot, value.into());
        self
    }

    /// Returns the values that are never shown.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(slot, _)| slot.is_secret()).map(|(_, value)| value.as_str())
    }
}

/// A line to be sent. It is never printed whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    /// What is sent, without the end of the line.
    pub text: String,
    /// The same for people.
    pub shown: String,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown.fmt(f)
    }
}

/// A command with places for values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Slot),
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It asks for a value that there is not.
    #[error(
        "{{{0}}} is no value; there are protocol, host, port, user, password, path, file, url, version and \
         sessionPassword, and a brace itself is written {{{{ or }}}}"
    )]
    UnknownValue(String),
    /// A brace is alone.
    #[error("a brace is alone; a brace itself is written {{{{ or }}}}")]
    Brace,
    /// It has a control character, such as the end of a line.
    #[error("it has a control character; each command is a line of its own")]
    Control,
}

/// Why a command cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A value is missing.
    #[error("the value {0:?} of the command is not known")]
    Missing(Slot),
    /// A value has a character that the device might take for something else.
    #[error(
        "the value {0:?} of the command has a character that `values.allowed` of the product does not allow"
    )]
    Forbidden(Slot),
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.chars().any(char::is_control) {
            return Err(TemplateError::Control);
        }
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(at);
            plain.push_str(before);
            if let Some(tail) = after.strip_prefix("{{").or_else(|| after.strip_prefix("}}")) {
                plain.push_str(after.get(..1).unwrap_or_default());
                rest = tail;
                continue;
            }
            let inner = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let Some((name, tail)) = inner else { return Err(TemplateError::Brace) };
            let slot = Slot::parse(name).ok_or_else(|| TemplateError::UnknownValue(name.to_owned()))?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Value(slot));
            rest = tail;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// Reports whether the template has a place for a value.
    pub fn has(&self, slot: Slot) -> bool {
        self.0.contains(&Piece::Value(slot))
    }

    /// Writes the line. `allowed` is what a value may consist of.
    pub fn fill(&self, values: &Values, allowed: &Regex) -> Result<Line, ValueError> {
        let mut line = Line { text: String::new(), shown: String::new() };
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => {
                    line.text.push_str(text);
                    line.shown.push_str(text);
                }
                Piece::Value(slot) => {
                    let value = values.0.get(slot).ok_or(ValueError::Missing(*slot))?;
                    let whole = allowed.find(value).is_some_and(|found| found.as_str() == value);
                    if !whole || value.chars().any(char::is_control) {
                        return Err(ValueError::Forbidden(*slot));
                    }
                    line.text.push_str(value);
                    line.shown.push_str(if slot.is_secret() { BLOT } else { value });
                }
            }
        }
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> Regex {
        Regex::new("[A-Za-z0-9./_-]+").unwrap()
    }

    /// A password in a message would be in the status, the events and the logs.
    #[test]
    fn a_secret_is_sent_and_not_shown() {
        let template = Template::parse("get {user}@{host} {{x}} {password}").unwrap();
        let values =
            Values::default().with(Slot::User, "u").with(Slot::Host, "h").with(Slot::Password, "hunter2");
        let line = template.fill(&values, &allowed()).unwrap();
        assert_eq!(line.text, "get u@h {x} hunter2");
        assert_eq!(line.shown, "get u@h {x} ***");
        assert_eq!(format!("{line:?}"), "\"get u@h {x} ***\"");
    }

    /// A value with a comma or a semicolon would be another argument, or another command.
    #[test]
    fn a_value_that_could_be_something_else_is_refused() {
        let template = Template::parse("get {path}").unwrap();
        for path in ["a;reboot", "a b", "a\nreboot", "a,b", "$x", ""] {
            let values = Values::default().with(Slot::Path, path);
            assert_eq!(template.fill(&values, &allowed()), Err(ValueError::Forbidden(Slot::Path)), "{path}");
        }
        let any = Regex::new("(?s).*").unwrap();
        let values = Values::default().with(Slot::Path, "a\rreboot");
        assert_eq!(
            template.fill(&values, &any),
            Err(ValueError::Forbidden(Slot::Path)),
            "whatever is allowed"
        );
        assert_eq!(template.fill(&Values::default(), &any), Err(ValueError::Missing(Slot::Path)));
    }

    /// A name with a slip of the pen would be sent to the device as it stands.
    #[test]
    fn a_template_with_a_slip_is_refused() {
        assert_eq!(Template::parse("x {hots}"), Err(TemplateError::UnknownValue("hots".to_owned())));
        for text in ["x {host", "x }", "{"] {
            assert_eq!(Template::parse(text), Err(TemplateError::Brace), "{text}");
        }
        assert_eq!(Template::parse("x\ny"), Err(TemplateError::Control));
        assert!(Template::parse("x {host}").unwrap().has(Slot::Host));
    }
}
