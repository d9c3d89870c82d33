//! SSH for the drivers: dialling, host key verification, authentication and commands.
//!
//! Knows nothing of Kubernetes, of engines or of updates. Every failure carries the reason that the user
//! sees.

mod algorithms;
pub mod auth;
mod channel_count;
mod channels;
mod client;
pub mod connect;
mod credentials;
pub mod dial;
pub mod exec;
mod greeting;
mod heard;
pub mod hostkey;
mod interactive;
mod shell;
#[cfg(test)]
pub(crate) mod tests;

pub use algorithms::Algorithms;
pub use connect::Connection;
pub use credentials::Credentials;
pub use dial::{Family, Target};
pub use exec::{Output, Running};
pub use hostkey::{HostKeys, KeyCheck};
pub use shell::{Shell, TERM, Terminal};
