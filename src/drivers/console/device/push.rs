//! Work that is done by sending the image over HTTPS (`push` of the product file).
//!
//! The device is asked over SSH whether it is ready, and what has become of it; the image goes over HTTPS.

use super::super::push::{Pushed, Pusher};
use super::Device;
use super::reading::ticket;
use super::trouble::answer;
use super::work::refusal;
use crate::attempt::logbook::Intended;
use crate::drivers::device::{Contact, Image, Report, Trouble};
use crate::drivers::https::Endpoint;
use crate::failure::Failure;
use crate::ssh::Target;
use crate::tls::TrustedBy;
use farrier_update::Reason;
use farrier_update::device::{Action, Answer, Intent, Progress, Ticket, Verb};
use tokio::time::Instant;

impl Device {
    /// Sends an image, or has the device install what was sent, and returns what is known of it afterwards.
    pub(super) async fn push(
        &mut self,
        permission: &Intended,
        intent: &Intent,
        image: Option<&Image>,
        mut report: impl FnMut(Contact) + Send,
    ) -> (Answer, Option<Trouble>) {
        // What was sent is gone with the session.
        if intent.verb == Verb::RemoveUpload {
            return (Answer::Done, None);
        }
        let Some(left) = permission.time_left() else { return (Answer::NotBegun, None) };
        let until = Instant::now() + left;
        match tokio::time::timeout_at(until, self.is_healthy(&mut report)).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some((means, trouble)))) => return (refusal(means), Some(trouble)),
            Ok(Err(trouble)) => return (Answer::NotBegun, Some(trouble)),
            // The readings took as long as the permission holds.
            Err(_) => return (Answer::NotBegun, None),
        }
        let mut sender = match self.pusher.take().map_or_else(|| self.new_pusher(), Ok) {
            Ok(sender) => sender,
            Err(failure) => return (Answer::Rejected, Some(answer(failure))),
        };
        let file = self.stored(&intent.component).filter(|_| intent.verb != Verb::Upload);
        let pushed = match (file, image) {
            (Some(file), _) => sender.install(&file, &self.consents, until).await,
            (None, Some(image)) => {
                let pushed = sender.upload(image, &self.boundary(intent), until).await;
                match (pushed, intent.verb) {
                    // What another attempt has sent, or this one in a session that is over, may be gone. An upload takes
                    // minutes: if the permission is over, it is installed by another one.
                    (Pushed::Stored(file), Verb::Activate) => {
                        self.sent.insert(intent.component.clone(), Ticket(file.clone()));
                        sender.install(&file, &self.consents, until).await
                    }
                    (pushed, _) => pushed,
                }
            }
            (None, None) => Pushed::NotBegun(self.without("the image", intent)),
        };
        if let Some((fingerprint, by)) = sender.certificate() {
            let first = (by == TrustedBy::FirstUse).then(|| fingerprint.to_string());
            report(Contact::CertificateAccepted { first });
        }
        self.pusher = Some(sender);
        match pushed {
            Pushed::Stored(file) => {
                let ticket = Ticket(file);
                self.sent.insert(intent.component.clone(), ticket.clone());
                (Answer::Began(ticket), None)
            }
            Pushed::Forgotten(failure) => {
                self.sent.remove(&intent.component);
                (Answer::NotBegun, Some(answer(failure)))
            }
            // A device that restarts may end the connection instead of answering: what came of it is read, and it is
            // not asked again.
            Pushed::Began | Pushed::Done | Pushed::Unknown(_) => (Answer::Began(ticket(intent.id)), None),
            Pushed::NotBegun(failure) => (Answer::NotBegun, Some(answer(failure))),
            Pushed::Refused(means, failure) => (refusal(means), Some(answer(failure))),
        }
    }

    /// Returns how far an upload is: what has a name is there. `None` if the ticket is of other work.
    pub(super) fn is_stored(&self, ticket: &Ticket) -> Option<Report> {
        let is_recorded =
            |action: &Action| action.verb == Verb::Upload && action.ticket.as_ref() == Some(ticket);
        let is_it = self.sent.values().any(|sent| sent == ticket) || self.actions.iter().any(is_recorded);
        is_it.then(|| Progress::Done.into())
    }

    /// Returns what the device has answered late to the request to install.
    pub(super) async fn answered_late(&mut self) -> Option<Report> {
        match self.pusher.as_mut()?.answered().await? {
            Pushed::Refused(_, failure) | Pushed::NotBegun(failure) | Pushed::Forgotten(failure) => {
                let report = Report {
                    reason: Some(failure.reason),
                    words: failure.message,
                    ..Progress::Failed.into()
                };
                Some(report)
            }
            // The versions tell.
            Pushed::Stored(_) | Pushed::Began | Pushed::Done | Pushed::Unknown(_) => None,
        }
    }

    fn new_pusher(&self) -> Result<Pusher, Failure> {
        let Some(push) = self.product().push.clone() else {
            return Err(Failure::new(
                Reason::InternalError,
                format!("{} takes no image over HTTPS", self.node),
            ));
        };
        let https = self.settings.https.clone();
        let target = Target { port: https.port, ..self.settings.shell.target.clone() };
        let endpoint = Endpoint { target, trust: https.trust };
        Pusher::new(endpoint, push, self.settings.values(), self.settings.secrets())
    }

    /// Returns what the device calls the image that this attempt has sent for a component.
    fn stored(&self, component: &str) -> Option<String> {
        Some(self.sent.get(component)?.0.clone())
    }

    /// Reports whether an image has to be sent once more before it is installed.
    pub(super) fn is_to_send_again(&self, verb: Verb, component: &str) -> bool {
        self.product().push.is_some() && verb == Verb::Activate && self.stored(component).is_none()
    }

    /// Returns a line that the image does not contain: it carries the image's own digest.
    fn boundary(&self, intent: &Intent) -> String {
        let component = self.components.iter().find(|component| component.name == intent.component);
        let digest = component.and_then(|component| component.digest()).unwrap_or_default();
        let digest: String = digest.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
        format!("farrier-{digest}-{}", intent.id.0)
    }

    fn without(&self, what: &str, intent: &Intent) -> Failure {
        let words = format!("{what} is missing for {} on {}", intent.component, self.node);
        Failure::new(Reason::InternalError, words)
    }
}
