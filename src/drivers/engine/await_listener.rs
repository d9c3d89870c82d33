//! Waits until the callback server listens.
//!
//! After a restart, other processes may hold the runner's ports for a while. An engine that may only be
//! served through the callback server and has not begun anything waits. It keeps contact through the SSH
//! session and is sent the callback addresses when the server listens. The server may also stop listening
//! for a moment, because the run gets other ports.

use super::{Host, Session};
use crate::attempt::{Awaited, CallbackOptions, ListenerWait, ReturnPath};
use crate::failure::Failure;
use std::sync::PoisonError;
use std::time::Instant;

impl<H: Host> Session<'_, H> {
    /// Handles a missing callback target: waits for the target until the deadline, or serves the engine
    /// through the SSH session if that is allowed.
    pub(super) fn handle_missing_target(&self, calls: &CallbackOptions, failure: Failure) {
        let waits = !self.may_use_ssh_session() && !calls.is_final();
        let Some(awaited) = calls.awaited.as_ref().filter(|_| waits) else {
            return self.block(failure);
        };
        let ListenerWait { waiting, until } = self.listener_wait(awaited);
        if Instant::now() < until {
            self.view.send_modify(|v| v.return_path = ReturnPath::Pending { waiting });
        } else {
            self.block(awaited.expired(&failure));
        }
    }

    /// The wait that is under way, or a new one.
    fn listener_wait(&self, awaited: &Awaited) -> ListenerWait {
        let mut wait = self.listener_wait.lock().unwrap_or_else(PoisonError::into_inner);
        wait.get_or_insert_with(|| awaited.begin()).clone()
    }

    /// Ends the wait that is under way: there is a target.
    pub(super) fn end_listener_wait(&self) {
        *self.listener_wait.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if self.awaits_listener() {
            self.view.send_modify(|v| v.return_path = ReturnPath::Untried);
        }
    }

    /// Whether the session waits for the callback server to listen.
    pub(super) fn awaits_listener(&self) -> bool {
        matches!(self.view.borrow().return_path, ReturnPath::Pending { .. })
    }

    /// Waits until a pending callback target is available, so that it can be sent to the engine.
    pub(super) async fn target_available(&self) {
        let Some(calls) = self.job.calls().filter(|_| self.awaits_listener()) else {
            return std::future::pending().await;
        };
        calls.target_available().await;
    }

    /// Waits until the engine has connected, is known to be blocked, or the run is cancelled. The wait for
    /// the callback server ends at its announced deadline.
    pub(super) async fn wait_for_return_path(&self) {
        let Some(calls) = self.job.calls() else { return };
        loop {
            let current = self.view.borrow().return_path.clone();
            let pending = match &current {
                ReturnPath::Pending { waiting } => Some(waiting.clone()),
                ReturnPath::Untried => None,
                ReturnPath::NotNeeded
                | ReturnPath::Open { .. }
                | ReturnPath::Lost { .. }
                | ReturnPath::Dialled { .. }
                | ReturnPath::DialLost
                | ReturnPath::Expected
                | ReturnPath::Fetched { .. }
                | ReturnPath::Unseen { .. }
                | ReturnPath::Tried { .. }
                | ReturnPath::Blocked { .. } => return,
            };
            // With a target, the engine is told and either connects or fails; the deadline no longer matters.
            let pending = pending.filter(|_| calls.target_failure().is_some());
            let obstacle = if let Some((waiting, awaited)) = pending.zip(calls.awaited.as_ref()) {
                let until = self.listener_wait(awaited).until;
                let ended = Box::pin(async {
                    tokio::select! {
                        () = self.return_path_changed(&current) => None,
                        () = tokio::time::sleep_until(until.into()) => {
                            calls.target_failure().map(|failure| awaited.expired(&failure))
                        }
                        () = calls.no_target_follows() => calls.target_failure(),
                    }
                });
                self.shown(waiting, ended).await
            } else {
                self.return_path_changed(&current).await;
                None
            };
            if *self.stop.borrow() {
                return;
            }
            if let Some(failure) = obstacle {
                self.block(failure);
            }
        }
    }

    /// Returns when the view shows another return path, or when the run is cancelled.
    async fn return_path_changed(&self, current: &ReturnPath) {
        let mut view = self.view.subscribe();
        tokio::select! {
            // The channel cannot close: the session owns the sender.
            _ = async { view.wait_for(|v| v.return_path != *current).await.map(|_| ()) } => {}
            () = self.stopped() => {}
        }
    }
}
