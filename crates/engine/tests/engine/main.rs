//! The real program against a runner written for the test, on a machine of its own: each test
//! runs in fresh mount and process namespaces, so nothing of the real machine is touched.
//!
//! Needs root. Without it every test says that it is skipped.

#[macro_use]
mod sandbox;
mod conversation;
mod crash;
mod exclusion;
mod goodbye;
mod limits;
mod machine;
mod packages;
mod payloads;
mod runner;
mod survey;
