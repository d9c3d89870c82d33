//! Linux machines over SSH.
//!
//! Only four things are done with shell programs: the probe, the test whether the machine reaches the runner,
//! the deployment and launch of the engine, and the final check. The engine does everything else. The shell
//! programs are the `.sh` files in this folder. They require a POSIX `/bin/sh` and assume nothing about the
//! user's login shell, which may be fish or csh, or may print a banner.

mod attach;
mod deploy;
mod host;
mod look;
mod privilege;
mod probe;
mod reach;
mod refusal;
mod script;
mod settings;
#[cfg(test)]
mod shells;

pub use settings::Settings;

use super::engine::EngineDriver;
use super::{Abilities, Class, CleansUp, Driver, Keys, Node};
use crate::failure::Failure;
use crate::ssh::Connection;
use farrier_network::MachineType;
use farrier_update::InstallerKind;
use std::sync::Arc;

/// The class of Linux machines.
pub struct Linux;

impl Class for Linux {
    fn types(&self) -> &'static [MachineType] {
        &[MachineType::Linux]
    }

    fn abilities(&self) -> &'static Abilities {
        &Abilities {
            installers: &[
                InstallerKind::Deb,
                InstallerKind::Rpm,
                InstallerKind::Script,
                InstallerKind::Fwupd,
                InstallerKind::DellDup,
                InstallerKind::HpeSmartComponent,
                InstallerKind::Tar,
            ],
            takes_engine: true,
            cleans_up: CleansUp::Engine,
        }
    }

    fn driver(&self, node: &Node, keys: &Keys) -> Result<Arc<dyn Driver>, Failure> {
        Ok(Arc::new(EngineDriver::<Machine>::new(Arc::new(Settings::new(node, keys)?))))
    }
}

/// An authenticated connection to a machine, for one session.
pub struct Machine {
    /// The connection.
    pub connection: Connection,
    /// Short id of the session; part of the path of everything that Farrier puts on the machine.
    pub id: String,
    /// How it was connected to, and how commands become root.
    pub settings: Arc<Settings>,
}

/// Name of Farrier's directory on a machine.
fn directory(id: &str) -> String {
    format!("farrier-{id}")
}

/// Parent directories for Farrier's directory, in the order in which they are tried: those that survive a
/// reboot come first.
const PLACES: &[&str] = &["/var/lib", "/var/tmp", "/tmp", "/run", "/dev/shm"];
