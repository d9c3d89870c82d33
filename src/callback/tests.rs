//! The callback server over real sockets: engines, devices, and peers that are neither.

mod devices;
mod engine;
mod flood;
mod ftp;
mod offers;
mod relay;
mod sftp;
mod site;
mod ssh;
mod tree;
mod trust;
mod wire;
