//! Thousands of simulated machines in one process, each a real SSH server at an address of its own, for `hack/bench scale`.
//!
//! To the operator they are machines: it signs in, sends its shell programs and its engine, and serves the engine's
//! requests. Behind the SSH server is no Linux: `shell.rs` recognises the operator's programs and answers them, and
//! [`engine`] says what an engine says, event by event. What costs a real machine processor time (shells, package
//! databases, dpkg) costs nothing here, so that thousands of machines leave the processors to the operator. What the
//! operator sends is received, counted and verified as on a machine.
//!
//! Other commands are run by `/bin/sh` in a directory of the machine (`foreign.rs`), for `scp`, `ssh` and Ansible.

pub mod engine;
pub mod fleet;
mod foreign;
mod program;
pub mod server;
mod shell;

pub use fleet::Fleet;
