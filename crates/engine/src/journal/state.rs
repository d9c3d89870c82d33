//! What the events of a journal add up to. Pure.

use farrier_protocol::{EventBody, Lease, LeaseKind, TaskRecord};

/// The state of a session, as its events tell it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionState {
    /// Every task that was begun, oldest first.
    pub(crate) tasks: Vec<TaskState>,
    /// What is on the machine of ours.
    pub(crate) leases: Vec<Lease>,
    /// Leases ever taken, for their ids.
    taken: u64,
}

/// One task.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TaskState {
    /// Its id.
    pub(crate) id: String,
    /// Whether it came to its end.
    pub(crate) finished: bool,
    /// The components that have no `StepFinished` yet, and whether their step was started.
    pub(crate) open: Vec<(String, bool)>,
}

impl SessionState {
    /// Whether the task came to its end.
    pub(crate) fn is_finished(&self, id: &str) -> bool {
        self.tasks.iter().any(|task| task.id == id && task.finished)
    }

    /// The tasks, for `Hello`.
    pub(crate) fn records(&self) -> Vec<TaskRecord> {
        let record = |task: &TaskState| TaskRecord { id: task.id.clone(), finished: task.finished };
        self.tasks.iter().map(record).collect()
    }

    /// A lease that is not in the journal yet.
    pub(crate) fn new_lease(&self, kind: LeaseKind, what: String) -> Lease {
        let word = match kind {
            LeaseKind::Directory => "directory",
            LeaseKind::Process => "process",
            LeaseKind::Unknown => "thing",
        };
        Lease { id: format!("{word}-{}", self.taken + 1), kind, what }
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
                self.task(task).open = components.iter().map(|name| (name.clone(), false)).collect();
            }
            EventBody::StepStarted { task, component } => {
                let steps = &mut self.task(task).open;
                match steps.iter_mut().find(|(name, _)| name == component) {
                    Some((_, started)) => *started = true,
                    None => steps.push((component.clone(), true)),
                }
            }
            EventBody::StepFinished { task, component, .. } => {
                self.task(task).open.retain(|(name, _)| name != component);
            }
            EventBody::SurveyDone { task, .. }
            | EventBody::TaskDone { task }
            | EventBody::TaskFailed { task, .. } => {
                let task = self.task(task);
                task.finished = true;
                task.open.clear();
            }
            EventBody::PayloadVerified { .. }
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
