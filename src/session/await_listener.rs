//! Waiting for the callback server to listen.
//!
//! After a restart the runner's ports may be somebody else's for a while. An engine that may only be
//! served through them and has begun nothing waits, in contact through the SSH session, and is told
//! the way back when there is one.

use super::callback::CallbackOptions;
use super::{ReturnPath, Session};
use crate::failure::Failure;
use std::time::Instant;

impl Session<'_> {
    /// There is no plan for the way back: it is waited for as long as that may take, or the engine is
    /// talked to through the SSH session, if it may.
    pub(super) fn without_plan(&self, calls: &CallbackOptions, failure: Failure) {
        match &calls.awaited {
            Some(awaited) if !self.may_be_talked_to() && Instant::now() < awaited.until => {
                let message = awaited.message.clone();
                self.view.send_modify(|v| v.return_path = ReturnPath::Pending { message });
            }
            Some(_) | None => self.block(failure),
        }
    }

    /// Whether the callback server is waited for.
    pub(super) fn is_shut(&self) -> bool {
        matches!(self.view.borrow().return_path, ReturnPath::Pending { .. })
    }

    /// Waits until there is a plan for the way back that is shut, so that the engine can be told.
    pub(super) async fn opened(&self) {
        let Some(calls) = self.job.calls().filter(|_| self.is_shut()) else {
            return std::future::pending().await;
        };
        let mut plan = calls.plan.clone();
        if plan.wait_for(Result::is_ok).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the engine has called or it is known that it cannot, or the run is cancelled. The
    /// callback server is not waited for longer than was said.
    pub(super) async fn settled(&self) {
        let Some(calls) = self.job.calls() else { return };
        let mut view = self.view.subscribe();
        loop {
            let shut = match view.borrow_and_update().return_path {
                ReturnPath::Pending { .. } => true,
                ReturnPath::Untried => false,
                ReturnPath::NotNeeded
                | ReturnPath::Open { .. }
                | ReturnPath::Lost { .. }
                | ReturnPath::Blocked { .. } => return,
            };
            // Once there is a plan the engine is told, and calls or does not.
            let until = calls.awaited.as_ref().filter(|_| shut && calls.no_plan().is_some());
            let over = async {
                match until {
                    Some(awaited) => tokio::time::sleep_until(awaited.until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // It cannot end: the session has the sender.
                _ = view.changed() => {}
                () = self.stopped() => return,
                () = over => if let Some(failure) = calls.no_plan() {
                    self.block(failure);
                },
            }
        }
    }
}
