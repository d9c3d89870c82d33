//! What all connections of one callback server share.

use super::AddressSet;
use super::admission::Admission;
use super::identity::RunIdentity;
use super::offers::OpenOffers;
use super::registry::Registry;
use super::tls::Tls;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What all connections of one callback server share.
pub(super) struct ServerState {
    pub(super) identity: Arc<RunIdentity>,
    pub(super) offers: Arc<dyn OpenOffers>,
    /// Names and addresses of this server in URLs.
    pub(super) names: watch::Receiver<Arc<BTreeSet<String>>>,
    pub(super) admission: Arc<Admission>,
    pub(super) tls: Tls,
    pub(super) sources: watch::Receiver<Arc<AddressSet>>,
    pub(super) peers: watch::Receiver<Arc<[IpAddr]>>,
    pub(super) registry: Arc<Registry>,
    pub(super) closed: CancellationToken,
    pub(super) tasks: TaskTracker,
}
