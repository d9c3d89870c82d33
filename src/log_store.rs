//! The logs of NodeUpdates, as this runner keeps them: one bounded file for each session.
//!
//! Offsets in a file are offsets in the log of the session, so that any runner continues where it was, or
//! another one begins at 0 (docs/logs.md). What is lost is a gap in the file. This module knows neither
//! Kubernetes nor the engine's protocol beyond the form of a line.

mod read;
mod secrets;

pub use read::{Filter, Piece};
pub use secrets::Secrets;

use crate::metrics::Metrics;
use farrier_protocol::LOG_LIMIT_BYTES;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// How long a log is kept after its last line: as long as a finished run is by default
/// (`spec.ttlAfterFinished`).
const MAX_AGE: Duration = Duration::from_hours(168);

/// The logs of one runner. Clones share the same files.
#[derive(Clone, Debug)]
pub struct LogStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    /// Maximum length of all logs together.
    limit: u64,
    /// By session.
    kept: Mutex<BTreeMap<String, Kept>>,
    /// Changes when any log grows.
    grown: watch::Sender<()>,
    metrics: Metrics,
}

/// One log.
#[derive(Debug, Clone, Copy)]
struct Kept {
    /// Length of the file.
    length: u64,
    /// Time of the last line.
    written: SystemTime,
}

/// The log of one session, for the part that receives it.
#[derive(Debug)]
pub struct RunLog {
    store: LogStore,
    session: String,
    secrets: Arc<Secrets>,
    /// What was received, whether or not it could be kept.
    received: Mutex<u64>,
}

impl LogStore {
    /// Opens the store in this directory, with at most `limit` bytes in all, and without the logs that are old.
    ///
    /// # Errors
    /// When the directory cannot be created or read.
    pub fn open(dir: &Path, limit: u64, metrics: &Metrics) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mut kept = BTreeMap::new();
        for entry in fs::read_dir(dir)?.flatten() {
            let name = entry.file_name();
            let session = name.to_str().and_then(|name| name.strip_suffix(".log"));
            if let (Some(session), Ok(meta)) = (session, entry.metadata()) {
                let written = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                kept.insert(session.to_owned(), Kept { length: meta.len(), written });
            }
        }
        let inner = Inner {
            dir: dir.to_owned(),
            limit,
            kept: Mutex::new(kept),
            grown: watch::Sender::new(()),
            metrics: metrics.clone(),
        };
        let store = Self { inner: Arc::new(inner) };
        store.remove_old();
        Ok(store)
    }

    /// Returns the log of a session, to be written to. `secrets` never get into it.
    pub fn writer(&self, session: &str, secrets: Arc<Secrets>) -> RunLog {
        let length = self.lock().get(session).map(|kept| kept.length).unwrap_or_default();
        RunLog { store: self.clone(), session: session.to_owned(), secrets, received: Mutex::new(length) }
    }

    /// Reads whole lines of a session's log. `None`: this runner has no log of it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self, session: &str, from: u64, limit: usize, filter: &Filter) -> io::Result<Option<Piece>> {
        let Some(Kept { length, .. }) = self.lock().get(session).copied() else { return Ok(None) };
        let file = File::open(self.path(session))?;
        read::read(&file, length, from, limit, filter).map(Some)
    }

    /// Returns what changes whenever a log grows.
    pub fn grown(&self) -> watch::Receiver<()> {
        self.inner.grown.subscribe()
    }

    fn path(&self, session: &str) -> PathBuf {
        self.inner.dir.join(format!("{session}.log"))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the logs whose last line is a week old. Whoever opened the store calls this from time to time.
    pub fn remove_old(&self) {
        let oldest = SystemTime::now().checked_sub(MAX_AGE);
        let mut kept = self.lock();
        kept.retain(|session, log| {
            let stays = oldest.is_none_or(|oldest| log.written >= oldest);
            stays || fs::remove_file(self.path(session)).is_err()
        });
    }

    /// Makes room for `bytes` more of `session`, by removing the logs that were not written to for longest.
    fn make_room(&self, session: &str, bytes: u64, kept: &mut BTreeMap<String, Kept>) -> bool {
        loop {
            let total: u64 = kept.values().map(|log| log.length).sum();
            if total + bytes <= self.inner.limit {
                return true;
            }
            let others = kept.iter().filter(|(other, _)| *other != session);
            let Some(oldest) = others.min_by_key(|(_, log)| log.written).map(|(other, _)| other.clone())
            else {
                return false;
            };
            // A file that cannot be removed takes space but is not counted for ever.
            fs::remove_file(self.path(&oldest)).ok();
            kept.remove(&oldest);
        }
    }

    /// Writes at an offset. Bytes that are there already are not written again.
    fn write(&self, session: &str, from: u64, lines: &[u8]) -> io::Result<()> {
        let mut kept = self.lock();
        let known = kept.get(session).map(|log| log.length).unwrap_or_default();
        let skip = usize::try_from(known.saturating_sub(from)).unwrap_or(usize::MAX);
        let Some(lines) = lines.get(skip..).filter(|lines| !lines.is_empty()) else { return Ok(()) };
        let from = from.max(known);
        let end = from + lines.len() as u64;
        if end > LOG_LIMIT_BYTES || !self.make_room(session, end - known, &mut kept) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let path = self.path(session);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if let Err(error) = file.write_all_at(lines, from) {
            // The rest is a gap, not half a line.
            file.set_len(known).ok();
            return Err(error);
        }
        kept.insert(session.to_owned(), Kept { length: end, written: SystemTime::now() });
        Ok(())
    }
}

impl RunLog {
    /// Returns the offset from which the log is wanted.
    pub fn next(&self) -> u64 {
        *self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what must not get into logs and messages about this session.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Keeps lines of the log, and returns the offset from which it is wanted next. What cannot be kept is
    /// counted and left out: a full disk must not hold up the work.
    pub fn append(&self, from: u64, mut lines: Vec<u8>) -> u64 {
        let metrics = &self.store.inner.metrics;
        let bytes = lines.len() as u64;
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (*received).max(from.saturating_add(bytes));
        self.secrets.mask(&mut lines);
        match self.store.write(&self.session, from, &lines) {
            Ok(()) => metrics.log_bytes.add([], bytes),
            Err(error) => {
                metrics.log_dropped.add([], bytes);
                tracing::debug!(%error, "a part of the machine's log is not kept");
            }
        }
        *received = next;
        self.store.inner.grown.send_replace(());
        next
    }
}

#[cfg(test)]
mod tests;
