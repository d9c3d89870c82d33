//! A sign-in on a device, and requests with it.
//!
//! A sign-in offers the password once and is never renewed here: each one is recorded by the caller, so that a
//! successor can end its session.

use super::client::{Answer, Client, Request};
use super::credentials::{Credential, Credentials};
use super::link::Link;
use super::resource::Resource;
use super::service_root::ServiceRoot;
use super::trouble::{Kind, Trouble};
use crate::failure::Failure;
use farrier_update::Reason;

mod sign_in;

/// A sign-in on a device. Its session stays on the device until [`Self::end`].
pub struct Session {
    client: Client,
    root: ServiceRoot,
    credential: Credential,
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
        let root = sign_in::root(&client).await?;
        let (credential, link) = sign_in::sign_in(&client, &root, credentials).await?;
        Ok(Self { client, root, credential, link })
    }

    /// Returns the client.
    pub const fn client(&self) -> &Client {
        &self.client
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
                let words = format!("{} has ended the session of Farrier", self.client.node());
                Err(self.client.trouble(request, Kind::SignIn(Failure::new(Reason::SessionEnded, words))))
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
            // 401: it is the session of the token, and it was gone before.
            Err(trouble) if matches!(trouble.status(), Some(401 | 404)) => {}
            Err(trouble) => return Err(trouble.into()),
        }
        match self.client.send(&Request::get(session.clone()), Some(&self.credential)).await {
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
}
