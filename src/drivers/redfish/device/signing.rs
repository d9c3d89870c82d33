//! Signing in and out.

use super::super::session::SignInError;
use super::super::{Client, Link, Session};
use super::{Device, signed_out, trouble};
use crate::attempt::logbook::Intended;
use crate::drivers::device::{Contact, Trouble};
use crate::failure::Failure;
use farrier_update::Reason;
use farrier_update::device::{Action, ActionId, Answer, State, Ticket, Verb};

impl Device {
    /// Opens a session.
    pub(super) async fn sign_in(
        &mut self,
        id: ActionId,
        permission: &Intended,
        mut report: impl FnMut(Contact) + Send,
    ) -> (Answer, Option<Trouble>) {
        let client = match Client::new(self.settings.endpoint.clone()) {
            Ok(client) => client,
            Err(failure) => return (Answer::NotBegun, Some(trouble(failure))),
        };
        self.retry_after = client.retry_after();
        let may_send = || permission.time_left();
        let session = match Session::open_within(client, &self.settings.credentials, may_send).await {
            Ok(session) => session,
            Err(SignInError { failure, may_have_begun }) => {
                let answer = if may_have_begun { Answer::Unknown } else { Answer::NotBegun };
                return (answer, Some(trouble(self.explained(failure))));
            }
        };
        report(Contact::Reached { address: session.client().address().unwrap_or_default() });
        let first = session.client().first_certificate();
        report(Contact::CertificateAccepted { first: first.as_ref().map(ToString::to_string) });
        // Further connections of this attempt must meet the same certificate.
        self.settings.endpoint.trust.fingerprints.extend(first);
        report(Contact::SignedIn);
        let link = session.link().cloned();
        self.session = Some(session);
        self.has_sessions = link.is_some();
        match link {
            Some(link) => {
                let ticket = Ticket(link.as_str().to_owned());
                self.sessions.insert(id, link);
                (Answer::Began(ticket), None)
            }
            // Requests carry the password instead: nothing is on the device.
            None => (Answer::NotBegun, None),
        }
    }

    /// Says of a Moonshot without Redfish what that means.
    fn explained(&self, failure: Failure) -> Failure {
        if !self.is_moonshot || failure.reason != Reason::NotARedfishService {
            return failure;
        }
        let words = format!(
            "the chassis manager of {} offers no Redfish, and this version of Farrier has no driver for its command line; wait for a later version, or update it by hand ({})",
            self.node, failure.message
        );
        Failure::new(Reason::NotYetSupported, words)
    }

    /// Deletes a session, and looks whether it is gone.
    pub(super) async fn sign_out(&mut self, of: Option<ActionId>) -> (Answer, Option<Trouble>) {
        let Some(link) = of.and_then(|of| self.sessions.get(&of)).cloned() else {
            return (Answer::Rejected, None);
        };
        let Some(session) = &self.session else { return (Answer::NotBegun, Some(signed_out())) };
        let is_own = session.link().is_some_and(|own| own.is_same(&link));
        match session.end(&link).await {
            Ok(()) => {
                if is_own {
                    self.session = None;
                }
                (Answer::Done, None)
            }
            // The next reading shows whether it is gone.
            Err(failure) if failure.reason == Reason::Leftovers => {
                tracing::info!(reason = %failure.reason, "{}", failure.message);
                (Answer::Unknown, None)
            }
            Err(failure) => (Answer::Unknown, Some(trouble(failure))),
        }
    }
}

/// Returns the session of a recorded sign-in that may still be there.
pub(super) fn recorded(action: &Action) -> Option<(ActionId, Link)> {
    let is_session = action.verb == Verb::SignIn && action.state == State::Begun;
    let ticket = action.ticket.as_ref().filter(|_| is_session)?;
    Some((action.id, Link::parse(&ticket.0).ok()?))
}
