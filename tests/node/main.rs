//! Tests of the chart on a real node: pods with the rights and policies that the chart installs,
//! machines outside the cluster. `hack/test node` runs all of them but those in modules `long`, which `hack/test node-long` runs; one test:
//!
//! ```text
//! hack/node run -- bash -c 'hack/node load target/image-dev && cargo test -p farrier --test node -- NAME'
//! ```
//!
//! A test is written like those of tests/e2e, whose machines and runs it uses; only the operator is not
//! a process beside the test, but a [`release::Release`] of the chart.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and what they share: a panic is how a test fails"
)]

#[path = "../e2e"]
mod e2e {
    #[expect(dead_code, unused_imports, reason = "each test target uses its part of what tests share")]
    pub(crate) mod harness;
}
mod fetch;
mod matrix;
mod mended;
mod nodes;
mod pods;
mod release;
mod replicas;
mod rights;
mod traces;
mod uninstall;
mod upgrade;

use e2e::harness;
