//! Linux machines over SSH.
//!
//! Only four things are done with shell programs: the probe, the test whether the machine reaches the runner,
//! the deployment and launch of the engine, and the final check. The engine does everything else. The shell
//! programs are the `.sh` files in this folder, and run in a [`Session`] of the module `shell`.

mod attach;
mod deploy;
mod host;
mod look;
mod probe;
mod reach;
#[cfg(test)]
mod shells;
mod stage;

pub use super::shell::Settings;

use super::engine::EngineDriver;
use super::shell::Session;
use super::{Abilities, Class, CleansUp, Driver, Keys, Manager, Node};
use crate::failure::Failure;
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
            has_products: false,
        }
    }

    fn driver(&self, node: &Node, keys: &Keys, _: Option<&Manager>) -> Result<Arc<dyn Driver>, Failure> {
        Ok(Arc::new(EngineDriver::<Machine>::new(Arc::new(Settings::new(node, keys)?))))
    }
}

/// A Linux machine, for one session.
pub struct Machine {
    /// The connection to it.
    pub session: Session,
}

/// Name of Farrier's directory on a machine.
fn directory(id: &str) -> String {
    format!("farrier-{id}")
}

/// Parent directories for Farrier's directory, in the order in which they are tried: those that survive a
/// reboot come first.
const PLACES: &[&str] = &["/var/lib", "/var/tmp", "/tmp", "/run", "/dev/shm"];

/// Parent directories in which payloads are staged: of [`PLACES`], those that survive a reboot.
const STAGED_PLACES: &[&str] = &["/var/lib", "/var/tmp"];
