//! The commands. Only these know everything; only these use `anyhow`.

pub mod crd;
pub mod operator;
pub mod uninstall;
