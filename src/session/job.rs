//! What one attempt is given.

use super::CallbackOptions;
use crate::callback::Registry;
use crate::drivers::linux::Privilege;
use crate::engines::Engines;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::payload::{Access, Source, Store};
use crate::ssh::{Credentials, Target};
use farrier_update::{Component, FailedDependency, Force};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything about the machine and what is to be done, read beforehand.
#[derive(Debug, Clone)]
pub struct Job {
    /// UID of the NodeUpdate.
    pub session: String,
    /// Name of the run.
    pub run: String,
    /// Name of the machine.
    pub node: String,
    /// Type of the machine.
    pub node_type: String,
    /// Which attempt this is, from 1. Part of the task ids: what an earlier attempt did is not
    /// taken for this one's.
    pub attempt: u32,
    /// How far to go.
    pub goal: Goal,
    /// Whether an earlier attempt, or an earlier process, may have put something on the machine.
    pub touched: bool,
    /// Where it is.
    pub target: Target,
    /// Its host keys, as written by its owner or recorded on first use.
    pub host_keys: Vec<String>,
    /// Whether the first key seen is trusted.
    pub trust_first: bool,
    /// What to sign in with.
    pub credentials: Credentials,
    /// How to become root.
    pub privilege: Privilege,
    /// The baseline's components.
    pub components: Vec<Component>,
    /// What the payloads' sources need, by component name.
    pub access: BTreeMap<String, Result<Access, Failure>>,
    /// What is installed although it is there already.
    pub force: Force,
    /// What to do about missing requirements.
    pub on_failed_dependency: FailedDependency,
    /// How long the engine may go without contact, in seconds.
    pub lease_seconds: u64,
    /// How long others are waited for on the machine, in seconds: a locked package manager, missing
    /// room, another engine.
    pub wait_seconds: u64,
    /// How the engine calls back; `None` where it is talked to through the SSH session.
    pub callback: Option<CallbackOptions>,
}

/// How far an attempt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Look, write the inventory.
    Inventory,
    /// Work out what would change.
    Plan,
    /// Install it.
    Update,
    /// Take back what is on the machine, and nothing else.
    CleanUp,
}

/// What every attempt uses.
#[derive(Clone)]
pub struct Tools {
    /// Engines to put on machines.
    pub engines: Engines,
    /// Payloads.
    pub store: Store,
    /// Counts connections and engines.
    pub metrics: Metrics,
    /// The sessions whose engines call.
    pub calls: Arc<Registry>,
}

impl Job {
    /// Digests of all payloads of the baseline.
    pub(super) fn digests(&self) -> Vec<String> {
        self.components.iter().map(|c| c.payload.digest.clone()).collect()
    }

    /// Where the payload of a component comes from.
    ///
    /// # Errors
    /// `SecretNotFound`, `SecretIncomplete`.
    pub(super) fn source(&self, component: &Component) -> Result<Source, Failure> {
        Ok(Source {
            component: component.name.clone(),
            url: component.payload.url.clone(),
            digest: component.payload.digest.clone(),
            size: component.payload.size,
            access: self.access.get(&component.name).cloned().transpose()?.unwrap_or_default(),
        })
    }

    /// The first twelve characters of the session that are fit for a path.
    pub(super) fn id(&self) -> String {
        self.session.chars().filter(char::is_ascii_alphanumeric).take(12).collect()
    }
}
