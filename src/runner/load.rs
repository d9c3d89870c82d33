//! Loads the complete input of an attempt before the attempt does anything.

use super::Context;
use crate::api::managed_node::{Channel, ManagedNode};
use crate::api::update_run::{Operation, RebootWhen, UpdateRun};
use crate::api::{Baseline, NodeUpdate};
use crate::attempt::{Awaited, Goal, Job};
use crate::convert;
use crate::drivers::{Abilities, Class, Driver, Keys};
use crate::failure::{Failure, chain};
use farrier_update::Reason;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use std::sync::Arc;

/// An attempt that is ready to be made.
#[derive(Clone)]
pub(super) struct Attempt {
    /// The requested work.
    pub(super) job: Job,
    /// The driver of the machine.
    pub(super) driver: MachineDriver,
}

/// The driver of a machine, and the values of the Secret that it was created with.
#[derive(Clone)]
pub(super) struct MachineDriver {
    pub(super) driver: Arc<dyn Driver>,
    /// What the machine's class can do.
    pub(super) abilities: &'static Abilities,
    pub(super) keys: Keys,
}

/// Time between two requests while the API server is unavailable.
const RETRY_INTERVAL: std::time::Duration = std::time::Duration::from_secs(2);

impl Context {
    /// Loads the input of an attempt with any goal except clean-up (see `clean_up`).
    ///
    /// # Errors
    /// `NodeNotFound`, `BaselineNotFound`, `NotYetSupported`, `SecretNotFound`,
    /// `SecretIncomplete`, `KeyUnreadable`, `KeyPassphraseWrong`, `InternalError`.
    pub(super) async fn load(
        self: &Arc<Self>,
        update: &NodeUpdate,
        run: &UpdateRun,
        goal: Goal,
        attempt: u32,
        touched: bool,
    ) -> Result<Attempt, Failure> {
        let namespace = update.namespace().unwrap_or_default();
        let node = self.node(update, &namespace).await?;
        let class = self.class(&node)?;
        if class.abilities().takes_engine {
            supports_channel(&node, run)?;
        }
        let goal = goal_for(run.spec.operation, goal);
        let baseline = match needed_baseline(run, goal) {
            Some(name) => Some(self.baseline(run, name, &namespace).await?),
            None => None,
        };
        let driver = self.driver(&node, &namespace).await?;
        let job = Job {
            session: update.uid().unwrap_or_default(),
            run: run.name_any(),
            node: node.name_any(),
            node_type: node.spec.type_,
            installers: class.abilities().installers,
            all_installers: self.register.installers().clone(),
            runner: self.name.clone(),
            attempt,
            goal,
            touched,
            resumed: false,
            components: baseline.iter().flat_map(|b| &b.spec.components).map(convert::component).collect(),
            access: self.payload_access(baseline.as_deref(), &namespace).await,
            resets_host: run.spec.reboot.policy != RebootWhen::Never,
            force: convert::force(run.spec.force),
            on_failed_dependency: convert::on_failed_dependency(run.spec.on_failed_dependency),
            lease_seconds: self.lease_seconds,
            wait_seconds: self.wait_seconds,
            callback: self.callback(&node, run, touched).await,
        };
        Ok(Attempt { job, driver })
    }

    /// Returns the current generation of the machine's spec in the cache.
    pub(super) fn generation(&self, update: &NodeUpdate) -> Option<i64> {
        let node = ObjectRef::new(&update.spec.node_ref.name);
        let node = self.caches.nodes.get(&node.within(&update.namespace().unwrap_or_default()));
        node.and_then(|node| node.meta().generation)
    }

    /// Returns the current values of the machine's Secret.
    ///
    /// # Errors
    /// `NodeNotFound`, `SecretNotFound`, `InternalError`.
    pub(super) async fn keys_now(&self, update: &NodeUpdate) -> Result<Keys, Failure> {
        let namespace = update.namespace().unwrap_or_default();
        let node = self.node(update, &namespace).await?;
        self.keys(&node, &namespace).await
    }

    /// Returns how the attempt waits for the ports of the run, if its engine connects to them.
    pub(super) fn awaited(
        &self,
        update: &NodeUpdate,
        run: Option<&UpdateRun>,
        goal: Goal,
    ) -> Option<Awaited> {
        let namespace = update.namespace().unwrap_or_default();
        let node = self.caches.nodes.get(&ObjectRef::new(&update.spec.node_ref.name).within(&namespace))?;
        if goal == Goal::CleanUp { None } else { self.awaited_listener(&node, run?) }
    }

    pub(super) async fn node(
        &self,
        update: &NodeUpdate,
        namespace: &str,
    ) -> Result<Arc<ManagedNode>, Failure> {
        let name = &update.spec.node_ref.name;
        let find = || self.caches.node(&self.client, namespace, name);
        ask(&format!("ManagedNode {name}"), find).await?.ok_or_else(|| {
            Failure::new(
                Reason::NodeNotFound,
                format!("ManagedNode {name} is gone; create it again, or delete the run. An engine that is still on the machine removes everything when its lease expires"),
            )
        })
    }

    pub(super) async fn baseline(
        &self,
        run: &UpdateRun,
        name: &str,
        namespace: &str,
    ) -> Result<Arc<Baseline>, Failure> {
        let find = || self.caches.baseline(&self.client, namespace, name);
        let baseline = ask(&format!("Baseline {name}"), find).await?.ok_or_else(|| {
            Failure::new(
                Reason::BaselineNotFound,
                format!("Baseline {name} is gone; create it again and start a new UpdateRun"),
            )
        })?;
        is_not_replaced(run, &baseline).map(|()| baseline)
    }

    pub(super) async fn secret(&self, name: &str, namespace: &str, asked_by: &str) -> Result<Keys, Failure> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let found = ask(&format!("Secret {name}"), || api.get_opt(name)).await?.ok_or_else(|| {
            Failure::new(
                Reason::SecretNotFound,
                format!(
                    "there is no secret {name} in namespace {namespace}, which {asked_by} refers to; create it, or correct the reference"
                ),
            )
        })?;
        let data = found.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        Ok(Keys { name: name.to_owned(), data: data.collect() })
    }

    /// Returns the values of a machine's Secret.
    ///
    /// # Errors
    /// `SecretNotFound`, `InternalError`.
    pub(super) async fn keys(&self, node: &ManagedNode, namespace: &str) -> Result<Keys, Failure> {
        let asked_by = format!("ManagedNode {}", node.name_any());
        self.secret(&node.spec.credentials_ref.name, namespace, &asked_by).await
    }

    /// Creates the driver of a machine.
    ///
    /// # Errors
    /// `NotYetSupported`, `SecretNotFound`, `SecretIncomplete`, `CertificateUntrusted`, `InternalError`, and those
    /// of [`Class::driver`].
    pub(super) async fn driver(&self, node: &ManagedNode, namespace: &str) -> Result<MachineDriver, Failure> {
        let class = self.class(node)?;
        let keys = self.keys(node, namespace).await?;
        let certificates = match node.spec.tls.as_ref().and_then(|tls| tls.ca_ref.as_ref()) {
            Some(ca) => {
                let asked_by = format!("spec.tls.caRef of ManagedNode {}", node.name_any());
                self.certificates_in(&ca.name, namespace, &asked_by).await?
            }
            None => Vec::new(),
        };
        let described = convert::node(node, certificates).map_err(|error| {
            let message = format!("spec.tls.fingerprints of ManagedNode {}: {error}", node.name_any());
            Failure::new(Reason::CertificateUntrusted, message)
        })?;
        let driver = class.driver(&described, &keys)?;
        Ok(MachineDriver { driver, abilities: class.abilities(), keys })
    }

    /// Returns what the class of a machine can do, if the cache has the machine.
    pub(super) fn abilities(&self, update: &NodeUpdate) -> Option<&'static Abilities> {
        let node = ObjectRef::new(&update.spec.node_ref.name);
        let node = self.caches.nodes.get(&node.within(&update.namespace().unwrap_or_default()))?;
        self.register.class(node.spec.type_).map(Class::abilities)
    }

    /// Returns the class of a machine.
    ///
    /// # Errors
    /// `NotYetSupported`.
    pub(super) fn class(&self, node: &ManagedNode) -> Result<&'static dyn Class, Failure> {
        self.register.class(node.spec.type_).ok_or_else(|| {
            Failure::new(
                Reason::NotYetSupported,
                format!(
                    "{} is of type {}, for which this version has no driver; set spec.hold on it, or leave it out of the run's selector",
                    node.name_any(),
                    node.spec.type_
                ),
            )
        })
    }
}

/// Repeats a request until the API server answers. While the API server is unavailable or busy, no failure
/// could be reported to it either.
pub(super) async fn ask<T, F>(what: &str, question: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    loop {
        match question().await {
            Ok(answer) => return Ok(answer),
            Err(error) if is_refused(&error) => {
                return Err(Failure::new(
                    Reason::InternalError,
                    format!("{what} cannot be read: {}; check the operator's permissions", chain(&error)),
                ));
            }
            Err(error) => {
                tracing::warn!(what, error = %chain(&error), "the API server does not answer; retrying");
                // sleep: an API server does not report when it is available again.
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}

/// Whether the API server has understood the request and rejects it. A busy or restarting API server answers
/// 429 or 5xx, and will answer later.
fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code < 500 && status.code != 429)
}

/// Returns the goal of an attempt for this operation.
fn goal_for(operation: Operation, goal: Goal) -> Goal {
    match (operation, goal) {
        (Operation::Inventory, Goal::Update) => Goal::Inventory,
        (_, goal) => goal,
    }
}

/// Returns the name of the baseline that an attempt with this goal needs. An inventory needs none, even if
/// the run refers to one.
fn needed_baseline(run: &UpdateRun, goal: Goal) -> Option<&str> {
    let installs = run.spec.operation != Operation::Inventory && matches!(goal, Goal::Plan | Goal::Update);
    run.spec.baseline_ref.as_ref().filter(|_| installs).map(|baseline| baseline.name.as_str())
}

/// Rejects a baseline that was created under the name of the run's baseline with other content.
fn is_not_replaced(run: &UpdateRun, baseline: &Baseline) -> Result<(), Failure> {
    if convert::is_baseline_of(run, &convert::baseline_id(baseline)) {
        return Ok(());
    }
    Err(Failure::new(
        Reason::BaselineNotFound,
        format!(
            "Baseline {} was replaced by a baseline with other content, which is not installed; create it again with the content that it had when the run began, or start a new UpdateRun",
            baseline.name_any()
        ),
    ))
}

/// Rejects a channel that this version does not have, before the attempt tries anything.
fn supports_channel(node: &ManagedNode, run: &UpdateRun) -> Result<(), Failure> {
    let name = node.name_any();
    let channel = node.spec.channel.unwrap_or(run.spec.channel);
    if channel == Channel::Listen {
        return Err(Failure::new(
            Reason::NotYetSupported,
            format!(
                "{name} uses channel {channel:?}, which this version does not have; use Session or Callback"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Otherwise machines of a run get the components of another baseline than the machines before them.
    #[test]
    fn a_replaced_baseline_is_not_loaded() {
        let status = json!({"nodes": ["a"], "baseline": {"uid": "old", "digest": "sha256:0"}});
        let run = json!({"metadata": {"name": "r"}, "spec": {"selector": {}}, "status": status});
        let run: UpdateRun = serde_json::from_value(run).unwrap();
        let load = |uid: &str| {
            let baseline = json!({"metadata": {"name": "spring", "uid": uid}, "spec": {"components": []}});
            is_not_replaced(&run, &serde_json::from_value(baseline).unwrap())
        };
        assert_eq!(load("old"), Ok(()));
        let failure = load("new").unwrap_err();
        assert_eq!(failure.reason, Reason::BaselineNotFound);
        assert!(failure.message.starts_with("Baseline spring was replaced"), "{}", failure.message);
    }

    /// Otherwise every machine of an inventory waits for a baseline that nothing of the run uses, and fails.
    #[test]
    fn an_inventory_needs_no_baseline() {
        let needed = |operation: &str, goal| {
            let spec = json!({"operation": operation, "selector": {}, "baselineRef": {"name": "spring"}});
            let run = json!({"metadata": {"name": "r"}, "spec": spec});
            let run: UpdateRun = serde_json::from_value(run).unwrap();
            let goal = goal_for(run.spec.operation, goal);
            (goal, needed_baseline(&run, goal).map(str::to_owned))
        };
        assert_eq!(needed("Inventory", Goal::Update), (Goal::Inventory, None));
        assert_eq!(needed("Inventory", Goal::Plan), (Goal::Plan, None));
        for goal in [Goal::Plan, Goal::Update] {
            assert_eq!(needed("Update", goal), (goal, Some("spring".to_owned())));
        }
    }
}
