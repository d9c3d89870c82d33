//! The steps that the engine receives, and the digest that identifies a plan.

use super::payload::file_name;
use super::{Action, NodePlan, PlanItem};
use crate::digest::digest_of;
use crate::model::{NodeName, PayloadRef};
use crate::reason::Reason;
use crate::version::compare_installed;
use farrier_protocol::{Detect, PackageRef, Payload, Reading, Step};
use std::cmp::Ordering;
use std::collections::BTreeMap;

impl NodePlan {
    /// Returns the digest of the plan, see [`digest_of`].
    ///
    /// The first readings are part of it, so the digest changes if the machine has changed since
    /// the plan was shown.
    pub fn digest(&self) -> String {
        digest_of(self)
    }

    /// Returns the number of components that are installed.
    pub fn changes(&self) -> usize {
        self.installs().count()
    }

    /// Returns the number of components that are installed from a payload; the others come from the repositories of
    /// the machine.
    pub fn payload_steps(&self) -> usize {
        self.installs().filter(|item| item.component.payload.is_some()).count()
    }

    /// Returns the items that are installed, in order.
    pub fn installs(&self) -> impl Iterator<Item = &PlanItem> {
        self.items.iter().filter(|item| item.action.is_install())
    }

    /// Returns the payloads that must be available before the steps begin, without
    /// duplicates.
    pub fn payloads(&self) -> Vec<&PayloadRef> {
        let mut found: Vec<&PayloadRef> = Vec::new();
        for payload in self.installs().filter_map(|item| item.component.payload.as_ref()) {
            if !found.iter().any(|known| known.digest == payload.digest) {
                found.push(payload);
            }
        }
        found
    }

    /// Returns the steps for the engine, in order.
    ///
    /// `sizes` maps the digests of the available payloads to their lengths. For any other
    /// payload, the size in the baseline is used, or 0 if the baseline has none.
    pub fn steps(&self, sizes: &BTreeMap<String, u64>) -> Vec<Step> {
        self.items.iter().filter_map(|item| step(item, sizes)).collect()
    }

    /// Returns the steps that install from the repositories of the machine, in order.
    pub fn repository_steps(&self) -> Vec<Step> {
        self.steps(&BTreeMap::new()).into_iter().filter(|step| step.payload.is_none()).collect()
    }

    /// Returns the detections for the second reading of the machine.
    pub fn detections(&self) -> Vec<(String, Detect)> {
        self.items
            .iter()
            .filter(|item| match item.action {
                // What waits for a reboot or a power cycle may have taken effect meanwhile.
                Action::Install { .. }
                | Action::UpToDate { .. }
                | Action::DependencyMissing { .. }
                | Action::Blocked { reason: Reason::RebootPending | Reason::PowerCyclePending, .. } => true,
                Action::NotApplicable { .. } | Action::NotSupported { .. } | Action::Blocked { .. } => false,
            })
            .filter_map(|item| Some((item.component.name.clone(), item.component.detection()?)))
            .collect()
    }
}

/// Returns the digest of the plan of a whole run, from the digests of the plans of its
/// nodes.
pub fn combined_digest(plans: &BTreeMap<NodeName, String>) -> String {
    digest_of(plans)
}

fn step(item: &PlanItem, sizes: &BTreeMap<String, u64>) -> Option<Step> {
    let Action::Install { from: _, to } = &item.action else { return None };
    let component = &item.component;
    let payload = component.payload.as_ref().map(|payload| Payload {
        digest: payload.digest.clone(),
        size: sizes.get(&payload.digest).copied().or(payload.size).unwrap_or(0),
        file_name: file_name(&payload.url),
    });
    Some(Step {
        component: component.name.clone(),
        version: to.clone(),
        installer: component.installer.engine()?,
        payload,
        after: item.after.clone(),
        timeout_seconds: component.timeout.as_secs().max(1),
        // Firmware that is written halfway may make the device unusable.
        interruptible: component.interruptible && !component.installer.flashes(),
        downgrade: item.force.downgrade,
        rewrite: item.force.rewrite || is_repair(item, to),
        package: item.package.clone().or_else(|| module(component.detection())),
        firmware: component.firmware_entry().map(str::to_owned),
        overrides_trusted_module: item.force.trusted_module,
        respect_holds: !item.force.holds,
    })
}

/// Returns the module of DKMS that the payload must be.
fn module(detect: Option<Detect>) -> Option<PackageRef> {
    match detect {
        Some(Detect::Module(name)) => Some(PackageRef { name, arches: Vec::new() }),
        Some(Detect::Package(_) | Detect::Command(_) | Detect::File(_) | Detect::Firmware(_)) | None => None,
    }
}

/// Reports whether the same version is installed again because the installed one does not
/// work.
fn is_repair(item: &PlanItem, to: &str) -> bool {
    match item.found() {
        Some(Reading::Broken { version, .. }) => {
            compare_installed(item.component.installer.versions(), &version, to) == Ordering::Equal
        }
        Some(Reading::Absent | Reading::Present { .. } | Reading::Unreadable { .. } | Reading::Unknown)
        | None => false,
    }
}
