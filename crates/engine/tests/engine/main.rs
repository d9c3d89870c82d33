//! Tests of the real program against a test runner, each on its own machine: every test runs in new mount,
//! process and network namespaces, so the real machine is not changed.
//!
//! The tests need root. Without root each test reports that it is skipped.

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
mod drivers;
mod exclusion;
mod firewalld;
mod firmware;
mod fwupd;
mod goodbye;
mod holds;
mod limits;
mod listen;
mod log;
mod machine;
mod packages;
mod payloads;
mod reach;
mod reboot;
mod repositories;
mod rpm;
mod rpm_repositories;
mod runner;
mod survey;
mod tls;
mod trust;
mod vendors;
mod waits;
