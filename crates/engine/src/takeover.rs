//! The first action of an engine: ends what its predecessor left open.
//!
//! Nothing is started a second time. If an installer is still running, the engine waits for it, because two
//! installers at the same time are worse than a delay. The installer keeps its original time limit.

use crate::dkms;
use crate::engine::Engine;
use crate::install::holds::leases;
use crate::journal::{OpenStep, SessionState};
use crate::lock_holder;
use crate::process_tree::Process;
use crate::reboot;
use crate::step::{self, SESSION_VARIABLE};
use crate::wait::{Obstacle, Report};
use farrier_protocol::{EventBody, FailureCode, Holder, Lease, LeaseKind, StepExit, WaitFor};
use rustix::process::Pid;
use std::fs;
use std::thread;
use std::time::Duration;

/// Interval between two checks of a process that is not a child of this engine.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Unit of the start time in `/proc/PID/stat`: `USER_HZ`, which is 100 on every Linux.
const TICKS_PER_SECOND: u64 = 100;

/// Waits for the predecessor's installers, then closes its tasks.
pub(crate) fn take_over(engine: &Engine, inherited: &[Lease]) {
    if engine.shared.known(|known| known.waits) {
        engine.report(EventBody::Waiting { wait: None });
    }
    let begun = engine.shared.known(SessionState::begun);
    let mut timed_out = false;
    for lease in inherited.iter().filter(|lease| lease.kind == LeaseKind::Process) {
        if is_running(lease, &engine.session.id) {
            timed_out |= matches!(wait_for_installer(engine, lease, begun.as_ref()), How::Ended);
        }
        engine.report(EventBody::LeaseReturned { id: lease.id.clone() });
    }
    // What cannot be put back now is tried again when the engine retires.
    leases::put_back(engine);
    let undone = dkms::undo_all(&engine.place.work()).unwrap_or_else(|error| error);
    if let (Some((_, step)), false) = (&begun, undone.is_empty()) {
        engine.output.note(&step.component, &undone);
    }
    if let Some(open) = engine.shared.known(|known| known.reboot.clone()) {
        reboot::conclude(engine, &open);
    }
    let unfinished = engine.shared.known(|known| {
        // A reboot that has not happened continues with the same task.
        let continues = |id: &str| known.reboot.as_ref().is_some_and(|open| open.task == id);
        let open = known.tasks.iter().filter(|task| !task.finished && !continues(&task.id));
        open.map(|task| (task.id.clone(), task.open.clone())).collect::<Vec<_>>()
    });
    for (task, steps) in unfinished {
        for OpenStep { component, started, limit: _ } in steps {
            let (exit, output) = if started {
                // There is at most one such step: the one whose installer was running.
                let exit = if timed_out { StepExit::TimedOut } else { StepExit::Interrupted };
                engine.output.finish();
                let printed = engine.logs.printed(&component).ok();
                (exit, printed.map(|log| engine.output.tail(&log)).unwrap_or_default())
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

/// How an inherited installer ended.
enum How {
    /// It exited by itself.
    Finished,
    /// It exceeded its limit and was terminated.
    Ended,
}

/// Waits for an installer whose engine is gone. It is left to finish even if this engine must exit, because
/// it is the step in progress.
fn wait_for_installer(engine: &Engine, lease: &Lease, begun: Option<&(String, OpenStep)>) -> How {
    let pid = lease.what.parse().unwrap_or_default();
    let is_running = || is_running(lease, &engine.session.id);
    let component = begun.map(|(_, step)| step.component.clone()).unwrap_or_default();
    let obstacle = Obstacle {
        what: WaitFor::Installer { component: component.clone() },
        holder: Some(Holder { pid, name: lock_holder::name(pid) }),
    };
    let limit = begun.and_then(|(_, step)| step.limit);
    let mut rest = limit.map(|limit| Duration::from_secs(limit.seconds).saturating_sub(age(pid)));
    let mut report = Report::begin(&engine.shared, rest);
    while is_running() {
        if let (Some(limit), Some((task, _))) = (limit, begun)
            && rest.is_some_and(|rest| report.elapsed() >= rest)
        {
            let (task, component, ended) = (task.clone(), component.clone(), limit.interruptible);
            engine.report(EventBody::StepOverdue { task, component, ended });
            if let (true, Some(group)) = (ended, Pid::from_raw(pid.cast_signed())) {
                step::end(group, |grace| ends_within(grace, is_running));
                return How::Ended;
            }
            // The installer must not be interrupted, and is left to finish.
            rest = None;
            report.without_limit();
        }
        report.show(&obstacle);
        // sleep: a process cannot wait for processes that are not its children.
        thread::sleep(POLL_INTERVAL);
    }
    How::Finished
}

/// Waits until a process ends, for at most `span`.
fn ends_within(span: Duration, is_running: impl Fn() -> bool) {
    let looks = span.as_millis() / POLL_INTERVAL.as_millis();
    for _ in 0..looks {
        if !is_running() {
            return;
        }
        // sleep: as above.
        thread::sleep(POLL_INTERVAL);
    }
}

/// Returns the time since a process was started. The machine's clock is not used, because it may have been
/// set meanwhile. Zero if the time cannot be determined.
fn age(pid: u32) -> Duration {
    let seconds = || {
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let uptime: u64 = uptime.split('.').next()?.parse().ok()?;
        Some(uptime.saturating_sub(start_ticks(pid)? / TICKS_PER_SECOND))
    };
    Duration::from_secs(seconds().unwrap_or_default())
}

/// Returns the start time of a process that has not ended, in ticks since the machine was booted.
pub(crate) fn start_ticks(pid: u32) -> Option<u64> {
    Process::of(pid).map(|process| process.started)
}

/// Reports whether the lease's process is still running and is an installer of this session; another
/// process may have the same process id by now. Daemons that the installer started are not waited for.
///
/// The start time recognises an installer that has replaced or overwritten its environment; the environment
/// recognises one whose engine did not record the start time.
pub(crate) fn is_running(lease: &Lease, session: &str) -> bool {
    let Ok(pid) = lease.what.parse::<u32>() else { return false };
    if lease.started.is_some() && start_ticks(pid) == lease.started {
        return true;
    }
    let tag = format!("{SESSION_VARIABLE}={session}");
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|bytes| bytes.split(|byte| *byte == 0).any(|entry| entry == tag.as_bytes()))
}
