//! What the engine is told, and the digest by which a plan is known.

use super::payload::file_name;
use super::{Action, NodePlan, PlanItem};
use crate::model::{NodeName, PayloadRef};
use crate::version::{Scheme, compare_installed};
use farrier_protocol::{Detect, Payload, Reading, Step};
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use std::collections::BTreeMap;

impl NodePlan {
    /// `sha256:` and the digest of the plan's JSON. Equal plans have equal digests.
    ///
    /// The JSON is canonical: fields in the order of declaration, maps sorted by key, no
    /// blanks. What was found before is part of it, so that a machine that changed since
    /// the plan was shown has another digest.
    pub fn digest(&self) -> String {
        // Strings, numbers and lists of them always have a JSON form.
        sha256(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// How many components are installed.
    pub fn changes(&self) -> usize {
        self.installs().count()
    }

    /// The items that are installed, in order.
    pub fn installs(&self) -> impl Iterator<Item = &PlanItem> {
        self.items.iter().filter(|item| item.action.is_install())
    }

    /// The payloads that have to be at hand before the steps begin, each once.
    pub fn payloads(&self) -> Vec<&PayloadRef> {
        let mut found: Vec<&PayloadRef> = Vec::new();
        for item in self.installs() {
            if !found.iter().any(|known| known.digest == item.component.payload.digest) {
                found.push(&item.component.payload);
            }
        }
        found
    }

    /// What the engine does, in order.
    ///
    /// `sizes` are the lengths of the payloads at hand, by digest. For a payload that is
    /// not among them the baseline's `size` counts, and 0 where that is not given either.
    pub fn steps(&self, sizes: &BTreeMap<String, u64>) -> Vec<Step> {
        self.items.iter().filter_map(|item| step(item, sizes)).collect()
    }

    /// What is read on the machine for the second time.
    pub fn detections(&self) -> Vec<(String, Detect)> {
        self.items
            .iter()
            .filter(|item| match item.action {
                Action::Install { .. } | Action::UpToDate { .. } | Action::DependencyMissing { .. } => true,
                Action::NotApplicable { .. } | Action::NotSupported { .. } | Action::Blocked { .. } => false,
            })
            .filter_map(|item| Some((item.component.name.clone(), item.component.detection()?)))
            .collect()
    }
}

/// The digest of a whole run's plan, from the digests of its nodes' plans.
pub fn combined_digest(plans: &BTreeMap<NodeName, String>) -> String {
    sha256(&serde_json::to_vec(plans).unwrap_or_default())
}

fn step(item: &PlanItem, sizes: &BTreeMap<String, u64>) -> Option<Step> {
    let Action::Install { from: _, to } = &item.action else { return None };
    let component = &item.component;
    let size = sizes.get(&component.payload.digest).copied().or(component.payload.size).unwrap_or(0);
    Some(Step {
        component: component.name.clone(),
        version: to.clone(),
        installer: component.installer.engine()?,
        payload: Payload {
            digest: component.payload.digest.clone(),
            size,
            file_name: file_name(&component.payload.url),
        },
        after: item.after.clone(),
        timeout_seconds: component.timeout.as_secs().max(1),
        interruptible: component.interruptible,
        downgrade: item.force.downgrade,
        rewrite: item.force.rewrite || is_repair(item, to),
        package: item.package.clone(),
    })
}

/// Whether the same version is installed once more because what is there does not work.
fn is_repair(item: &PlanItem, to: &str) -> bool {
    match item.found() {
        Some(Reading::Broken { version, .. }) => {
            compare_installed(Scheme::of(item.component.installer), &version, to) == Ordering::Equal
        }
        Some(Reading::Absent | Reading::Present { .. } | Reading::Unreadable { .. } | Reading::Unknown)
        | None => false,
    }
}

fn sha256(bytes: &[u8]) -> String {
    let digits = |byte: u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(u32::from(digit), 16));
    let hex: String = Sha256::digest(bytes).iter().copied().flat_map(digits).flatten().collect();
    format!("sha256:{hex}")
}
