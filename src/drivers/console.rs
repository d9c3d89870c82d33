//! Devices with a command line over SSH: chassis managers, interconnects, switches, and what else a product file
//! describes.
//!
//! ```text
//! product file ──► lint ──► Product ─┐
//! bytes of the device, time ─────────┴─► Dialogue ──► bytes to send | Answer ──► read
//! ```
//!
//! A product is one file of data (docs/console-devices.md); no code asks for a product. All but `session` and `device`
//! is pure: no clock, no sockets (docs/adr/0040-console-driver.md).

pub mod blot;
mod device;
pub mod dialogue;
pub mod file;
pub mod lint;
pub mod meaning;
pub mod product;
pub mod products;
pub mod push;
pub mod read;
pub mod screen;
mod session;
pub mod span;
pub mod template;

pub use dialogue::{Action, Answer, Dialogue, End, Exchange};
pub use lint::Finding;
pub use meaning::Meaning;
pub use product::Product;
pub use products::Catalogue;
pub use template::{Slot, Values};

use super::device::DeviceDriver;
use super::{Abilities, Class, CleansUp, Driver, Keys, Manager, Node};
use crate::failure::Failure;
use device::{Device, Settings};
use farrier_network::MachineType;
use farrier_update::device::Limits;
use farrier_update::{InstallerKind, Reason};
use std::sync::Arc;

/// The class of devices with a command line.
#[derive(Debug)]
pub struct Console {
    products: Catalogue,
}

impl Class for Console {
    fn types(&self) -> &'static [MachineType] {
        &[
            MachineType::OnboardAdministrator,
            MachineType::VirtualConnect,
            MachineType::FCSwitch,
            MachineType::SASSwitch,
            MachineType::Moonshot,
            MachineType::Superdome2,
            MachineType::SuperdomeX,
        ]
    }

    fn abilities(&self) -> &'static Abilities {
        &Abilities {
            installers: &[InstallerKind::DeviceImage],
            takes_engine: false,
            cleans_up: CleansUp::OnlyFarrier,
            has_products: true,
        }
    }

    fn managers(&self, type_: MachineType, product: Option<&str>) -> &[MachineType] {
        // An unknown product is refused when the driver is created.
        let product = self.products.choose(type_, product).ok();
        product.and_then(|product| product.through.as_ref()).map_or(&[], |through| &through.types)
    }

    fn driver(
        &self,
        node: &Node,
        keys: &Keys,
        manager: Option<&Manager>,
    ) -> Result<Arc<dyn Driver>, Failure> {
        let product = self.product(node)?.clone();
        let limits = device::usual_limits(&product);
        Self::driver_with(node, keys, manager, product, limits)
    }
}

impl Console {
    /// Creates the class of devices with these products.
    pub const fn new(products: Catalogue) -> Self {
        Self { products }
    }

    /// Returns the product of a machine.
    ///
    /// # Errors
    /// `ProductUnknown`.
    pub fn product(&self, node: &Node) -> Result<&Product, Failure> {
        self.products.choose(node.type_, node.product.as_deref()).map_err(|error| {
            let message = format!("ManagedNode {}: {error} (spec.product)", node.name);
            Failure::new(Reason::ProductUnknown, message)
        })
    }

    /// Creates the driver of a device whose times are known, such as a double.
    ///
    /// # Errors
    /// As [`Class::driver`].
    pub fn driver_with(
        node: &Node,
        keys: &Keys,
        manager: Option<&Manager>,
        product: Product,
        limits: Limits,
    ) -> Result<Arc<dyn Driver>, Failure> {
        let settings = Settings::new(node, keys, manager, product, limits)?;
        Ok(Arc::new(DeviceDriver::<Device>::new(Arc::new(settings))))
    }
}
