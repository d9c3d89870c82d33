//! What a product file says about readings, which change nothing on the device.

use super::{Ask, Word};
use serde::Deserialize;

/// What is read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Readings {
    /// Installed versions.
    pub versions: Option<Versions>,
    /// The work that the device does.
    pub work: Option<Work>,
    /// A text that is another one after each start.
    pub boot: Option<Boot>,
    /// What an installation interrupts, for the plan.
    pub interruption: Option<Interruption>,
    /// What must be so before the device is changed.
    #[serde(default)]
    pub checks: Vec<Check>,
}

/// What must be so before the device is changed: the standby is ready, both sides of a pair are connected.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What is checked, in words, for messages: `the standby module`.
    pub name: String,
    /// When it is checked.
    #[serde(default)]
    pub when: When,
    /// The command.
    pub ask: Ask,
    /// A line that must be in the answer, as a regular expression for a part of it.
    pub healthy: Option<String>,
    /// Lines that must not be in the answer, and what they mean.
    #[serde(default)]
    pub words: Vec<Word>,
}

/// When something is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum When {
    /// Before the device is changed.
    #[default]
    Before,
    /// And after it: the work is not over until it is so again, for example until all links are up.
    BeforeAndAfter,
    /// And whenever the device is read: while it is not so, nothing of the device counts as up to date.
    Always,
}

/// How versions are read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    /// The command.
    pub ask: Ask,
    /// What is found in its answer.
    #[serde(default)]
    pub entries: Vec<Entry>,
}

/// How the version of one thing is read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Name of the thing, which `detect.firmware` of a component has.
    pub entry: String,
    /// A regular expression for the whole answer, with the groups `version` and, if the device keeps a second copy,
    /// `other`.
    pub version: Option<String>,
    /// The entry of the things that must all have the version: the modules of a pair, the entities of a complex.
    pub all: Option<String>,
    /// Where that is from.
    pub cite: Option<String>,
    /// Why it is not cited.
    pub assumed: Option<String>,
}

/// How the work of a device is read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// The command.
    pub ask: Ask,
    /// Which line counts, if several have a meaning.
    #[serde(default)]
    pub take: Take,
    /// What its lines mean.
    #[serde(default)]
    pub states: Vec<State>,
}

/// Which line counts, if several have a meaning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Take {
    /// The first one: the device shows the latest first.
    First,
    /// The last one: the device shows a history.
    #[default]
    Last,
}

/// What a line about work means.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// A regular expression for a part of a line; a group `percent` is how far the work is.
    pub pattern: Option<String>,
    /// How far the work is.
    pub means: Stage,
    /// Where that is from.
    pub cite: Option<String>,
    /// Why it is not cited.
    pub assumed: Option<String>,
}

/// How far work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Stage {
    /// There is none.
    Nothing,
    /// It waits for its turn.
    Queued,
    /// The device works on it.
    Running,
    /// It goes on after a restart.
    WaitsForReset,
    /// It is done, as the device says.
    Done,
    /// It failed, as the device says.
    Failed,
}

/// How it is read what an installation interrupts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interruption {
    /// The command.
    pub ask: Ask,
    /// What lines of its answer mean. The first one that fits counts.
    #[serde(default)]
    pub words: Vec<Remark>,
}

/// What a line means for users.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remark {
    /// A regular expression for a part of a line.
    pub pattern: Option<String>,
    /// What users read.
    #[serde(default)]
    pub says: String,
    /// Where that is from.
    pub cite: Option<String>,
    /// Why it is not cited.
    pub assumed: Option<String>,
}

/// How a text is read that is another one after each start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// The command.
    pub ask: Ask,
    /// A regular expression with the group `mark`.
    pub pattern: Option<String>,
}
