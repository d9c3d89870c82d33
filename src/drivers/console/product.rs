//! A product, as the dialogue uses it: a product file that was checked, with its patterns ready.

mod push;

pub use push::{Push, Sends, Step as PushStep};

use super::file::{Enter, Need, Stage, Take, Verb, When};
use super::meaning::Meaning;
use super::template::{Slot, Template};
use crate::drivers::HandOver;
use farrier_network::{MachineType, Scheme};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// A product.
#[derive(Debug, Clone)]
pub struct Product {
    /// Its name.
    pub name: String,
    /// The product in words.
    pub title: String,
    /// The types of machines that it may be.
    pub types: Vec<MachineType>,
    /// The terminal that the device is told that we have.
    pub terminal: Terminal,
    /// How a session begins.
    pub session: Session,
    /// The modes of the command line, by name.
    pub modes: BTreeMap<String, Mode>,
    /// Words at which the device waits for a key.
    pub pagers: Vec<Pager>,
    /// What a value in a command may be.
    pub allowed: Regex,
    /// Words that refuse any command.
    pub words: Vec<Word>,
    /// How versions are read.
    pub versions: Versions,
    /// How the work of the device is read.
    pub work: Option<Work>,
    /// How a text is read that is another one after each start.
    pub boot: Option<Boot>,
    /// How it is read what an installation interrupts.
    pub interruption: Option<Interruption>,
    /// What must be so before the device is changed.
    pub checks: Vec<Check>,
    /// What changes the device.
    pub requests: BTreeMap<Verb, Request>,
    /// The protocols by which it fetches images, in the order of the file.
    pub pulls: Vec<Pull>,
    /// How an image is sent to it over HTTPS.
    pub push: Option<Push>,
    /// How it is reached through its manager.
    pub through: Option<Through>,
    /// What a restart is like.
    pub restart: Option<Restart>,
    /// What no document says: the place in the file, and why it is believed.
    pub assumptions: Vec<String>,
}

/// The terminal that the device is told that we have.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// How wide it is.
    pub columns: usize,
    /// How high it is.
    pub rows: u32,
    /// Whether the device itself ends a line that is too long.
    pub breaks_lines: bool,
    /// What ends a line that is sent.
    pub enter: Enter,
}

/// How a session begins.
#[derive(Debug, Clone)]
pub struct Session {
    /// How long the first prompt may take.
    pub greeting: Duration,
    /// How long nothing may follow a prompt or a question until it counts as one.
    pub settle: Duration,
    /// After how long an unknown end of a line counts as a question.
    pub quiet: Duration,
    /// After how long without use the device ends a session.
    pub idle: Duration,
    /// Commands after each sign-in.
    pub begin: Vec<Way>,
    /// Questions at sign-in.
    pub questions: Vec<Question>,
    /// Words at sign-in that end the session.
    pub words: Vec<Word>,
}

/// A mode of the command line.
#[derive(Debug, Clone)]
pub struct Mode {
    /// Its prompt: the whole line.
    pub prompt: Regex,
    /// How it is entered; `None` for the one that a session begins in.
    pub enter: Option<Way>,
}

/// A command that changes the session alone.
#[derive(Debug, Clone)]
pub struct Way {
    /// The command.
    pub command: Command,
    /// Questions that it asks.
    pub questions: Vec<Question>,
}

/// Words at which the device waits for a key.
#[derive(Debug, Clone)]
pub struct Pager {
    /// The end of the line.
    pub pattern: Regex,
    /// What is sent.
    pub key: String,
}

/// A command.
#[derive(Debug, Clone)]
pub struct Command {
    /// The mode in which it is sent.
    pub mode: String,
    /// The command itself.
    pub template: Template,
    /// How long it may take.
    pub limit: Duration,
    /// After how long an unknown end of a line counts as a question.
    pub quiet: Option<Duration>,
}

/// A question that may be answered.
#[derive(Debug, Clone)]
pub struct Question {
    /// The end of the line.
    pub ask: Regex,
    /// A line that must have come before.
    pub after: Option<Regex>,
    /// What is sent.
    pub reply: Reply,
    /// What the answer says yes to, and what is sent if the user has not.
    pub needs: Option<(Need, Template)>,
}

/// What is sent to a question.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A line.
    Line(Template),
    /// A key.
    Key(String),
}

/// Words that refuse or end a command.
#[derive(Debug, Clone)]
pub struct Word {
    /// A part of a line.
    pub pattern: Regex,
    /// What they mean.
    pub means: Meaning,
}

/// How versions are read.
#[derive(Debug, Clone)]
pub struct Versions {
    /// The command.
    pub command: Command,
    /// What is found in its answer.
    pub entries: Vec<Entry>,
}

/// How the version of one thing, or of several of a kind, is read.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// The pattern of its version; `None`: it has the version that all of `all` have.
    pub version: Option<Regex>,
    /// The entry of the things that must all have the version.
    pub all: Option<String>,
}

/// How the work of the device is read.
#[derive(Debug, Clone)]
pub struct Work {
    /// The command.
    pub command: Command,
    /// Which line counts.
    pub take: Take,
    /// What lines mean.
    pub states: Vec<(Regex, Stage)>,
}

/// How a text is read that is another one after each start.
#[derive(Debug, Clone)]
pub struct Boot {
    /// The command.
    pub command: Command,
    /// The pattern, with the group `mark`.
    pub pattern: Regex,
}

/// How it is read what an installation interrupts.
#[derive(Debug, Clone)]
pub struct Interruption {
    /// The command.
    pub command: Command,
    /// What lines mean, in words for users. The first one that fits counts.
    pub remarks: Vec<(Regex, String)>,
}

/// What must be so before the device is changed.
#[derive(Debug, Clone)]
pub struct Check {
    /// What is checked, in words.
    pub name: String,
    /// When it is checked.
    pub when: When,
    /// The command.
    pub command: Command,
    /// A line that must be in the answer.
    pub healthy: Regex,
    /// Lines that must not be in it.
    pub words: Vec<Word>,
}

/// How a device is reached through its manager.
#[derive(Debug, Clone)]
pub struct Through {
    /// The types of machines that its manager may be.
    pub types: Vec<MachineType>,
    /// The mode in which a session with the manager begins.
    pub mode: String,
    /// How its bay is found: the command, and the pattern with the groups `bay` and `address`.
    pub bay: Option<(Command, Regex)>,
}

/// A command that changes the device.
#[derive(Debug, Clone)]
pub struct Request {
    /// The command.
    pub command: Command,
    /// Questions that it asks.
    pub questions: Vec<Question>,
    /// How far it is.
    pub progress: Vec<Regex>,
    /// Words that refuse it.
    pub words: Vec<Word>,
    /// Words without which it was not accepted.
    pub accepted: Vec<Regex>,
}

/// A protocol by which the device fetches images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// The protocol.
    pub scheme: Scheme,
    /// The product's word for it.
    pub word: String,
    /// Whether it fetches a folder.
    pub folder: bool,
    /// The port at which the device looks for the server, if that cannot be chosen.
    pub port: Option<u16>,
}

/// What a restart is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// Whether an installation restarts the device by itself.
    pub by_itself: bool,
    /// How long the device may be silent.
    pub away: Duration,
    /// How long it may then take until its readings agree.
    pub settles: Duration,
}

impl Question {
    /// Reports whether the answer is or has this value.
    pub fn gives(&self, slot: Slot) -> bool {
        matches!(&self.reply, Reply::Line(template) if template.has(slot))
    }
}

impl Way {
    /// Reports whether it signs in: whether it gives the password of the session.
    pub fn signs_in(&self) -> bool {
        self.questions.iter().any(|question| question.gives(Slot::SessionPassword))
    }
}

impl Product {
    /// Reports whether images are sent to a device of this product whose user wants this way: what can be sent is, unless
    /// the user wants it otherwise.
    pub fn sends(&self, wanted: Option<HandOver>) -> bool {
        self.push.is_some() && wanted != Some(HandOver::Pull)
    }

    /// Reports whether a line asks who signs in, in the words of the ways into modes.
    pub fn asks_who(&self, line: &str) -> bool {
        let mut questions = self.modes.values().flat_map(|mode| &mode.enter).flat_map(|way| &way.questions);
        questions.any(|question| question.gives(Slot::SessionUser) && question.ask.is_match(line))
    }

    /// Returns the names of the modes to enter, one after the other, to get from one to another; `None` if there is no way. The
    /// way back from a mode is a new session.
    pub fn way(&self, from: &str, to: &str) -> Option<Vec<&str>> {
        let mut seen = BTreeSet::from([from]);
        let mut open = VecDeque::from([(from, Vec::new())]);
        while let Some((mode, way)) = open.pop_front() {
            if mode == to {
                return Some(way);
            }
            for (name, next) in &self.modes {
                let is_next = next.enter.as_ref().is_some_and(|enter| enter.command.mode == mode);
                if is_next && seen.insert(name) {
                    open.push_back((name, way.iter().copied().chain([name.as_str()]).collect()));
                }
            }
        }
        None
    }
}
