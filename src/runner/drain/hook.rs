//! A hook that drains a machine, and undoes that: an HTTPS server or Jobs.

use super::Trouble;
use super::http::HttpHook;
use super::job::JobHook;
use farrier_update::drain::{Aim, Answer, Blocked, Clock, Next, Record, next_of_hook};

/// A hook, and what it has answered last.
pub(super) struct Hook<'a> {
    kind: Kind<'a>,
    /// The answer about the record that is stored; `None`: it has to be called.
    last: Option<Answer>,
}

/// What is called.
pub(super) enum Kind<'a> {
    Http(HttpHook<'a>),
    Job(JobHook<'a>),
}

impl<'a> Hook<'a> {
    pub(super) fn new(kind: Kind<'a>) -> Self {
        Self { kind, last: None }
    }

    pub(super) fn next(&mut self, record: Option<Record>, aim: Aim, clock: Clock) -> Next {
        let next = next_of_hook(record, aim, clock, self.last.as_ref());
        if matches!(next, Next::Record(_)) {
            // It was an answer to the record before.
            self.last = None;
        }
        next
    }

    /// Calls it once, and keeps the answer.
    pub(super) async fn call(&mut self, record: Record, aim: Aim) -> Result<(), Trouble> {
        self.last = Some(match &self.kind {
            Kind::Http(http) => http.call(record, aim).await?,
            Kind::Job(job) => job.call(record, aim).await?,
        });
        Ok(())
    }

    /// Has it called again.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}

/// Returns what a step waits for, or has failed because of.
pub(super) fn words(next: &Next) -> String {
    match next {
        Next::Wait(Blocked::Hook(words)) | Next::Fail(_, Blocked::Hook(words)) => words.clone(),
        Next::Wait(_)
        | Next::Fail(..)
        | Next::Record(_)
        | Next::Cordon
        | Next::Uncordon
        | Next::Evict(_)
        | Next::Call
        | Next::Done => String::new(),
    }
}
