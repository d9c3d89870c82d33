//! The real program against a runner written for the test, on a machine of its own: each test
//! runs in fresh mount, process and network namespaces, so nothing of the real machine is touched.
//!
//! Needs root. Without it every test says that it is skipped.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "clippy knows these exceptions for tests, but not for what tests share"
)]

#[macro_use]
mod sandbox;
mod architectures;
mod callback;
mod config;
mod conversation;
mod crash;
mod exclusion;
mod goodbye;
mod limits;
mod machine;
mod packages;
mod payloads;
mod reach;
mod rpm;
mod runner;
mod survey;
mod tls;
mod trust;
mod waits;
