//! The worker: executes one task after the other until the engine must exit.

use crate::engine::Engine;
use crate::install::repository;
use crate::{apply, reboot, retire, survey, takeover};
use farrier_protocol::{EventBody, Lease, Task, Work};
use std::time::Duration;

/// Whether another task follows.
enum AfterTask {
    Next,
    /// The engine releases its leases and exits.
    Leave,
    /// The machine goes down: the engine exits, and the next one continues from the journal.
    Down,
}

impl Engine {
    /// Works until the engine is retired. `inherited` are the processes of an earlier engine of this
    /// session, from the journal.
    pub(crate) fn work(&self, inherited: &[Lease]) {
        takeover::take_over(self, inherited);
        let mut done = None;
        while let Ok(task) = self.shared.next_task(done) {
            match self.execute(&task) {
                AfterTask::Next => done = Some(task.id),
                AfterTask::Leave => break,
                AfterTask::Down => return,
            }
        }
        retire::retire(self);
    }

    fn execute(&self, task: &Task) -> AfterTask {
        if self.shared.known(|known| known.is_finished(&task.id)) {
            return AfterTask::Next;
        }
        match &task.work {
            Work::Survey { packages, detect, fwupd, programs } => {
                let body = survey::survey(&task.id, *packages, detect, *fwupd, programs);
                self.report(body);
            }
            Work::Apply { steps, wait_seconds } => {
                apply::apply(self, &task.id, steps, Duration::from_secs(*wait_seconds));
            }
            Work::Reboot { delay_seconds, message, wait_seconds, ignore_inhibitors } => {
                let order = reboot::Order {
                    delay: Duration::from_secs(*delay_seconds),
                    message,
                    wait: Duration::from_secs(*wait_seconds),
                    ignore_inhibitors: *ignore_inhibitors,
                };
                if reboot::reboot(self, &task.id, &order).is_break() {
                    return AfterTask::Down;
                }
            }
            Work::Simulate { steps } => {
                let simulations = repository::simulate(steps, &self.place.metadata());
                self.report(EventBody::Simulated { task: task.id.clone(), simulations });
                self.report(EventBody::TaskDone { task: task.id.clone() });
            }
            Work::Retire => return AfterTask::Leave,
        }
        AfterTask::Next
    }
}
