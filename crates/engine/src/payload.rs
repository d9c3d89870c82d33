//! Download of a payload: the engine writes it to disk and hashes it as it arrives, over several
//! connections if necessary.

use crate::digest::Digest;
use crate::link::{Body, Head, Http};
use crate::space;
use farrier_protocol::FailureCode;
use ring::digest::Context;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Maximum length of the quotation from an error response's body.
const QUOTED_BYTES: u64 = 500;

/// Why a payload cannot be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FetchError {
    /// The kind of failure.
    pub(crate) code: FailureCode,
    /// Description of the failure.
    pub(crate) message: String,
}

/// A payload that is partly or completely downloaded.
pub(crate) struct Download {
    digest: Digest,
    size: u64,
    file: File,
    hasher: Context,
    offset: u64,
}

/// Distinguishes a failed write, which is the machine's fault, from a failed read, which is the
/// network's.
enum CopyError {
    Line(io::Error),
    Disk(io::Error),
}

impl Download {
    /// Creates an empty file at `path`.
    pub(crate) fn create(path: &Path, digest: Digest, size: u64) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Self { digest, size, file, hasher: Digest::hasher(), offset: 0 })
    }

    /// Continues the download. `Err` means that the connection was lost: call again with the next
    /// connection.
    pub(crate) fn proceed(&mut self, http: &mut Http) -> io::Result<Result<(), FetchError>> {
        let head = http.get(&format!("/v1/payloads/{}", self.digest), self.offset)?;
        match head.status {
            // A server that does not support ranges starts from the beginning.
            200 if self.offset > 0 => {
                if let Err(error) = self.restart() {
                    return Ok(Err(disk(&error)));
                }
            }
            200 => {}
            206 if head.range_start == Some(self.offset) => {}
            _ => return self.refused(&head, &mut http.body(&head)),
        }
        let expected = self.size - self.offset;
        if head.length.is_some_and(|length| length != expected) {
            let length = head.length.unwrap_or_default();
            let message =
                format!("the runner offers {length} bytes of {}, but {expected} are missing", self.digest);
            // The body is not read, so the connection cannot be reused.
            http.abandon();
            return Ok(Err(FetchError { code: FailureCode::PayloadUnavailable, message }));
        }
        match self.copy(&mut http.body(&head)) {
            Ok(()) => {
                if self.offset != self.size {
                    http.abandon();
                }
                Ok(self.finish())
            }
            Err(CopyError::Line(error)) => Err(error),
            Err(CopyError::Disk(error)) => {
                http.abandon();
                Ok(Err(disk(&error)))
            }
        }
    }

    fn copy(&mut self, body: &mut Body<'_>) -> Result<(), CopyError> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = body.read(&mut buffer).map_err(CopyError::Line)?;
            let bytes = buffer.get(..count).unwrap_or_default();
            // A single surplus byte proves that the payload is too long.
            if count == 0 || self.offset > self.size {
                return Ok(());
            }
            self.file.write_all(bytes).map_err(CopyError::Disk)?;
            self.hasher.update(bytes);
            self.offset += count as u64;
        }
    }

    fn finish(&mut self) -> Result<(), FetchError> {
        if self.offset != self.size {
            let (digest, offset, size) = (&self.digest, self.offset, self.size);
            let message = format!("{digest}: received {offset} bytes, the baseline says {size}");
            return Err(FetchError { code: FailureCode::PayloadUnavailable, message });
        }
        self.file.sync_data().map_err(|error| disk(&error))?;
        let found = Digest::of_hasher(std::mem::replace(&mut self.hasher, Digest::hasher()));
        if found != self.digest {
            let message = format!("the baseline says {}, the received file is {found}", self.digest);
            return Err(FetchError { code: FailureCode::DigestMismatch, message });
        }
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = Digest::hasher();
        self.offset = 0;
        Ok(())
    }

    fn refused(&self, head: &Head, body: &mut Body<'_>) -> io::Result<Result<(), FetchError>> {
        let mut words = Vec::new();
        body.by_ref().take(QUOTED_BYTES).read_to_end(&mut words)?;
        io::copy(body, &mut io::sink())?;
        let words = String::from_utf8_lossy(&words);
        let message = format!("the runner answered {} for {}: {}", head.status, self.digest, words.trim());
        Ok(Err(FetchError { code: FailureCode::PayloadUnavailable, message }))
    }
}

/// Returns the error for a failure of the machine's own disk.
pub(crate) fn disk(error: &io::Error) -> FetchError {
    FetchError { code: space::code(error), message: format!("a payload could not be written: {error}") }
}
