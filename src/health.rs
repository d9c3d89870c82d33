//! Health of this process: whether it is alive, and whether it can work.
//!
//! Alive (`/healthz`): each loop completes its iterations. A loop that does not is stuck for good,
//! and a restart helps. Ready (`/readyz`): the dependencies of the work are available. A replica
//! that is not the leader is ready too: it works on machines.

mod checks;

pub use checks::Readiness;

use crate::heartbeat::Heartbeat;
use crate::metrics::{Metrics, catalogue};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug)]
struct Loop {
    name: &'static str,
    limit: Duration,
    last: Heartbeat,
}

/// The loops of this process.
#[derive(Debug, Clone, Default)]
pub struct Loops(Arc<Mutex<Vec<Loop>>>);

impl Loops {
    /// Registers a loop that is about to start and must complete an iteration within `limit`, which
    /// is longer than the longest iteration.
    pub fn begin(&self, name: &'static str, limit: Duration) -> Heartbeat {
        let last = Heartbeat::new();
        self.lock().push(Loop { name, limit, last: last.clone() });
        last
    }

    /// Returns one line for each loop, and whether all loops are within their limits.
    pub fn report(&self) -> Report {
        let mut report = Report::new("healthz");
        for Loop { name, limit, last } in self.lock().iter() {
            let (age, limit) = (last.age().as_secs(), limit.as_secs());
            let verdict = if age <= limit {
                Ok(format!("came round {age} s ago"))
            } else {
                Err(format!(
                    "the {name} loop has not completed an iteration for {age} s; its limit is {limit} s"
                ))
            };
            report.line(name, &verdict);
        }
        report
    }

    /// Exports the ages as a metric.
    pub fn measure(&self, metrics: &Metrics) {
        let loops = self.clone();
        metrics.watch(&catalogue::LOOP_AGE, move || {
            loops.lock().iter().map(|l| ([l.name], l.last.age().as_secs_f64())).collect()
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Loop>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a probe: one line for each check, like `?verbose` of the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether every check passed.
    pub good: bool,
    /// The lines, for people.
    pub text: String,
    endpoint: &'static str,
}

impl Report {
    fn new(endpoint: &'static str) -> Self {
        Self { good: true, text: String::new(), endpoint }
    }

    fn line(&mut self, name: &str, verdict: &Result<String, String>) {
        self.good &= verdict.is_ok();
        let (sign, word, why) = match verdict {
            Ok(how) => ('+', "ok", how),
            Err(why) => ('-', "failed", why),
        };
        // Writing to a String cannot fail.
        writeln!(self.text, "[{sign}]{name} {word}: {why}").ok();
    }

    /// Returns all lines, followed by the verdict.
    pub fn into_text(self) -> String {
        let Self { good, text, endpoint } = self;
        format!("{text}{endpoint} check {}\n", if good { "passed" } else { "failed" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If this fails, a probe passes while a loop hangs and never restarts the process, or it does
    /// not name the loop and leaves nothing to report.
    #[test]
    fn a_stuck_loop_is_named() {
        let loops = Loops::default();
        let quick = loops.begin("runner", Duration::from_hours(1));
        quick.heartbeat();
        assert!(loops.report().good);
        let stuck = Heartbeat::aged(Duration::from_secs(100));
        loops.lock().push(Loop { name: "controller", limit: Duration::from_mins(1), last: stuck.clone() });
        let report = loops.report();
        assert!(!report.good);
        let text = report.into_text();
        assert!(text.contains("[+]runner ok"), "{text}");
        assert!(
            text.contains(
                "[-]controller failed: the controller loop has not completed an iteration for 100 s"
            ),
            "{text}"
        );
        assert!(text.ends_with("healthz check failed\n"), "{text}");
        stuck.heartbeat();
        assert!(loops.report().good);
    }
}
