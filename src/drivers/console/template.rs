//! Commands with values in them: `firmwaredownload -p {protocol} {host},{user},{path},{password}`.
//!
//! There is no quoting, because devices differ in it: a value that has other characters than the product file
//! allows is refused, and one with control characters always.

use super::file::Need;
use regex::Regex;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
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
    /// The account of this machine, for a sign-in within the session with its manager.
    SessionUser,
    /// The password of this session, for a mode with more rights.
    SessionPassword,
    /// The password of a mode with more rights, where it is another one.
    EnablePassword,
    /// The bay of this machine in the enclosure of its manager.
    Bay,
    /// The part of the machine that is to be updated: what the group `name` of its entry has found.
    Part,
    /// The session of a push, as the device has named it.
    PushSession,
    /// What a push has sent, as the device has named it.
    PushedFile,
}

impl Slot {
    const ALL: [(&'static str, Self); 16] = [
        ("protocol", Self::Protocol),
        ("host", Self::Host),
        ("port", Self::Port),
        ("user", Self::User),
        ("password", Self::Password),
        ("path", Self::Path),
        ("file", Self::File),
        ("url", Self::Url),
        ("version", Self::Version),
        ("sessionUser", Self::SessionUser),
        ("sessionPassword", Self::SessionPassword),
        ("enablePassword", Self::EnablePassword),
        ("bay", Self::Bay),
        ("part", Self::Part),
        ("pushSession", Self::PushSession),
        ("pushedFile", Self::PushedFile),
    ];

    /// Returns the names that templates have for values.
    fn names() -> String {
        Self::ALL.map(|(name, _)| name).join(", ")
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, slot)| *slot)
    }

    /// Returns why a value may be missing, as the end of a sentence; empty if the product file is to blame.
    const fn hint(self) -> &'static str {
        match self {
            Self::SessionPassword => ", because the Secret has no `password`",
            Self::EnablePassword => ", because the Secret has neither `enable-password` nor `password`",
            Self::Protocol
            | Self::Host
            | Self::Port
            | Self::User
            | Self::Password
            | Self::Path
            | Self::File
            | Self::Url
            | Self::Version
            | Self::SessionUser
            | Self::Bay
            | Self::Part
            | Self::PushSession
            | Self::PushedFile => "",
        }
    }

    /// Reports whether the value is never shown.
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::Password | Self::SessionPassword | Self::EnablePassword | Self::PushSession)
    }
}

/// Values for a command.
#[derive(Clone, Default)]
pub struct Values {
    slots: BTreeMap<Slot, String>,
    /// What the user has said yes to, for parts of a command that depend on it.
    consents: BTreeSet<Need>,
    /// What is never shown although the values that it is a part of are.
    hidden: Vec<String>,
}

impl Values {
    /// Adds a value.
    #[must_use]
    pub fn with(mut self, slot: Slot, value: impl Into<String>) -> Self {
        self.slots.insert(slot, value.into());
        self
    }

    /// Adds what the user has said yes to.
    #[must_use]
    pub fn with_consents(mut self, consents: impl IntoIterator<Item = Need>) -> Self {
        self.consents.extend(consents);
        self
    }

    /// Adds parts of values that are never shown.
    #[must_use]
    pub fn hiding<'a>(mut self, parts: impl IntoIterator<Item = &'a str>) -> Self {
        self.hidden.extend(parts.into_iter().map(str::to_owned));
        self
    }

    /// Returns what is never shown.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let values = self.slots.iter().filter(|(slot, _)| slot.is_secret()).map(|(_, value)| value);
        values.chain(&self.hidden).map(String::as_str)
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
    /// One text if the user has said yes to something, and another one if not: `{?Downgrade:FORCE |}`.
    Choice(Need, String, String),
}

/// How values are written, so that none is taken for something else.
#[derive(Debug, Clone, Copy)]
pub enum Writing<'a> {
    /// As they are, in a command: other characters than these are refused.
    Plain(&'a Regex),
    /// As they are, in a line of their own that a question waits for.
    Alone,
    /// In XML, escaped.
    Xml,
    /// In a header or a field of a form: characters that divide these are refused.
    Header,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It asks for a value that there is not.
    #[error(
        "{{{0}}} is no value; there are {known}, and a brace itself is written {{{{ or }}}}",
        known = Slot::names()
    )]
    UnknownValue(String),
    /// A choice asks for a consent that there is not.
    #[error(
        "{{?{0}}} is no choice; write {{?NEED:text if the user has said yes|text if not}}, where NEED is Restart, \
         Disruption, Agreement, Downgrade or Rewrite"
    )]
    UnknownChoice(String),
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
    #[error("the value {0:?} of the command is not known{hint}", hint = .0.hint())]
    Missing(Slot),
    /// A value has a character that the device might take for something else.
    #[error(
        "the value {0:?} of the command has a character that `values.allowed` of the product does not allow"
    )]
    Forbidden(Slot),
}

impl fmt::Display for Template {
    /// As it is in the product file, without values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Value(slot) => {
                let name = Slot::ALL.iter().find(|(_, known)| known == slot).map_or("", |(name, _)| name);
                write!(f, "{{{name}}}")
            }
            Piece::Choice(need, yes, no) => write!(f, "{{?{need:?}:{yes}|{no}}}"),
        })
    }
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
            let piece = match name.strip_prefix('?') {
                Some(choice) => Self::choice(choice)?,
                None => Piece::Value(
                    Slot::parse(name).ok_or_else(|| TemplateError::UnknownValue(name.to_owned()))?,
                ),
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece);
            rest = tail;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    fn choice(text: &str) -> Result<Piece, TemplateError> {
        let unknown = || TemplateError::UnknownChoice(text.to_owned());
        let (name, texts) = text.split_once(':').ok_or_else(unknown)?;
        let (yes, no) = texts.split_once('|').unwrap_or((texts, ""));
        let need = Need::parse(name).ok_or_else(unknown)?;
        Ok(Piece::Choice(need, yes.to_owned(), no.to_owned()))
    }

    /// Reports whether the template has a place for a value.
    pub fn has(&self, slot: Slot) -> bool {
        self.0.contains(&Piece::Value(slot))
    }

    /// Writes the line of a command. `allowed` is what a value may consist of.
    pub fn fill(&self, values: &Values, allowed: &Regex) -> Result<Line, ValueError> {
        self.write(values, Writing::Plain(allowed))
    }

    /// Writes the answer to a question. A secret that is the whole answer may have any characters but those that end
    /// a line: a device that asks for a password takes the line for nothing else.
    pub fn answer(&self, values: &Values, allowed: &Regex) -> Result<Line, ValueError> {
        match self.0.as_slice() {
            [Piece::Value(slot)] if slot.is_secret() => self.write(values, Writing::Alone),
            _ => self.fill(values, allowed),
        }
    }

    /// Writes the text with its values.
    pub fn write(&self, values: &Values, writing: Writing<'_>) -> Result<Line, ValueError> {
        let mut line = Line { text: String::new(), shown: String::new() };
        for piece in &self.0 {
            let (text, is_secret) = match piece {
                Piece::Text(text) => (Cow::Borrowed(text.as_str()), false),
                Piece::Choice(need, yes, no) => {
                    let is_yes = values.consents.contains(need);
                    (Cow::Borrowed(if is_yes { yes.as_str() } else { no.as_str() }), false)
                }
                Piece::Value(slot) => {
                    let value = values.slots.get(slot).ok_or(ValueError::Missing(*slot))?;
                    (writing.write(*slot, value)?, slot.is_secret())
                }
            };
            line.text.push_str(&text);
            line.shown.push_str(if is_secret { BLOT } else { &text });
        }
        Ok(line)
    }
}

impl Writing<'_> {
    fn write(self, slot: Slot, value: &str) -> Result<Cow<'_, str>, ValueError> {
        if value.chars().any(char::is_control) {
            return Err(ValueError::Forbidden(slot));
        }
        match self {
            Self::Plain(allowed) if allowed.find(value).is_some_and(|found| found.as_str() == value) => {
                Ok(Cow::Borrowed(value))
            }
            Self::Plain(_) => Err(ValueError::Forbidden(slot)),
            Self::Xml => Ok(Cow::Owned(escaped(value))),
            Self::Header if value.contains([';', ',', '"']) => Err(ValueError::Forbidden(slot)),
            Self::Alone | Self::Header => Ok(Cow::Borrowed(value)),
        }
    }
}

/// Escapes a text for XML.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut whole, character| {
        match character {
            '&' => whole.push_str("&amp;"),
            '<' => whole.push_str("&lt;"),
            '>' => whole.push_str("&gt;"),
            '"' => whole.push_str("&quot;"),
            '\'' => whole.push_str("&apos;"),
            other => whole.push(other),
        }
        whole
    })
}

#[cfg(test)]
mod tests;
