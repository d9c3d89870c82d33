//! Transfers to machines without a certificate: how many an address has, and how far each one is.

use crate::payload::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// Responses to one address at the same time. A machine that fetches in parts uses a few; a site behind one
/// address may have some machines that fetch at once.
pub(super) const MAX_TRANSFERS: usize = 64;

/// The transfers under way, by address.
#[derive(Clone)]
pub(super) struct Transfers {
    at_most: usize,
    under_way: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One transfer; it counts until it is dropped.
pub(super) struct Transfer {
    transfers: Transfers,
    source: IpAddr,
}

impl Transfers {
    /// Allows this many transfers for each address.
    pub(super) fn new(at_most: usize) -> Self {
        Self { at_most, under_way: Arc::default() }
    }

    /// Begins a transfer; `None` if the address has as many as it may have.
    pub(super) fn begin(&self, source: IpAddr) -> Option<Transfer> {
        let mut under_way = self.lock();
        let count = under_way.entry(source).or_default();
        if *count >= self.at_most {
            return None;
        }
        *count += 1;
        drop(under_way);
        Some(Transfer { transfers: self.clone(), source })
    }

    /// Returns how many transfers to an address are under way.
    #[cfg(test)]
    pub(super) fn count(&self, source: IpAddr) -> usize {
        self.lock().get(&source).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let mut under_way = self.transfers.lock();
        if let Some(count) = under_way.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.source);
            }
        }
    }
}

/// A body that reports the position in the file up to which it was sent. What is in the socket's buffers counts
/// as sent.
pub(super) struct CountedBody<F> {
    inner: Body,
    position: u64,
    note: F,
    _transfer: Transfer,
}

impl<F: Fn(u64)> CountedBody<F> {
    /// Counts from this position.
    pub(super) fn new(inner: Body, position: u64, note: F, transfer: Transfer) -> Self {
        Self { inner, position, note, _transfer: transfer }
    }
}

impl<F: Fn(u64) + Unpin> hyper::body::Body for CountedBody<F> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(bytes) = frame.data_ref()
        {
            self.position += bytes.len() as u64;
            (self.note)(self.position);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise one machine that opens more and more downloads would take all connections of the others.
    #[test]
    fn an_address_has_a_limited_number_of_transfers() {
        let transfers = Transfers::new(2);
        let [one, other] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let first = transfers.begin(one).unwrap();
        let _second = transfers.begin(one).unwrap();
        assert!(transfers.begin(one).is_none());
        assert!(transfers.begin(other).is_some(), "another machine is not concerned");
        drop(first);
        assert!(transfers.begin(one).is_some());
        assert_eq!(transfers.lock().len(), 1);
    }
}
