//! Writes what an attempt leaves in the cluster besides the NodeUpdate: inventory, machine status, events.

mod recent;
mod staged;

use super::Context;
use super::render::{RunOfNode, applied_baseline, in_use, node_conditions};
use crate::api::managed_node::{InventoryTimes, ManagedNodeStatus};
use crate::api::node_inventory::{
    FactsReport, InstalledFirmware, InstalledPackage, NodeInventory, NodeInventorySpec, NodeInventoryStatus,
};
use crate::api::update_run::Operation;
use crate::api::{
    LABEL_NODE, LocalRef, ManagedNode, NodeUpdate, UpdateRun, condition, is_scheduled, label_value,
};
use crate::attempt::{End, Firmware, Survey, View};
use crate::failure::{Failure, chain};
use crate::publish::{self, Action, RUNNER};
use farrier_update::{ComponentResult, Millis, NodeVerdict, Outcome, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use std::collections::BTreeMap;

/// Maximum number of packages in an inventory; the list is truncated beyond it. Nobody reads more in one
/// object.
const MAX_PACKAGES: usize = 5000;

/// Maximum number of firmware entries in an inventory. A large server lists some two hundred.
const MAX_FIRMWARE: usize = 1000;

/// Maximum size of the list as JSON: etcd accepts 1.5 MiB per request, and an object contains more than its
/// packages. A typical package takes 100 bytes, the longest that is accepted 2 KiB.
const MAX_BYTES: usize = 1024 * 1024;

impl Context {
    /// Writes what the attempt found out about the machine. `generation` is that of the spec that the attempt
    /// used; `begun` is when the attempt began to change the machine.
    pub(super) async fn record(
        &self,
        update: &NodeUpdate,
        view: &View,
        end: &End,
        generation: Option<i64>,
        begun: Option<&Time>,
    ) {
        let namespace = update.namespace().unwrap_or_default();
        let name = &update.spec.node_ref.name;
        let Some(node) = self.caches.nodes.get(&ObjectRef::new(name).within(&namespace)) else { return };
        let cached = self.cached_run(update);
        let run = &update.spec.run_ref.name;
        if let Some(survey) = &view.survey
            && let Err(error) = self.record_inventory(&node, survey, run).await
        {
            tracing::warn!(error = %chain(&error), "the inventory could not be written");
        }
        if let Err(error) =
            self.record_node(&node, view, end, (run, cached.as_deref()), generation, begun).await
            && !publish::is_gone(&error)
        {
            tracing::warn!(error = %chain(&error), "the machine's status could not be written");
        }
    }

    async fn record_node(
        &self,
        node: &ManagedNode,
        view: &View,
        end: &End,
        (run, cached): (&str, Option<&UpdateRun>),
        generation: Option<i64>,
        begun: Option<&Time>,
    ) -> Result<(), kube::Error> {
        let old = node.status.clone().unwrap_or_default();
        let now = condition::now();
        let recent_updates = recent::updates(&old.recent_updates, &view.results, end, run, begun, &now);
        let run_of_node = RunOfNode {
            name: run,
            operation: cached.map(|run| run.spec.operation),
            baseline: cached.and_then(|run| run.status.as_ref()?.baseline.as_ref()),
        };
        let schedule = node.spec.inventory.as_ref();
        let conditions = node_conditions(&old, schedule, view, end, run_of_node, generation, &now);
        let applied = cached.and_then(|run| applied_baseline(run, end, &now));
        let staged = staged::payloads(&old.staged, view, &now);
        let status = ManagedNodeStatus {
            observed_generation: generation,
            conditions,
            inventory: inventory_times(&old, view, run_of_node.operation, &now),
            baseline: applied.or(old.baseline.clone()),
            host_key: view.first_key.clone().or(old.host_key.clone()),
            certificate: view.first_certificate.clone().or(old.certificate.clone()),
            address: view.address.clone().or(old.address.clone()),
            os: view.survey.as_ref().map(|s| s.facts.os_name.clone()).or(old.os.clone()),
            last_run: Some(run.to_owned()),
            last_seen: if view.authenticated { Some(now) } else { old.last_seen.clone() },
            recent_updates,
            staged,
        };
        if status == old {
            // Nothing has changed, as with a machine that is off at its next attempt.
            return Ok(());
        }
        publish::status(&self.client, node, RUNNER, &status).await.map(|_| ())
    }

    async fn record_inventory(
        &self,
        node: &ManagedNode,
        survey: &Survey,
        run: &str,
    ) -> Result<(), kube::Error> {
        let inventory = inventory(node);
        let now = condition::now();
        let packages = packages(survey);
        let left_out = survey.packages.len() - packages.len();
        let mut status = NodeInventoryStatus {
            conditions: Vec::new(),
            taken_at: Some(now.clone()),
            run: Some(run.to_owned()),
            facts: facts(survey),
            package_count: i64::try_from(survey.packages.len()).unwrap_or(i64::MAX),
            packages,
            truncated: left_out > 0,
            firmware: firmware(survey),
        };
        let message = match left_out {
            0 => survey.extent(),
            more => format!(
                "{} packages, of which the last {more} are not listed: the object would become too large",
                survey.packages.len()
            ),
        };
        condition::set(
            &mut status.conditions,
            "Ready",
            "True",
            Reason::Succeeded.as_str(),
            &message,
            None,
            &now,
        );
        // For a new inventory there is no object whose status could be written. The machine's conditions
        // usually show whether that is so: a rejected write costs the API server as much as an accepted one.
        let known = node.status.as_ref().is_some_and(|status| {
            condition::is(&status.conditions, "InventoryCurrent", "True")
                || status.inventory.as_ref().is_some_and(|times| times.taken_at.is_some())
        });
        if known {
            match publish::status(&self.client, &inventory, RUNNER, &status).await {
                Err(error) if publish::is_gone(&error) => {}
                written => return written.map(|_| ()),
            }
        }
        publish::object(&self.client, RUNNER, &inventory).await?;
        publish::status(&self.client, &inventory, RUNNER, &status).await.map(|_| ())
    }

    /// Records a host key of a machine, or of the manager that it is reached through, that was trusted on first use
    /// immediately: the next connection depends on it.
    pub(super) async fn record_host_key(&self, update: &NodeUpdate, name: &str, key: &str) {
        let namespace = update.namespace().unwrap_or_default();
        if let Err(error) = publish::first_use(&self.client, &namespace, name, "hostKey", key).await {
            tracing::warn!(error = %chain(&error), "the host key could not be recorded");
        }
        let note = format!("the host key of {name} was trusted on first use and recorded: {key}");
        self.events.normal(&update.object_ref(&()), Reason::HostKeyRecorded, Action::Connect, &note).await;
    }

    /// Writes an event that a licence agreement was accepted.
    pub(super) async fn announce_agreement(&self, update: &NodeUpdate, question: &str) {
        let about = update.object_ref(&());
        let machine = &update.spec.node_ref.name;
        let note = format!(
            "{machine} asked \"{question}\" about a licence agreement; the answer was yes, because spec.acceptEula of the run is true"
        );
        self.events.normal(&about, Reason::AgreementAccepted, Action::Consent, &note).await;
    }

    /// Writes an event that old algorithms are used.
    pub(super) async fn announce_old_algorithms(&self, update: &NodeUpdate, old: &[String]) {
        let about = update.object_ref(&());
        let note = format!("{}: {}", update.spec.node_ref.name, in_use(old));
        self.events.warning(&about, Reason::LegacyAlgorithmsInUse, Action::Connect, &note).await;
    }

    /// Records a certificate that was trusted on first use immediately.
    pub(super) async fn record_certificate(&self, update: &NodeUpdate, fingerprint: &str) {
        let namespace = update.namespace().unwrap_or_default();
        let name = &update.spec.node_ref.name;
        let written = publish::first_use(&self.client, &namespace, name, "certificate", fingerprint).await;
        if let Err(error) = written {
            tracing::warn!(error = %chain(&error), "the certificate could not be recorded");
        }
        let note = format!("the certificate of {name} was trusted on first use and recorded: {fingerprint}");
        self.events
            .normal(&update.object_ref(&()), Reason::CertificateRecorded, Action::Connect, &note)
            .await;
    }

    /// Writes an event that the machine cannot connect back, and how the attempt continues.
    pub(super) async fn announce_blocked(&self, update: &NodeUpdate, failure: &Failure, fallback: bool) {
        let next = if fallback {
            "the engine is served through the SSH session instead"
        } else {
            "nothing is installed"
        };
        let note = format!("{}; {next}", failure.message);
        self.events.warning(&update.object_ref(&()), failure.reason, Action::Preflight, &note).await;
    }

    /// Writes an event that a machine does not fetch its image.
    pub(super) async fn announce_unseen(&self, update: &NodeUpdate, failure: &Failure) {
        let about = update.object_ref(&());
        self.events.warning(&about, failure.reason, Action::Preflight, &failure.message).await;
    }

    /// Writes an event that an untrusted server answered the engine.
    pub(super) async fn announce_untrusted_peer(&self, update: &NodeUpdate, failure: &Failure) {
        let about = update.object_ref(&());
        self.events.warning(&about, failure.reason, Action::Distrust, &failure.message).await;
    }

    /// Writes an event that a machine is being rebooted.
    pub(super) async fn announce_reboot(&self, update: &NodeUpdate, until: Millis) {
        let machine = &update.spec.node_ref.name;
        let note = format!("{machine} is being rebooted; Farrier waits for it until {until} at most");
        self.events.normal(&update.object_ref(&()), Reason::Rebooting, Action::Reboot, &note).await;
    }

    /// Writes an event that a machine was rebooted, or why it was not.
    pub(super) async fn announce_rebooted(&self, update: &NodeUpdate, failure: Option<&Failure>) {
        let about = update.object_ref(&());
        if let Some(failure) = failure {
            self.events.warning(&about, failure.reason, Action::Reboot, &failure.message).await;
        } else {
            let note = format!("{} was rebooted: its boot id has changed", update.spec.node_ref.name);
            self.events.normal(&about, Reason::Rebooted, Action::Reboot, &note).await;
        }
    }

    /// Writes one event with the result of an attempt, and another one if something is left on the machine. None if a
    /// scheduled inventory was taken: the machine's conditions have its result, and there are many of them.
    pub(super) async fn announce(&self, update: &NodeUpdate, view: &View, end: &End) {
        let about = update.object_ref(&());
        let node = &update.spec.node_ref.name;
        if let Some(Err(failure)) = &view.clean {
            self.events.warning(&about, failure.reason, Action::CleanUp, &failure.message).await;
        }
        let is_scheduled = || self.cached_run(update).is_some_and(|run| is_scheduled(&run));
        if matches!(end, End::Inventoried) && is_scheduled() {
            return;
        }
        let (reason, action, text) = summary(node, view, end);
        match end {
            End::Finished(NodeVerdict::Failed { .. }) | End::Failed(_) => {
                self.events.warning(&about, reason, action, &text).await;
            }
            End::Finished(_) | End::Cancelled | End::Planned | End::Inventoried => {
                self.events.normal(&about, reason, action, &text).await;
            }
        }
    }

    /// Writes an event that an attempt waits for the maintenance window.
    pub(super) async fn announce_window(&self, update: &NodeUpdate, words: &str) {
        let note = format!("{}: {words}", update.spec.node_ref.name);
        self.events.normal(&update.object_ref(&()), Reason::OutsideWindow, Action::Wait, &note).await;
    }

    /// Writes an event that another attempt follows.
    pub(super) async fn announce_retry(
        &self,
        update: &NodeUpdate,
        failure: &Failure,
        attempt: u32,
        at: &str,
    ) {
        let note = format!(
            "attempt {attempt} failed ({}: {}); the next one begins at {at}",
            failure.reason, failure.message
        );
        self.events.warning(&update.object_ref(&()), Reason::WaitingForRetry, Action::Retry, &note).await;
    }
}

/// Describes the results of components that `told` does not contain: changes first, then problems. The text
/// is appended to other text, and is empty if there is nothing to report.
fn components(results: &[ComponentResult], told: &str) -> String {
    let (mut changed, mut wrong) = (Vec::new(), Vec::new());
    for ComponentResult { name, outcome, before, after, message, .. } in results {
        match outcome {
            Outcome::Updated | Outcome::RebootPending => {
                let from = if before.is_empty() { "not installed" } else { before };
                changed.push(format!("{name} {from} -> {after}"));
            }
            Outcome::Staged => {
                if !told.contains(message.as_str()) {
                    changed.push(message.clone());
                }
            }
            Outcome::Failed | Outcome::DependencyMissing | Outcome::Skipped | Outcome::Unverified => {
                if !told.contains(message.as_str()) || message.is_empty() {
                    wrong.push(format!("{name} {outcome}: {message}"));
                }
            }
            // The counts report these sufficiently.
            Outcome::UpToDate | Outcome::NotApplicable | Outcome::Cancelled => {}
        }
    }
    match changed.into_iter().chain(wrong).collect::<Vec<_>>().join("; ") {
        words if words.is_empty() => words,
        words => format!(": {words}"),
    }
}

/// Returns the event about the end of an attempt: reason, action, note.
fn summary(node: &str, view: &View, end: &End) -> (Reason, Action, String) {
    match end {
        End::Finished(
            NodeVerdict::Succeeded { reason, message } | NodeVerdict::Failed { reason, message },
        ) => (*reason, Action::Update, format!("{node}: {message}{}", components(&view.results, message))),
        End::Finished(NodeVerdict::Cancelled { .. }) | End::Cancelled => {
            let components = components(&view.results, "");
            (Reason::Cancelled, Action::Cancel, format!("{node}: the run was cancelled{components}"))
        }
        End::Planned => {
            let changes = view.plan.as_ref().map_or(0, |p| p.changes());
            (Reason::Planned, Action::Plan, format!("{node}: {changes} components would be installed"))
        }
        End::Inventoried => {
            let count = view.survey.as_ref().map_or(0, |s| s.packages.len());
            (
                Reason::Succeeded,
                Action::Inventory,
                format!("{node}: the inventory was taken, {count} packages"),
            )
        }
        End::Failed(failure) => (failure.reason, Action::Update, failure.message.clone()),
    }
}

/// Returns when the inventory was taken and tried, after an attempt.
fn inventory_times(
    old: &ManagedNodeStatus,
    view: &View,
    operation: Option<Operation>,
    now: &Time,
) -> Option<InventoryTimes> {
    let InventoryTimes { taken_at, tried_at } = old.inventory.clone().unwrap_or_default();
    let times = InventoryTimes {
        taken_at: view.survey.as_ref().map(|_| now.clone()).or(taken_at),
        tried_at: if operation == Some(Operation::Inventory) { Some(now.clone()) } else { tried_at },
    };
    Some(times).filter(|times| *times != InventoryTimes::default())
}

fn inventory(node: &ManagedNode) -> NodeInventory {
    let name = node.name_any();
    let mut inventory =
        NodeInventory::new(&name, NodeInventorySpec { node_ref: LocalRef { name: name.clone() } });
    inventory.metadata.namespace = node.namespace();
    inventory.metadata.labels = Some(BTreeMap::from([(LABEL_NODE.to_owned(), label_value(&name))]));
    inventory.metadata.owner_references = node.controller_owner_ref(&()).map(|owner| vec![owner]);
    inventory
}

fn facts(survey: &Survey) -> FactsReport {
    // Destructured without `..`, so that no new fact is forgotten here.
    let farrier_protocol::Facts {
        os,
        os_version,
        os_like,
        os_name,
        arch,
        kernel,
        hostname,
        vendor,
        model,
        serial,
        bios_version,
        package_managers: _,
        dpkg_arch: _,
        rpm_arch: _,
        kernel_headers: _,
        boot_id: _,
    } = survey.facts.clone();
    FactsReport {
        os,
        os_version,
        os_like,
        os_name,
        arch,
        kernel,
        hostname,
        vendor,
        model,
        serial,
        bios_version,
    }
}

/// Returns as many packages as fit into an object.
fn packages(survey: &Survey) -> Vec<InstalledPackage> {
    let mut room = MAX_BYTES;
    let all = survey.packages.iter().take(MAX_PACKAGES).map(|p| InstalledPackage {
        name: p.name.clone(),
        version: p.version.clone(),
        arch: p.arch.clone(),
        kind: p.kind.clone(),
    });
    all.take_while(|package| {
        let taken = serde_json::to_vec(package).map_or(usize::MAX, |json| json.len().saturating_add(1));
        room.checked_sub(taken).inspect(|left| room = *left).is_some()
    })
    .collect()
}

/// Returns the firmware, as much as fits into one object.
fn firmware(survey: &Survey) -> Vec<InstalledFirmware> {
    let entries = survey.firmware.iter().take(MAX_FIRMWARE).map(|entry| {
        let Firmware { id, name, source, software_id, version, updateable, health } = entry.clone();
        InstalledFirmware { id, name, source, software_id, version, updateable, health }
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_protocol::Package;

    fn listed(count: usize, word: &str) -> Vec<InstalledPackage> {
        let word = || word.to_owned();
        let package = Package { name: word(), version: word(), arch: word(), kind: word() };
        packages(&Survey { packages: vec![package; count], ..Survey::default() })
    }

    fn result(name: &str, outcome: Outcome, versions: (&str, &str), message: &str) -> ComponentResult {
        ComponentResult {
            name: name.to_owned(),
            outcome,
            reason: Reason::InstallerFailed,
            before: versions.0.to_owned(),
            after: versions.1.to_owned(),
            exit_code: None,
            started_at: None,
            finished_at: None,
            message: message.to_owned(),
            parts: Vec::new(),
        }
    }

    /// Events would otherwise report that something was done but not what, or the same text twice.
    #[test]
    fn the_event_about_the_end_says_what_changed_and_what_failed_once() {
        let view = View {
            results: vec![
                result("a", Outcome::Updated, ("1", "2"), ""),
                result("b", Outcome::Updated, ("", "3"), ""),
                result("c", Outcome::Failed, ("1", "1"), "the installer of c ended with 1"),
                result("d", Outcome::Failed, ("1", "1"), "the installer of d ended with 2"),
                result("e", Outcome::UpToDate, ("1", "1"), ""),
            ],
            ..View::default()
        };
        let failed = NodeVerdict::Failed {
            reason: Reason::InstallerFailed,
            message: "the installer of c ended with 1 (and 1 more, see status.components)".into(),
        };
        let (_, _, note) = summary("db", &view, &End::Finished(failed));
        assert_eq!(
            note,
            "db: the installer of c ended with 1 (and 1 more, see status.components): a 1 -> 2; b not installed -> 3; d Failed: the installer of d ended with 2"
        );
        let (_, _, note) = summary("db", &View::default(), &End::Cancelled);
        assert_eq!(note, "db: the run was cancelled");
    }

    /// Regression: the longest texts that an engine may send made an object that no API server accepts.
    #[test]
    fn a_list_of_packages_fits_into_an_object() {
        for word in ["x".repeat(512), "\"".repeat(512), "\n".repeat(512), "ä".repeat(256)] {
            let list = listed(5000, &word);
            let bytes = serde_json::to_vec(&list).unwrap().len();
            assert!((MAX_BYTES - 5000..=MAX_BYTES + 2).contains(&bytes), "{bytes}");
        }
        assert_eq!(listed(5001, "openssl-3.0.15-1").len(), MAX_PACKAGES);
        assert_eq!(listed(4999, "openssl-3.0.15-1").len(), 4999);
    }
}
