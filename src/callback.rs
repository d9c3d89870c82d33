//! The callback server: where engines dial in and devices fetch their payloads.
//!
//! ```text
//! bind ─► serve ─► accept ─► the run's address? ─► a budget left? ─┬─ http ──► devices
//!                                                                  └─ https ─► first words: who is called?
//!     <session>.farrier.internal, answered here      ─► mutual TLS 1.3 ─► EngineApi
//!     <session>.farrier.internal, another runner's   ─► passed on, still encrypted
//!     any other name, or none                        ─► TLS 1.3 ─► devices
//! ```
//!
//! A runner makes one server per run that needs call-backs:
//!
//! ```no_run
//! # use farrier::callback::*; use std::sync::Arc; use tokio::sync::watch;
//! # async fn doc(files: Arc<dyn farrier::payload::PayloadFiles>, conversation: Arc<farrier::engine_api::EngineApi>,
//! #     lately_told: std::collections::BTreeSet<Cause>, identity: RunIdentity, sources: watch::Receiver<Arc<AddressSet>>, peers: watch::Receiver<Arc<[std::net::IpAddr]>>)
//! #     -> anyhow::Result<()> {
//! // Taken or not taken: nobody looks first whether the ports are free.
//! let bound = bind(Pair { http: 63001, https: 63002 }, &[Family::V4, Family::V6])?;
//! let registry = Registry::new();
//! let counters = Arc::new(Counters::default());
//! let server = serve(
//!     bound,
//!     ServerOptions { identity: Arc::new(identity), sources, peers, registry: registry.clone(), files, counters, limits: Limits::default() },
//! )?;
//! // A session waits for its engine.
//! let mut registration = registry.register("7d1c…", conversation);
//! let mut stream = registration.next_stream().await;
//! stream.ended().await;
//! // At most once a minute an event for each cause.
//! server.refusals().gathered(&lately_told).await;
//! for refusal in server.refusals().take(&lately_told) {
//!     println!("{} connections were refused: {}", refusal.count, refusal.cause.describe());
//! }
//! server.close().await;
//! # Ok(()) }
//! ```
//!
//! What an engine may do needs the certificate of its session. Devices that can do TLS 1.3 but have
//! no certificate call the HTTPS port without a session's name, and get what they would get on the
//! HTTP port: the payloads of the run, below the path token. Knows neither Kubernetes nor the API
//! types.

mod admission;
mod client_hello;
mod collector;
mod counters;
mod crypto;
mod devices;
mod identity;
mod listeners;
mod port_holder;
mod registry;
mod relay;
mod server;
mod state;
mod tls;
mod write_timeout;

pub use farrier_network::cidr::AddressSet;

pub use admission::Limits;
pub use collector::CallbackCollector;
pub use counters::{Cause, Counters, Refusal, Refusals};
pub use identity::{ClientCertificate, IdentityError, RunIdentity};
pub use listeners::{BindError, BindErrorKind, BoundListeners, Family, Pair, bind};
pub use registry::{Registration, Registry, Route, Stream};
pub use server::{Server, ServerOptions, serve};

#[cfg(test)]
mod tests;
