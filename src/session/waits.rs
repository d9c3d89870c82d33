//! Shows the session's own waits in the view.

use super::waiting::Waiting;
use super::{Session, View};
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::watch;

/// Waits that end within this time are not shown: nobody could read them, and each status write loads the API
/// server.
const UNSHOWN: Duration = Duration::from_secs(1);

impl Session<'_> {
    /// Awaits `something` and shows the wait in the view meanwhile. The caller boxes the future, so that rare
    /// waits do not enlarge the future of each attempt.
    pub(super) async fn shown<T>(
        &self,
        waiting: Waiting,
        mut something: Pin<Box<impl Future<Output = T>>>,
    ) -> T {
        let _shown = tokio::select! {
            biased;
            done = &mut something => return done,
            // sleep: a wait that ends earlier is not shown.
            () = tokio::time::sleep(UNSHOWN) => Shown::begin(self.view, waiting),
        };
        something.await
    }
}

/// Shows a wait in the view until it is dropped.
pub(super) struct Shown<'a>(&'a watch::Sender<View>);

impl<'a> Shown<'a> {
    pub(super) fn begin(view: &'a watch::Sender<View>, waiting: Waiting) -> Self {
        view.send_modify(|v| v.waiting = Some(waiting));
        Self(view)
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|v| v.waiting = None);
    }
}
