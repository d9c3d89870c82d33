//! How a device is reached.

use crate::ssh::Target;
use crate::tls::Trust;

/// How a device is reached, and which certificate it must have.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Name, addresses and port of the device.
    pub target: Target,
    /// The trust in its certificate.
    pub trust: Trust,
}
