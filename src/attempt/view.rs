//! The observable state of an attempt in progress.

use super::{Scheme, Waiting};
use crate::failure::Failure;
use farrier_network::Phase;
use farrier_protocol::{Facts, Package, Simulation};
use farrier_update::drain::Record;
use farrier_update::drift::Comparison;
use farrier_update::{ComponentResult, Millis, NodePlan};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The manager that a machine is reached through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// Its name.
    pub name: String,
    /// Its host key to record, if that was trusted on first use.
    pub first_key: Option<String>,
}

/// The state of an attempt as other modules see it. A watcher may miss intermediate states, but never the
/// last one.
#[expect(clippy::struct_excessive_bools, reason = "independent facts that become independent conditions")]
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The current step.
    pub step: Step,
    /// What the attempt waits for before it begins, with the deadline in the message.
    pub awaited: Option<Failure>,
    /// The address at which the machine answered.
    pub address: Option<String>,
    /// Whether the host key was accepted.
    pub host_key_accepted: bool,
    /// The host key to record, if it was trusted on first use.
    pub first_key: Option<String>,
    /// The manager that the machine is reached through, whose host key was accepted instead of the machine's own.
    pub manager: Option<Manager>,
    /// The old algorithms that the SSH connection uses, each with its kind; `None` where they are not allowed.
    pub old_algorithms: Option<Vec<String>>,
    /// Questions about a licence agreement that were answered with yes, because the user of the run has accepted it.
    pub agreements: Vec<String>,
    /// Whether the certificate was accepted.
    pub certificate_accepted: bool,
    /// The fingerprint of the certificate to record, if it was trusted on first use.
    pub first_certificate: Option<String>,
    /// Whether the runner is to connect to the engine's port: then `return_path` is about that.
    pub listens: bool,
    /// Whether the machine can connect back.
    pub return_path: ReturnPath,
    /// The protocol by which the machine fetches an image from Farrier, or is about to. The ports of the run are
    /// opened for it.
    pub fetches_by: Option<Scheme>,
    /// How the progress of a machine that fetches an image becomes known; `None` if nothing else than asking was tried.
    pub status_path: Option<StatusPath>,
    /// Set when an untrusted server answered the engine at the runner's address; the engine sent it nothing.
    pub untrusted_peer: Option<Failure>,
    /// Why the connection to the machine was lost, while the session reconnects.
    pub lost: Option<Failure>,
    /// What the session waits for. A wait within another one, or one that has begun later, is last.
    pub waits: Vec<Waiting>,
    /// What the engine waits for, as it has reported.
    pub engine_waiting: Option<Waiting>,
    /// The transfer of the payloads to the machine, with the deadline of the engine's task.
    pub transfer: Option<Waiting>,
    /// Deadline of the engine's current task.
    pub task_until: Option<Millis>,
    /// Whether the sign-in succeeded.
    pub authenticated: bool,
    /// Whether something of Farrier's may be on the machine.
    pub deploying: bool,
    /// The engine's directory on the machine, set when the engine was started.
    pub engine: Option<String>,
    /// The first survey of this attempt, or the latest one.
    pub survey: Option<Arc<Survey>>,
    /// The planned changes.
    pub plan: Option<Arc<NodePlan>>,
    /// What the machine has of the baseline that was last applied to it, if the attempt takes an inventory.
    pub comparison: Option<Arc<Comparison>>,
    /// What the machine's package manager would do, by component, if the attempt ends with the plan.
    pub simulations: BTreeMap<String, Simulation>,
    /// Number of payloads that were verified on the machine.
    pub payloads_verified: usize,
    /// Number of payloads among them that an earlier run had staged, so that they were not carried.
    pub payloads_staged: usize,
    /// Payloads that this attempt has staged.
    pub staged: Vec<StagedUntil>,
    /// Whether the machine had no staged payload at all before this attempt: it may have been replaced.
    pub has_none_staged: bool,
    /// Digests of staged payloads that this attempt has installed and removed.
    pub unstaged: Vec<String>,
    /// Whether the installers have run.
    pub applied: bool,
    /// Whether the plan disrupts the machine, so that it is drained before.
    pub is_disrupted: bool,
    /// The drain of the machine; `None`: as it was recorded before.
    pub drain: Option<Drained>,
    /// The reboot of the machine, if the attempt makes one.
    pub reboot: Option<Reboot>,
    /// The component whose installer has exceeded its limit and is left to finish.
    pub overdue: Option<String>,
    /// The results of the components.
    pub results: Vec<ComponentResult>,
    /// Boot id of the machine when the results were read; empty if it is not known.
    pub results_boot: String,
    /// Number of Farrier's things on the machine.
    pub leases: u32,
    /// Farrier's things that could not be removed.
    pub leftovers: Vec<String>,
    /// What stays on the machine because the user wants it to.
    pub kept: Vec<String>,
    /// Whether the machine is verified to be clean; `None`: not checked yet.
    pub clean: Option<Result<(), Failure>>,
}

impl View {
    /// Shows the results that follow from the latest survey.
    pub fn show_results(&mut self, results: Vec<ComponentResult>) {
        self.results_boot = self.survey.as_ref().map(|s| s.facts.boot_id.clone()).unwrap_or_default();
        self.results = results;
    }

    /// The current wait. A wait of the engine counts only while the engine is connected.
    pub fn waits_for(&self) -> Option<&Waiting> {
        self.waits.last().or(self.engine_waiting.as_ref()).or_else(|| self.transfer())
    }

    /// The transfer of the payloads, while it is in progress.
    fn transfer(&self) -> Option<&Waiting> {
        let wanted = self.plan.as_ref().map_or(0, |plan| plan.payload_steps());
        let in_progress = self.payloads_verified < wanted
            && matches!(&self.step, Step::Applying { component } if component.is_empty());
        self.transfer.as_ref().filter(|_| in_progress)
    }
}

/// A payload that is staged on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedUntil {
    /// `sha256:` and 64 digits.
    pub digest: String,
    /// When its lease ends.
    pub until: Millis,
}

/// The drain of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drained {
    /// What is drained, in words.
    pub what: String,
    /// The Node that is cordoned, if it is one.
    pub kubernetes_node: Option<String>,
    /// How far it is.
    pub record: Record,
}

/// The reboot of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reboot {
    /// The reboot is announced or under way.
    Underway {
        /// When the attempt began to reboot the machine.
        since: Millis,
        /// Until when the machine is waited for.
        until: Millis,
        /// Whether the machine was told to reboot.
        requested: bool,
        /// Id of the boot that the reboot ends, if the engine knows it.
        boot_id: Option<String>,
    },
    /// The machine was rebooted.
    Done,
    /// The machine was not rebooted, or did not come back.
    Failed(Failure),
}

/// Whether the machine can connect back: its engine or, if it has none, the machine itself, which fetches an
/// image.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ReturnPath {
    /// No connection is needed.
    #[default]
    NotNeeded,
    /// The runner does not listen yet: it waits for its ports.
    Pending {
        /// What the runner waits for.
        waiting: Waiting,
    },
    /// Not known yet.
    Untried,
    /// The engine has connected.
    Open {
        /// Source address of the connection.
        from: IpAddr,
        /// The runners that have this address, if it is not the machine's: one of these runners has forwarded
        /// the connection.
        through: Vec<String>,
    },
    /// The engine has connected, and the connection was lost. The session waits for the next connection.
    Lost {
        /// Source address of the lost connection.
        from: IpAddr,
    },
    /// The runner has connected to the engine's port.
    Dialled {
        /// The machine's address.
        address: String,
        /// The engine's port.
        port: u16,
        /// The firewalls of the machine that were opened for it.
        opened: Vec<String>,
    },
    /// The runner's connection to the engine's port was lost. The session connects again.
    DialLost,
    /// The engine cannot connect.
    Blocked {
        /// The obstacle.
        failure: Failure,
        /// Whether the engine is served through the SSH session instead; if not, nothing is installed.
        fallback: bool,
    },
    /// The machine is about to fetch an image, and has not connected yet.
    Expected,
    /// The machine has tried all ports that it may need, and reaches them.
    Tried {
        /// Address and port of each.
        places: Vec<String>,
    },
    /// The machine has connected to fetch an image.
    Fetched {
        /// Source address of the connection.
        from: IpAddr,
    },
    /// The machine was told to fetch an image, and did not connect in time. It may still do so.
    Unseen {
        /// The likely obstacle.
        failure: Failure,
    },
}

/// How the progress of a machine becomes known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusPath {
    /// The machine posts it.
    Posted,
    /// The machine is asked.
    Polled {
        /// Why it is not posted.
        why: String,
    },
}

/// The step of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Step {
    /// The attempt waits for an object that does not exist yet.
    Awaiting,
    /// The session connects to the machine.
    #[default]
    Connecting,
    /// The engine is being deployed.
    Deploying,
    /// The engine detects what is installed.
    Surveying,
    /// The runner downloads the payloads.
    Fetching,
    /// What the machine does for others is moved away, or let back.
    Draining,
    /// A component is being installed; no component yet while payloads are transferred.
    Applying {
        /// Name of the component, or empty.
        component: String,
    },
    /// The payloads are brought to the machine, which keeps them.
    Staging,
    /// The machine is rebooted.
    Rebooting,
    /// The engine detects again what is installed.
    Verifying,
    /// Everything of Farrier's is being removed from the machine.
    CleaningUp,
}

impl Step {
    /// The phase of the table of ports that this step belongs to.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Fetching
            | Self::Draining
            | Self::Applying { .. }
            | Self::Staging
            | Self::Rebooting
            | Self::Verifying => Phase::Deployment,
            Self::Awaiting | Self::Connecting | Self::Deploying | Self::Surveying | Self::CleaningUp => {
                Phase::Inventory
            }
        }
    }

    /// The step in one or two words, for a column of `kubectl get`.
    pub fn as_text(&self) -> String {
        match self {
            Self::Awaiting => "WaitingForObjects".into(),
            Self::Connecting => "Connecting".into(),
            Self::Deploying => "Deploying".into(),
            Self::Surveying => "Surveying".into(),
            Self::Fetching => "Fetching".into(),
            Self::Draining => "Draining".into(),
            Self::Applying { component } if component.is_empty() => "Applying".into(),
            Self::Applying { component } => format!("Applying {component}"),
            Self::Staging => "Staging".into(),
            Self::Rebooting => "Rebooting".into(),
            Self::Verifying => "Verifying".into(),
            Self::CleaningUp => "CleaningUp".into(),
        }
    }
}

/// Maximum number of notes that a message has.
const MAX_NOTES: usize = 3;

/// The result of a survey.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Facts about the machine.
    pub facts: Facts,
    /// Every installed package.
    pub packages: Vec<Package>,
    /// The firmware that the machine lists.
    pub firmware: Vec<Firmware>,
    /// What could not be read.
    pub notes: Vec<String>,
    /// What an installation interrupts on this machine, for the plan; empty if that is not known.
    pub interruption: String,
    /// Whether all parts of the machine are there and well, for example the other one of a pair, or which is not and the
    /// next step; `None` if the machine was not asked for that.
    pub parts: Option<Result<(), Failure>>,
}

/// The firmware of one device, as the machine lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firmware {
    /// Id of the entry on the machine.
    pub id: String,
    /// Name of the entry.
    pub name: String,
    /// Where it was read: `redfish` of devices that list their firmware themselves, else as in
    /// [`farrier_protocol::Firmware::source`].
    pub source: String,
    /// Id of the software; empty if the machine states none.
    pub software_id: String,
    /// Installed version; empty if the machine does not state it.
    pub version: String,
    /// Whether the machine says that it can be updated.
    pub updateable: bool,
    /// State of the entry in the machine's words; empty if it states none.
    pub health: String,
}

impl From<farrier_protocol::Firmware> for Firmware {
    fn from(entry: farrier_protocol::Firmware) -> Self {
        // Destructured without `..`, so that no new field is forgotten here.
        let farrier_protocol::Firmware { id, name, version, source, software_id, updateable } = entry;
        Self { id, name, version, source, software_id, updateable, health: String::new() }
    }
}

impl Survey {
    /// Describes the extent of the survey, for instance `412 packages`.
    pub fn extent(&self) -> String {
        let extent = match (self.packages.len(), self.firmware.len(), self.notes.is_empty()) {
            (packages, 0, true) => format!("{packages} packages"),
            (0, firmware, _) => firmware_entries(firmware),
            (packages, firmware, _) => format!("{packages} packages and {}", firmware_entries(firmware)),
        };
        let notes: Vec<&str> = self.notes.iter().take(MAX_NOTES).map(String::as_str).collect();
        match self.notes.len() {
            0 => extent,
            count => format!("{extent}; {count} things could not be read: {}", notes.join("; ")),
        }
    }
}

fn firmware_entries(count: usize) -> String {
    if count == 1 { "1 firmware entry".into() } else { format!("{count} firmware entries") }
}
