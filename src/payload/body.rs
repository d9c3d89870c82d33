//! The body of a payload response. Bytes that are in memory are read directly, other bytes by a
//! separate thread.
//!
//! Handing a read to another thread costs more than the read itself, so the worker first asks the
//! kernel for cached bytes (`RWF_NOWAIT`). Only a chunk that must come from the disk is left to a
//! thread that may block.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use rustix::fs::fstatfs;
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::fs::File;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// Size of a read. A chunk is encrypted and sent while it is still in the processor's second-level
/// cache: four times the size, or a quarter, costs at least a tenth more (measured). A thousand readers
/// hold 64 MiB.
const CHUNK: usize = 64 * 1024;

/// Number of buffers that are kept for the next reads. More readers are rare, and their buffers are
/// freed.
const KEPT: usize = 32;

/// File system type of tmpfs (`linux/magic.h`): its files are entirely in memory, and it does not
/// support `RWF_NOWAIT`.
const TMPFS: u64 = 0x0102_1994;

static BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A future that ends the body early.
pub(super) type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Part of a file as the body of a response.
pub(super) struct FileBody {
    file: Arc<File>,
    mode: ReadMode,
    at: u64,
    end: u64,
    /// A chunk that another thread reads from the disk.
    fetching: Option<JoinHandle<io::Result<Chunk>>>,
    stop: Option<Stop>,
}

/// How the file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadMode {
    /// Bytes that are in memory directly, the rest by another thread.
    NoWait,
    /// Directly, because the whole file is in memory.
    Direct,
    /// By another thread, because the file system cannot say which bytes are in memory.
    Blocking,
}

/// Bytes that were read, in a reusable buffer.
struct Chunk {
    buffer: Vec<u8>,
    length: usize,
}

impl FileBody {
    /// Creates a body of the bytes from `at` up to `end`. Polling it returns an error as soon as `stop`
    /// is ready.
    pub(super) fn new(file: File, at: u64, end: u64, stop: Option<Stop>) -> Self {
        let in_memory = fstatfs(&file).is_ok_and(|system| u64::try_from(system.f_type) == Ok(TMPFS));
        let mode = if in_memory { ReadMode::Direct } else { ReadMode::NoWait };
        Self { file: Arc::new(file), mode, at, end, fetching: None, stop }
    }

    /// Reads the next chunk, if that is possible without blocking.
    fn read_now(&mut self) -> io::Result<Option<Chunk>> {
        let mut chunk = Chunk::of(self.end - self.at);
        let read = match self.mode {
            ReadMode::Blocking => return Ok(None),
            ReadMode::Direct => self.file.read_at(chunk.room(), self.at),
            ReadMode::NoWait => {
                let mut room = [IoSliceMut::new(chunk.room())];
                match preadv2(&self.file, &mut room, self.at, ReadWriteFlags::NOWAIT) {
                    Err(Errno::AGAIN) => return Ok(None),
                    Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                        self.mode = ReadMode::Blocking;
                        return Ok(None);
                    }
                    other => other.map_err(io::Error::from),
                }
            }
        };
        chunk.filled(read?).map(Some)
    }

    fn fetch(&self) -> JoinHandle<io::Result<Chunk>> {
        let (file, at, left) = (self.file.clone(), self.at, self.end - self.at);
        tokio::task::spawn_blocking(move || {
            let mut chunk = Chunk::of(left);
            let read = file.read_at(chunk.room(), at)?;
            chunk.filled(read)
        })
    }
}

impl Body for FileBody {
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
            return Poll::Ready(Some(Err(io::Error::other("the transfer of the payload was cancelled"))));
        }
        if self.fetching.is_none() {
            match self.read_now() {
                Ok(Some(chunk)) => return Poll::Ready(Some(Ok(self.next_frame(chunk)))),
                Ok(None) => self.fetching = Some(self.fetch()),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let Some(fetching) = &mut self.fetching else { return Poll::Ready(None) };
        let fetched = ready!(Pin::new(fetching).poll(context));
        self.fetching = None;
        let chunk = fetched.map_err(io::Error::other).flatten();
        Poll::Ready(Some(chunk.map(|chunk| self.next_frame(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}

impl FileBody {
    fn next_frame(&mut self, chunk: Chunk) -> Frame<Bytes> {
        self.at += chunk.length as u64;
        Frame::data(Bytes::from_owner(chunk))
    }
}

impl Chunk {
    /// Creates a buffer for the next chunk when `left` bytes remain.
    fn of(left: u64) -> Self {
        let buffer = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        Self { buffer: buffer.unwrap_or_else(|| vec![0; CHUNK]), length }
    }

    fn room(&mut self) -> &mut [u8] {
        self.buffer.get_mut(..self.length).unwrap_or_default()
    }

    /// Returns the chunk with the number of bytes that were read.
    fn filled(mut self, read: usize) -> io::Result<Self> {
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stored payload became shorter"));
        }
        self.length = read;
        Ok(self)
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < KEPT {
            buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    /// The file ends in the middle of a chunk.
    const SIZE: usize = 3 * CHUNK + 5;

    fn of(byte: u8) -> Vec<u8> {
        (0..SIZE).map(|at| byte.wrapping_add((at / 251).to_le_bytes()[0])).collect()
    }

    fn reading(path: &std::path::Path, at: usize, end: usize) -> FileBody {
        FileBody::new(File::open(path).unwrap(), at as u64, end as u64, None)
    }

    async fn frame(reading: &mut FileBody) -> Option<Bytes> {
        reading.frame().await.map(|frame| frame.unwrap().into_data().unwrap())
    }

    #[tokio::test]
    async fn any_part_is_read_as_it_is_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("payload");
        std::fs::write(&path, of(1)).unwrap();
        for (at, end) in [(0, SIZE), (1, SIZE), (CHUNK - 1, CHUNK + 1), (CHUNK, 2 * CHUNK), (7, 7)] {
            let read = reading(&path, at, end).collect().await.unwrap().to_bytes();
            assert!(read == of(1)[at..end], "{at} to {end}");
        }
    }

    /// A mixture of the bytes of both files would be a payload that never existed.
    #[tokio::test]
    async fn a_file_that_is_replaced_is_not_mixed_with_its_successor() {
        let dir = tempfile::tempdir().unwrap();
        let (path, next) = (dir.path().join("payload"), dir.path().join("next"));
        std::fs::write(&path, of(1)).unwrap();
        let mut before = reading(&path, 0, SIZE);
        let mut read = frame(&mut before).await.unwrap().to_vec();
        std::fs::write(&next, of(2)).unwrap();
        std::fs::rename(&next, &path).unwrap();
        let mut after = reading(&path, 0, SIZE);
        let mut read_after = Vec::new();
        while let Some(chunk) = frame(&mut after).await {
            read_after.extend_from_slice(&chunk);
            read.extend_from_slice(&frame(&mut before).await.unwrap_or_default());
        }
        assert!(read == of(1), "the first one");
        assert!(read_after == of(2), "its successor");
    }

    /// Otherwise the machine would wait for the rest until its timeout.
    #[tokio::test]
    async fn a_truncated_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("payload");
        std::fs::write(&path, of(1)).unwrap();
        let mut reading = reading(&path, 0, SIZE);
        assert_eq!(frame(&mut reading).await.map(|chunk| chunk.len()), Some(CHUNK));
        File::options().write(true).open(&path).unwrap().set_len(CHUNK as u64 + 1).unwrap();
        assert_eq!(frame(&mut reading).await.map(|chunk| chunk.len()), Some(1));
        let error = reading.frame().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    /// A thousand readers come and go; the memory that is kept for later readers stays small.
    #[test]
    fn few_buffers_are_kept() {
        drop((0..3 * KEPT).map(|_| Chunk::of(1)).collect::<Vec<_>>());
        let kept = BUFFERS.lock().unwrap();
        assert!(kept.len() <= KEPT && kept.iter().all(|buffer| buffer.len() == CHUNK));
    }
}
