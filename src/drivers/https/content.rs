//! The content of requests: JSON, a text, or a file between the lines of a form.

use bytes::Bytes;
use futures::TryStreamExt as _;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use serde_json::Value;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom};
use tokio_util::io::ReaderStream;

/// Bytes that are read from a file at once.
const CHUNK: usize = 64 * 1024;

/// A device that takes no byte of an upload for this long has stopped reading. Web servers give up such a connection
/// themselves after one or two minutes.
pub(in crate::drivers) const STALLED: Duration = Duration::from_mins(2);

/// Returns when a device has taken nothing of a file for too long.
pub(in crate::drivers) async fn stalled(content: &Content) {
    let mut last = None;
    loop {
        // sleep: progress is looked at now and then.
        tokio::time::sleep(STALLED).await;
        match content.progress() {
            Some((sent, size)) if sent < size && last == Some(sent) => return,
            // All of it was sent: the answer may take long.
            Some((sent, size)) if sent >= size => std::future::pending::<()>().await,
            Some((sent, _)) => last = Some(sent),
            None => std::future::pending::<()>().await,
        }
    }
}

/// The body of a request.
pub(in crate::drivers) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The content of a request.
#[derive(Debug, Clone)]
pub enum Content {
    /// None.
    Nothing,
    /// JSON.
    Json(Value),
    /// A text of a media type. It may have a password in it, and is never printed.
    Text(Text),
    /// A file.
    File(FileContent),
}

/// A file, or a section of one, as the content of a request.
#[derive(Clone)]
pub struct FileContent {
    /// The media type of the whole content.
    media_type: String,
    /// What is sent before the file.
    before: Bytes,
    /// The file.
    path: PathBuf,
    /// The section of the file, in bytes.
    section: Range<u64>,
    /// What is sent after the file.
    after: Bytes,
    /// How many bytes of the file were read to be sent.
    sent: Arc<AtomicU64>,
}

/// One field of a form.
#[derive(Debug)]
pub(in crate::drivers) struct Field<'a> {
    /// Its name.
    pub(in crate::drivers) name: &'a str,
    /// Name of the file whose content it is.
    pub(in crate::drivers) file: Option<&'a str>,
    /// The media type of its content.
    pub(in crate::drivers) media_type: Option<&'a str>,
    /// Its content.
    pub(in crate::drivers) value: &'a [u8],
}

/// The file of a form.
#[derive(Debug)]
pub(in crate::drivers) struct FormFile<'a> {
    /// Name of the field.
    pub(in crate::drivers) field: &'a str,
    /// Name of the file, for the device.
    pub(in crate::drivers) name: &'a str,
    /// The file.
    pub(in crate::drivers) path: &'a Path,
    /// The section of it that is sent, in bytes.
    pub(in crate::drivers) section: Range<u64>,
}

/// A text of a media type.
#[derive(Clone)]
pub struct Text {
    /// The media type.
    pub media_type: String,
    /// The text.
    pub text: String,
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").field("media_type", &self.media_type).finish_non_exhaustive()
    }
}

impl fmt::Debug for FileContent {
    /// Without the fields of the form, which may contain a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { media_type: _, before: _, path, section, after: _, sent: _ } = self;
        f.debug_struct("FileContent").field("path", path).field("section", section).finish_non_exhaustive()
    }
}

impl Content {
    /// Returns the media type; `None` if there is no content.
    pub(in crate::drivers) fn media_type(&self) -> Option<&str> {
        match self {
            Self::Nothing => None,
            Self::Json(_) => Some("application/json"),
            Self::Text(text) => Some(&text.media_type),
            Self::File(file) => Some(&file.media_type),
        }
    }

    /// Returns the number of bytes of a content that is not in memory.
    pub(in crate::drivers) fn length(&self) -> Option<u64> {
        match self {
            Self::Nothing | Self::Json(_) | Self::Text(_) => None,
            Self::File(file) => Some(file.length()),
        }
    }

    /// Returns how many bytes of a file were read to be sent, and how many it has; `None` if there is no file.
    pub(in crate::drivers) fn progress(&self) -> Option<(u64, u64)> {
        match self {
            Self::Nothing | Self::Json(_) | Self::Text(_) => None,
            Self::File(file) => Some((file.sent.load(Ordering::Relaxed), file.size())),
        }
    }

    /// Opens the content.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(in crate::drivers) async fn open(&self) -> io::Result<Body> {
        let whole = |bytes: Bytes| Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
        match self {
            Self::Nothing => Ok(whole(Bytes::new())),
            Self::Json(value) => Ok(whole(value.to_string().into())),
            Self::Text(text) => Ok(whole(text.text.clone().into())),
            Self::File(file) => file.open().await,
        }
    }
}

impl FileContent {
    /// A file by itself.
    pub(in crate::drivers) fn plain(path: &Path, size: u64) -> Self {
        Self {
            media_type: "application/octet-stream".to_owned(),
            before: Bytes::new(),
            path: path.to_owned(),
            section: 0..size,
            after: Bytes::new(),
            sent: Arc::default(),
        }
    }

    /// A form (`multipart/form-data`, RFC 7578) with a file as its last field. `boundary` must not occur in the
    /// fields or in the file.
    pub(in crate::drivers) fn form(boundary: &str, fields: &[Field<'_>], file: FormFile<'_>) -> Self {
        let mut before = Vec::new();
        for Field { name, file, media_type, value } in fields {
            let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"");
            before.extend(head.bytes());
            if let Some(file) = file {
                before.extend(format!("; filename=\"{file}\"").bytes());
            }
            before.extend(b"\r\n");
            if let Some(media_type) = media_type {
                before.extend(format!("Content-Type: {media_type}\r\n").bytes());
            }
            before.extend(b"\r\n");
            before.extend(*value);
            before.extend(b"\r\n");
        }
        let FormFile { field, name, path, section } = file;
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
        );
        before.extend(head.bytes());
        Self {
            media_type: format!("multipart/form-data; boundary={boundary}"),
            before: before.into(),
            path: path.to_owned(),
            section,
            after: format!("\r\n--{boundary}--\r\n").into(),
            sent: Arc::default(),
        }
    }

    fn length(&self) -> u64 {
        let around = u64::try_from(self.before.len().saturating_add(self.after.len())).unwrap_or(u64::MAX);
        around.saturating_add(self.size())
    }

    const fn size(&self) -> u64 {
        self.section.end.saturating_sub(self.section.start)
    }

    async fn open(&self) -> io::Result<Body> {
        let mut file = tokio::fs::File::open(&self.path).await?;
        file.seek(SeekFrom::Start(self.section.start)).await?;
        let section = file.take(self.size());
        let sent = self.sent.clone();
        let section = ReaderStream::with_capacity(section, CHUNK).inspect_ok(move |bytes: &Bytes| {
            sent.fetch_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        });
        let around = |bytes: &Bytes| futures::stream::iter([Ok::<_, io::Error>(bytes.clone())]);
        let bytes = futures::StreamExt::chain(
            futures::StreamExt::chain(around(&self.before), section),
            around(&self.after),
        );
        Ok(StreamBody::new(bytes.map_ok(Frame::data)).boxed_unsync())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wrong length would make devices wait for bytes that never come, or cut the image off.
    #[tokio::test]
    async fn a_form_has_the_length_that_it_states() {
        let path = std::env::temp_dir().join(format!("farrier-form-{}", std::process::id()));
        std::fs::write(&path, b"0123456789").unwrap();
        let field = Field {
            name: "UpdateParameters",
            file: None,
            media_type: Some("application/json"),
            value: b"{}",
        };
        let file = FormFile { field: "UpdateFile", name: "bios.bin", path: &path, section: 2..7 };
        let content = Content::File(FileContent::form("xx", &[field], file));
        let sent = content.open().await.unwrap().collect().await.unwrap().to_bytes();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(content.length(), Some(u64::try_from(sent.len()).unwrap()));
        assert_eq!(content.media_type(), Some("multipart/form-data; boundary=xx"));
        assert_eq!(
            std::str::from_utf8(&sent).unwrap(),
            "--xx\r\nContent-Disposition: form-data; name=\"UpdateParameters\"\r\nContent-Type: application/json\r\n\r\n{}\r\n\
             --xx\r\nContent-Disposition: form-data; name=\"UpdateFile\"; filename=\"bios.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n\
             23456\r\n--xx--\r\n"
        );
    }
}
