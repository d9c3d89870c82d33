//! One reading of a device: versions, tasks, and what is ours on it.

use super::action::{ActionId, Ticket};
use crate::model::Millis;
use crate::reason::Reason;
use std::collections::BTreeMap;
use std::time::Duration;

/// One reading of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// When the reading began.
    pub at: Millis,
    /// What is installed, by component name. A component that could not be read is absent.
    pub entries: BTreeMap<String, Entry>,
    /// When the device was started.
    pub boot: BootMarks,
    /// All tasks and queue entries of the device, whoever created them.
    pub tasks: Vec<Task>,
    /// What this NodeUpdate has on the device: sessions, images, queue entries.
    pub artifacts: Vec<Artifact>,
    /// What earlier runs have left for these components, and this NodeUpdate has not taken over.
    pub earlier: Vec<Earlier>,
    /// How long the device lists a task after its end; `None` if that is not known.
    pub keeps_tasks: Option<Duration>,
    /// Whether `artifacts` has the sessions whose answer was lost too, if there are any.
    pub lists_sessions: bool,
    /// What keeps the device from taking work now.
    pub obstacles: Vec<Obstacle>,
}

/// What keeps a device from taking work, as far as it shows that before it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// Another manager is in charge of the machine's firmware.
    Managed,
    /// The configuration of the machine, and with it its firmware, is locked.
    Locked,
    /// The host is off, so that it cannot be restarted.
    HostOff,
    /// The host is in its power-on self-test, which ends by itself.
    HostInPost,
    /// The machine runs as a node of a cluster, which its owner halts first.
    ClusterNode,
}

impl Obstacle {
    /// Returns the obstacle as a reason.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Managed => Reason::ManagedElsewhere,
            Self::Locked => Reason::DeviceLocked,
            Self::HostOff => Reason::HostPoweredOff,
            Self::HostInPost => Reason::HostInPost,
            Self::ClusterNode => Reason::ClusterNodeRunning,
        }
    }

    /// Reports whether the obstacle goes away without anybody's help.
    pub const fn passes(self) -> bool {
        match self {
            Self::HostInPost => true,
            Self::Managed | Self::Locked | Self::HostOff | Self::ClusterNode => false,
        }
    }
}

/// What an earlier run has left on the device for a component: the same image, for the same version, as far as
/// the device tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// Name of the component in this run.
    pub component: String,
    /// The device's name for it.
    pub ticket: Ticket,
    /// How far the work is; `None` for an image that is only staged.
    pub progress: Option<Progress>,
}

/// What is installed of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The version in effect.
    pub version: String,
    /// The part of the machine that it belongs to.
    pub part: Part,
    /// The reset that an installed version waits for.
    pub pending: Option<ResetTarget>,
    /// The things that must all have the version, by the names of their own entries; empty if it is one thing.
    pub members: Vec<String>,
}

/// A part of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The management controller itself.
    Manager,
    /// The host, or something in it.
    Host,
}

/// What is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetTarget {
    /// The management controller.
    Manager,
    /// The host.
    Host,
}

/// Values that differ after each start; empty if the device does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootMarks {
    /// Of the management controller.
    pub manager: String,
    /// Of the host.
    pub host: String,
}

/// A task or a queue entry of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The device's name for it.
    pub ticket: Ticket,
    /// The action of this NodeUpdate that the task names; `None` if it is someone else's.
    pub action: Option<ActionId>,
    /// How far it is.
    pub progress: Progress,
}

/// How far a task is. Words that a driver does not know mean `Running`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It waits for its turn and can still be removed.
    Queued,
    /// The device works on it.
    Running,
    /// The device goes on when what it is for is reset, and not before.
    WaitsForReset,
    /// The device says that it is done.
    Done,
    /// The device says that it failed.
    Failed,
    /// The device says that it could not fetch the image, and the process that offered it had ended meanwhile.
    Interrupted,
    /// The device does not know it any more.
    Gone,
}

impl Progress {
    /// Reports whether the device has something to do before anything is reset.
    pub const fn is_active(self) -> bool {
        match self {
            Self::Queued | Self::Running => true,
            Self::WaitsForReset | Self::Done | Self::Failed | Self::Interrupted | Self::Gone => false,
        }
    }

    /// Reports whether the device still has something to do.
    pub const fn is_open(self) -> bool {
        match self {
            Self::Queued | Self::Running | Self::WaitsForReset => true,
            Self::Done | Self::Failed | Self::Interrupted | Self::Gone => false,
        }
    }
}

/// Something of ours on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What it is.
    pub kind: ArtifactKind,
    /// The device's name for it.
    pub ticket: Ticket,
    /// The action that it comes from.
    pub action: ActionId,
    /// Whether it is complete; an image may be cut off.
    pub whole: bool,
}

/// What something of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ArtifactKind {
    /// An entry in the queue.
    QueueEntry,
    /// A staged image.
    Upload,
    /// The authority of our server among those that the device trusts.
    Authority,
    /// A subscription to the events of the device.
    Subscription,
    /// A session.
    Session,
}

impl ArtifactKind {
    /// Reports whether it is an image or what installs one. A component's name alone does not tell: preparations
    /// have the name of the component that they were made for.
    pub const fn is_of_update(self) -> bool {
        match self {
            Self::QueueEntry | Self::Upload => true,
            Self::Authority | Self::Subscription | Self::Session => false,
        }
    }
}

impl Inventory {
    /// Returns the version of a component.
    pub fn version(&self, component: &str) -> Option<&str> {
        self.entries.get(component).map(|entry| entry.version.as_str())
    }

    /// Returns the task that names an action.
    pub fn task_of(&self, action: ActionId) -> Option<&Task> {
        self.tasks.iter().find(|task| task.action == Some(action))
    }

    /// Returns what an action left on the device.
    pub fn artifact_of(&self, action: ActionId) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.action == action)
    }

    /// Returns the image that an earlier run has staged for a component.
    pub fn earlier_image(&self, component: &str) -> Option<&Earlier> {
        self.earlier.iter().find(|earlier| earlier.component == component && earlier.progress.is_none())
    }

    /// Returns the work for a component that an earlier run has begun and that is not over.
    pub fn earlier_work(&self, component: &str) -> Option<&Earlier> {
        let is_open = |earlier: &Earlier| earlier.progress.is_some_and(Progress::is_open);
        self.earlier.iter().find(|earlier| earlier.component == component && is_open(earlier))
    }

    /// Returns since when all readings have shown an obstacle that goes away by itself, given the same of the
    /// reading before; `None` if this one shows none.
    pub fn obstructed_since(&self, before: Option<Millis>) -> Option<Millis> {
        self.obstacles.iter().any(|obstacle| obstacle.passes()).then(|| before.unwrap_or(self.at))
    }

    /// Reports whether two readings show the same versions since the same start.
    pub fn has_versions_of(&self, other: &Self) -> bool {
        self.boot == other.boot && self.entries == other.entries
    }

    /// Reports whether two readings show the same, apart from tasks of others.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let ours = |inventory: &Self| inventory.tasks.iter().filter(|task| task.action.is_some()).count();
        self.has_versions_of(other)
            && self.artifacts == other.artifacts
            && self.earlier == other.earlier
            && ours(self) == ours(other)
            && self.tasks.iter().filter(|task| task.action.is_some()).all(|task| other.tasks.contains(task))
    }

    /// Reports whether someone else's task keeps the device busy. What can be taken over is nobody else's.
    pub fn is_busy_for_others(&self) -> bool {
        let is_earlier = |task: &Task| self.earlier.iter().any(|earlier| earlier.ticket == task.ticket);
        let is_others = |task: &&Task| task.action.is_none() && !is_earlier(task);
        self.tasks.iter().filter(is_others).any(|task| task.progress.is_active())
    }
}
