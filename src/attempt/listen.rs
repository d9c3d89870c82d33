//! Options of an engine that listens, on channel `Listen`.

use std::ops::RangeInclusive;

/// How the engine of one machine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenOptions {
    /// The ports that the engine tries, in order.
    pub ports: RangeInclusive<u16>,
    /// Whether the SSH session may be used if the engine's port cannot be reached.
    pub may_fall_back: bool,
    /// Whether the engine may open the port in the machine's own firewall.
    pub may_open_firewall: bool,
}
