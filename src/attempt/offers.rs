//! Images that a machine fetches from Farrier itself.

use crate::failure::Failure;
use farrier_update::device::ActionId;
use futures::future::BoxFuture;

/// A protocol by which a machine can fetch an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// HTTPS, on the run's port with TLS.
    Https,
    /// HTTP, on the run's port for machines without TLS.
    Http,
}

/// An image that a machine can fetch. It is dead when its action has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Where the machine fetches it. Nobody can guess it, so it is never logged.
    pub url: String,
    /// The protocol of the URL.
    pub scheme: Scheme,
    /// The authority of the server's certificate in PEM, for machines that verify it; empty with HTTP.
    pub authority: String,
}

/// What is known of the fetch of an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fetch {
    /// Whether the machine has connected since the offer was made.
    pub seen: bool,
    /// Bytes of the image that were sent.
    pub bytes: u64,
    /// Whether nobody else can have served the machine, so that `seen` is the whole truth.
    pub is_certain: bool,
}

/// Makes offers to one machine.
pub trait Offers: Send + Sync {
    /// Waits until the machine can reach this runner by one of these protocols, the first of them preferred, and
    /// offers it the file with this digest under this name. The offer is for this action only.
    ///
    /// # Errors
    /// Why the run's ports are not open, with the next step.
    fn offer<'a>(
        &'a self,
        schemes: &'a [Scheme],
        action: ActionId,
        digest: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Offer, Failure>>;

    /// Returns what is known of the fetch of an action's image.
    fn fetched(&self, action: ActionId) -> Fetch;
}
