//! Executes `Work::Apply`: fetches all payloads first, then runs the steps in order.

mod firmware;
mod payloads;
mod room;

use crate::apply_error::ApplyError;
use crate::dkms;
use crate::engine::{Engine, failed};
use crate::install::holds::leases;
use crate::install::repository::Repositories;
use crate::install::{self, Ended, Preparation};
use crate::shared::{Halt, Stop};
use crate::space;
use crate::step::{self, Limit, Plan, SESSION_VARIABLE, Watch};
use crate::takeover;
use crate::work_dir;
use farrier_protocol::{EventBody, FailureCode, Lease, LeaseKind, Leftover, Step, StepExit, StepLimit};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

/// Interval before an installation is repeated that another process locked out.
const REPEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Executes the task to its end. Each step gets a `StepFinished` event, unless the task fails as a whole
/// before the first step. `wait` limits each wait for another process on the machine.
pub(crate) fn apply(engine: &Engine, task: &str, steps: &[Step], wait: Duration) {
    let components = steps.iter().map(|step| step.component.clone()).collect();
    let begun = engine.shared.record(EventBody::TaskStarted { task: task.into(), components });
    let ready = match begun {
        Ok(()) => payloads::fetch_all(engine, task, steps, wait),
        Err(error) => Err(ApplyError::other("", format!("the journal cannot be written: {error}"))),
    };
    let stopped = match &ready {
        Err(ApplyError::Stopped(stop)) => Some(*stop),
        Ok(_) | Err(ApplyError::Failed { .. }) => None,
    };
    let ended = match ready {
        Ok(refused) => {
            let repositories = Repositories::of_machine(steps);
            Apply { engine, task, wait, repositories, stopped, refused, succeeded: BTreeSet::new() }
                .steps(steps)
        }
        // After a stop, `steps` starts no step and reports the reason for each step.
        Err(ApplyError::Stopped(_)) => {
            let (refused, repositories) = (BTreeMap::new(), Repositories::of_machine(steps));
            Apply { engine, task, wait, repositories, stopped, refused, succeeded: BTreeSet::new() }
                .steps(steps)
        }
        Err(failure @ ApplyError::Failed { .. }) => Err(failure),
    };
    // If a directory cannot be removed now, it is reported when the engine retires.
    work_dir::remove_tree(&engine.place.payloads()).ok();
    // What could not be taken back has what is needed for that in it.
    if !dkms::is_unfinished(&engine.place.work()) {
        work_dir::remove_tree(&engine.place.work()).ok();
    }
    engine.report(match ended {
        Err(ApplyError::Failed { code, component, message }) => failed(task, code, &component, message),
        Ok(()) | Err(ApplyError::Stopped(_)) => EventBody::TaskDone { task: task.into() },
    });
}

struct Apply<'a> {
    engine: &'a Engine,
    task: &'a str,
    wait: Duration,
    repositories: Repositories<'a>,
    /// Set once there is a reason to stop; no further step of the task is started.
    stopped: Option<Stop>,
    /// Steps that the checks before the first step have refused.
    refused: BTreeMap<String, StepExit>,
    succeeded: BTreeSet<&'a str>,
}

impl<'a> Apply<'a> {
    fn steps(mut self, steps: &'a [Step]) -> Result<(), ApplyError> {
        for (number, step) in steps.iter().enumerate() {
            let (exit, output) = match self.step(number, step) {
                Ok(ended) => ended,
                // The task as a whole can fail only before the first step.
                Err(ApplyError::Stopped(stop)) => {
                    self.stopped = Some(stop);
                    (exit_of(stop), String::new())
                }
                Err(failure) if number == 0 => return Err(failure),
                Err(ApplyError::Failed { code, message, component: _ }) => {
                    (StepExit::not_started(code, message), String::new())
                }
            };
            if exit == (StepExit::Exited { code: 0 }) {
                self.succeeded.insert(&step.component);
            }
            let (task, component) = (self.task.into(), step.component.clone());
            self.engine.report(EventBody::StepFinished { task, component, exit, output });
        }
        Ok(())
    }

    fn step(&mut self, number: usize, step: &Step) -> Result<(StepExit, String), ApplyError> {
        self.stopped = self.stopped.or_else(|| self.engine.shared.stop());
        if let Some(stop) = self.stopped {
            return Ok((exit_of(stop), String::new()));
        }
        if let Some(missing) = step.after.iter().find(|name| !self.succeeded.contains(name.as_str())) {
            return Ok((StepExit::Skipped, format!("{missing} did not succeed")));
        }
        if let Some(exit) = self.refused.get(&step.component) {
            return Ok((exit.clone(), String::new()));
        }
        // Earlier steps may have filled the disk.
        room::wait_for_room(&self.engine.shared, &step.component, self.wait, || {
            space::check_packages(std::slice::from_ref(step), None)
        })?;
        let begun = Instant::now();
        let mut ended = self.install(number, step)?;
        while ended.was_locked {
            let output = ended.output;
            if begun.elapsed() >= self.wait {
                return Ok((StepExit::not_started(FailureCode::PackageManagerBusy, output.clone()), output));
            }
            if let Some(stop) = self.engine.shared.pause(REPEAT_INTERVAL) {
                return Err(ApplyError::Stopped(stop));
            }
            ended = match self.install(number, step) {
                // The step was started before, so the task as a whole cannot fail.
                Err(ApplyError::Failed { code, message, component: _ }) => {
                    return Ok((StepExit::not_started(code, message), output));
                }
                other => other?,
            };
        }
        Ok((ended.exit, ended.output))
    }

    fn install(&self, number: usize, step: &Step) -> Result<Ended, ApplyError> {
        match install::prepare(self.engine, number, step, self.wait, &self.repositories)? {
            Preparation::Ready { plan, lock, held } => {
                let ended = match leases::take(self.engine, &held) {
                    Ok(()) => self.run(plan, step),
                    Err(error) => Ok(not_in_journal(step, &error)),
                };
                drop(lock);
                for Leftover { what, why } in leases::put_back(self.engine) {
                    self.engine.output.note(&step.component, &format!("{what}: {why}"));
                }
                ended
            }
            Preparation::Ended { exit, output } => {
                self.engine.output.note(&step.component, &output);
                Ok(Ended::unstarted(step, exit, self.engine.output.last_part(&output)))
            }
        }
    }

    fn run(&self, mut plan: Plan, step: &Step) -> Result<Ended, ApplyError> {
        let (task, component) = (self.task.to_owned(), step.component.clone());
        plan.environment.push((SESSION_VARIABLE, self.engine.session.id.clone()));
        let not_written = |error: io::Error| {
            let message = format!("the log cannot be written: {error}");
            ApplyError::Failed { code: space::code(&error), component: component.clone(), message }
        };
        let log = self.engine.logs.step(&component).map_err(not_written)?;
        let limit = Some(StepLimit { seconds: step.timeout_seconds, interruptible: step.interruptible });
        let started = EventBody::StepStarted { task, component: component.clone(), limit };
        if let Err(error) = self.engine.shared.record(started) {
            return Ok(not_in_journal(step, &error));
        }
        let limit =
            Limit { span: Duration::from_secs(step.timeout_seconds), interruptible: step.interruptible };
        let mut watch = Watcher { apply: self, step, lease: None };
        self.engine.output.begin(&step.component, log.share().map_err(not_written)?, log.start());
        let exit = step::run(&plan, limit, &log, &mut watch);
        self.engine.output.finish();
        if let Some(lease) = watch.lease {
            self.engine.report(EventBody::LeaseReturned { id: lease.id });
        }
        // Nothing is left to take back unless the installer was killed.
        let undone = dkms::undo(&plan.dir).unwrap_or_else(|error| error);
        self.engine.output.note(&step.component, &undone);
        let output = self.engine.output.tail(&log) + &self.engine.output.last_part(&undone);
        Ok(Ended::of_installer(step, exit, output, &log))
    }
}

/// Reports to the runner what happens while an installer runs.
struct Watcher<'a> {
    apply: &'a Apply<'a>,
    step: &'a Step,
    lease: Option<Lease>,
}

impl Watch for Watcher<'_> {
    fn created(&mut self, pid: u32) -> io::Result<()> {
        let shared = &self.apply.engine.shared;
        let lease = shared.known(|known| known.new_lease(LeaseKind::Process, pid.to_string()));
        let lease = Lease { started: takeover::start_ticks(pid), ..lease };
        self.lease = Some(lease.clone());
        shared.record(EventBody::LeaseTaken { lease })
    }

    fn overdue(&mut self) {
        let (task, component) = (self.apply.task.into(), self.step.component.clone());
        let ended = self.step.interruptible;
        self.apply.engine.report(EventBody::StepOverdue { task, component, ended });
    }
}

/// A step that is not started, because a crash would let nobody know that it was.
fn not_in_journal(step: &Step, error: &io::Error) -> Ended {
    let detail = format!("the journal cannot be written: {error}");
    Ended::unstarted(step, StepExit::not_started(space::code(error), detail), String::new())
}

fn exit_of(stop: Stop) -> StepExit {
    match stop {
        Stop::Cancelled => StepExit::Cancelled,
        Stop::Halt(halt @ (Halt::LeaseExpired | Halt::Terminated)) => {
            StepExit::not_started(FailureCode::Other, halt.text().into())
        }
    }
}
