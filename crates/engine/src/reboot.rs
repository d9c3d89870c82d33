//! Executes `Work::Reboot`: reboots the machine once.
//!
//! ```text
//! RebootBegun ─► inhibitors gone ─► delay ─► files of the boot ─► firewall closed ─► RebootRequested ─► the request ─► down
//! (next boot)    take-over: another boot id ─► Rebooted
//! ```
//!
//! The boot id decides whether the reboot has happened, never the clock. The process lives within one boot, so
//! a request can only end the boot whose id is in `RebootBegun`: an engine that takes over in the same boot may
//! request the reboot again without causing a second one.

mod inhibitor;
mod users;

use crate::boot;
use crate::command::{self, Errors, TOOL};
use crate::engine::Engine;
use crate::journal::OpenReboot;
use crate::shared::Stop;
use crate::wait::{self, Ended, Obstacle, Report};
use farrier_protocol::{EventBody, NoReboot, WaitFor};
use inhibitor::Blocker;
use std::ops::ControlFlow;
use std::time::Duration;

/// How long a machine may take to go down: twice the time after which systemd kills what does not stop, for
/// services that are stopped one after the other.
const GOING_DOWN: Duration = Duration::from_mins(10);

/// How long the request waits for a runner that is connected to learn of it. A runner that does not know why the
/// connection ends would take the engine for lost.
const TELLING: Duration = Duration::from_secs(5);

/// Interval between two checks whether the run was cancelled during the delay.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// What is asked for.
pub(crate) struct Order<'a> {
    /// Time before the reboot is requested.
    pub(crate) delay: Duration,
    /// What users are told.
    pub(crate) message: &'a str,
    /// Limit of the wait for programs that inhibit the shutdown.
    pub(crate) wait: Duration,
    /// Whether such programs are ignored.
    pub(crate) ignore_inhibitors: bool,
}

/// Reboots the machine. `Break`: the machine goes down, and this process must end.
pub(crate) fn reboot(engine: &Engine, task: &str, order: &Order) -> ControlFlow<()> {
    let Err(why) = begin(engine, task).and_then(|()| request(engine, task, order)) else {
        return ControlFlow::Break(());
    };
    engine.firewall.resume();
    engine.report(EventBody::NotRebooted { task: task.into(), why });
    engine.report(EventBody::TaskDone { task: task.into() });
    release_boot_files(engine);
    ControlFlow::Continue(())
}

/// Concludes a reboot that an earlier engine has begun, if the machine was rebooted since.
pub(crate) fn conclude(engine: &Engine, open: &OpenReboot) {
    match boot::id() {
        Ok(boot_id) if boot_id != open.boot_id => {
            engine.report(EventBody::Rebooted { task: open.task.clone(), boot_id });
            engine.report(EventBody::TaskDone { task: open.task.clone() });
        }
        // The task continues when the runner gives it again.
        Ok(_) | Err(_) => {}
    }
}

/// Records the boot id, unless an earlier engine has.
fn begin(engine: &Engine, task: &str) -> Result<(), NoReboot> {
    if engine.shared.known(|known| known.reboot.as_ref().is_some_and(|open| open.task == task)) {
        return Ok(());
    }
    let logs = engine.logs.dir();
    if !boot::is_kept(logs) {
        // The next engine would not know that the machine was rebooted, and would do it again.
        let detail =
            "the engine's journal would be lost, since nothing that lasts is writable below /var/log";
        return Err(failed(format!("{detail} ({} is used)", logs.display())));
    }
    let boot_id = boot::id().map_err(|error| failed(format!("the boot id cannot be read: {error}")))?;
    let begun = engine.shared.record(EventBody::RebootBegun { task: task.into(), boot_id });
    begun.map_err(|error| failed(format!("the journal cannot be written: {error}")))
}

/// Requests the reboot. Returns when the machine goes down.
fn request(engine: &Engine, task: &str, order: &Order) -> Result<(), NoReboot> {
    // After a request of an earlier engine in this boot the machine is usually going down already.
    if !engine.shared.known(|known| known.reboot.as_ref().is_some_and(|open| open.requested)) {
        prepare(engine, task, order)?;
    }
    // An engine that takes over has opened the firewall again.
    engine.firewall.suspend();
    go_down(engine, order)
}

/// Waits until the reboot may be requested, and records that it is about to be.
fn prepare(engine: &Engine, task: &str, order: &Order) -> Result<(), NoReboot> {
    await_inhibitors(engine, order)?;
    users::warn(&engine.session.run, order.delay, order.message);
    // Another program may inhibit the shutdown by the end of the delay.
    let permitted = delay(engine, order.delay).and_then(|()| await_inhibitors(engine, order));
    permitted.inspect_err(|_| users::tell("The reboot of this machine by Farrier was called off."))?;
    boot::make(engine);
    // Services that store the rules of a firewall when the machine goes down would store Farrier's.
    engine.firewall.suspend();
    let requested = engine.shared.record(EventBody::RebootRequested { task: task.into() });
    requested.map_err(|error| failed(format!("the journal cannot be written: {error}")))?;
    engine.shared.deliver_events(TELLING);
    Ok(())
}

fn go_down(engine: &Engine, order: &Order) -> Result<(), NoReboot> {
    let (program, arguments): (_, &[&str]) = match (boot::has_systemd(), order.ignore_inhibitors) {
        (true, true) => ("systemctl", &["reboot", "-i"]),
        (true, false) => ("systemctl", &["reboot"]),
        (false, _) => ("reboot", &[]),
    };
    // A command that is killed with the machine did what it should; what decides is whether the machine goes
    // down.
    if let Ok(output) = command::capture(program, arguments, Errors::Merge, TOOL)
        && !output.status.success()
        && output.status.code().is_some()
    {
        return Err(failed(format!("{program} failed ({}): {}", output.status, output.text.trim())));
    }
    if command::find(program).is_none() {
        return Err(failed(format!("the machine has no program {program}")));
    }
    if engine.shared.wait_for_termination(GOING_DOWN) {
        return Ok(());
    }
    let minutes = GOING_DOWN.as_secs() / 60;
    Err(failed(format!("the machine was still up {minutes} min after the reboot was requested")))
}

/// Waits until no program inhibits the shutdown. A machine that cannot be asked is waited for as well.
fn await_inhibitors(engine: &Engine, order: &Order) -> Result<(), NoReboot> {
    if order.ignore_inhibitors {
        return Ok(());
    }
    let mut unanswered = None;
    let look = || {
        unanswered = None;
        inhibitor::look().map_err(|blocker| match blocker {
            Blocker::Program(obstacle) => obstacle,
            Blocker::Unanswered(cause) => {
                let (who, why) = ("an unknown program".into(), format!("systemd cannot be asked: {cause}"));
                unanswered = Some(cause);
                Obstacle { what: WaitFor::Inhibitor { who, why }, holder: None }
            }
        })
    };
    let ended = wait::wait(&engine.shared, order.wait, look);
    ended.map_err(|ended| match (ended, unanswered) {
        (Ended::Stopped(stop), _) => stopped(stop),
        (Ended::Expired(_), Some(cause)) => failed(format!(
            "it is not known whether a program inhibits its shutdown, since systemd cannot be asked ({cause}); \
             spec.force.inhibitors of a run reboots it all the same"
        )),
        (Ended::Expired(Obstacle { what: WaitFor::Inhibitor { who, why }, holder }), None) => {
            NoReboot::Inhibited { who, why, holder }
        }
        (Ended::Expired(_), None) => NoReboot::Unknown,
    })
}

/// Waits for the delay. A cancellation ends it.
fn delay(engine: &Engine, delay: Duration) -> Result<(), NoReboot> {
    let mut report = Report::begin(&engine.shared, Some(delay));
    loop {
        let rest = delay.saturating_sub(report.elapsed());
        if let Some(stop) = engine.shared.pause(POLL_INTERVAL.min(rest)) {
            return Err(stopped(stop));
        }
        if report.elapsed() >= delay {
            return Ok(());
        }
        report.show(&Obstacle { what: WaitFor::RebootDelay, holder: None });
    }
}

/// Removes the files that start the engine at the next boot.
fn release_boot_files(engine: &Engine) {
    let leases = engine.shared.known(|known| known.leases.clone());
    // What cannot be removed stays in the journal, and is reported when the engine retires.
    boot::release(leases.iter(), |id| engine.report(EventBody::LeaseReturned { id: id.to_owned() }));
}

fn stopped(stop: Stop) -> NoReboot {
    match stop {
        Stop::Cancelled => NoReboot::Cancelled,
        Stop::Halt(halt) => failed(halt.text().into()),
    }
}

fn failed(detail: String) -> NoReboot {
    NoReboot::Failed { detail }
}
