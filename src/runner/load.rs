//! Loads the complete input of an attempt before the attempt does anything.

use super::{Context, actions};
use crate::api::managed_node::ManagedNode;
use crate::api::node_update::NodeUpdateStatus;
use crate::api::update_run::{Approval, Operation, RebootWhen, UpdateRun};
use crate::api::{Baseline, NodeUpdate};
use crate::attempt::{
    ApprovedPlan, Awaited, DeviceOrder, EarlierWork, Goal, Job, ListenOptions, LogOptions, STAGE_FOR,
};
use crate::convert;
use crate::drivers::{Abilities, Class};
use crate::exposure;
use crate::failure::Failure;
use crate::inputs::{Inputs, Logins, MachineDriver, ask};
use crate::log_store::Secrets;
use crate::payload::Access;
use farrier_update::Reason;
use farrier_update::device::Scope;
use farrier_update::reboot::InstalledEarlier;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An attempt that is ready to be made.
#[derive(Clone)]
pub(super) struct Attempt {
    /// The requested work.
    pub(super) job: Job,
    /// The driver of the machine.
    pub(super) driver: MachineDriver,
}

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
        let class = self.inputs().class(&node)?;
        let goal = goal_for(run.spec.operation, goal);
        let baseline = match needed_baseline(run, goal) {
            Some(name) => Some(self.baseline(run, name, &namespace).await?),
            None if goal == Goal::Inventory => self.applied_baseline(&node),
            None => None,
        };
        let driver = self.inputs().driver(&node, &namespace).await?;
        // An inventory fetches no payloads.
        let fetched = baseline.as_deref().filter(|_| goal != Goal::Inventory);
        let access = self.inputs().payload_access(fetched, &namespace).await;
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
            log: self.log_options(&driver.logins, &access),
            access,
            device: DeviceOrder {
                scope: scope(run.spec.operation),
                resets_host: run.spec.reboot.policy != RebootWhen::Never,
                overrides_trusted_module: run.spec.force.trusted_module,
                interrupts: run.spec.reboot.policy == RebootWhen::Always,
                accepts_agreements: run.spec.accept_eula,
                waiting: self.waiting(update),
            },
            force: convert::force(run.spec.force),
            on_failed_dependency: convert::on_failed_dependency(run.spec.on_failed_dependency),
            lease_seconds: self.lease_seconds,
            stage_for: run.spec.strategy.stage_for.duration().unwrap_or(STAGE_FOR),
            wait_seconds: self.wait_seconds,
            approved: None,
            reboot: convert::reboot(run.spec.reboot.clone(), run.spec.force),
            rebooting: None,
            installed_earlier: self.installed_earlier(update),
            callback: self.callback(&node, run, touched).await,
            listen: listen(&node, run, update, class.abilities()),
        };
        Ok(Attempt { job, driver })
    }

    /// Returns what earlier runs have recorded as waiting for a reset of the machine.
    fn waiting(&self, update: &NodeUpdate) -> Vec<EarlierWork> {
        let is_earlier = |other: &NodeUpdate| {
            other.namespace() == update.namespace()
                && other.spec.node_ref == update.spec.node_ref
                && other.uid() != update.uid()
        };
        let updates = self.caches.updates.state();
        let earlier = updates.iter().filter(|other| is_earlier(other));
        earlier
            .filter_map(|other| Some(actions::read(&other.status.as_ref()?.actions)))
            .flat_map(EarlierWork::of)
            .collect()
    }

    /// Returns what runs have installed on this machine and left waiting for a reboot, this run included: its
    /// earlier attempts may have left nothing on the machine.
    fn installed_earlier(&self, update: &NodeUpdate) -> Vec<InstalledEarlier> {
        let is_of_machine = |other: &NodeUpdate| {
            other.namespace() == update.namespace() && other.spec.node_ref == update.spec.node_ref
        };
        let updates = self.caches.updates.state();
        updates.iter().filter(|other| is_of_machine(other)).flat_map(|other| left_pending(other)).collect()
    }

    /// Returns the current generation of the machine's spec in the cache.
    pub(super) fn generation(&self, update: &NodeUpdate) -> Option<i64> {
        let node = ObjectRef::new(&update.spec.node_ref.name);
        let node = self.caches.nodes.get(&node.within(&update.namespace().unwrap_or_default()));
        node.and_then(|node| node.meta().generation)
    }

    /// Returns what somebody signs in to the machine with now.
    ///
    /// # Errors
    /// `NodeNotFound`, `ManagerNotFound`, `SecretNotFound`, `InternalError`.
    pub(super) async fn logins_now(&self, update: &NodeUpdate) -> Result<Logins, Failure> {
        let namespace = update.namespace().unwrap_or_default();
        let node = self.node(update, &namespace).await?;
        self.inputs().logins(&node, &namespace).await
    }

    /// Returns how the log of a machine's engine is kept: without the credentials of this attempt.
    pub(super) fn log_options(
        &self,
        logins: &Logins,
        access: &BTreeMap<String, Result<Access, Failure>>,
    ) -> LogOptions {
        let access = access.values().flatten().flat_map(Access::secrets);
        let secrets = Secrets::new(logins.secrets().chain(access));
        LogOptions { secrets: Arc::new(secrets), retention: Some(self.log_retention) }
    }

    /// Returns the access data as the Secrets and ConfigMaps contain it now. Empty if the run or its baseline
    /// is gone.
    pub(super) async fn payload_access_now(
        &self,
        update: &NodeUpdate,
    ) -> BTreeMap<String, Result<Access, Failure>> {
        let namespace = update.namespace().unwrap_or_default();
        let run = self.cached_run(update);
        let Some((run, name)) = run.as_ref().and_then(|run| Some((run, run.spec.baseline_ref.as_ref()?)))
        else {
            return BTreeMap::new();
        };
        let baseline = self.baseline(run, &name.name, &namespace).await.ok();
        self.inputs().payload_access(baseline.as_deref(), &namespace).await
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

    /// Returns what reads the objects that machines and components refer to.
    pub(super) fn inputs(&self) -> Inputs<'_> {
        Inputs { client: &self.client, register: &self.register }
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

    /// Returns the baseline that was last applied to a machine, if it still exists with that content.
    fn applied_baseline(&self, node: &ManagedNode) -> Option<Arc<Baseline>> {
        let applied = node.status.as_ref()?.baseline.as_ref()?;
        let namespace = node.namespace().unwrap_or_default();
        let baseline = self.caches.baselines.get(&ObjectRef::new(&applied.name).within(&namespace))?;
        Some(baseline).filter(|baseline| convert::is_applied(applied, &convert::baseline_id(baseline)))
    }

    /// Returns what the class of a machine can do, if the cache has the machine.
    pub(super) fn abilities(&self, update: &NodeUpdate) -> Option<&'static Abilities> {
        let node = ObjectRef::new(&update.spec.node_ref.name);
        let node = self.caches.nodes.get(&node.within(&update.namespace().unwrap_or_default()))?;
        self.register.class(node.spec.type_, node.spec.product.as_deref()).map(Class::abilities)
    }
}

/// Returns what a NodeUpdate has installed and left waiting for a reboot of the machine.
fn left_pending(update: &NodeUpdate) -> Vec<InstalledEarlier> {
    let components = update.status.iter().flat_map(|status| &status.components);
    let pending = components.filter_map(|component| {
        Some(InstalledEarlier {
            component: component.name.clone(),
            version: component.after.clone(),
            run: update.spec.run_ref.name.clone(),
            boot_id: component.boot_id.clone()?,
        })
    });
    pending.collect()
}

/// Returns how much of an update this operation carries out.
const fn scope(operation: Operation) -> Scope {
    match operation {
        Operation::Stage => Scope::Stage,
        Operation::Inventory | Operation::Update => Scope::Install,
    }
}

/// Returns the plan that a user has approved. After something was changed, the plan is another one.
pub(super) fn approved(status: &NodeUpdateStatus, run: &UpdateRun) -> Option<ApprovedPlan> {
    let mut asks = run.spec.strategy.stages.iter().filter(|stage| stage.approval == Approval::Manual);
    asks.next()?;
    let works = actions::read(&status.actions).iter().any(|action| action.verb.is_work());
    let begun = works || status.components.iter().any(|component| component.started_at.is_some());
    let digest = status.plan_digest.clone().filter(|_| !begun)?;
    let installs = status.plan.iter().filter(|planned| planned.installs());
    let installs =
        installs.map(|planned| (planned.name.clone(), (planned.from.clone(), planned.to.clone()))).collect();
    Some(ApprovedPlan { digest, installs })
}

/// Returns the goal of an attempt for this operation.
fn goal_for(operation: Operation, goal: Goal) -> Goal {
    match (operation, goal) {
        (Operation::Inventory, Goal::Update) => Goal::Inventory,
        (_, goal) => goal,
    }
}

/// Returns the name of the baseline that an attempt with this goal needs. An inventory needs none, even if
/// the run refers to one: each machine is compared with the baseline that was last applied to it.
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

/// Returns how the engine on this machine listens; `None` if its channel is another one.
fn listen(
    node: &ManagedNode,
    run: &UpdateRun,
    update: &NodeUpdate,
    abilities: &Abilities,
) -> Option<ListenOptions> {
    let ports = exposure::listen_ports(node, run, &update.uid().unwrap_or_default())?;
    abilities.takes_engine.then(|| ListenOptions {
        ports: ports.first..=ports.last,
        // A channel in the ManagedNode is binding; a channel in the run is only a preference.
        may_fall_back: node.spec.channel.is_none(),
        may_open_firewall: node.spec.open_firewall,
    })
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

    /// Otherwise a reboot that a run could not make would not be made by the next one either.
    #[test]
    fn what_waits_for_a_reboot_is_read_from_earlier_node_updates() {
        let components = json!([
            {"name": "tool", "outcome": "RebootPending", "after": "2.0", "bootId": "b1"},
            {"name": "other", "outcome": "Updated", "after": "1.0"},
        ]);
        let update: NodeUpdate = serde_json::from_value(json!({
            "metadata": {"name": "r1-db"},
            "spec": {"runRef": {"name": "r1"}, "nodeRef": {"name": "db"}, "runner": "a", "intent": "Run"},
            "status": {"conditions": [], "components": components},
        }))
        .unwrap();
        let left = left_pending(&update);
        let [tool] = left.as_slice() else { panic!("{left:?}") };
        assert_eq!((tool.component.as_str(), tool.version.as_str()), ("tool", "2.0"));
        assert_eq!((tool.run.as_str(), tool.boot_id.as_str()), ("r1", "b1"));
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

    /// A machine without an engine is signed in to before its plan is made, and is nevertheless compared with it.
    #[test]
    fn a_plan_is_the_approved_one_until_something_was_changed() {
        let of = |operation: &str, verb: &str| {
            let run = json!({"metadata": {"name": "r"}, "spec": {
                "selector": {}, "baselineRef": {"name": "spring"},
                "strategy": {"stages": [{"name": "all", "approval": operation}]},
            }});
            let run: UpdateRun = serde_json::from_value(run).unwrap();
            let action = json!({"id": 1, "verb": verb, "component": "iLO 5", "state": "Ended", "ending": "Done",
                "by": "a", "at": "2026-01-01T00:00:00.000000Z"});
            let status = json!({"conditions": [], "planDigest": "sha256:aa", "actions": [action],
                "plan": [{"name": "iLO 5", "action": "Install", "from": "2.1", "to": "2.2"}]});
            let status: NodeUpdateStatus = serde_json::from_value(status).unwrap();
            approved(&status, &run).map(|plan| (plan.digest, plan.installs.len()))
        };
        assert_eq!(of("Manual", "SignIn"), Some(("sha256:aa".to_owned(), 1)));
        assert_eq!(of("Manual", "Activate"), None);
        assert_eq!(of("Automatic", "SignIn"), None);
    }
}
