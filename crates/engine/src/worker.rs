//! The worker: one task after the other, until it is time to go.

use crate::args::Session;
use crate::logs::Logs;
use crate::shared::Shared;
use crate::work_dir::WorkDir;
use crate::{apply, retire, survey, takeover};
use farrier_protocol::{EventBody, FailureCode, Lease, Task, Work};
use std::sync::Arc;

/// Everything a task needs to know.
pub(crate) struct Engine {
    /// Whose engine it is.
    pub(crate) session: Session,
    /// Its directory.
    pub(crate) place: WorkDir,
    /// Its logs.
    pub(crate) logs: Logs,
    /// Shared with the link.
    pub(crate) shared: Arc<Shared>,
}

/// Whether there is another task after this one.
enum AfterTask {
    Next,
    Leave,
}

impl Engine {
    /// Works until the engine is retired. `inherited` are the processes that a former engine
    /// of this session had in its journal.
    pub(crate) fn work(&self, inherited: &[Lease]) {
        takeover::take_over(self, inherited);
        let mut done = None;
        while let Ok(task) = self.shared.next_task(done) {
            match self.execute(&task) {
                AfterTask::Next => done = Some(task.id),
                AfterTask::Leave => break,
            }
        }
        retire::retire(self);
    }

    /// Writes down an event that has already happened. If the disk does not take it, it is
    /// delivered from memory; nothing more can be done about it.
    pub(crate) fn report(&self, body: EventBody) {
        self.shared.record(body).ok();
    }

    fn execute(&self, task: &Task) -> AfterTask {
        if self.shared.known(|known| known.is_finished(&task.id)) {
            return AfterTask::Next;
        }
        match &task.work {
            Work::Survey { packages, detect } => {
                let body = survey::survey(&task.id, *packages, detect);
                self.report(body);
            }
            Work::Apply { steps } => apply::apply(self, &task.id, steps),
            Work::Retire => return AfterTask::Leave,
        }
        AfterTask::Next
    }
}

/// A task that could not be done at all.
pub(crate) fn failed(task: &str, code: FailureCode, component: &str, message: String) -> EventBody {
    EventBody::TaskFailed { task: task.into(), code, component: component.into(), message }
}
