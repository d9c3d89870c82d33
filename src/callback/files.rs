//! What a machine sees of the run's offers once it has signed in to a file service: one file, and nothing else.
//!
//! A path is compared with the name of the offer and never looked up in a file system.

use super::account::ACCOUNT;
use super::admission::Permit;
use super::counters::Cause;
use super::offers::{OpenOffer, is_name};
use super::state::ServerState;
use super::transfer::Transfer;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a machine waits for a file while this runner fetches the payload itself, as with HTTP.
const FETCH_PATIENCE: Duration = Duration::from_secs(50);

/// How much of a file is read at once.
pub(super) const CHUNK: usize = 256 * 1024;

/// How often it is looked up during a transfer whether the file is offered still.
const RECHECK: Duration = Duration::from_secs(1);

/// A machine at a file service.
#[derive(Clone)]
pub(super) struct Visitor {
    pub(super) state: Arc<ServerState>,
    pub(super) source: IpAddr,
    pub(super) permit: Arc<Permit>,
}

/// The file of one offer.
#[derive(Clone)]
pub(super) struct Folder {
    visitor: Visitor,
    offer: OpenOffer,
}

/// Why a file cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    /// There is no such file, or not any more.
    #[error("there is no such file here")]
    NotFound,
    /// The machine may try again.
    #[error("{0}; try again")]
    NotYet(&'static str),
}

/// A file that was opened.
pub(super) struct OpenFile {
    file: Arc<File>,
    /// Its length in bytes.
    pub(super) size: u64,
    folder: Folder,
    /// When it was last looked up that the file is offered.
    seen_open: Mutex<Instant>,
    _transfer: Transfer,
}

impl Visitor {
    /// Signs in. The account opens the offer that the password belongs to, to the machine that it is for.
    pub(super) fn sign_in(&self, user: &str, password: &str) -> Option<Folder> {
        let identity = &self.state.identity;
        let is_own = |offer: &OpenOffer| identity.is_password(password, &offer.session, offer.action);
        let offer = self.state.offers.to(self.source).into_iter().find(is_own).filter(|_| user == ACCOUNT);
        if offer.is_none() {
            self.state.admission.refuse(Cause::Account, self.source);
        }
        let folder = Folder { visitor: self.clone(), offer: offer? };
        self.permit.set_state(super::admission::PeerState::Device);
        Some(folder)
    }

    /// Counts a request for what is not offered.
    pub(super) fn refuse(&self) {
        self.state.admission.refuse(Cause::Path, self.source);
    }
}

/// Returns the parts of a path, without those that mean nothing. `..` is kept: nothing has that name.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !matches!(*part, "" | "."))
}

impl Folder {
    /// The name of the file.
    pub(super) fn name(&self) -> &str {
        &self.offer.name
    }

    /// Reports whether this is the path of the file. A machine may have left the escapes of a URL in it.
    pub(super) fn is_file(&self, path: &str) -> bool {
        let mut parts = parts(path);
        parts.next().is_some_and(|first| is_name(first, self.name())) && parts.next().is_none()
    }

    /// Reports whether this is the path of the folder itself.
    pub(super) fn is_root(path: &str) -> bool {
        parts(path).next().is_none()
    }

    /// Returns a path as clients expect it: from the root, and without parts that mean nothing.
    pub(super) fn absolute(path: &str) -> String {
        format!("/{}", parts(path).collect::<Vec<_>>().join("/"))
    }

    /// Opens a file. A payload that this runner does not have is fetched, and is fetched to the end although the
    /// machine may not wait for it.
    pub(super) async fn open(&self, path: &str) -> Result<OpenFile, OpenError> {
        let Visitor { state, source, .. } = &self.visitor;
        if !self.is_file(path) || !self.is_open() {
            self.visitor.refuse();
            return Err(OpenError::NotFound);
        }
        state.offers.note_request(&self.offer, *source);
        let Some(transfer) = state.admission.transfers().begin(*source) else {
            state.admission.refuse(Cause::TooMany, *source);
            return Err(OpenError::NotYet("too many transfers to this address are under way"));
        };
        let path = self.stored().await.map_err(OpenError::NotYet)?;
        let opened = tokio::task::spawn_blocking(move || {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            Ok::<_, io::Error>((file, size))
        });
        match opened.await.map_err(io::Error::other).flatten() {
            Ok((file, size)) => {
                let (file, folder, seen_open) = (Arc::new(file), self.clone(), Mutex::new(Instant::now()));
                Ok(OpenFile { file, size, folder, seen_open, _transfer: transfer })
            }
            Err(error) => {
                tracing::error!(digest = self.offer.digest, %error, "a stored payload cannot be read");
                Err(OpenError::NotYet("the payload cannot be read"))
            }
        }
    }

    /// Reports whether the file is offered still: the action may have ended since the machine signed in.
    fn is_open(&self) -> bool {
        self.visitor.state.offers.to(self.visitor.source).contains(&self.offer)
    }

    async fn stored(&self) -> Result<PathBuf, &'static str> {
        let state = &self.visitor.state;
        // Not one of the server's tasks: closing does not wait for a download, which other runs may want, too.
        let fetching = tokio::spawn(state.offers.file(&self.offer));
        match tokio::time::timeout(FETCH_PATIENCE, fetching).await {
            Ok(Ok(Ok(path))) => Ok(path),
            Ok(Ok(Err(failure))) => {
                tracing::warn!(run = state.identity.run(), session = self.offer.session, action = self.offer.action, %failure, "an offered payload cannot be served");
                Err("the payload cannot be fetched at present")
            }
            Ok(Err(_)) | Err(_) => Err("the payload is being fetched"),
        }
    }

    /// Counts a request for what is not offered.
    pub(super) fn refuse(&self) {
        self.visitor.refuse();
    }
}

impl OpenFile {
    /// Reads at most this many bytes from this position on; fewer at the end of the file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when the action has ended; errors of the file system.
    pub(super) async fn read(&self, at: u64, most: usize) -> io::Result<Vec<u8>> {
        if !self.is_open() {
            return Err(io::Error::new(io::ErrorKind::NotFound, OpenError::NotFound));
        }
        let left = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let (file, length) = (self.file.clone(), most.min(CHUNK).min(left));
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, at)?;
            Ok(bytes)
        });
        read.await.map_err(io::Error::other)?
    }

    /// As [`Folder::is_open`], at most [`RECHECK`] old.
    fn is_open(&self) -> bool {
        let mut seen = self.seen_open.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.elapsed() < RECHECK {
            return true;
        }
        let is_open = self.folder.is_open();
        if is_open {
            *seen = Instant::now();
        }
        is_open
    }

    /// Notes that the file was sent up to this position.
    pub(super) fn note_sent(&self, position: u64) {
        self.folder.visitor.state.offers.note_sent(&self.folder.offer, position);
    }
}
