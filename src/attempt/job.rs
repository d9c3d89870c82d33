//! The input of one attempt.

use super::{ApprovedPlan, CallbackOptions, ListenOptions};
use crate::callback::Registry;
use crate::engines::Engines;
use crate::failure::Failure;
use crate::log_store::{LogStore, Secrets};
use crate::metrics::Metrics;
use crate::payload::{Access, Source, Store};
use farrier_network::MachineType;
use farrier_protocol::{DEFAULT_WAIT_SECONDS, Facts, Reading};
use farrier_update::device::{Action, Ending, Scope, Ticket};
use farrier_update::drift::Comparison;
use farrier_update::reboot::InstalledEarlier;
use farrier_update::{
    Component, FailedDependency, Force, InstallerKind, Installers, Millis, PayloadRef, PlanInput,
    RebootOrder, SignatureRef, plan_node,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long an engine waits for a silent operator, if nothing else is said: longer than an operator needs to start on
/// another host.
pub const LEASE_SECONDS: u64 = 900;

/// How long a machine keeps staged payloads, if nothing else is said: until the next window of most users.
pub const STAGE_FOR: Duration = Duration::from_hours(168);

/// The machine and the requested work, loaded before the attempt.
#[derive(Debug, Clone)]
pub struct Job {
    /// UID of the NodeUpdate.
    pub session: String,
    /// Name of the run.
    pub run: String,
    /// Name of the machine.
    pub node: String,
    /// Type of the machine.
    pub node_type: MachineType,
    /// The installers for machines of this class.
    pub installers: &'static [InstallerKind],
    /// The installers for machines of any class.
    pub all_installers: Arc<[InstallerKind]>,
    /// Name of this runner.
    pub runner: String,
    /// Number of this attempt, from 1. The number is part of the task ids, so that results of an earlier
    /// attempt are not taken for results of this attempt.
    pub attempt: u32,
    /// How far the attempt goes.
    pub goal: Goal,
    /// Whether an earlier attempt, or an earlier process, may have put something on the machine.
    pub touched: bool,
    /// Whether an earlier process reached the machine in this attempt. A machine that does not answer now is
    /// reconnected to, as after a lost connection.
    pub resumed: bool,
    /// The baseline's components; for an inventory, those of the baseline that was last applied to the machine, with
    /// which it is compared.
    pub components: Vec<Component>,
    /// Access data for the payload sources, by component name.
    pub access: BTreeMap<String, Result<Access, Failure>>,
    /// What concerns only devices that flash themselves.
    pub device: DeviceOrder,
    /// Which components are installed although they are up to date.
    pub force: Force,
    /// What to do about missing requirements.
    pub on_failed_dependency: FailedDependency,
    /// The engine's lease: how long it may run without contact, in seconds.
    pub lease_seconds: u64,
    /// How long the machine keeps payloads that are staged on it.
    pub stage_for: Duration,
    /// How long the engine waits for others on the machine, in seconds: a locked package manager, missing
    /// disk space, another engine.
    pub wait_seconds: u64,
    /// The plan that a user has approved, if the run asks for an approval and nothing has been changed yet.
    pub approved: Option<ApprovedPlan>,
    /// Whether and how the machine is rebooted.
    pub reboot: RebootOrder,
    /// The reboot of the machine that was under way when an earlier process ended.
    pub rebooting: Option<RecordedReboot>,
    /// What earlier runs, or earlier attempts, have installed and left waiting for a reboot.
    pub installed_earlier: Vec<InstalledEarlier>,
    /// How the engine's log is kept.
    pub log: LogOptions,
    /// How the engine connects back; `None` if it is served through the SSH session.
    pub callback: Option<CallbackOptions>,
    /// How the engine listens; `None` if the runner does not connect to it.
    pub listen: Option<ListenOptions>,
}

/// A reboot, as an earlier process has recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedReboot {
    /// When the attempt began to reboot the machine.
    pub since: Millis,
    /// Until when the machine is waited for.
    pub until: Millis,
    /// Id of the boot that the reboot ends, if it is known.
    pub boot_id: Option<String>,
}

/// How the log of an engine is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// What must not get into it.
    pub secrets: Arc<Secrets>,
    /// How long logs stay on the machine. `None`: the engine's defaults.
    pub retention: Option<LogRetention>,
}

/// How long the logs of earlier runs stay on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRetention {
    /// Number of runs whose logs are kept.
    pub runs: u32,
    /// Days for which logs are kept.
    pub days: u32,
}

/// What a run asks of a device that flashes itself.
#[expect(clippy::struct_excessive_bools, reason = "independent words of the user")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceOrder {
    /// How much of an update is carried out.
    pub scope: Scope,
    /// Whether the host may be restarted.
    pub resets_host: bool,
    /// Whether firmware is updated although a trusted module has measured it.
    pub overrides_trusted_module: bool,
    /// Whether what the device does for others may be interrupted.
    pub interrupts: bool,
    /// Whether the user has accepted the licence agreements that the device asks about.
    pub accepts_agreements: bool,
    /// What earlier runs have recorded as waiting for a reset of this machine.
    pub waiting: Vec<EarlierWork>,
}

impl Default for DeviceOrder {
    /// Installs, and restarts nothing but the device itself.
    fn default() -> Self {
        Self {
            scope: Scope::Install,
            resets_host: false,
            overrides_trusted_module: false,
            interrupts: false,
            accepts_agreements: false,
            waiting: Vec::new(),
        }
    }
}

/// Work on a device that an earlier run has recorded as waiting for a reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierWork {
    /// Name of the component.
    pub component: String,
    /// The version that takes effect.
    pub version: String,
    /// The device's name for the work.
    pub ticket: Ticket,
    /// The boot mark of the management processor at that time.
    pub boot: String,
}

impl EarlierWork {
    /// Returns what the actions of a NodeUpdate have left waiting.
    pub fn of(actions: Vec<Action>) -> impl Iterator<Item = Self> {
        let waits = |action: &Action| action.is_install() && action.ending == Some(Ending::ResetPending);
        actions.into_iter().filter(waits).filter_map(|action| {
            let Action { component, to: version, ticket, boot, .. } = action;
            Some(Self { component, version, ticket: ticket?, boot })
        })
    }
}

/// How far an attempt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Take the inventory.
    Inventory,
    /// Compute what would change.
    Plan,
    /// Install the components.
    Update,
    /// Remove everything of Farrier's from the machine, and do nothing else.
    CleanUp,
}

/// Resources that all attempts share.
#[derive(Clone)]
pub struct Tools {
    /// Engine binaries to deploy.
    pub engines: Engines,
    /// The payload store.
    pub store: Store,
    /// Metrics of connections and engines.
    pub metrics: Metrics,
    /// Registry of the sessions whose engines connect back.
    pub calls: Arc<Registry>,
    /// The logs of the machines. `None`: they are not kept.
    pub logs: Option<LogStore>,
}

impl Job {
    /// Returns the first attempt at a machine, with the defaults of a run, and nothing to install.
    pub fn first(session: &str, run: &str, node: &str, node_type: MachineType, goal: Goal) -> Self {
        Self {
            session: session.to_owned(),
            run: run.to_owned(),
            node: node.to_owned(),
            node_type,
            installers: &[],
            all_installers: Arc::from([]),
            runner: String::new(),
            attempt: 1,
            goal,
            touched: false,
            resumed: false,
            components: Vec::new(),
            access: BTreeMap::new(),
            device: DeviceOrder::default(),
            force: Force::default(),
            on_failed_dependency: FailedDependency::default(),
            lease_seconds: LEASE_SECONDS,
            stage_for: STAGE_FOR,
            wait_seconds: DEFAULT_WAIT_SECONDS,
            approved: None,
            reboot: RebootOrder::default(),
            rebooting: None,
            installed_earlier: Vec::new(),
            log: LogOptions::default(),
            callback: None,
            listen: None,
        }
    }

    /// How the engine connects back; `None` if it does not.
    pub fn calls(&self) -> Option<&CallbackOptions> {
        self.callback.as_ref().filter(|_| self.goal != Goal::CleanUp)
    }

    /// Digests of all payloads of the baseline.
    pub fn digests(&self) -> Vec<String> {
        self.components.iter().filter_map(|c| c.digest().map(str::to_owned)).collect()
    }

    /// The source of a component's payload.
    ///
    /// # Errors
    /// `SecretNotFound`, `SecretIncomplete`.
    pub fn source(&self, component: &Component, payload: &PayloadRef) -> Result<Source, Failure> {
        Ok(Source {
            component: component.name.clone(),
            url: payload.url.clone(),
            digest: payload.digest.clone(),
            size: payload.size,
            access: self.access.get(&component.name).cloned().transpose()?.unwrap_or_default(),
        })
    }

    /// The sources of the signatures of a component's payload.
    ///
    /// # Errors
    /// As [`Self::source`].
    pub fn signatures(&self, component: &Component, payload: &PayloadRef) -> Result<Vec<Source>, Failure> {
        let source = self.source(component, payload)?;
        let of = |signature: &SignatureRef| Source {
            url: signature.url.clone(),
            digest: signature.digest.clone(),
            size: None,
            ..source.clone()
        };
        Ok(payload.signatures.iter().map(of).collect())
    }

    /// Compares the machine with the components, for an inventory; `None` if there are none.
    pub fn compare(
        &self,
        facts: &Facts,
        programs: &[String],
        readings: &BTreeMap<String, Reading>,
    ) -> Option<Arc<Comparison>> {
        if self.components.is_empty() {
            return None;
        }
        let plan = plan_node(&PlanInput {
            components: &self.components,
            node_type: &self.node_type.to_string(),
            installers: Installers { machine: self.installers, any: &self.all_installers },
            facts,
            programs,
            readings,
            // What the run allows beyond an update says nothing about what is installed.
            force: Force::default(),
            on_failed_dependency: FailedDependency::Force,
        });
        Some(Arc::new(Comparison::of(&plan)))
    }

    /// The first twelve ASCII alphanumeric characters of the session id, for use in paths.
    pub fn id(&self) -> String {
        super::offers::id_of(&self.session)
    }
}
