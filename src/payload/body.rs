//! A payload on its way out: read where the bytes are in memory already, by another thread where
//! they are not.
//!
//! A read that is handed to another thread costs more than the read itself, so the worker first
//! asks the kernel for what it has at hand (`RWF_NOWAIT`). Only a piece that must come from the
//! disk is left to a thread that may wait.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use rustix::fs::fstatfs;
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::fs::File;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// How much is read at once while few payloads are on their way. Four times as much gains nothing
/// (measured).
const CHUNK: usize = 256 * 1024;

/// How much while there are many: a thousand readers then hold 64 MiB and not four times that.
const SMALL_CHUNK: usize = 64 * 1024;

/// How many payloads are "few".
const FEW: usize = 32;

/// Buffers of each size that are kept for the next read. More readers than that are rare, and
/// theirs are freed.
const KEPT: usize = 32;

/// File system type of tmpfs (`linux/magic.h`): everything is in memory, and it knows no
/// `RWF_NOWAIT`.
const TMPFS: u64 = 0x0102_1994;

/// Payloads that are on their way now.
static ON_THEIR_WAY: AtomicUsize = AtomicUsize::new(0);
static BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
static SMALL_BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Ends a payload early.
pub(super) type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Part of a file as the body of an answer.
pub(super) struct Reading {
    file: Arc<File>,
    way: Way,
    at: u64,
    end: u64,
    /// A piece that another thread fetches from the disk.
    fetching: Option<JoinHandle<io::Result<Piece>>>,
    stop: Option<Stop>,
}

/// How the file can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// What is in memory at once, the rest by another thread.
    AtHand,
    /// It is all in memory.
    Memory,
    /// The file system cannot say what is in memory.
    Thread,
}

/// Bytes that were read, in a buffer that is used again.
struct Piece {
    buffer: Vec<u8>,
    length: usize,
}

impl Reading {
    /// The bytes from `at` up to `end`. Whoever polls it gets an error as soon as `stop` is ready.
    pub(super) fn new(file: File, at: u64, end: u64, stop: Option<Stop>) -> Self {
        ON_THEIR_WAY.fetch_add(1, Ordering::Relaxed);
        let in_memory = fstatfs(&file).is_ok_and(|system| u64::try_from(system.f_type) == Ok(TMPFS));
        let way = if in_memory { Way::Memory } else { Way::AtHand };
        Self { file: Arc::new(file), way, at, end, fetching: None, stop }
    }

    /// The next piece, if it can be had without waiting.
    fn read_now(&mut self) -> io::Result<Option<Piece>> {
        let mut piece = Piece::of(self.end - self.at);
        let read = match self.way {
            Way::Thread => return Ok(None),
            Way::Memory => self.file.read_at(piece.room(), self.at),
            Way::AtHand => {
                let mut room = [IoSliceMut::new(piece.room())];
                match preadv2(&self.file, &mut room, self.at, ReadWriteFlags::NOWAIT) {
                    Err(Errno::AGAIN) => return Ok(None),
                    Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                        self.way = Way::Thread;
                        return Ok(None);
                    }
                    other => other.map_err(io::Error::from),
                }
            }
        };
        piece.filled(read?).map(Some)
    }

    fn fetch(&self) -> JoinHandle<io::Result<Piece>> {
        let (file, at, left) = (self.file.clone(), self.at, self.end - self.at);
        tokio::task::spawn_blocking(move || {
            let mut piece = Piece::of(left);
            let read = file.read_at(piece.room(), at)?;
            piece.filled(read)
        })
    }
}

impl Body for Reading {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.at >= self.end {
            return Poll::Ready(None);
        }
        if let Some(stop) = &mut self.stop
            && stop.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Some(Err(io::Error::other("the payload is not wanted any more"))));
        }
        if self.fetching.is_none() {
            match self.read_now() {
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(self.hand_out(piece)))),
                Ok(None) => self.fetching = Some(self.fetch()),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let Some(fetching) = &mut self.fetching else { return Poll::Ready(None) };
        let fetched = ready!(Pin::new(fetching).poll(context));
        self.fetching = None;
        let piece = fetched.map_err(io::Error::other).flatten();
        Poll::Ready(Some(piece.map(|piece| self.hand_out(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}

impl Reading {
    fn hand_out(&mut self, piece: Piece) -> Frame<Bytes> {
        self.at += piece.length as u64;
        Frame::data(Bytes::from_owner(piece))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        ON_THEIR_WAY.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Piece {
    /// Room for the next piece when so many bytes are left.
    fn of(left: u64) -> Self {
        let few = ON_THEIR_WAY.load(Ordering::Relaxed) <= FEW;
        let (size, kept) = if few { (CHUNK, &BUFFERS) } else { (SMALL_CHUNK, &SMALL_BUFFERS) };
        let buffer = kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let buffer = buffer.unwrap_or_else(|| vec![0; size]);
        let length = usize::try_from(left).unwrap_or(size).min(size);
        Self { buffer, length }
    }

    fn room(&mut self) -> &mut [u8] {
        self.buffer.get_mut(..self.length).unwrap_or_default()
    }

    /// With so many bytes in it.
    fn filled(mut self, read: usize) -> io::Result<Self> {
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stored payload became shorter"));
        }
        self.length = read;
        Ok(self)
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let kept = if buffer.len() == CHUNK { &BUFFERS } else { &SMALL_BUFFERS };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(buffer);
        }
    }
}
