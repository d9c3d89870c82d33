//! The commands. Only these know everything; only these use `anyhow`.

pub mod cluster;
pub mod crd;
pub mod operator;
pub mod ports;
pub mod uninstall;
