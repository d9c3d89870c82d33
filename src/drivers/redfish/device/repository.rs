//! The upload of an image into the repository of an iLO.

use super::super::words::report;
use super::super::{Link, Request, Session};
use super::body::{file, object};
use super::refused::{Answered, refused};
use super::{Device, trouble};
use crate::attempt::logbook::Intended;
use crate::drivers::device::{Image, Trouble};
use crate::drivers::https::{Field, FileContent};
use crate::failure::Failure;
use farrier_update::Reason;
use farrier_update::device::{Answer, Progress};
use serde_json::json;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

/// An image with signatures is sent in sections of this size, and each has a signature of its own; one without is
/// sent whole (ilorest, `UploadComponentCommand.py`).
const SECTION: u64 = 32 * 1024 * 1024;

/// How long an iLO may take to verify an image, and to write it into its repository.
const VERIFYING: Duration = Duration::from_mins(10);

/// How long an iLO that says it is ready may take until its repository lists the image. Right after an upload, it
/// may say so about what it did before.
const LISTING: Duration = Duration::from_secs(30);

/// Time between two questions about that.
const POLL: Duration = Duration::from_secs(1);

/// Largest signature, in bytes. Those of HPE have some thousands.
const SIGNATURE: u64 = 64 * 1024;

/// The cookie that the upload of an iLO wants.
const COOKIE: &str = "sessionKey";

/// An image for the repository of an iLO.
pub(super) struct RepositoryUpload {
    pub(super) link: Link,
    /// Identifies the upload, for the device.
    pub(super) mark: String,
    pub(super) boundary: String,
    /// Whether a trusted module is overridden.
    pub(super) overrides_trusted_module: bool,
    pub(super) image: Image,
}

impl RepositoryUpload {
    /// Returns the size of a section.
    fn section(&self) -> u64 {
        if self.image.signatures.is_empty() { self.image.size.max(1) } else { SECTION }
    }

    /// Returns what is missing of its signatures.
    fn missing(&self, node: &str) -> Option<Failure> {
        let sections = self.image.size.div_ceil(self.section()).max(1);
        let signatures = u64::try_from(self.image.signatures.len()).unwrap_or(u64::MAX);
        (signatures > 0 && signatures != sections).then(|| {
            Failure::new(
                Reason::SignatureMissing,
                format!(
                    "{node} takes this image in {sections} sections of 32 MiB, and payload.signatures names {signatures} files; name the signature of each section, in their order"
                ),
            )
        })
    }

    fn form(
        &self,
        session: &Session,
        section: Range<u64>,
        number: u32,
        signature: Option<&[u8]>,
    ) -> FileContent {
        let is_whole = self.image.size <= self.section();
        let parameters = object([
            ("UpdateRepository", Some(json!(true))),
            ("UpdateTarget", Some(json!(false))),
            ("UpdateRecoverySet", Some(json!(false))),
            ("ETag", Some(json!(self.mark))),
            ("TPMOverride", self.overrides_trusted_module.then_some(json!(true))),
            ("Section", (!is_whole).then(|| json!(number))),
        ])
        .to_string();
        let token = session.token().unwrap_or_default();
        let field = |name, value| Field { name, file: None, media_type: None, value };
        let mut fields = Vec::new();
        if !token.is_empty() {
            fields.push(field("sessionKey", token.as_bytes()));
        }
        fields.push(field("parameters", parameters.as_bytes()));
        let stem = self.image.name.rsplit_once('.').map_or(self.image.name.as_str(), |(stem, _)| stem);
        let name = format!("{stem}.compsig");
        let media_type = Some("application/octet-stream");
        fields.extend(signature.map(|value| Field { name: "compsig", file: Some(&name), media_type, value }));
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
        if let Some(failure) = upload.missing(&self.node) {
            return (Answer::Rejected, Some(Trouble { is_answer: true, ..trouble(failure) }));
        }
        let mut signatures = Vec::new();
        for path in &upload.image.signatures {
            match signature(path).await {
                Ok(signature) => signatures.push(signature),
                Err(failure) => {
                    return (Answer::NotBegun, Some(Trouble { is_answer: true, ..trouble(failure) }));
                }
            }
        }
        let mut from: u64 = 0;
        let mut number: u32 = 0;
        loop {
            let to = from.saturating_add(upload.section()).min(size);
            let signature = usize::try_from(number).ok().and_then(|number| signatures.get(number));
            let form = upload.form(session, from..to, number, signature.map(Vec::as_slice));
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
                return self.verified(session, &upload.image).await;
            }
        }
    }

    /// Waits until the device has verified what it was sent, and lists it.
    async fn verified(&self, session: &Session, image: &Image) -> Answered {
        let name = &image.name;
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
                Progress::Failed | Progress::Interrupted if is_first => {}
                Progress::Failed | Progress::Interrupted => {
                    let reason = report.reason.unwrap_or(Reason::DeviceRefused);
                    let mut words = format!("{} did not take the image: {}", self.node, report.words);
                    if reason == Reason::ImageRefused && image.signatures.is_empty() {
                        words.push_str(
                            "; if files with the ending .compsig came with the image, name them in payload.signatures",
                        );
                    }
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

/// Reads a signature.
async fn signature(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: io::Error| {
        let words = format!("the signature {} cannot be read: {error}", path.display());
        Failure::new(Reason::InternalError, words)
    };
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    file.take(SIGNATURE + 1).read_to_end(&mut bytes).await.map_err(unreadable)?;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if length > SIGNATURE {
        let words =
            "a file of payload.signatures has more than 64 KiB, which is no signature; correct its URL";
        return Err(Failure::new(Reason::PayloadRefused, words));
    }
    Ok(bytes)
}
