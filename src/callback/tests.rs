//! The callback server over real sockets: engines, devices, and those who are neither.

mod devices;
mod engine;
mod relay;
mod site;
mod trust;
