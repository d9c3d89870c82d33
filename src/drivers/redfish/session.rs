//! A sign-in on a device, and requests with it.
//!
//! A sign-in offers the password once and is never renewed here: each one is recorded by the caller, so that a
//! successor can end its session.

use super::answer::Answer;
use super::client::Client;
use super::credentials::{Credential, Credentials};
use super::link::Link;
use super::request::Request;
use super::resource::Resource;
use super::service_root::ServiceRoot;
use super::trouble::{Kind, Trouble};
use crate::failure::Failure;
use farrier_update::Reason;
use std::time::Duration;

mod sign_in;

/// Why a sign-in failed.
pub(super) struct SignInError {
    pub(super) failure: Failure,
    /// Whether the device may have opened a session.
    pub(super) may_have_begun: bool,
}

impl From<Failure> for SignInError {
    /// Nothing was requested that opens a session.
    fn from(failure: Failure) -> Self {
        Self { failure, may_have_begun: false }
    }
}

/// A sign-in on a device. Its session stays on the device until [`Self::end`].
pub struct Session {
    client: Client,
    root: ServiceRoot,
    credential: Credential,
    /// Name of the account.
    user: String,
    /// The session; `None` for Basic authentication.
    link: Option<Link>,
}

impl Session {
    /// Reads the service root and signs in.
    ///
    /// # Errors
    /// `PasswordRejected`, `AccountLocked`, `PasswordChangeRequired`, `SessionLimitReached`,
    /// `AuthenticationFailed`, `NotARedfishService`, and the reasons of a [`Trouble`].
    pub async fn open(client: Client, credentials: &Credentials) -> Result<Self, Failure> {
        let opened = Self::open_within(client, credentials, || Some(Duration::MAX)).await;
        opened.map_err(|error| error.failure)
    }

    /// As [`Self::open`]. `may_send` returns the time that is left to request a session; `None`: it must not be
    /// requested any more.
    pub(super) async fn open_within(
        client: Client,
        credentials: &Credentials,
        may_send: impl Fn() -> Option<Duration>,
    ) -> Result<Self, SignInError> {
        let root = sign_in::root(&client, credentials).await?;
        let expired = |may_have_begun| {
            let words = format!("the sign-in on {} was not made in time", client.node());
            SignInError { failure: Failure::new(Reason::ConnectionTimedOut, words), may_have_begun }
        };
        let left = may_send().ok_or_else(|| expired(false))?;
        let signed_in = tokio::time::timeout(left, sign_in::sign_in(&client, &root, credentials)).await;
        let (credential, link) = signed_in.map_err(|_| expired(true))??;
        Ok(Self { client, root, credential, user: credentials.user.clone(), link })
    }

    /// Returns the client.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the name of the account.
    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// Returns the token of the session; `None` if requests carry the password instead.
    pub(super) fn token(&self) -> Option<&str> {
        self.credential.session_token()
    }

    /// Returns the service root.
    pub const fn root(&self) -> &ServiceRoot {
        &self.root
    }

    /// Returns the session on the device; `None` if requests carry the password instead.
    pub const fn link(&self) -> Option<&Link> {
        self.link.as_ref()
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

    /// Sends a request.
    ///
    /// # Errors
    /// Any [`Kind`]; `SessionEnded` if the device has thrown the session away: then the request was not carried
    /// out.
    pub async fn send(&self, request: &Request) -> Result<Answer, Trouble> {
        match self.client.send(request, Some(&self.credential)).await {
            Err(trouble) if trouble.status() == Some(401) && self.link.is_some() => {
                let ended = Failure::new(Reason::SessionEnded, self.ended());
                Err(self.client.trouble(request, Kind::SignIn(ended)))
            }
            result => result,
        }
    }

    /// Deletes a session, its own or one that an earlier attempt has left, and looks whether it is gone.
    ///
    /// # Errors
    /// `Leftovers` if it is still there, and the reasons of a [`Trouble`].
    pub async fn end(&self, session: &Link) -> Result<(), Failure> {
        match self.client.send(&Request::delete(session.clone()), Some(&self.credential)).await {
            Ok(_) => {}
            Err(trouble) if self.is_gone(session, &trouble) => {}
            Err(trouble) => return Err(self.unless_ended(trouble)),
        }
        match self.client.send(&Request::get(session.clone()), Some(&self.credential)).await {
            Ok(_) => Err(Failure::new(
                Reason::Leftovers,
                format!(
                    "session {session} is still on {} although the device has confirmed its deletion; close it in the web interface of the device",
                    self.client.node()
                ),
            )),
            Err(trouble) if self.is_gone(session, &trouble) => Ok(()),
            Err(trouble) => Err(self.unless_ended(trouble)),
        }
    }

    /// Whether an answer proves that a session is gone. 401 says so of the own session only.
    fn is_gone(&self, session: &Link, trouble: &Trouble) -> bool {
        let is_own = self.link.as_ref().is_some_and(|own| own.is_same(session));
        matches!(trouble.status(), Some(404 | 410)) || is_own && trouble.status() == Some(401)
    }

    fn unless_ended(&self, trouble: Trouble) -> Failure {
        if trouble.status() == Some(401) && self.link.is_some() {
            return Failure::new(Reason::SessionEnded, self.ended());
        }
        trouble.into()
    }

    fn ended(&self) -> String {
        format!("{} has ended the session of Farrier", self.client.node())
    }
}
