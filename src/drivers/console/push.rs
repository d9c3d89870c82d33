//! An image that is sent to a device over HTTPS, as its product file describes it: sign in, upload, install.
//!
//! The upload changes nothing on the device; the request that installs is sent once, and is not waited for to its end:
//! devices answer it when all is over, or not at all because they restart. What became of it is read on the device.
//! Each request has a connection of its own, because old web servers end theirs after each answer.
//!
//! No answer is shown: it may repeat what was sent. What a device says about a refusal is picked out of it by the
//! product file, and secrets are blotted out of that.

mod exchange;

use super::blot::Secrets;
use super::dialogue::shown;
use super::file::Need;
use super::meaning::Meaning;
use super::product::{Push, PushStep, Sends};
use super::template::{Line, Slot, Template, ValueError, Values, Writing};
use crate::drivers::device::Image;
use crate::drivers::https::{Content, Endpoint, Field, FileContent, FormFile, Text};
use crate::failure::Failure;
use crate::tls::{Fingerprint, TrustedBy};
use exchange::{Client, Lost, Message, Reply};
use farrier_update::Reason;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// How long an answer to the request that installs is waited for, before it counts as accepted. A refusal comes at
/// once: it is about the image, the account or the state of the device.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes per second of the slowest upload that is waited for.
const SLOWEST: u64 = 64 * 1024;

/// Bytes of the longest name of a session or of an image that a device may give. Real ones have a few dozen.
const LONGEST_VALUE: usize = 512;

/// What came of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Pushed {
    /// The image is on the device, which calls it so.
    Stored(String),
    /// The device installs the image.
    Began,
    /// The device says that it has installed it.
    Done,
    /// Nothing was begun.
    NotBegun(Failure),
    /// Nothing was begun, because the device does not know the session any more. What was sent is gone with it.
    Forgotten(Failure),
    /// The device refused it.
    Refused(Meaning, Failure),
    /// It was sent, and no usable answer came.
    Unknown(Failure),
}

/// Sends images to one device, for one attempt.
pub struct Pusher {
    client: Client,
    push: Push,
    node: String,
    values: Values,
    secrets: Secrets,
    /// The session, as the device calls it.
    session: Option<String>,
    /// The request that installs, while there is no answer.
    installing: Option<AbortOnDropHandle<Result<Reply, Lost>>>,
}

impl Pusher {
    /// Nothing is connected yet. `values` has the account of the machine.
    ///
    /// # Errors
    /// `InternalError` if the cryptographic library has no TLS.
    pub fn new(endpoint: Endpoint, push: Push, values: Values, secrets: Secrets) -> Result<Self, Failure> {
        let node = endpoint.target.node.clone();
        let mut secrets = secrets;
        secrets.extend(values.secrets());
        Ok(Self {
            client: Client::new(endpoint)?,
            push,
            node,
            values,
            secrets,
            session: None,
            installing: None,
        })
    }

    /// Returns the address that was last connected to.
    pub fn address(&self) -> Option<String> {
        self.client.address()
    }

    /// Returns the fingerprint of the certificate that was accepted, and why it was accepted.
    pub fn certificate(&self) -> Option<(Fingerprint, TrustedBy)> {
        self.client.certificate()
    }

    /// Sends the image, and returns the name that the device gives it. Nothing is begun later than `until`, and
    /// `boundary` must not occur in the image.
    pub async fn upload(&mut self, image: &Image, boundary: &str, until: Instant) -> Pushed {
        let was_signed_in = self.session.is_some();
        let pushed = self.upload_once(image, boundary, until).await;
        if was_signed_in && matches!(pushed, Pushed::Forgotten(_)) {
            self.upload_once(image, boundary, until).await
        } else {
            pushed
        }
    }

    async fn upload_once(&mut self, image: &Image, boundary: &str, until: Instant) -> Pushed {
        if let Err(pushed) = self.sign_in(until).await {
            return pushed;
        }
        let step = self.push.upload.clone();
        let transfer = Duration::from_secs(image.size / SLOWEST);
        let message = match self.message(&step, &self.values(None), Some((image, boundary))) {
            Ok(message) => message,
            Err(failure) => return Pushed::NotBegun(failure),
        };
        let limit = step.limit.saturating_add(transfer);
        match self.client.send(&message, limit, until).await {
            // An upload that was cut off has changed nothing.
            Err(lost) => Pushed::NotBegun(lost.failure),
            Ok(reply) => match self.judge("the upload", &step, &reply) {
                Ok(value) => Pushed::Stored(value.unwrap_or_default()),
                Err((_, failure)) if self.is_forgotten(&reply) => Pushed::Forgotten(failure),
                Err((means, failure)) => refused(means, failure),
            },
        }
    }

    /// Has the device install what it calls `file`, once. Nothing is begun later than `until`.
    pub async fn install(&mut self, file: &str, consents: &BTreeSet<Need>, until: Instant) -> Pushed {
        if let Err(pushed) = self.sign_in(until).await {
            return pushed;
        }
        let step = self.push.install.clone();
        let values = self.values(Some(file)).with_consents(consents.iter().copied());
        let message = match self.message(&step, &values, None) {
            Ok(message) => message,
            Err(failure) => return Pushed::NotBegun(failure),
        };
        let (client, limit) = (self.client.clone(), step.limit);
        let mut sent =
            AbortOnDropHandle::new(tokio::spawn(async move { client.send(&message, limit, until).await }));
        if let Ok(answered) = tokio::time::timeout(PATIENCE, &mut sent).await {
            return self.installed(answered.unwrap_or_else(|_| Err(Lost::gone(&self.node))));
        }
        self.installing = Some(sent);
        Pushed::Began
    }

    /// Returns the answer to the request that installs, if it has come since.
    pub async fn answered(&mut self) -> Option<Pushed> {
        let handle = self.installing.take_if(|handle| handle.is_finished())?;
        Some(self.installed(handle.await.unwrap_or_else(|_| Err(Lost::gone(&self.node)))))
    }

    /// Ends the session, unless the device is at work: it ends all sessions then.
    pub async fn close(&mut self) {
        let is_busy = self.installing.is_some();
        if let (Some(_), Some(step), false) = (&self.session, self.push.sign_out.clone(), is_busy)
            && let Ok(message) = self.message(&step, &self.values(None), None)
        {
            let until = Instant::now() + step.limit;
            drop(self.client.send(&message, step.limit, until).await);
        }
        self.session = None;
    }

    /// Takes note that the device does not know the session any more, if an answer says so: the next request signs in
    /// again.
    fn is_forgotten(&mut self, reply: &Reply) -> bool {
        let is_it = self.push.expired.as_ref().is_some_and(|expired| expired.is_match(&reply.text));
        if is_it {
            self.session = None;
            self.client.forget_sign_in();
        }
        is_it
    }

    async fn sign_in(&mut self, until: Instant) -> Result<(), Pushed> {
        if self.session.is_some() || self.push.sign_in.reads.is_none() && self.client.has_signed_in() {
            return Ok(());
        }
        let step = self.push.sign_in.clone();
        let message = self.message(&step, &self.values, None).map_err(Pushed::NotBegun)?;
        let reply = self.client.send(&message, step.limit, until).await;
        let reply = reply.map_err(|lost| Pushed::NotBegun(lost.failure))?;
        let value =
            self.judge("the sign-in", &step, &reply).map_err(|(means, failure)| refused(means, failure))?;
        self.client.note_sign_in();
        if let Some(session) = value {
            self.secrets.extend([session.as_str()]);
            self.session = Some(session);
        }
        Ok(())
    }

    fn values(&self, file: Option<&str>) -> Values {
        let values = match &self.session {
            Some(session) => self.values.clone().with(Slot::PushSession, session),
            None => self.values.clone(),
        };
        match file {
            Some(file) => values.with(Slot::PushedFile, file),
            None => values,
        }
    }

    fn installed(&mut self, sent: Result<Reply, Lost>) -> Pushed {
        match sent {
            Err(Lost { begun: false, failure }) => Pushed::NotBegun(failure),
            Err(Lost { begun: true, failure }) => Pushed::Unknown(failure),
            Ok(reply) => match self.judge("the request to install", &self.push.install, &reply) {
                Ok(_) => Pushed::Done,
                // The web server answers so for a program that has ended, whatever that had done before.
                Err((Meaning::Failed, failure)) if reply.status >= 500 => Pushed::Unknown(failure),
                Err((_, failure)) if self.is_forgotten(&reply) => Pushed::Forgotten(failure),
                Err((means, failure)) => refused(means, failure),
            },
        }
    }

    /// Returns what an answer has to be read from it, or why it is a refusal.
    fn judge(
        &self,
        asked: &str,
        step: &PushStep,
        reply: &Reply,
    ) -> Result<Option<String>, (Meaning, Failure)> {
        let text = &reply.text;
        let word = step.words.iter().chain(&self.push.words).find(|word| word.pattern.is_match(text));
        let is_accepted = step.accepted.as_ref().is_none_or(|accepted| accepted.is_match(text));
        let value = step.reads.as_ref().map(|reads| {
            let value = reads.captures(text)?.name("value")?.as_str();
            // It is recorded, and sent back.
            (value.len() <= LONGEST_VALUE).then(|| value.to_owned())
        });
        let means = match (word, &value) {
            (Some(word), _) => word.means,
            (None, None | Some(Some(_))) if is_accepted && reply.status < 400 => return Ok(value.flatten()),
            (None, _) if matches!(reply.status, 401 | 403) => Meaning::RightsMissing,
            (None, _) if matches!(reply.status, 429 | 502 | 503) => Meaning::NotReady,
            (None, _) => Meaning::Failed,
        };
        Err((means, self.refusal(asked, means, reply)))
    }

    /// Returns what users see of a refusal.
    fn refusal(&self, asked: &str, means: Meaning, reply: &Reply) -> Failure {
        let says = self.push.says.as_ref().and_then(|says| says.captures(&reply.text)?.name("says"));
        let says = says.map(|says| shown(&self.secrets.blot_line(says.as_str()))).unwrap_or_default();
        let node = &self.node;
        let words = if says.is_empty() {
            format!("{node} refused {asked} over HTTPS (status {})", reply.status)
        } else {
            format!("{node} refused {asked} over HTTPS: {says}")
        };
        Failure::new(means.reason(), format!("{words}; {}", means.next_step()))
    }

    fn message(
        &self,
        step: &PushStep,
        values: &Values,
        image: Option<(&Image, &str)>,
    ) -> Result<Message, Failure> {
        let write = |template: &Template, writing| -> Result<Line, Failure> {
            template.write(values, writing).map_err(|error| self.unwritten(&error))
        };
        let cookie = step.cookie.as_ref().map(|cookie| write(cookie, Writing::Header)).transpose()?;
        let content = match (&step.sends, image) {
            (Sends::Body(media_type, template), _) => {
                let text = write(template, Writing::Xml)?.text;
                Content::Text(Text { media_type: media_type.clone(), text })
            }
            (Sends::Form(fields, file), Some((image, boundary))) => {
                let mut written = Vec::new();
                for (name, template) in fields {
                    written.push((name, write(template, Writing::Header)?.text));
                }
                let fields: Vec<Field<'_>> = written
                    .iter()
                    .map(|(name, value)| Field {
                        name,
                        file: None,
                        media_type: None,
                        value: value.as_bytes(),
                    })
                    .collect();
                let section = 0..image.size;
                let file = FormFile { field: file, name: &image.name, path: &image.path, section };
                Content::File(FileContent::form(boundary, &fields, file))
            }
            (Sends::Form(..), None) => {
                let words = format!("the product file of {} sends a form where there is no image", self.node);
                return Err(Failure::new(Reason::InternalError, words));
            }
        };
        Ok(Message { path: step.path.clone(), cookie: cookie.map(|line| line.text), content })
    }

    fn unwritten(&self, error: &ValueError) -> Failure {
        let words = format!(
            "a request to {} cannot be written: {error}; look at the product file and the Secret",
            self.node
        );
        Failure::new(Reason::SecretIncomplete, words)
    }
}

/// Returns what a refusal is for the walk.
fn refused(means: Meaning, failure: Failure) -> Pushed {
    if means.passes() { Pushed::NotBegun(failure) } else { Pushed::Refused(means, failure) }
}

#[cfg(test)]
mod tests;
