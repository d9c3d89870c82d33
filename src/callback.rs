//! The callback server: engines connect to it, and devices fetch their payloads from it.
//!
//! ```text
//! bind ─► serve ─► accept ─► source of the run? ─► within limits? ─┬─ http ──► devices
//!                                                                  └─ https ─► ClientHello: server name?
//!     <session>.farrier.internal, served here        ─► mutual TLS 1.3 ─► EngineApi
//!     <session>.farrier.internal, another runner's   ─► relayed, still encrypted
//!     any other name, or no name                     ─► TLS 1.2 or 1.3 ─► devices
//! ```
//!
//! A runner starts one server per run that needs callbacks:
//!
//! ```no_run
//! # use farrier::callback::*; use std::sync::Arc; use tokio::sync::watch;
//! # async fn doc(
//! #     offers: Arc<dyn OpenOffers>,
//! #     names: watch::Receiver<Arc<std::collections::BTreeSet<String>>>,
//! #     conversation: Arc<farrier::engine_api::EngineApi>,
//! #     lately_told: std::collections::BTreeSet<Cause>,
//! #     identity: RunIdentity,
//! #     sources: watch::Receiver<Arc<AddressSet>>,
//! #     peers: watch::Receiver<Arc<[std::net::IpAddr]>>,
//! # ) -> anyhow::Result<()> {
//! // `bind` either takes both ports or fails; there is no separate check whether they are free.
//! let bound = bind(Pair { http: 63001, https: 63002 }, &[Family::V4, Family::V6])?;
//! let registry = Registry::new();
//! let counters = Arc::new(Counters::default());
//! let options = ServerOptions {
//!     identity: Arc::new(identity),
//!     sources,
//!     peers,
//!     registry: registry.clone(),
//!     offers,
//!     names,
//!     counters,
//!     limits: Limits::default(),
//! };
//! let server = serve(bound, options)?;
//! // A session waits for its engine to connect.
//! let mut registration = registry.register("7d1c…", conversation);
//! let mut stream = registration.next_stream().await;
//! stream.ended().await;
//! // The caller publishes at most one event per cause and minute.
//! server.refusals().gathered(&lately_told).await;
//! for refusal in server.refusals().take(&lately_told) {
//!     println!("{} connections were refused: {}", refusal.count, refusal.cause.describe());
//! }
//! server.close().await;
//! # Ok(()) }
//! ```
//!
//! Every engine request requires the certificate of the engine's session. Devices that speak TLS but have no
//! certificate connect to the HTTPS port without a session's name and are served the same as on the HTTP
//! port: the files that are offered to them, below the path token. This module knows neither Kubernetes nor
//! the API types.

mod account;
mod admission;
mod client_hello;
mod collector;
mod counters;
mod crypto;
mod devices;
mod dialled;
mod files;
mod ftp;
mod identity;
mod listeners;
mod offers;
mod port_holder;
mod registry;
mod relay;
mod server;
mod services;
mod ssh;
mod state;
mod tls;
mod transfer;
mod write_timeout;

pub use farrier_network::cidr::AddressSet;

pub use account::ACCOUNT;
pub use admission::Limits;
pub use collector::CallbackCollector;
pub use counters::{Cause, Counters, Refusal, Refusals};
pub use dialled::{DialIdentity, DialIdentityError};
pub use identity::{ClientCertificate, IdentityError, RunIdentity};
pub use listeners::{BindError, BindErrorKind, BoundListeners, Family, Pair, bind};
pub use offers::{OfferContent, OpenOffer, OpenOffers, OpenPosts, POSTS, in_url};
pub use registry::{Registration, Registry, Route, Stream};
pub use server::{Server, ServerOptions, serve};
pub use services::{BoundService, OpenService, bind_service};
pub use ssh::{HostKeyError, HostKeys};

#[cfg(test)]
mod tests;
