//! The conformance kit: what every driver must do, tried on machines.
//!
//! A [`Bench`] gives machines, which are usually doubles, and the kit makes attempts at them through
//! [`Driver::attempt`](crate::drivers::Driver). It plays the runner, without Kubernetes: it records the entries of
//! the logbook in a list, cancels, kills attempts at any point, freezes them, and has a successor go on. What it
//! believes is the [`Footprint`] of the machine, which the bench reads and not the driver.
//!
//! ```text
//! Bench ──► Subject ──► Job, Driver ──► attempt ──► End, View ─┐
//!              └──────► Footprint ────────────────────────────┴──► law ──► Report
//! ```
//!
//! [`probe()`] is for a real machine that must not suffer: one inventory, a plan if there is a baseline, and one
//! update only if it is asked for. `farrier conformance` runs it.

mod checks;
mod fault;
mod kit;
mod law;
mod offers;
mod probe;
mod report;
mod subject;
mod trial;

pub use fault::{Expected, Fault};
pub use offers::NoOffers;
pub use probe::{Extent, Probe, probe};
pub use report::{Line, Report, Verdict};
pub use subject::{Bench, Footprint, Journal, Subject};

use futures::future::join_all;
use kit::Kit;
use std::time::Instant;

/// Runs every check on the machines of a bench.
pub async fn run(bench: &dyn Bench) -> Report {
    run_only(bench, "").await
}

/// Runs the checks whose name contains `filter`.
pub async fn run_only(bench: &dyn Bench, filter: &str) -> Report {
    let kit = Kit::new(bench);
    let begun = Instant::now();
    let chosen = checks::CHECKS.iter().filter(|check| check.name.contains(filter));
    let lines = chosen.map(async |check| {
        let verdict = (check.run)(&kit).await.into();
        Line { check: check.name.to_owned(), verdict, after: begun.elapsed() }
    });
    Report { of: bench.name(), lines: join_all(lines).await }
}
