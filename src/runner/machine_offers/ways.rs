//! The ports that a machine tries itself before it depends on them.

use super::{MachineOffers, Opening};
use crate::attempt::{Place, Scheme, WaysBack};
use crate::failure::Failure;
use farrier_network::table::fetch_schemes;
use std::net::IpAddr;

impl MachineOffers {
    /// Returns the ports that the table lists for connections from this machine, if they are open now, at an address of
    /// the family in which it answered us.
    pub(super) async fn try_ways(&self, reached: Option<IpAddr>) -> Result<WaysBack, Failure> {
        let mut ways = WaysBack::default();
        let mut schemes = fetch_schemes(self.node()?.spec.type_);
        // Whether a machine uses a file service is not known of its type.
        schemes.retain(|scheme| scheme.service().is_none());
        for scheme in schemes {
            let Opening { listener, own, target, .. } = self.opening(scheme.into(), reached).await?;
            let is_secure = scheme == Scheme::Https;
            let authority = if is_secure { listener.identity.authority().to_owned() } else { String::new() };
            ways.places.push(Place { scheme, host: target.host, port: target.port, authority });
            ways.own = own;
            ways.refusals = listener.refusals;
        }
        Ok(ways)
    }
}
