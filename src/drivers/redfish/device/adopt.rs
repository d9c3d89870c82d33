//! What an earlier run has left on the device: a staged image, or work that waits for a reset.

use super::super::Session;
use super::super::words::progress;
use super::refused::{Answered, refused};
use super::{Device, Link};
use farrier_update::device::{Answer, Intent, Verb};

impl Device {
    /// Looks whether what the last reading has shown is still there. Changes nothing on the device.
    pub(super) async fn adopt(&self, session: &Session, intent: &Intent) -> Answered {
        let is_meant = |earlier: &&farrier_update::device::Earlier| {
            let is_work = earlier.progress.is_some();
            earlier.component == intent.component && is_work == (intent.verb == Verb::AdoptWork)
        };
        let earlier = self.earlier.iter().find(is_meant);
        let Some((ticket, link)) =
            earlier.and_then(|earlier| Some((earlier.ticket.clone(), Link::parse(&earlier.ticket.0).ok()?)))
        else {
            return (Answer::NotBegun, None);
        };
        match session.get(&link).await {
            Ok(_) if intent.verb == Verb::AdoptImage => (Answer::Done, None),
            Ok(resource) if progress(&resource).is_open() => (Answer::Began(ticket), None),
            Ok(_) => (Answer::NotBegun, None),
            Err(error) => {
                // Nothing was changed, whatever the answer was.
                let (_, trouble) = refused(error);
                (Answer::NotBegun, trouble)
            }
        }
    }
}
