//! The update logic of Farrier: what a machine needs, the result of the work, and the next
//! step of a run.
//!
//! This crate is pure: each function depends on its arguments alone. It uses no Kubernetes
//! API, clock, randomness, file or socket; the `clippy.toml` of this crate rejects them. Time
//! is a parameter ([`Millis`]), and randomness comes from a seed that is passed in.
//!
//! ```text
//! Baseline + facts + readings ──► plan::plan_node ──► NodePlan ──► steps for the engine
//! step records + second readings ──► outcome::conclude ──► ComponentResult
//!                                    outcome::summarize ──► NodeVerdict
//! run + baseline + nodes ──► run::decide ──► Decision { effects, waiting, status, wake }
//! run + baseline + nodes + rates of failures ──► rehearsal::rehearse ──► Rehearsal
//! actions + inventory of a device that flashes itself ──► device::next ──► Next
//! Lease of a machine + who wants it ──► ownership::decide ──► Decision
//! NodePlan of an inventory ──► drift::Comparison
//! machines + when they were looked at ──► drift::schedule::decide ──► InventoryRun
//! record of a drain + Node and its pods, or a hook's answer ──► drain::next_of_node, drain::next_of_hook ──► Next
//! ```
//!
//! The laws of `run::decide` are property tests in `tests/laws.rs`:
//!
//! - `decide` is total and deterministic.
//! - A run without faults reaches an end, after which it has no effects.
//! - After an interruption between any two effects, the run continues where it was, and no
//!   node is started twice.
//! - The number of nodes in flight never exceeds `maxConcurrent`.
//! - No node is begun before those that come before it have ended well, and no two partners are in flight
//!   together.
//! - Cancelling ends a run from any state.
//! - Every run or node that has not ended reports what it waits for.
//! - A run that has ended does nothing except expire.
//! - No node is in flight for two runs.
//! - No run ends and no list of nodes is recorded based on a view that may be stale.
//! - A run waits for missing objects until a deadline, which it keeps whatever the order in
//!   which objects arrive.

pub mod device;
mod digest;
pub mod drain;
pub mod drift;
pub mod installer;
pub mod model;
pub mod outcome;
pub mod ownership;
mod package;
pub mod payload_url;
pub mod plan;
pub mod reason;
pub mod reboot;
pub mod rehearsal;
pub mod retry;
pub mod run;
pub mod version;
pub mod window;

pub use digest::digest_of;
pub use installer::{InstallerKind, Installers};
pub use model::{
    AppliesTo, Component, FailedDependency, Force, Millis, Needs, NodeName, PayloadRef, RebootNeed,
    Requirement, RunName, SignatureRef,
};
pub use outcome::{
    ComponentResult, NodeVerdict, Outcome, PartResult, StepRecord, conclude, conclude_staged, summarize,
};
pub use plan::{Action, Forecast, NodePlan, PlanInput, PlanItem, plan_node, validate_baseline};
pub use reason::Reason;
pub use reboot::{RebootOrder, RebootPolicy};
pub use retry::{Retry, after_failure, backoff};
pub use run::{Decision, Effect, Observed, decide};
pub use version::{Scheme, compare};
pub use window::{Window, WindowError, WindowState};
