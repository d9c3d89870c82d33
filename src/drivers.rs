//! Drivers: what knows a class of machine.
//!
//! All drivers offer the same small set: probe, inventory, stage, activate, verify, teardown. On a
//! session machine everything but the probe and the last look is done by the engine, so that the
//! Linux driver is a way to get the engine there and to talk with it. Drivers know neither kube
//! nor the API types.

pub mod linux;
