//! A socket that ends connections whose peer reads too slowly.

use super::admission::Admission;
use super::counters::Cause;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The timeout of a reader starts again each time it has accepted this many bytes.
const PROGRESS: usize = 16 * 1024;

/// Counts the bytes sent, and fails writes to readers that accept next to nothing.
pub(super) struct WriteTimeout<S> {
    inner: S,
    admission: Arc<Admission>,
    source: IpAddr,
    /// Bytes sent since the timeout started.
    taken: usize,
    /// How much of the timeout is used up.
    waited: Duration,
    /// Start of the current wait, and the timer that ends it.
    blocked: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> WriteTimeout<S> {
    pub(super) fn new(inner: S, admission: Arc<Admission>, source: IpAddr) -> Self {
        Self { inner, admission, source, taken: 0, waited: Duration::ZERO, blocked: None }
    }

    pub(super) fn get_ref(&self) -> &S {
        &self.inner
    }

    fn paced(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => {
                let left = self.admission.limits().reader.saturating_sub(self.waited);
                // sleep: the reader's timeout, polled beside the write and dropped with it.
                let (_, patience) =
                    self.blocked.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
                if patience.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.admission.refuse(Cause::TooSlow, self.source);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other side reads too slowly")))
            }
            Poll::Ready(Ok(count)) => {
                if let Some((since, _)) = self.blocked.take() {
                    self.waited += since.elapsed();
                }
                self.taken += count;
                if self.taken >= PROGRESS {
                    (self.taken, self.waited) = (0, Duration::ZERO);
                }
                self.admission.counters().count_sent(count);
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.paced(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, bytes);
        self.paced(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
