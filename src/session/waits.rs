//! Shows in the view what the session itself waits for.

use super::waiting::Waiting;
use super::{Session, View};
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::watch;

/// A wait that is over sooner is not shown: nobody could read it, and each status that is written
/// costs the API server something.
const UNSHOWN: Duration = Duration::from_secs(1);

impl Session<'_> {
    /// Waits for something, and shows it for as long as that takes. It is boxed by the caller: what is
    /// rarely waited for is no part of what each attempt holds in memory.
    pub(super) async fn shown<T>(
        &self,
        waiting: Waiting,
        mut something: Pin<Box<impl Future<Output = T>>>,
    ) -> T {
        let _shown = tokio::select! {
            biased;
            done = &mut something => return done,
            // sleep: a wait that is over before is not shown.
            () = tokio::time::sleep(UNSHOWN) => Shown::begin(self.view, waiting),
        };
        something.await
    }
}

/// Shows a wait for as long as it lives.
struct Shown<'a>(&'a watch::Sender<View>);

impl<'a> Shown<'a> {
    fn begin(view: &'a watch::Sender<View>, waiting: Waiting) -> Self {
        view.send_modify(|v| v.waiting = Some(waiting));
        Self(view)
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|v| v.waiting = None);
    }
}
