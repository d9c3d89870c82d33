//! Shows the session's own waits in the view.

use super::{Host, Session};
use crate::attempt::{View, Waiting};
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::watch;

/// Waits that end within this time are not shown: nobody could read them, and each status write loads the API
/// server.
const UNSHOWN: Duration = Duration::from_secs(1);

impl<H: Host> Session<'_, H> {
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

/// Shows a wait in the view until it is dropped. Other waits that are under way meanwhile stay in the view:
/// waits are nested, and `keep` and `work` wait concurrently.
pub(super) struct Shown<'a>(&'a watch::Sender<View>, Waiting);

impl<'a> Shown<'a> {
    pub(super) fn begin(view: &'a watch::Sender<View>, waiting: Waiting) -> Self {
        view.send_modify(|v| v.waits.push(waiting.clone()));
        Self(view, waiting)
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        let Self(view, waiting) = self;
        view.send_modify(|v| {
            if let Some(at) = v.waits.iter().rposition(|other| other == waiting) {
                v.waits.remove(at);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_update::Reason;

    /// Otherwise the end of a short wait would hide a longer one, and a machine that is waited for would look
    /// like one that is worked on.
    #[test]
    fn a_wait_that_ends_leaves_the_others_in_the_view() {
        let (view, shown) = watch::channel(View::default());
        let wait = |what| Shown::begin(&view, Waiting::new(Reason::InProgress, what, what, Duration::ZERO));
        let what = || shown.borrow().waits_for().map(|waiting| waiting.what.clone());
        let outer = wait("outer");
        let inner = wait("inner");
        assert_eq!(what().as_deref(), Some("inner"));
        drop(inner);
        assert_eq!(what().as_deref(), Some("outer"));
        let other = wait("other");
        drop(outer);
        assert_eq!(what().as_deref(), Some("other"));
        drop(other);
        assert_eq!(what(), None);
    }
}
