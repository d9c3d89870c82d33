//! What a machine sees of the run's offers once it has signed in to a file service: one file or folder, and nothing
//! else.
//!
//! A path is compared with the name of the offer, and what follows it is looked up in the index of the folder: never in
//! a file system.

use super::account::ACCOUNT;
use super::admission::Permit;
use super::counters::Cause;
use super::offers::{Found, OfferContent, OpenOffer, is_name};
use super::state::ServerState;
use super::transfer::Transfer;
use crate::payload::{Content, resolve};
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
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

/// What an account sees: one file or folder, with the name of its offer.
#[derive(Clone)]
pub(super) struct Folder {
    visitor: Visitor,
    offer: OpenOffer,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Folder,
    /// A file, with its length in bytes.
    File(u64),
}

/// Why a file cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    /// There is no such file, or not any more.
    #[error("there is no such file here")]
    NotFound,
    /// It is a folder.
    #[error("this is a folder")]
    IsFolder,
    /// The machine may try again.
    #[error("{0}; try again")]
    NotYet(&'static str),
}

/// A file that was opened.
pub(super) struct OpenFile {
    file: Arc<File>,
    /// Where in it the content begins.
    begin: u64,
    /// The length of the content in bytes.
    pub(super) size: u64,
    /// Its number in the offer.
    number: u32,
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

impl Folder {
    /// The name of the file or folder.
    pub(super) fn name(&self) -> &str {
        &self.offer.name
    }

    /// Returns a path as clients expect it: from the root, as seen from a folder, and without parts that mean nothing.
    /// A path that leads out of the root is nowhere.
    pub(super) fn absolute(from: &str, path: &str) -> Option<String> {
        let from = if path.starts_with('/') { "" } else { from };
        Some(format!("/{}", resolve(from, path)?))
    }

    /// Returns what of a path is below the name of the offer; `None`: it is another one. A machine may have left the
    /// escapes of a URL in it.
    fn below(&self, path: &str) -> Option<String> {
        let path = resolve("", path)?;
        let (name, below) = path.split_once('/').unwrap_or((&path, ""));
        (is_name(name, self.name()) && (self.offer.unpack || below.is_empty())).then(|| below.to_owned())
    }

    /// Reports whether this is the path of the root.
    fn is_root(path: &str) -> bool {
        resolve("", path).is_some_and(|path| path.is_empty())
    }

    /// Returns what is at a path.
    pub(super) async fn look(&self, path: &str) -> Result<Entry, OpenError> {
        if Self::is_root(path) {
            return Ok(Entry::Folder);
        }
        if self.offer.unpack && self.below(path).is_some_and(|below| below.is_empty()) && self.is_open() {
            return Ok(Entry::Folder);
        }
        match self.find(path).await? {
            Found::Folder => Ok(Entry::Folder),
            Found::File(content, _) => self.size(content).await.map(Entry::File),
        }
    }

    /// Returns what is directly in a folder, with names; of a file, the file itself.
    pub(super) async fn list(&self, path: &str) -> Result<Vec<(String, Entry)>, OpenError> {
        if Self::is_root(path) {
            return Ok(vec![(self.name().to_owned(), self.look(self.name()).await?)]);
        }
        let below = self.below(path).unwrap_or_default();
        if let Entry::File(size) = self.look(path).await? {
            let name = below.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(self.name());
            return Ok(vec![(name.to_owned(), Entry::File(size))]);
        }
        let found = self.stored().await.map_err(OpenError::NotYet)?.list(&below);
        let sized = found.into_iter().map(|(name, found)| {
            let size = match found {
                Found::Folder => Entry::Folder,
                Found::File(content, _) => Entry::File(content.part.map_or(0, |(_, size)| size)),
            };
            (name, size)
        });
        Ok(sized.collect())
    }

    /// Returns what is offered at a path. A payload that this runner does not have is fetched, and is fetched to the
    /// end although the machine may not wait for it.
    async fn find(&self, path: &str) -> Result<Found, OpenError> {
        let Visitor { state, source, .. } = &self.visitor;
        let below = self.below(path).filter(|_| self.is_open());
        let Some(below) = below else { return Err(self.not_found()) };
        state.offers.note_request(&self.offer, *source);
        let offered = self.stored().await.map_err(OpenError::NotYet)?;
        offered.find(&below).ok_or_else(|| self.not_found())
    }

    fn not_found(&self) -> OpenError {
        self.visitor.refuse();
        OpenError::NotFound
    }

    /// Opens a file.
    pub(super) async fn open(&self, path: &str) -> Result<OpenFile, OpenError> {
        let Visitor { state, source, .. } = &self.visitor;
        let Some(transfer) = state.admission.transfers().begin(*source) else {
            state.admission.refuse(Cause::TooMany, *source);
            return Err(OpenError::NotYet("too many transfers to this address are under way"));
        };
        let (content, number) = match self.find(path).await? {
            Found::File(content, number) => (content, number),
            Found::Folder => return Err(OpenError::IsFolder),
        };
        let (file, begin, size) = self.opened(content).await?;
        let (file, folder, seen_open) = (Arc::new(file), self.clone(), Mutex::new(Instant::now()));
        Ok(OpenFile { file, begin, size, number, folder, seen_open, _transfer: transfer })
    }

    async fn size(&self, content: Content) -> Result<u64, OpenError> {
        match content.part {
            Some((_, size)) => Ok(size),
            None => self.opened(content).await.map(|(_, _, size)| size),
        }
    }

    async fn opened(&self, content: Content) -> Result<(File, u64, u64), OpenError> {
        let opened = tokio::task::spawn_blocking(move || content.open());
        opened.await.map_err(io::Error::other).flatten().map_err(|error| {
            tracing::error!(digest = self.offer.digest, %error, "a stored payload cannot be read");
            OpenError::NotYet("the payload cannot be read")
        })
    }

    /// Reports whether the file is offered still: the action may have ended since the machine signed in.
    fn is_open(&self) -> bool {
        self.visitor.state.offers.to(self.visitor.source).contains(&self.offer)
    }

    async fn stored(&self) -> Result<OfferContent, &'static str> {
        let state = &self.visitor.state;
        // Not one of the server's tasks: closing does not wait for a download, which other runs may want, too.
        let fetching = tokio::spawn(state.offers.content(&self.offer));
        match tokio::time::timeout(FETCH_PATIENCE, fetching).await {
            Ok(Ok(Ok(offered))) => Ok(offered),
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
        let (file, length, at) = (self.file.clone(), most.min(CHUNK).min(left), self.begin + at);
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
        self.folder.visitor.state.offers.note_sent(&self.folder.offer, self.number, position);
    }
}
