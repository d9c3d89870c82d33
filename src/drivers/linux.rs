//! Linux machines over SSH.
//!
//! Only four things are done by shell: the probe, trying whether the machine reaches the runner,
//! bringing and launching the engine, and the last look. All the rest is the engine's. The shell
//! parts are the `.sh` files in this folder. They assume a POSIX `/bin/sh` and nothing of the user's
//! login shell, which may be fish, csh, or print a banner.

mod attach;
mod deploy;
mod look;
mod privilege;
mod probe;
mod reach;
mod refusal;
mod script;
#[cfg(test)]
mod shells;

pub use deploy::{Deployed, NotDeployed};
pub use look::Look;
pub use privilege::Privilege;
pub use probe::Probe;

use crate::engines::Engine;
use crate::ssh::{Connection, Credentials};
use farrier_protocol::CallbackConfig;

/// A machine that we are signed in on, for one session.
pub struct Machine {
    /// The connection.
    pub connection: Connection,
    /// Short id of the session: part of the path of everything of ours on the machine.
    pub id: String,
}

/// How the engine is launched.
pub struct Launch<'a> {
    /// The engine for this machine.
    pub engine: &'a Engine,
    /// UID of the NodeUpdate.
    pub session: &'a str,
    /// Name of the run, for the log directory.
    pub run: &'a str,
    /// How to become root.
    pub privilege: Privilege,
    /// Passwords for it.
    pub credentials: &'a Credentials,
    /// How long the engine may go without contact at first, in seconds.
    pub lease_seconds: u64,
    /// Where the engine calls back, if it does.
    pub callback: Option<&'a CallbackConfig>,
}

/// Name of our directory on a machine.
fn directory(id: &str) -> String {
    format!("farrier-{id}")
}

/// Where our directory may be, in the order tried: what survives a reboot first.
const PLACES: &[&str] = &["/var/lib", "/var/tmp", "/tmp", "/run", "/dev/shm"];
