//! The Farrier operator: a map of its modules.
//!
//! ```text
//! cmd ─► controllers ─► api, update (pure)            decides
//!    └─► runner ─► attempt ◄─ drivers ─► ssh           acts on machines
//!                        └─► engine_api, payload, engines
//! ```
//!
//! `drivers` and everything below it depend on neither kube nor `api`: the runner translates. Only
//! `act` and `publish` write to Kubernetes.

pub mod api;
pub mod attempt;
pub mod caches;
pub mod callback;
pub mod cmd;
pub mod conformance;
pub mod controllers;
pub mod convert;
mod descriptors;
pub mod drivers;
pub mod engine_api;
pub mod engines;
pub mod exposure;
pub mod failure;
pub mod fleet_metrics;
pub mod health;
pub mod heartbeat;
pub mod http;
pub mod inputs;
pub mod lease;
pub mod log_store;
pub mod machine_lease;
pub mod membership;
pub mod metrics;
pub mod payload;
pub mod publish;
pub mod runner;
pub mod ssh;
pub mod telemetry;
pub mod tls;
mod token_bucket;
