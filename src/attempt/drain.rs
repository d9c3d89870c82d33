//! The drain of a machine, as a driver sees it: it asks to be let through before it disrupts the machine.

use super::View;
use crate::failure::Failure;
use futures::future::BoxFuture;
use tokio::sync::watch;

/// Moves away what a machine does for others. The runner lets it back after the attempt.
pub trait Drain: Send + Sync {
    /// Reports whether there is anything to do before the machine is disrupted.
    fn is_wanted(&self) -> bool;

    /// Returns when the machine may be disrupted; at once if it is drained already, or if nothing is to be drained.
    /// Shows meanwhile what it waits for.
    ///
    /// # Errors
    /// Why the machine must not be disrupted: `DrainFailed`, `DrainTimedOut`, `DrainRefused`, `Cancelled`, and what
    /// keeps the hook from being called.
    fn before<'a>(
        &'a self,
        view: &'a watch::Sender<View>,
        stop: watch::Receiver<bool>,
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

/// Nothing is to be drained.
#[derive(Debug, Clone, Copy)]
pub struct NoDrain;

impl Drain for NoDrain {
    fn is_wanted(&self) -> bool {
        false
    }

    fn before<'a>(
        &'a self,
        _: &'a watch::Sender<View>,
        _: watch::Receiver<bool>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
