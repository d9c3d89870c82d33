//! The callback server over real sockets: engines, devices, and those who are neither.

mod devices;
mod engine;
mod flood;
mod relay;
mod site;
mod trust;
mod wire;
