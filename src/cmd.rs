//! The commands. Only these modules depend on all others; only these use `anyhow`.

pub mod cluster;
pub mod completion;
pub mod conformance;
pub mod console;
pub mod crd;
mod format;
pub mod invocation;
pub mod logs;
pub mod nodes;
pub mod operator;
pub mod ports;
pub mod rehearse;
pub mod status;
pub mod steer;
mod table;
pub mod uninstall;
pub mod why;
