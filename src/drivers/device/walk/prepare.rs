//! What is done on a device before it is told to fetch an image: the authority of our server is imported, and its
//! events are subscribed to.

use super::super::{Device, Trouble};
use super::Walk;
use crate::attempt::Offer;
use farrier_update::device::{ActionId, Intent};

impl<D: Device> Walk<'_, D> {
    /// Reports whether the device has to be prepared for an offer first. Nothing is recorded then, and what is to be
    /// done is decided anew.
    pub(super) async fn is_to_prepare(&mut self, offer: &Offer) -> bool {
        let wanted = match self.device.prepare(offer).await {
            Ok(wanted) => wanted,
            Err(trouble) => {
                self.troubled(trouble);
                return true;
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

    /// Notes why the device refused a request. An update goes on without its preparations, so that their refusals do
    /// not explain its result.
    pub(super) fn note_refusal(&mut self, intent: &Intent, trouble: &Trouble) {
        if intent.verb.is_preparation() {
            self.posts.note_refusal(intent.verb, &trouble.failure);
        } else {
            self.refusals.insert(intent.component.clone(), trouble.failure.clone());
        }
    }
}
