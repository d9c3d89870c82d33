//! End-to-end tests: an operator process, a real API server, and machines with a real sshd.
//! `hack/test lab` runs all of them; one test:
//!
//! ```text
//! hack/lab run -- hack/cluster run -- cargo test -p farrier --test e2e -- NAME
//! ```
//!
//! `harness` explains how to write a test.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and what they share: a panic is how a test fails"
)]

mod arrivals;
mod attacks;
mod bad_input;
mod bmc;
mod callback;
mod cancel;
mod changed;
mod conformance;
mod console;
mod crash;
mod current;
mod drain;
mod drift;
mod drivers;
mod facts;
mod field;
mod firmware;
mod happy;
mod harness;
mod hpux;
mod limits;
mod listen;
mod logged;
mod logs;
mod long;
mod lost;
mod made_up;
mod order;
mod orphan;
mod owners;
mod packages;
mod patience;
mod ports;
mod reboot;
mod replicas;
mod repositories;
mod rollout;
mod sequence;
mod staging;
mod steering;
mod versions;
mod waits;
mod window;
