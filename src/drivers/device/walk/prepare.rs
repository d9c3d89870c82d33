//! What is done on a device before it is told to fetch an image: the authority of our server is imported, and its
//! events are subscribed to.

use super::super::{Device, Trouble};
use super::Walk;
use crate::attempt::Offer;
use crate::failure::Failure;
use farrier_update::device::{ActionId, Intent};

impl<D: Device> Walk<'_, D> {
    /// Reports whether the device has to be prepared for an offer first. Nothing is recorded then, and what is to be
    /// done is decided anew.
    pub(super) async fn is_to_prepare(&mut self, offer: &Offer) -> bool {
        let prepared = self.device.prepare(offer).await;
        self.note_rest();
        let wanted = match prepared {
            Ok(wanted) => wanted,
            Err(trouble) if !std::mem::replace(&mut self.was_not_prepared, true) => {
                self.troubled(trouble);
                return true;
            }
            // An update does not wait for its preparations.
            Err(trouble) => {
                let Failure { reason, message } = trouble.failure;
                tracing::info!(node = %self.job.node, %reason, "the device is not prepared for a fetch: {message}");
                Vec::new()
            }
        };
        let is_new = wanted != self.preparations;
        self.preparations = wanted;
        self.is_preparing = is_new && !self.preparations.is_empty();
        self.is_preparing
    }

    /// Opens the URL to which the device may post its events, and tells the device.
    pub(super) fn offer_posts(&mut self, action: ActionId) {
        if let Some(url) = self.desk.offers.offer_posts(action) {
            self.device.note_destination(url);
        }
    }

    /// Notes why the device refused a request. An update goes on without its preparations, and is over when things are
    /// removed, so that neither explains its result.
    pub(super) fn note_refusal(&mut self, intent: &Intent, trouble: &Trouble) {
        if intent.verb.is_preparation() {
            self.posts.note_refusal(intent.verb, &trouble.failure);
        } else if !intent.verb.is_inverse() {
            self.refusals.insert(intent.component.clone(), trouble.failure.clone());
        }
    }
}
