//! Linux machines over SSH.
//!
//! Only four things are done with shell programs: the probe, the test whether the machine reaches the runner,
//! the deployment and launch of the engine, and the final check. The engine does everything else. The shell
//! programs are the `.sh` files in this folder. They require a POSIX `/bin/sh` and assume nothing about the
//! user's login shell, which may be fish or csh, or may print a banner.

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

pub use deploy::{Deployed, EARLIER_SHELL_TIMEOUT, NotDeployed, Progress};
pub use look::Look;
pub use privilege::Privilege;
pub use probe::Probe;

use super::{Abilities, Class};
use crate::engines::Engine;
use crate::ssh::{Connection, Credentials};
use farrier_network::MachineType;
use farrier_protocol::CallbackConfig;
use farrier_update::InstallerKind;

/// The class of Linux machines.
pub struct Linux;

impl Class for Linux {
    fn types(&self) -> &'static [MachineType] {
        &[MachineType::Linux]
    }

    fn abilities(&self) -> &'static Abilities {
        &Abilities { installers: &[InstallerKind::Deb, InstallerKind::Rpm, InstallerKind::Script] }
    }
}

/// An authenticated connection to a machine, for one session.
pub struct Machine {
    /// The connection.
    pub connection: Connection,
    /// Short id of the session; part of the path of everything that Farrier puts on the machine.
    pub id: String,
}

/// Options for the launch of the engine.
pub struct Launch<'a> {
    /// The engine binary for this machine.
    pub engine: &'a Engine,
    /// UID of the NodeUpdate.
    pub session: &'a str,
    /// Name of the run, for the log directory.
    pub run: &'a str,
    /// How commands become root.
    pub privilege: Privilege,
    /// Passwords for sudo and su.
    pub credentials: &'a Credentials,
    /// The engine's initial lease: how long it may run without contact, in seconds.
    pub lease_seconds: u64,
    /// Where the engine connects back, if it does.
    pub callback: Option<&'a CallbackConfig>,
}

/// Name of Farrier's directory on a machine.
fn directory(id: &str) -> String {
    format!("farrier-{id}")
}

/// Parent directories for Farrier's directory, in the order in which they are tried: those that survive a
/// reboot come first.
const PLACES: &[&str] = &["/var/lib", "/var/tmp", "/tmp", "/run", "/dev/shm"];
