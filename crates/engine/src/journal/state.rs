//! The state that the events of a journal add up to. Pure.

use farrier_protocol::{EventBody, Lease, LeaseKind, StepLimit, TaskRecord};

/// The state of a session, computed from its events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionState {
    /// Every task that was begun, oldest first.
    pub(crate) tasks: Vec<TaskState>,
    /// Leases that exist on the machine.
    pub(crate) leases: Vec<Lease>,
    /// Whether the last reported wait has not ended.
    pub(crate) waits: bool,
    /// The reboot that was begun and whose result is not known yet.
    pub(crate) reboot: Option<OpenReboot>,
    /// Number of leases ever taken, for their ids.
    taken: u64,
}

/// One task.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TaskState {
    /// Id of the task.
    pub(crate) id: String,
    /// Whether the task has ended.
    pub(crate) finished: bool,
    /// The steps that have no `StepFinished` yet.
    pub(crate) open: Vec<OpenStep>,
}

/// A step that has not ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OpenStep {
    /// Component of the step.
    pub(crate) component: String,
    /// Whether its installer was started.
    pub(crate) started: bool,
    /// Limit of the installer, if the journal has it.
    pub(crate) limit: Option<StepLimit>,
}

/// A reboot whose result is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenReboot {
    /// The task.
    pub(crate) task: String,
    /// Boot id of the machine when the task began.
    pub(crate) boot_id: String,
    /// Whether the reboot was about to be requested.
    pub(crate) requested: bool,
}

impl SessionState {
    /// Reports whether the task has ended.
    pub(crate) fn is_finished(&self, id: &str) -> bool {
        self.tasks.iter().any(|task| task.id == id && task.finished)
    }

    /// Returns the step whose installer was started and has not ended, with its task. There is at most one.
    pub(crate) fn begun(&self) -> Option<(String, OpenStep)> {
        let mut open = self.tasks.iter().flat_map(|task| task.open.iter().map(|step| (&task.id, step)));
        open.find(|(_, step)| step.started).map(|(task, step)| (task.clone(), step.clone()))
    }

    /// Returns the tasks, for `Hello`.
    pub(crate) fn records(&self) -> Vec<TaskRecord> {
        let record = |task: &TaskState| TaskRecord { id: task.id.clone(), finished: task.finished };
        self.tasks.iter().map(record).collect()
    }

    /// Creates a lease that is not in the journal yet.
    pub(crate) fn new_lease(&self, kind: LeaseKind, what: String) -> Lease {
        let word = match kind {
            LeaseKind::Directory => "directory",
            LeaseKind::Process => "process",
            LeaseKind::BootFile => "boot-file",
            LeaseKind::Firewall => "firewall",
            LeaseKind::Hold => "hold",
            LeaseKind::Unknown => "thing",
        };
        Lease { id: format!("{word}-{}", self.taken + 1), kind, what, started: None }
    }

    /// Adds one event.
    pub(crate) fn take(&mut self, body: &EventBody) {
        match body {
            EventBody::LeaseTaken { lease } => {
                self.taken += 1;
                self.leases.push(lease.clone());
            }
            EventBody::LeaseReturned { id } => self.leases.retain(|lease| lease.id != *id),
            EventBody::TaskStarted { task, components } => {
                let open =
                    |component: &String| OpenStep { component: component.clone(), ..OpenStep::default() };
                self.task(task).open = components.iter().map(open).collect();
            }
            EventBody::StepStarted { task, component, limit } => {
                let steps = &mut self.task(task).open;
                let begun = OpenStep { component: component.clone(), started: true, limit: *limit };
                match steps.iter_mut().find(|step| step.component == *component) {
                    Some(step) => *step = begun,
                    None => steps.push(begun),
                }
            }
            EventBody::StepFinished { task, component, .. } => {
                self.task(task).open.retain(|step| step.component != *component);
            }
            EventBody::SurveyDone { task, .. }
            | EventBody::TaskDone { task }
            | EventBody::TaskFailed { task, .. } => {
                let task = self.task(task);
                task.finished = true;
                task.open.clear();
            }
            EventBody::RebootBegun { task, boot_id } => {
                self.task(task);
                let (task, boot_id) = (task.clone(), boot_id.clone());
                self.reboot = Some(OpenReboot { task, boot_id, requested: false });
            }
            EventBody::RebootRequested { task } => {
                if let Some(open) = self.reboot.as_mut().filter(|open| open.task == *task) {
                    open.requested = true;
                }
            }
            EventBody::Rebooted { .. } | EventBody::NotRebooted { .. } => self.reboot = None,
            EventBody::Waiting { wait } => self.waits = wait.is_some(),
            EventBody::PayloadVerified { .. }
            | EventBody::Simulated { .. }
            | EventBody::StepOverdue { .. }
            | EventBody::Retired { .. }
            | EventBody::Unknown => {}
        }
    }

    fn task(&mut self, id: &str) -> &mut TaskState {
        let at = self.tasks.iter().position(|task| task.id == id).unwrap_or_else(|| {
            self.tasks.push(TaskState { id: id.to_owned(), ..TaskState::default() });
            self.tasks.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "the position was found or made just before")]
        &mut self.tasks[at]
    }
}
