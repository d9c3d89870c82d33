//! Management processors that speak Redfish: iLO, iDRAC, `OpenBMC`, the controller of a Superdome Flex, and
//! others.
//!
//! [`Client`] sends requests to one device over HTTPS, [`Session`] signs in and out, and [`Inventory`] is
//! what was read. Nothing here changes a device, except that a session is opened and closed. What vendors do
//! differently is data, or the tolerance with which a [`Resource`] is read; no code asks for a vendor.
//!
//! Nothing is sent twice, with one exception: a request whose session the device has thrown away is sent once
//! more over a new session, because the answer 401 proves that it was not carried out.

mod client;
mod connection;
mod credentials;
mod endpoint;
mod inventory;
mod link;
mod message;
mod resource;
mod service_root;
mod session;
mod trouble;

pub use client::{Answer, Client, Request};
pub use credentials::{Credential, Credentials};
pub use endpoint::Endpoint;
pub use inventory::{
    Bundle, Entry, Inventory, Manager, Note, Repository, SimpleUpdate, System, UpdateService, Ways,
};
pub use link::{Link, NotALink};
pub use message::{Message, Messages};
pub use resource::Resource;
pub use service_root::ServiceRoot;
pub use session::Session;
pub use trouble::{Kind, Refusal, Trouble};
