//! The callback server over real sockets: engines, devices, and peers that are neither.

mod devices;
mod engine;
mod flood;
mod offers;
mod relay;
mod site;
mod trust;
mod wire;
