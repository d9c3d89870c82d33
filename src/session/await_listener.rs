//! Waits until the callback server listens.
//!
//! After a restart, other processes may hold the runner's ports for a while. An engine that may only be
//! served through the callback server and has not begun anything waits. It keeps contact through the SSH
//! session and is sent the callback addresses when the server listens.

use super::callback::CallbackOptions;
use super::{ReturnPath, Session};
use crate::failure::Failure;
use std::time::Instant;

impl Session<'_> {
    /// Handles a missing callback target: waits for the target until the deadline, or serves the engine
    /// through the SSH session if that is allowed.
    pub(super) fn handle_missing_target(&self, calls: &CallbackOptions, failure: Failure) {
        match &calls.awaited {
            Some(awaited) if !self.may_use_ssh_session() && Instant::now() < awaited.until => {
                let message = awaited.message.clone();
                self.view.send_modify(|v| v.return_path = ReturnPath::Pending { message });
            }
            Some(_) | None => self.block(failure),
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
        let mut plan = calls.plan.clone();
        if plan.wait_for(Result::is_ok).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the engine has connected, is known to be blocked, or the run is cancelled. The wait for
    /// the callback server ends at its announced deadline.
    pub(super) async fn wait_for_return_path(&self) {
        let Some(calls) = self.job.calls() else { return };
        let mut view = self.view.subscribe();
        loop {
            let is_pending = match view.borrow_and_update().return_path {
                ReturnPath::Pending { .. } => true,
                ReturnPath::Untried => false,
                ReturnPath::NotNeeded
                | ReturnPath::Open { .. }
                | ReturnPath::Lost { .. }
                | ReturnPath::Blocked { .. } => return,
            };
            // With a target, the engine is told and either connects or fails; the deadline no longer matters.
            let until = calls.awaited.as_ref().filter(|_| is_pending && calls.target_failure().is_some());
            let over = async {
                match until {
                    Some(awaited) => tokio::time::sleep_until(awaited.until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // The channel cannot close: the session owns the sender.
                _ = view.changed() => {}
                () = self.stopped() => return,
                () = over => if let Some(failure) = calls.target_failure() {
                    self.block(failure);
                },
            }
        }
    }
}
