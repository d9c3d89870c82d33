//! A sign-in on a device, and requests with it.
//!
//! A wrong password is offered once: devices lock accounts and addresses. A password that the device has
//! accepted before may be rejected later although it is right, because a device that is being updated rejects
//! everything; it is offered again after a pause, and not often.

use super::client::{Answer, Client, Request};
use super::credentials::{Credential, Credentials};
use super::link::Link;
use super::resource::Resource;
use super::service_root::ServiceRoot;
use super::trouble::{Kind, Trouble};
use crate::failure::Failure;
use farrier_update::Reason;
use serde_json::json;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

mod sign_in;

/// Pause before a password that was accepted before is offered again. Devices that block after a few failures
/// count those within a minute (iDRAC) or a few.
const OFFER_PAUSE: Duration = Duration::from_mins(2);

/// How often a password may be rejected after it was accepted. The usual limit of devices is three failures.
const REJECTIONS: u32 = 2;

/// A sign-in on a device. Sessions stay on the device until [`Self::close`]. One whose creation was not
/// answered is not known, and stays until it has been idle for the time that is set on the device.
pub struct Session {
    client: Client,
    credentials: Credentials,
    root: ServiceRoot,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What requests are sent with. `None`: not signed in.
    current: Option<Current>,
    /// Sessions on the device that were not seen to be gone.
    open: Vec<Link>,
    /// Whether the device has accepted the password.
    accepted: bool,
    rejection: Option<Rejection>,
    rejections: u32,
}

#[derive(Clone)]
struct Current {
    credential: Credential,
    /// The session; `None` for Basic authentication.
    session: Option<Link>,
    /// Distinguishes sign-ins, so that a rejected one is given up once.
    number: u32,
}

struct Rejection {
    at: Instant,
    failure: Failure,
}

impl Session {
    /// Reads the service root and signs in.
    ///
    /// # Errors
    /// `PasswordRejected`, `AccountLocked`, `PasswordChangeRequired`, `SessionLimitReached`,
    /// `AuthenticationFailed`, `NotARedfishService`, and the reasons of a [`Trouble`].
    pub async fn open(client: Client, credentials: Credentials) -> Result<Self, Failure> {
        let root = sign_in::root(&client).await?;
        let session = Self { client, credentials, root, state: Mutex::default() };
        session.current().await?;
        Ok(session)
    }

    /// Returns the client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the service root.
    pub fn root(&self) -> &ServiceRoot {
        &self.root
    }

    /// Returns the sessions on the device that were not seen to be gone.
    pub async fn sessions(&self) -> Vec<Link> {
        self.state.lock().await.open.clone()
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// Any [`Kind`].
    pub async fn get(&self, link: &Link) -> Result<Resource, Trouble> {
        let request = Request::get(link.clone());
        let answer = self.send(&request).await?;
        answer.resource().map_err(|why| self.client.trouble(&request, Kind::Unreadable(why)))
    }

    /// Sends a request. If the device has thrown the session away, the request is sent again over a new one:
    /// 401 proves that it was not carried out.
    ///
    /// # Errors
    /// Any [`Kind`].
    pub async fn send(&self, request: &Request) -> Result<Answer, Trouble> {
        let signed_out = |failure| self.client.trouble(request, Kind::SignIn(failure));
        let current = self.current().await.map_err(signed_out)?;
        match self.client.send(request, Some(&current.credential)).await {
            Err(trouble) if trouble.status() == Some(401) => {
                let renewed = self.renew(&current).await.map_err(signed_out)?;
                self.client.send(request, Some(&renewed.credential)).await
            }
            result => result,
        }
    }

    /// Signs out: deletes the sessions of this sign-in and looks whether they are gone. A later request signs in
    /// again.
    ///
    /// # Errors
    /// `Leftovers` if a session is still there, and the reasons of a [`Trouble`]. What is left is in
    /// [`Self::sessions`].
    pub async fn close(&self) -> Result<(), Failure> {
        if self.state.lock().await.open.is_empty() {
            return Ok(());
        }
        // The device may have thrown away a token without the session.
        let Current { credential, session, .. } = self.current().await?;
        let mut state = self.state.lock().await;
        // The session that the others are deleted with is the last.
        let is_current = |link: &Link| session.as_ref().is_some_and(|session| session.is_same(link));
        let mut links = state.open.clone();
        links.sort_by_key(is_current);
        let mut result = Ok(());
        for link in links {
            match self.delete(&link, &credential).await {
                Ok(()) => state.open.retain(|open| !open.is_same(&link)),
                Err(failure) => result = Err(failure),
            }
        }
        state.current = None;
        result
    }

    /// Deletes a session that someone else has left, such as an earlier attempt, and looks whether it is gone.
    ///
    /// # Errors
    /// `Leftovers` if it is still there, and the reasons of a [`Trouble`].
    pub async fn end(&self, session: &Link) -> Result<(), Failure> {
        let current = self.current().await?;
        self.delete(session, &current.credential).await
    }

    async fn delete(&self, session: &Link, credential: &Credential) -> Result<(), Failure> {
        match self.client.send(&Request::delete(session.clone()), Some(credential)).await {
            Ok(_) => {}
            // 401: it is the session of the token, and it was gone before.
            Err(trouble) if matches!(trouble.status(), Some(401 | 404)) => {}
            Err(trouble) => return Err(trouble.into()),
        }
        match self.client.send(&Request::get(session.clone()), Some(credential)).await {
            Ok(_) => Err(Failure::new(
                Reason::Leftovers,
                format!(
                    "session {session} is still on {} although the device has confirmed its deletion; close it in the web interface of the device",
                    self.client.node()
                ),
            )),
            Err(trouble) if matches!(trouble.status(), Some(401 | 404 | 410)) => Ok(()),
            Err(trouble) => Err(trouble.into()),
        }
    }

    /// Returns what to send requests with; signs in if needed.
    async fn current(&self) -> Result<Current, Failure> {
        let mut state = self.state.lock().await;
        if let Some(current) = &state.current {
            return Ok(current.clone());
        }
        if let Some(rejection) = state.rejection.as_ref().filter(|r| !r.has_passed(Instant::now())) {
            return Err(rejection.failure.clone());
        }
        match self.sign_in().await {
            Ok((credential, session)) => Ok(state.signed_in(credential, session)),
            Err(failure) => Err(state.rejected(failure, Instant::now())),
        }
    }

    /// Signs in again after a sign-in was rejected. Its session may be there nevertheless, and devices have few;
    /// one that cannot be deleted now stays in the list.
    async fn renew(&self, rejected: &Current) -> Result<Current, Failure> {
        self.state.lock().await.current.take_if(|current| current.number == rejected.number);
        let renewed = self.current().await?;
        let mut state = self.state.lock().await;
        let is_old = |link: &Link| rejected.session.as_ref().is_some_and(|session| session.is_same(link));
        if let Some(link) = state.open.iter().find(|link| is_old(link)).cloned()
            && self.delete(&link, &renewed.credential).await.is_ok()
        {
            state.open.retain(|open| !open.is_same(&link));
        }
        Ok(renewed)
    }
}

impl State {
    fn signed_in(&mut self, credential: Credential, session: Option<Link>) -> Current {
        static NUMBERS: AtomicU32 = AtomicU32::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        self.open.extend(session.clone());
        self.accepted = true;
        self.rejection = None;
        self.current.insert(Current { credential, session, number }).clone()
    }

    /// Remembers a rejection, and returns the failure to report.
    fn rejected(&mut self, failure: Failure, at: Instant) -> Failure {
        if !matches!(failure.reason, Reason::PasswordRejected | Reason::AccountLocked) {
            return failure;
        }
        self.rejections += 1;
        let failure = if failure.reason == Reason::PasswordRejected && self.is_in_doubt() {
            let words = format!(
                "{}; it had accepted the same password before, so it may be starting or being updated, and the password is offered again after {} s",
                failure.message,
                OFFER_PAUSE.as_secs()
            );
            Failure::new(Reason::DeviceUnavailable, words)
        } else {
            failure
        };
        self.rejection = Some(Rejection { at, failure: failure.clone() });
        failure
    }

    /// Whether a rejection may be one that passes.
    fn is_in_doubt(&self) -> bool {
        self.accepted && self.rejections < REJECTIONS
    }
}

impl Rejection {
    /// Whether the password may be offered again.
    fn has_passed(&self, now: Instant) -> bool {
        self.failure.reason == Reason::DeviceUnavailable && now.duration_since(self.at) >= OFFER_PAUSE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection() -> Failure {
        Failure::new(Reason::PasswordRejected, "rejected")
    }

    fn has_passed(state: &State, now: Instant) -> bool {
        state.rejection.as_ref().unwrap().has_passed(now)
    }

    /// A wrong password that is offered again and again locks the account of the whole fleet.
    #[test]
    fn a_password_that_was_never_accepted_is_not_offered_again() {
        let (mut state, now) = (State::default(), Instant::now());
        assert_eq!(state.rejected(rejection(), now).reason, Reason::PasswordRejected);
        assert!(!has_passed(&state, now + OFFER_PAUSE * 10));
    }

    /// A device that is being updated rejects everything for minutes; that must neither end the update nor
    /// lock the account.
    #[test]
    fn a_password_that_was_accepted_is_offered_again_after_a_pause_and_not_often() {
        let (mut state, now) = (State::default(), Instant::now());
        state.signed_in(Credential::token(b"token").unwrap(), None);
        assert_eq!(state.rejected(rejection(), now).reason, Reason::DeviceUnavailable);
        assert!(!has_passed(&state, now + OFFER_PAUSE / 2));
        let now = now + OFFER_PAUSE;
        assert!(has_passed(&state, now));
        assert_eq!(state.rejected(rejection(), now).reason, Reason::PasswordRejected);
        assert!(!has_passed(&state, now + OFFER_PAUSE * 10));
    }
}
