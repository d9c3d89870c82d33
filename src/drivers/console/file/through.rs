//! What a product file says about a device that is reached through its manager: an interconnect module through the
//! console of its bay.

use super::Ask;
use farrier_network::MachineType;
use serde::Deserialize;

/// How the device is reached through its manager, which `spec.managedBy` of a `ManagedNode` names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Through {
    /// The types of machines that its manager may be.
    pub types: Vec<MachineType>,
    /// The mode in which a session with the manager begins. The device's own modes are entered from it.
    pub mode: Option<String>,
    /// How the bay of the device is found; absent if no way needs it.
    pub bay: Option<Bay>,
}

/// How the bay of a device is found. It is asked for in each session, so that a module that was moved is found.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bay {
    /// The command, on the manager.
    pub ask: Ask,
    /// A regular expression for the whole answer, with the groups `bay` and `address`: the bay whose address is one of
    /// the device's own.
    pub pattern: Option<String>,
    /// Where that is from.
    pub cite: Option<String>,
    /// Why it is not cited.
    pub assumed: Option<String>,
}
