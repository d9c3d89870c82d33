//! Tests of the CRDs on a real API server: every rule with samples that pass and samples that do
//! not, and what users of kubectl see of them. `hack/test cluster` runs all of them; one test:
//!
//! ```text
//! hack/cluster run -- cargo test -p farrier --test cluster -- NAME
//! ```
//!
//! Without KUBECONFIG, tests that need a server print a message and are skipped, so that plain `cargo
//! test` works anywhere. A server on another host is not used either, because the tests install CRDs.
//! `FARRIER_TEST_CLUSTER=1` asserts that there is a server and that it is for tests; then no test is
//! skipped for lack of a server.
//!
//! A new rule in `src/api` needs samples in `rules/KIND.yaml`; a test fails until it has them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and what they share: a panic is how a test fails"
)]

mod arrivals;
mod columns;
mod commands;
mod definitions;
mod exposed;
mod fields;
mod gateway;
mod leases;
mod lifecycle;
mod logs;
mod machine_leases;
mod manifests;
mod ports;
mod rules;
mod samples;
mod schema;
mod server;
mod startup;
mod uninstall;
