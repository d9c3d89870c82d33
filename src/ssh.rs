//! SSH for the drivers: dialling, host key verification, authentication and commands.
//!
//! Knows nothing of Kubernetes, of engines or of updates. Every failure carries the reason that the user
//! sees.

pub mod auth;
mod channel_count;
mod channels;
mod client;
pub mod connect;
pub mod dial;
pub mod exec;
mod greeting;
pub mod hostkey;
mod shell;
#[cfg(test)]
pub(crate) mod tests;

pub use auth::Credentials;
pub use connect::Connection;
pub use dial::{Family, Target};
pub use exec::{Output, Running};
pub use hostkey::{HostKeys, KeyCheck};
pub use shell::{Shell, TERM, Terminal};
