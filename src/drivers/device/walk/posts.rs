//! Events that a device posts. A post is a hint and no more: whoever knows the URL can make us look at the device,
//! and nothing of a post is believed.

use super::super::Device;
use super::Walk;
use crate::attempt::{self, StatusPath, open_subscriptions};
use crate::failure::Failure;
use farrier_update::Millis;
use farrier_update::device::{self, Verb};
use std::time::Duration;
use tokio::sync::watch;

/// Time between two questions about a task whose progress is posted. It bounds how late it is noticed that posts do not
/// arrive any more.
const POSTED_POLL: Duration = Duration::from_secs(10);

/// How long a device may post nothing while its task goes on, before it is asked as often as one that posts nothing.
const QUIET: Duration = Duration::from_secs(30);

/// Minimum time between two looks at a device because of posts: what is posted meanwhile is seen by the next one.
const LOOK: Duration = Duration::from_secs(1);

/// The posts of a device.
pub(super) struct Posts {
    /// Changes with each post.
    count: watch::Receiver<u64>,
    last: Option<Millis>,
    /// When the subscription was first seen in this attempt.
    since: Option<Millis>,
    refusal: Option<String>,
}

impl Posts {
    pub(super) const fn new(count: watch::Receiver<u64>) -> Self {
        Self { count, last: None, since: None, refusal: None }
    }

    /// Waits for the next post.
    pub(super) async fn next(&mut self) {
        let now = attempt::now();
        let due = self.last.map_or(now, |last| last.after(LOOK));
        // sleep: a device that posts more often is not looked at more often.
        tokio::time::sleep(due.since(now)).await;
        if self.count.changed().await.is_err() {
            // Nobody could post.
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn note_refusal(&mut self, verb: Verb, failure: &Failure) {
        if verb == Verb::Subscribe {
            self.refusal = Some(failure.message.clone());
        }
    }

    /// Returns how the progress becomes known; `None` if nothing was to be subscribed to.
    fn path(&self, is_subscribed: bool, now: Millis) -> Option<StatusPath> {
        if !is_subscribed {
            let why = self.refusal.as_ref()?;
            return Some(StatusPath::Polled {
                why: format!("it takes no subscription to its events: {why}"),
            });
        }
        let quiet = QUIET.as_secs();
        Some(match (self.last, self.since) {
            (Some(last), _) if now.since(last) < QUIET => StatusPath::Posted,
            (Some(last), _) => StatusPath::Polled {
                why: format!(
                    "its last post arrived at {last}, and none for {quiet} s; check that the machine still reaches the callback server"
                ),
            },
            (None, Some(since)) if now.since(since) >= QUIET => StatusPath::Polled {
                why: format!(
                    "it has subscribed, and no post has arrived for {quiet} s; check that the machine reaches the callback server, and trusts its certificate"
                ),
            },
            (None, _) => StatusPath::Polled { why: "no post has arrived yet".to_owned() },
        })
    }
}

impl<D: Device> Walk<'_, D> {
    /// Shows how the progress of the device becomes known.
    pub(super) fn note_posts(&mut self) {
        let now = attempt::now();
        let is_subscribed = !open_subscriptions(&self.actions).is_empty();
        if is_subscribed {
            self.posts.since.get_or_insert(now);
        }
        let is_at_work = self.actions.iter().any(|action| action.verb.is_work() && action.is_open());
        let path = self.posts.path(is_subscribed, now).filter(|_| is_at_work);
        // What was known while the device was at work stays known.
        let Some(path) = path else { return };
        self.desk.view.send_if_modified(|v| {
            let differs = v.status_path.as_ref() != Some(&path);
            v.status_path = Some(path);
            differs
        });
    }

    /// Returns the limits, with the interval at which a task is followed whose progress is posted.
    pub(super) fn at_pace(&self, limits: device::Limits) -> device::Limits {
        let is_posted = self.desk.view.borrow().status_path == Some(StatusPath::Posted);
        let is_followed = self.followed.is_some_and(|followed| {
            let is_open = self.actions.iter().any(|action| action.id == followed.action && action.is_open());
            followed.progress.is_open() && is_open
        });
        if !(is_posted && is_followed) {
            return limits;
        }
        device::Limits { poll: limits.poll.max(POSTED_POLL), ..limits }
    }

    /// A post has arrived: the device is looked at now. A task that is over is not asked for again: what came of it is
    /// being read, and posts must not keep that from ending.
    pub(super) fn is_posted(&mut self) {
        self.posts.last = Some(attempt::now());
        self.followed = self.followed.filter(|followed| !followed.progress.is_open());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_update::Reason;

    /// Otherwise a device whose posts are dropped would look as if it did nothing.
    #[test]
    fn posts_that_stop_are_noticed() {
        let mut posts = Posts::new(watch::channel(0).1);
        let at = |seconds: u64| Millis(seconds * 1000);
        assert_eq!(posts.path(false, at(0)), None);
        posts.since = Some(at(100));
        let is_polled = |path: Option<StatusPath>, words: &str| match path {
            Some(StatusPath::Polled { why }) => assert!(why.contains(words), "{why}"),
            other => panic!("{other:?}"),
        };
        is_polled(posts.path(true, at(101)), "no post has arrived yet");
        is_polled(posts.path(true, at(131)), "trusts its certificate");
        posts.last = Some(at(140));
        assert_eq!(posts.path(true, at(141)), Some(StatusPath::Posted));
        is_polled(posts.path(true, at(171)), "none for 30 s");
        posts.note_refusal(Verb::Subscribe, &Failure::new(Reason::DeviceRefused, "too many"));
        is_polled(posts.path(false, at(172)), "too many");
    }
}
