//! What one kind of BMC is like, as data: `variants/*.json`.
//!
//! It has no behaviour: the code reads these fields and never asks for a variant's name.

mod update;

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::message::{Message, Word};

pub(crate) use update::{HostStyle, PushBody, Targets, UpdateRules, Verify};

const BASE_MESSAGES: &str = include_str!("../variants/messages.json");

const BUILT_IN: [(&str, &str); 9] = [
    ("ilo5", include_str!("../variants/ilo5.json")),
    ("ilo6", include_str!("../variants/ilo6.json")),
    ("idrac9", include_str!("../variants/idrac9.json")),
    ("superdome-flex", include_str!("../variants/superdome-flex.json")),
    ("openbmc", include_str!("../variants/openbmc.json")),
    ("lenovo-xcc", include_str!("../variants/lenovo-xcc.json")),
    ("cisco-cimc", include_str!("../variants/cisco-cimc.json")),
    ("moonshot", include_str!("../variants/moonshot.json")),
    ("minimal", include_str!("../variants/minimal.json")),
];

/// One kind of BMC.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Variant {
    /// Its name on the command line.
    pub name: String,
    /// Key below `Oem` in resources.
    pub(crate) vendor: String,
    pub(crate) product: String,
    pub(crate) redfish_version: String,
    /// There is no Redfish, but what HP had before: `/rest/v1`.
    #[serde(default)]
    pub(crate) rest_only: bool,
    /// HPE writes every link with a slash at its end.
    #[serde(default)]
    pub(crate) trailing_slash: bool,
    /// `Location` with scheme and host.
    #[serde(default)]
    pub(crate) absolute_location: bool,
    /// Every resource has an `ETag`, not accounts alone.
    #[serde(default)]
    pub(crate) etags: bool,
    #[serde(default)]
    pub(crate) plain_http: PlainHttp,
    pub(crate) manager: ManagerPart,
    pub(crate) system: SystemPart,
    pub(crate) chassis: String,
    /// `None`: Basic authentication only.
    #[serde(default)]
    pub(crate) sessions: Option<SessionRules>,
    pub(crate) lock: LockRules,
    /// `None`: no `TaskService`, an update is answered at once and silent afterwards.
    #[serde(default)]
    pub(crate) tasks: Option<TaskRules>,
    pub(crate) update: UpdateRules,
    #[serde(default)]
    pub(crate) hpe: Option<HpeRules>,
    /// Job queue and Lifecycle Controller of Dell.
    #[serde(default)]
    pub(crate) dell: bool,
    #[serde(default)]
    pub(crate) events: Option<EventRules>,
    #[serde(default)]
    pub(crate) accounts: bool,
    #[serde(default)]
    pub(crate) query: QueryRules,
    pub(crate) firmware: Vec<Firmware>,
    #[serde(default)]
    pub(crate) software: Vec<Firmware>,
    /// How this vendor words what differs from the base registry.
    #[serde(default)]
    pub(crate) messages: BTreeMap<Word, Message>,
}

/// What the plain HTTP port does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PlainHttp {
    #[default]
    Serve,
    Redirect,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ManagerPart {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) reset_types: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SystemPart {
    pub(crate) id: String,
    pub(crate) manufacturer: String,
    /// Images say for which models they are.
    pub(crate) model: String,
    pub(crate) reset_types: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SessionRules {
    pub(crate) limit: usize,
    pub(crate) idle_seconds: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct LockRules {
    pub(crate) after: u32,
    pub(crate) seconds: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct TaskRules {
    pub(crate) ids: TaskIds,
    /// Where `Location` of an accepted update points.
    pub(crate) location: TaskLocation,
    /// They are still known after a reset of the BMC.
    pub(crate) survive_reset: bool,
    /// What a task monitor answers once the task is over: 204 (once, then 404), or 200 with the task.
    pub(crate) monitor_end: u16,
    /// `TaskState` where it is not the usual word of a phase.
    #[serde(default)]
    pub(crate) words: BTreeMap<Phase, String>,
    /// `TaskStatus` of an update that failed.
    pub(crate) failed_status: String,
    /// The task of an image for several devices has a sub-task for each.
    #[serde(default)]
    pub(crate) sub_tasks: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TaskIds {
    Counted,
    Jid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TaskLocation {
    Task,
    Monitor,
    None,
}

/// How far an update is, in our words; `TaskState` and `JobState` are made from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    New,
    Fetching,
    Verifying,
    Writing,
    /// Waits for a reset of the host.
    Scheduled,
    Resetting,
    Done,
    Failed,
    Intervention,
}

impl Phase {
    pub(crate) const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Intervention)
    }
}

/// How events are posted.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct EventRules {
    /// `Destination` with HTTPS only.
    pub(crate) https_only: bool,
    /// A subscription has `VerifyCertificate` and certificates.
    #[serde(default)]
    pub(crate) verify: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct HpeRules {
    pub(crate) repository_bytes: u64,
    /// Larger components come in sections of this size.
    pub(crate) section_bytes: u64,
    pub(crate) licence: String,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct QueryRules {
    #[serde(default)]
    pub(crate) expand: bool,
    #[serde(default)]
    pub(crate) select: bool,
    #[serde(default)]
    pub(crate) paging: bool,
    #[serde(default)]
    pub(crate) only: bool,
}

/// One entry of an inventory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Firmware {
    /// What images call it.
    pub device: String,
    /// Member name; `{version}` stands for the version.
    pub id: String,
    /// What a person calls it.
    pub name: String,
    /// What runs now.
    pub version: String,
    /// Takes updates out of band.
    #[serde(default)]
    pub updateable: bool,
    /// What makes a new version run.
    pub activation: Activation,
    /// Who may install it, in HPE's words.
    #[serde(default)]
    pub updatable_by: Vec<String>,
    /// Properties of the vendor's.
    #[serde(default)]
    pub oem: serde_json::Value,
}

/// What makes a new version run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// Nothing more.
    None,
    /// The BMC starts again, by itself.
    BmcReset,
    /// The host must start again.
    HostReset,
}

impl Firmware {
    pub(crate) fn member(&self) -> String {
        self.id.replace("{version}", &self.version)
    }
}

impl Variant {
    /// The names that [`Variant::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// One of the variants that come with this crate.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        let text = BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
        let names: Vec<_> = Self::names().collect();
        Self::parse(text.with_context(|| format!("no variant {name}; there are {}", names.join(", ")))?)
    }

    /// One that somebody wrote.
    pub fn of_file(path: &std::path::Path) -> anyhow::Result<Self> {
        Self::parse(&std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut variant: Self = serde_json::from_str(text).context("read a variant")?;
        let base: BTreeMap<Word, Message> =
            serde_json::from_str(BASE_MESSAGES).context("read the base messages")?;
        for (word, message) in base {
            variant.messages.entry(word).or_insert(message);
        }
        Ok(variant)
    }

    /// What the vendor says on this occasion.
    pub(crate) fn message(&self, word: Word) -> Message {
        self.messages.get(&word).cloned().unwrap_or_default()
    }

    pub(crate) fn manager_uri(&self) -> String {
        format!("/redfish/v1/Managers/{}", self.manager.id)
    }

    pub(crate) fn system_uri(&self) -> String {
        format!("/redfish/v1/Systems/{}", self.system.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word without a message would be answered as an empty error.
    #[test]
    fn every_variant_is_readable_and_has_a_message_for_every_word() {
        for name in Variant::names() {
            let variant = Variant::named(name).unwrap();
            for &word in Word::ALL {
                assert!(!variant.message(word).id.is_empty(), "{name} says nothing for {word:?}");
            }
        }
    }
}
