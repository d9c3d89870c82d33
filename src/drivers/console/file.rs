//! A product file as it is written. What is wrong in it is said by [`super::lint`], so most is optional here.

pub mod push;
mod readings;
mod through;

pub use readings::{
    Boot, Check, Entry, Interruption, Readings, Remark, Stage, State, Take, Versions, When, Work,
};
pub use through::{Bay, Through};

use super::meaning::Meaning;
use super::span::Span;
use farrier_network::{MachineType, Scheme};
use farrier_update::device;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A product file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct File {
    /// The version of this format: 1.
    pub format: u32,
    /// Name of the product, for example `brocade-fos`.
    pub product: String,
    /// The product in words.
    pub title: String,
    /// The types of machines that it may be.
    pub types: Vec<MachineType>,
    /// The documents that are cited, by a short name.
    #[serde(default)]
    pub documents: BTreeMap<String, Document>,
    /// The terminal that the device is told that we have.
    pub terminal: Terminal,
    /// The session: how it begins and ends.
    pub session: Session,
    /// The modes of the command line, by name, each with its prompt.
    #[serde(default)]
    pub modes: BTreeMap<String, Mode>,
    /// Words at which the device waits for a key before it goes on.
    #[serde(default)]
    pub pagers: Vec<Pager>,
    /// What values in commands may consist of.
    #[serde(default)]
    pub values: Option<Allowed>,
    /// Words that refuse or end any command.
    #[serde(default)]
    pub words: Vec<Word>,
    /// What is read. Changes nothing on the device.
    #[serde(default)]
    pub readings: Readings,
    /// What changes the device, by verb. Sent at most once.
    #[serde(default)]
    pub requests: BTreeMap<Verb, Request>,
    /// The protocols by which the device fetches images.
    #[serde(default)]
    pub pulls: Vec<Pull>,
    /// How an image is sent to the device over HTTPS.
    #[serde(default)]
    pub push: Option<push::Push>,
    /// How the device is reached through its manager.
    #[serde(default)]
    pub through: Option<Through>,
    /// What a restart of the device is like.
    #[serde(default)]
    pub restart: Option<Restart>,
}

/// A document of the vendor.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Its title.
    pub title: String,
    /// Its number, edition or date.
    pub edition: String,
}

/// The terminal that the device is told that we have.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Terminal {
    /// How wide it is.
    pub columns: usize,
    /// How high it is: high enough that pagers have nothing to do.
    pub rows: u32,
    /// Whether the device itself ends a line that is too long, instead of leaving that to the terminal.
    #[serde(default)]
    pub breaks_lines: bool,
    /// What ends a line that is sent.
    #[serde(default)]
    pub enter: Enter,
}

/// What ends a line that is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Enter {
    /// A carriage return, as a keyboard sends it.
    #[default]
    CR,
    /// A line feed.
    LF,
}

/// How a session begins and ends.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Session {
    /// How long the first prompt may take after the sign-in.
    pub greeting: Option<Span>,
    /// How long nothing may follow a prompt or a question until it counts as one.
    pub settle: Option<Span>,
    /// After how long without a sign of life an end of a line that looks like a question counts as one.
    pub quiet: Option<Span>,
    /// After how long without use the device ends a session.
    pub idle: Option<Span>,
    /// Commands after each sign-in, for example one that turns pagers off. They last as long as the session.
    #[serde(default)]
    pub begin: Vec<Way>,
    /// Questions at sign-in.
    #[serde(default)]
    pub questions: Vec<Question>,
    /// Words at sign-in that end the session.
    #[serde(default)]
    pub words: Vec<Word>,
    /// Where the values above are from.
    pub cite: Option<String>,
    /// Why they are not cited.
    pub assumed: Option<String>,
}

/// A mode of the command line.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mode {
    /// What its prompt looks like, as a regular expression for the whole line.
    pub prompt: Option<String>,
    /// A prompt as a device shows it.
    pub sample: Option<String>,
    /// How the mode is entered; absent for the one that a session begins in.
    pub enter: Option<Way>,
    /// Where that is from.
    pub cite: Option<String>,
    /// Why it is not cited.
    pub assumed: Option<String>,
}

/// A command that changes the session alone: how a mode is entered, how pagers are turned off.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// The command, in the mode before it.
    pub ask: Ask,
    /// Questions that it asks.
    #[serde(default)]
    pub questions: Vec<Question>,
}

/// Words at which the device waits for a key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pager {
    /// What they look like, as a regular expression.
    pub pattern: Option<String>,
    /// The key for the next page.
    pub key: Option<String>,
    /// Where that is from.
    pub cite: Option<String>,
    /// Why it is not cited.
    pub assumed: Option<String>,
}

/// What values in commands may consist of.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// A regular expression for a whole value.
    pub allowed: String,
    /// Where that is from.
    pub cite: Option<String>,
    /// Why it is not cited.
    pub assumed: Option<String>,
}

/// A command.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The mode in which it is sent.
    pub mode: Option<String>,
    /// The command, with places for values.
    pub command: Option<String>,
    /// How long it may take until the prompt is back.
    pub limit: Option<Span>,
    /// As `quiet` of the session, for this command.
    pub quiet: Option<Span>,
    /// Where that is from.
    pub cite: Option<String>,
    /// Why it is not cited.
    pub assumed: Option<String>,
}

/// A question that may be answered.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// What it looks like, as a regular expression for the line.
    pub ask: Option<String>,
    /// A line that must have come before it, since the last thing that was sent.
    pub after: Option<String>,
    /// What is sent, with places for values.
    pub answer: Option<String>,
    /// A key that is sent instead of a line.
    pub key: Option<String>,
    /// What the answer says yes to.
    pub needs: Option<Need>,
    /// What is sent if the user has not said yes to that.
    pub otherwise: Option<String>,
    /// Where that is from.
    pub cite: Option<String>,
    /// Why it is not cited.
    pub assumed: Option<String>,
}

/// What an answer says yes to, and a user must have said yes to before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Need {
    /// The device restarts without an interruption of what it does for others.
    Restart,
    /// What the device does for others is interrupted.
    Disruption,
    /// The licence agreement.
    Agreement,
    /// An older version is installed.
    Downgrade,
    /// The same version is installed again.
    Rewrite,
}

impl Need {
    /// Reads the name that files have for it.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Restart, Self::Disruption, Self::Agreement, Self::Downgrade, Self::Rewrite];
        all.into_iter().find(|need| format!("{need:?}") == name)
    }
}

/// Words that refuse or end a command.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Word {
    /// What they look like, as a regular expression for a part of a line.
    pub pattern: Option<String>,
    /// What they mean.
    pub means: Meaning,
    /// Where that is from.
    pub cite: Option<String>,
    /// Why it is not cited.
    pub assumed: Option<String>,
}

/// What is asked of a device: a verb of `update::device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Verb {
    /// Fetch an image and install it.
    Pull,
    /// Put an image into effect that was fetched before.
    Activate,
    /// Restart the device.
    ResetManager,
    /// Remove an image.
    RemoveUpload,
    /// End the session.
    SignOut,
}

impl Verb {
    /// Returns the verb as the journal of a device has it.
    pub const fn of_journal(self) -> device::Verb {
        match self {
            Self::Pull => device::Verb::Pull,
            Self::Activate => device::Verb::Activate,
            Self::ResetManager => device::Verb::ResetManager,
            Self::RemoveUpload => device::Verb::RemoveUpload,
            Self::SignOut => device::Verb::SignOut,
        }
    }
}

/// A command that changes the device.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The command.
    pub ask: Ask,
    /// Questions that it asks.
    #[serde(default)]
    pub questions: Vec<Question>,
    /// How far it is, with the group `percent`, as regular expressions.
    #[serde(default)]
    pub progress: Vec<String>,
    /// Words that refuse it, besides those for any command.
    #[serde(default)]
    pub words: Vec<Word>,
    /// Words without which it was not accepted, as regular expressions for a part of a line.
    #[serde(default)]
    pub accepted: Vec<String>,
}

/// A protocol by which the device fetches images.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    /// The protocol.
    pub scheme: Protocol,
    /// The product's word for it, for `{protocol}`.
    #[serde(default)]
    pub word: String,
    /// Whether it fetches a folder: the payload is an archive, with `payload.unpack`.
    #[serde(default)]
    pub folder: bool,
    /// The port at which the device looks for the server, if that cannot be chosen.
    pub port: Option<u16>,
    /// Where that is from.
    pub cite: Option<String>,
    /// Why it is not cited.
    pub assumed: Option<String>,
}

/// A protocol by which a device fetches files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the protocols' own")]
pub enum Protocol {
    Https,
    Http,
    Sftp,
    Scp,
    Ftp,
}

impl Protocol {
    /// Returns the service of ours for it.
    pub const fn scheme(self) -> Scheme {
        match self {
            Self::Https => Scheme::Https,
            Self::Http => Scheme::Http,
            Self::Sftp => Scheme::Sftp,
            Self::Scp => Scheme::Scp,
            Self::Ftp => Scheme::Ftp,
        }
    }
}

/// What a restart of the device is like.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Restart {
    /// Whether an installation restarts the device by itself.
    pub by_itself: bool,
    /// How long the device may be silent.
    pub away: Option<Span>,
    /// How long it may then take until its readings agree.
    pub settles: Option<Span>,
    /// Where that is from.
    pub cite: Option<String>,
    /// Why it is not cited.
    pub assumed: Option<String>,
}
