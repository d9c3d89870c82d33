//! Management processors that speak Redfish: iLO, iDRAC, `OpenBMC`, the controller of a Superdome Flex, and
//! others.
//!
//! [`Client`] sends requests to one device over HTTPS, [`Session`] signs in and out, and [`Inventory`] is
//! what was read. Only the module `device`, which the walk of devices calls, changes anything but sessions. What
//! vendors do differently is data (`words.tsv`), or the tolerance with which a [`Resource`] is read; no code asks
//! for a vendor.
//!
//! No request is repeated here. The walk of devices decides what is asked again.

mod answer;
mod client;
mod credentials;
mod device;
mod inventory;
mod link;
mod message;
mod request;
mod resource;
mod retry_after;
mod service_root;
mod session;
mod trouble;
mod words;

pub use answer::Answer;
pub use client::Client;
pub use credentials::{Credential, Credentials};
pub use inventory::{
    Bundle, Entry, Inventory, Manager, Note, Repository, SimpleUpdate, System, UpdateService, Ways,
};
pub use link::{Link, NotALink};
pub use message::{Message, Messages};
pub use request::Request;
pub use resource::Resource;
pub use service_root::ServiceRoot;
pub use session::Session;
pub use trouble::{Kind, Refusal, Trouble};

use super::device::DeviceDriver;
pub use super::https::{Content, Endpoint, FileContent};
use super::{Abilities, Class, CleansUp, Driver, Keys, Node};
use crate::failure::Failure;
use device::Device;
use farrier_network::MachineType;
use farrier_update::InstallerKind;
use farrier_update::device::Limits;
use std::sync::Arc;

/// The class of machines that speak Redfish.
pub struct Redfish;

impl Class for Redfish {
    fn types(&self) -> &'static [MachineType] {
        &[
            MachineType::ILO,
            MachineType::IDRAC,
            MachineType::Redfish,
            MachineType::SuperdomeFlex,
            MachineType::Moonshot,
        ]
    }

    fn abilities(&self) -> &'static Abilities {
        &Abilities {
            installers: &[InstallerKind::RedfishImage],
            takes_engine: false,
            cleans_up: CleansUp::OnlyFarrier,
            has_products: false,
        }
    }

    fn driver(
        &self,
        node: &Node,
        keys: &Keys,
        _: Option<&super::Manager>,
    ) -> Result<Arc<dyn Driver>, Failure> {
        Self::driver_with(node, keys, device::usual_limits())
    }
}

impl Redfish {
    /// Creates the driver of a device whose times are known, such as a double.
    ///
    /// # Errors
    /// As [`Class::driver`].
    pub fn driver_with(node: &Node, keys: &Keys, limits: Limits) -> Result<Arc<dyn Driver>, Failure> {
        Ok(Arc::new(DeviceDriver::<Device>::new(device::Settings::new(node, keys, limits)?)))
    }
}
