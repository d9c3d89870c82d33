//! HP-UX machines over SSH, with the programs of Software Distributor (docs/adr/0041).
//!
//! There is no engine for HP-UX. The machine fetches a depot from Farrier with what it has, or gets it through the SSH
//! session; `swinstall` installs from it, outlives the session, and may restart the machine. Everything of ours is in
//! one directory. The walk of devices decides what is requested; what is done is in the `.sh` files here, which use
//! nothing of GNU's.

mod catalogue;
mod device;
mod link;
mod look;
mod programs;
mod reach;
mod read;
mod said;
#[cfg(test)]
mod shells;
mod software;
mod work;

use super::device::DeviceDriver;
use super::{Abilities, Class, CleansUp, Driver, Keys, Manager, Node};
use crate::failure::Failure;
use device::Device;
use farrier_network::MachineType;
use farrier_update::InstallerKind;
use farrier_update::device::Limits;
use std::sync::Arc;

/// The class of HP-UX machines.
pub struct HpUx;

impl Class for HpUx {
    fn types(&self) -> &'static [MachineType] {
        &[MachineType::HPUX]
    }

    fn abilities(&self) -> &'static Abilities {
        &Abilities {
            installers: &[InstallerKind::SwinstallDepot],
            takes_engine: false,
            cleans_up: CleansUp::OnlyFarrier,
            has_products: false,
        }
    }

    fn driver(&self, node: &Node, keys: &Keys, _: Option<&Manager>) -> Result<Arc<dyn Driver>, Failure> {
        Self::driver_with(node, keys, device::usual_limits())
    }
}

impl HpUx {
    /// Creates the driver of a machine whose times are known, such as a double.
    ///
    /// # Errors
    /// As [`Class::driver`].
    pub fn driver_with(node: &Node, keys: &Keys, limits: Limits) -> Result<Arc<dyn Driver>, Failure> {
        Ok(Arc::new(DeviceDriver::<Device>::new(device::Settings::new(node, keys, limits)?)))
    }
}
