//! Drivers: each contains the knowledge about a class of machines.
//!
//! All drivers offer the same small set of operations: probe, inventory, stage, activate, verify,
//! teardown. On a session machine the engine does everything except the probe and the final check, so
//! that the Linux driver transfers the engine to the machine and exchanges messages with it. Drivers
//! know neither kube nor the API types.

pub mod linux;
