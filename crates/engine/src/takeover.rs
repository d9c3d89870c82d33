//! What an engine does first: bring to an end what its predecessor left open.
//!
//! Nothing is ever started a second time. An installer that is still running is waited for,
//! because two installers at once are worse than a late answer.

use crate::engine::Engine;
use crate::step::SESSION_VARIABLE;
use farrier_protocol::{EventBody, FailureCode, Lease, LeaseKind, StepExit};
use std::fs;
use std::thread;
use std::time::Duration;

/// Between two looks at a process that is not our child.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Waits for the predecessor's installers, then closes its tasks.
pub(crate) fn take_over(engine: &Engine, inherited: &[Lease]) {
    for lease in inherited.iter().filter(|lease| lease.kind == LeaseKind::Process) {
        // It is left to finish even when the engine has to go: it is the step in progress.
        while is_running(lease, &engine.session.id) {
            // sleep: a process that is not our child cannot be awaited.
            thread::sleep(POLL_INTERVAL);
        }
        engine.report(EventBody::LeaseReturned { id: lease.id.clone() });
    }
    let unfinished = engine.shared.known(|known| {
        let open = known.tasks.iter().filter(|task| !task.finished);
        open.map(|task| (task.id.clone(), task.open.clone())).collect::<Vec<_>>()
    });
    for (task, steps) in unfinished {
        for (component, started) in steps {
            let (exit, output) = if started {
                (StepExit::Interrupted, engine.logs.tail(&component))
            } else {
                let detail = "the engine ended before it was started".into();
                (StepExit::not_started(FailureCode::Other, detail), String::new())
            };
            let task = task.clone();
            engine.report(EventBody::StepFinished { task, component, exit, output });
        }
        engine.report(EventBody::TaskDone { task });
    }
}

/// Whether the lease's process still runs and is an installer of this session; another process
/// may have got the number since. Daemons that it started are not waited for.
pub(crate) fn is_running(lease: &Lease, session: &str) -> bool {
    let tag = format!("{SESSION_VARIABLE}={session}");
    let environment =
        lease.what.parse::<u32>().ok().and_then(|pid| fs::read(format!("/proc/{pid}/environ")).ok());
    environment.is_some_and(|bytes| bytes.split(|byte| *byte == 0).any(|entry| entry == tag.as_bytes()))
}
