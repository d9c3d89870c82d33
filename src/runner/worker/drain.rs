//! Undoes the drain of a machine when nobody works on it any more.

use super::UpdateWorker;
use crate::attempt::{End, Logbook, View};
use crate::failure::Failure;
use crate::publish::Action;
use crate::runner::drain::is_for_drain;
use kube::Resource as _;
use std::time::Duration;
use tokio::sync::watch;

/// How long a user who abandons a machine waits for it to be undrained.
const ABANDONED_LIMIT: Duration = Duration::from_secs(10);

impl UpdateWorker<'_> {
    /// Undoes the drain of the machine, if it was drained, and publishes that.
    ///
    /// # Errors
    /// `UndrainFailed`, `CleanupPending`.
    pub(super) async fn undrain(&mut self, number: u32) -> Result<(), Failure> {
        if !self.drain.is_open() {
            return Ok(());
        }
        let (send, receive) = watch::channel(self.view.clone());
        // Nothing is entered.
        let (_logbook, entries) = Logbook::new();
        let (recorded, _) = watch::channel(false);
        let work = async {
            let undone = tokio::select! {
                undone = Box::pin(self.drain.undo(&send)) => undone,
                failure = self.abandoned_for_a_while() => Err(failure),
            };
            send.send_modify(|view| view.waits.retain(|waiting| !is_for_drain(waiting)));
            let view = send.borrow().clone();
            // Ends `follow` after its write in progress.
            drop(send);
            (undone, view)
        };
        let following = self.follow(receive, entries, &recorded, number, View::clone);
        let ((undone, view), statuses) = tokio::join!(work, following);
        (self.old, self.shown) = statuses;
        self.view = View { step: self.view.step.clone(), ..view };
        if let Err(failure) = &undone {
            let about = self.update.object_ref(&());
            self.context.events.warning(&about, failure.reason, Action::Drain, &failure.message).await;
        }
        undone
    }

    /// Returns some time after the user has deleted the object without waiting for the machine.
    async fn abandoned_for_a_while(&self) -> Failure {
        loop {
            if let End::Failed(failure) = self.abandoned().await {
                // sleep: what can be undone quickly is undone.
                tokio::time::sleep(ABANDONED_LIMIT).await;
                return failure;
            }
        }
    }
}
