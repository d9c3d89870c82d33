//! The upload of an image into the repository of an iLO.

use super::super::content::{Field, FileContent};
use super::super::words::report;
use super::super::{Link, Request, Session};
use super::body::{file, object};
use super::refused::{Answered, refused};
use super::{Device, trouble};
use crate::attempt::logbook::Intended;
use crate::drivers::device::{Image, Trouble};
use crate::failure::Failure;
use farrier_update::Reason;
use farrier_update::device::{Answer, Progress};
use serde_json::json;
use std::ops::Range;
use std::time::Duration;
use tokio::time::Instant;

/// Largest part of an image that the upload of an iLO takes at once (ilorest, `UploadComponentCommand.py`).
const SECTION: u64 = 32 * 1024 * 1024;

/// How long an iLO may take to verify an image, and to write it into its repository.
const VERIFYING: Duration = Duration::from_mins(10);

/// How long an iLO that says it is ready may take until its repository lists the image. Right after an upload, it
/// may say so about what it did before.
const LISTING: Duration = Duration::from_secs(30);

/// Time between two questions about that.
const POLL: Duration = Duration::from_secs(1);

/// The cookie that the upload of an iLO wants.
const COOKIE: &str = "sessionKey";

/// An image for the repository of an iLO.
pub(super) struct RepositoryUpload {
    pub(super) link: Link,
    /// Identifies the upload, for the device.
    pub(super) mark: String,
    pub(super) boundary: String,
    pub(super) image: Image,
}

impl RepositoryUpload {
    fn form(&self, session: &Session, section: Range<u64>, number: u32, size: u64) -> FileContent {
        let is_whole = size <= SECTION;
        let parameters = object([
            ("UpdateRepository", Some(json!(true))),
            ("UpdateTarget", Some(json!(false))),
            ("UpdateRecoverySet", Some(json!(false))),
            ("ETag", Some(json!(self.mark))),
            ("Section", (!is_whole).then(|| json!(number))),
        ])
        .to_string();
        let token = session.token().unwrap_or_default();
        let field = |name, value| Field { name, media_type: None, value };
        let mut fields = Vec::new();
        if !token.is_empty() {
            fields.push(field("sessionKey", token.as_bytes()));
        }
        fields.push(field("parameters", parameters.as_bytes()));
        FileContent::form(&self.boundary, &fields, file("file", &self.image, section))
    }
}

impl Device {
    /// Uploads an image into the repository, in sections, and waits until it is verified.
    pub(super) async fn upload(
        &self,
        session: &Session,
        permission: &Intended,
        upload: &RepositoryUpload,
    ) -> Answered {
        let size = upload.image.size;
        let mut from: u64 = 0;
        let mut number = 0;
        loop {
            let to = from.saturating_add(SECTION).min(size);
            let form = upload.form(session, from..to, number, size);
            let mut request = Request { cookie: Some(COOKIE), ..Request::upload(upload.link.clone(), form) };
            if number == 0 {
                let Some(left) = permission.time_left() else { return (Answer::NotBegun, None) };
                request.begin_within = Some(left);
            }
            if let Err(error) = session.send(&request).await {
                let (answer, trouble) = refused(error);
                // Sections before this one are there.
                let is_begun = number > 0 && answer == Answer::NotBegun;
                return (if is_begun { Answer::Unknown } else { answer }, trouble);
            }
            (from, number) = (to, number + 1);
            if from >= size {
                return self.verified(session, &upload.image.name).await;
            }
        }
    }

    /// Waits until the device has verified what it was sent, and lists it.
    async fn verified(&self, session: &Session, name: &str) -> Answered {
        let Some(service) = self.update.as_ref().filter(|service| service.has_state) else {
            return (Answer::Done, None);
        };
        let until = Instant::now() + VERIFYING;
        let mut ready_until = None;
        let mut is_first = true;
        loop {
            let report = match session.get(&service.link).await {
                Ok(resource) => report(&resource),
                Err(error) => return (Answer::Unknown, Some(trouble(error.into()))),
            };
            match report.progress {
                Progress::Done | Progress::Gone => {
                    match service.ways.repository.as_ref() {
                        Some(repository) => match repository.lists(session, name).await {
                            Ok(false) => {}
                            Ok(true) => return (Answer::Done, None),
                            Err(error) => return (Answer::Unknown, Some(trouble(error.into()))),
                        },
                        None => return (Answer::Done, None),
                    }
                    ready_until.get_or_insert(Instant::now() + LISTING);
                }
                // It may be the failure of what was sent before.
                Progress::Failed if is_first => {}
                Progress::Failed => {
                    let reason = report.reason.unwrap_or(Reason::DeviceRefused);
                    let words = format!("{} did not take the image: {}", self.node, report.words);
                    let trouble = Trouble { is_answer: true, ..trouble(Failure::new(reason, words)) };
                    return (Answer::Rejected, Some(trouble));
                }
                Progress::Queued | Progress::Running | Progress::WaitsForReset => ready_until = None,
            }
            if Instant::now() >= ready_until.unwrap_or(until).min(until) {
                return (Answer::Unknown, None);
            }
            is_first = false;
            // sleep: the device does not report when it is ready.
            tokio::time::sleep(POLL).await;
        }
    }
}
