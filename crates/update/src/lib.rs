//! The update logic of Farrier: what a machine needs, what came of it, what a run does next.
//!
//! Everything here is pure: a function of its arguments and of nothing else. There is no
//! Kubernetes, no clock, no randomness, no file and no socket; `clippy.toml` of this crate
//! refuses them. Time is a parameter ([`Millis`]), chance is a seed.
//!
//! ```text
//! Baseline + facts + readings ──► plan::plan_node ──► NodePlan ──► steps for the engine
//! step records + second readings ──► outcome::conclude ──► ComponentResult
//!                                    outcome::summarize ──► NodeVerdict
//! run + baseline + nodes ──► run::decide ──► Decision { effects, waiting, status, wake }
//! ```
//!
//! The laws of `run::decide`, each a property test in `tests/laws.rs`: it is total and
//! deterministic; a world without faults reaches an end without effects; cut after any
//! effect it goes on where it was, and no node is started twice; never more nodes are in
//! flight than `maxConcurrent`; cancelling ends from any state; whatever is not at its end
//! says what it waits for; a run at its end does nothing but disappear; no node is in
//! flight for two runs; nothing ends or is fixed for good on a view that may be behind;
//! missing objects are waited for until a deadline, which is kept in whatever order they come.

pub mod model;
pub mod outcome;
mod package;
pub mod plan;
pub mod reason;
pub mod retry;
pub mod run;
pub mod version;

pub use model::{
    AppliesTo, Component, FailedDependency, Force, InstallerKind, Millis, NodeName, PayloadRef, RebootNeed,
    Requirement, RunName,
};
pub use outcome::{ComponentResult, NodeVerdict, Outcome, StepRecord, conclude, summarize};
pub use plan::{Action, NodePlan, PlanInput, PlanItem, plan_node, validate_baseline};
pub use reason::Reason;
pub use retry::{Retry, after_failure, backoff};
pub use run::{Decision, Effect, Observed, decide};
pub use version::{Scheme, compare};
