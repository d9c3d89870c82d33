//! One machine and one NodeUpdate, as the kit plays it: attempts that are cut, frozen, cancelled and continued.

use super::subject::{Bench, Footprint, Journal, Subject};
use crate::attempt::logbook::{Entry, Halt, Logbook, Request, apply};
use crate::attempt::{Desk, End, Goal, Job, NoDrain, Offers, Step, Tools, View, now};
use crate::drivers::Driver;
use farrier_update::device::{Action, Change, State};
use futures::future::BoxFuture;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How many attempts follow one that failed for a reason that may pass.
const RETRIES: u32 = 2;

/// How long a runner may act after it has recorded an entry, unless it is frozen: longer than a machine under load takes
/// to be read and to be sent a request.
const PERMITTED: Duration = Duration::from_mins(1);

/// The first runner.
pub(super) const FIRST: &str = "first";
/// The runner that takes over.
pub(super) const SECOND: &str = "second";

/// A point of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// This entry is about to be recorded: the answer to the request before it is known to nobody else.
    Asked(usize),
    /// This entry is recorded, and the attempt does not know.
    Stored(usize),
    /// The attempt shows its state of this number.
    Shown(usize),
    /// The machine installs.
    AtWork,
}

/// The recorded actions of a NodeUpdate, and who may record.
pub(super) struct Log {
    pub(super) actions: Vec<Action>,
    /// The runner that the NodeUpdate is assigned to.
    pub(super) by: &'static str,
    is_cancelled: bool,
    /// Work that was to be begun after the cancel.
    pub(super) begun_late: Vec<String>,
    /// How many entries the present attempt has asked for.
    pub(super) asked: usize,
    /// How many states the present attempt has shown.
    pub(super) shown: usize,
}

impl Log {
    fn record(&mut self, by: &str, entry: &Entry) -> Result<Instant, Halt> {
        if by != self.by {
            return Err(Halt::OtherRunner);
        }
        if self.is_cancelled && entry.is_work() {
            self.begun_late.push(entry.to_string());
            return Err(Halt::Cancelled);
        }
        apply(&mut self.actions, entry, by, now());
        Ok(Instant::now() + PERMITTED)
    }

    /// Reports whether work was recorded, after which the machine may have begun it.
    pub(super) fn has_begun(&self) -> bool {
        self.actions.iter().any(|action| action.verb.is_work())
    }

    /// Describes the recorded actions.
    pub(super) fn history(&self) -> String {
        let words = self.actions.iter().map(|action| {
            let Action { id, verb, state, ending, by, .. } = action;
            let state = ending.map_or_else(|| format!("{state:?}"), |ending| format!("{ending:?}"));
            format!("{} {verb:?} {state} by {}", id.0, by.0)
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// Returns the actions of which nobody knows whether the machine was asked.
    pub(super) fn unanswered(&self) -> Vec<Action> {
        self.actions.iter().filter(|action| action.state == State::Intended).cloned().collect()
    }
}

/// One machine and one NodeUpdate.
pub(super) struct Trial<'b> {
    pub(super) subject: Rc<dyn Subject + 'b>,
    pub(super) log: Log,
    /// Number of the NodeUpdate.
    update: u32,
    /// Number of the present attempt.
    number: u32,
    is_taken_over: bool,
}

/// How a series of attempts ended.
pub(super) struct Ended {
    pub(super) end: End,
    pub(super) view: View,
}

impl<'b> Trial<'b> {
    pub(super) async fn new(bench: &'b dyn Bench) -> Self {
        let subject = bench.machine().await;
        let log = Log {
            actions: Vec::new(),
            by: FIRST,
            is_cancelled: false,
            begun_late: Vec::new(),
            asked: 0,
            shown: 0,
        };
        Self { subject, log, update: 1, number: 1, is_taken_over: false }
    }

    pub(super) async fn footprint(&self) -> Footprint {
        self.subject.footprint().await
    }

    /// The NodeUpdate is another one, of the same machine.
    pub(super) fn begin_another(&mut self) {
        self.log.actions.clear();
        self.update += 1;
        self.number = 1;
        self.is_taken_over = false;
    }

    /// Another runner takes over.
    pub(super) fn take_over(&mut self) {
        self.log.by = SECOND;
        self.is_taken_over = true;
    }

    /// Prepares an attempt of the runner that has the NodeUpdate.
    pub(super) fn stage(&mut self, goal: Goal) -> Stage {
        (self.log.asked, self.log.shown) = (0, 0);
        let job = self.subject.job(goal);
        let job = Job {
            // The names of what is put on a machine begin with it.
            session: format!("{}{}", self.update, job.session),
            runner: self.log.by.to_owned(),
            attempt: self.number,
            touched: self.number > 1 || self.is_taken_over,
            resumed: self.is_taken_over,
            ..job
        };
        let (view, _) = watch::channel(View::default());
        Stage {
            driver: self.subject.driver(),
            tools: self.subject.tools(),
            offers: self.subject.offers(),
            by: self.log.by,
            job,
            view,
        }
    }

    /// Makes attempts until one ends that is not repeated.
    pub(super) async fn finish(&mut self, goal: Goal) -> Ended {
        loop {
            let stage = self.stage(goal);
            let end = stage.begin(&self.log.actions).end(&mut self.log).await;
            if let Some(ended) = self.ended(end, &stage) {
                return ended;
            }
        }
    }

    /// Makes an attempt, and ends it at this moment as `kill -9` does. Returns its end if it came first.
    pub(super) async fn cut(&mut self, goal: Goal, moment: Moment) -> Option<Ended> {
        let stage = self.stage(goal);
        let reached = stage.begin(&self.log.actions).until(&mut self.log, Some(moment)).await;
        match reached {
            Reached::Moment(_) => None,
            Reached::End(end) => Some(Ended { end, view: stage.view.borrow().clone() }),
        }
    }

    /// Returns the end of an attempt that is not repeated.
    pub(super) fn ended(&mut self, end: End, stage: &Stage) -> Option<Ended> {
        if let End::Failed(failure) = &end
            && failure.reason.retryable()
            && self.number <= RETRIES
        {
            self.number += 1;
            return None;
        }
        Some(Ended { end, view: stage.view.borrow().clone() })
    }
}

/// What an attempt is made with.
pub(super) struct Stage {
    driver: Arc<dyn Driver>,
    tools: Tools,
    offers: Arc<dyn Offers>,
    by: &'static str,
    job: Job,
    pub(super) view: watch::Sender<View>,
}

impl Stage {
    /// Begins the attempt. Nothing happens before it is awaited.
    pub(super) fn begin(&self, actions: &[Action]) -> Running<'_> {
        let (logbook, requests) = Logbook::new();
        let (stop, stopped) = watch::channel(false);
        let desk = Desk {
            tools: &self.tools,
            stop: stopped,
            view: &self.view,
            logbook,
            actions: actions.to_vec(),
            offers: self.offers.clone(),
            drain: Arc::new(NoDrain),
            reboot_recorded: watch::channel(true).1,
        };
        let attempt = self.driver.attempt(&self.job, desk);
        let seen = Milestone::of(&View::default());
        Running { by: self.by, attempt, requests, stop, shown: self.view.subscribe(), seen }
    }
}

/// An attempt that goes on only while it is awaited.
pub(super) struct Running<'s> {
    by: &'static str,
    attempt: BoxFuture<'s, End>,
    requests: mpsc::Receiver<Request>,
    stop: watch::Sender<bool>,
    shown: watch::Receiver<View>,
    seen: Milestone,
}

/// How far an attempt has come.
pub(super) enum Reached {
    /// It has ended.
    End(End),
    /// It is at the moment. If it waits for an answer, that has not been given.
    Moment(Option<Unanswered>),
}

/// An entry that is recorded, and its answer, which has not been given.
pub(super) struct Unanswered {
    request: Request,
    until: Instant,
}

impl Unanswered {
    /// Gives the answer.
    pub(super) fn answer(self) {
        self.request.answer.send(Ok(self.until)).ok();
    }

    /// Gives the answer with a permission that ends then.
    pub(super) fn answer_until(self, until: Instant) {
        self.request.answer.send(Ok(until)).ok();
    }
}

impl Running<'_> {
    /// Goes on until this moment, or to the end.
    pub(super) async fn until(&mut self, log: &mut Log, moment: Option<Moment>) -> Reached {
        loop {
            tokio::select! {
                biased;
                Some(request) = self.requests.recv() => {
                    if let Some(reached) = answer(self.by, request, log, moment) {
                        return reached;
                    }
                }
                Ok(()) = self.shown.changed() => {
                    let view = self.shown.borrow_and_update().clone();
                    let now = Milestone::of(&view);
                    let is_at_work = moment == Some(Moment::AtWork) && now.is_at_work();
                    if now != self.seen {
                        self.seen = now;
                        log.shown += 1;
                        if is_at_work || moment == Some(Moment::Shown(log.shown)) {
                            return Reached::Moment(None);
                        }
                    }
                }
                end = &mut self.attempt => return Reached::End(end),
            }
        }
    }

    /// Goes on to the end.
    pub(super) async fn end(&mut self, log: &mut Log) -> End {
        loop {
            if let Reached::End(end) = self.until(log, None).await {
                return end;
            }
        }
    }

    /// Goes on to the end. Whatever it wants to record is refused, as the API server does after a take-over.
    pub(super) async fn wake(&mut self) -> End {
        loop {
            tokio::select! {
                biased;
                Some(request) = self.requests.recv() => drop(request.answer.send(Err(Halt::OtherRunner))),
                end = &mut self.attempt => return end,
            }
        }
    }

    /// Cancels the run.
    pub(super) fn cancel(&self, log: &mut Log) {
        log.is_cancelled = true;
        self.stop.send_replace(true);
    }
}

/// Records an entry and answers it, unless this is the moment.
fn answer(by: &str, request: Request, log: &mut Log, moment: Option<Moment>) -> Option<Reached> {
    log.asked += 1;
    if moment == Some(Moment::Asked(log.asked)) {
        return Some(Reached::Moment(None));
    }
    let is_at_work = match &request.entry {
        Entry::Change(id, Change::Begun(_)) => {
            log.actions.iter().any(|action| action.id == *id && action.is_install())
        }
        Entry::Intent(_) | Entry::Change(_, Change::Ended(_)) => false,
    };
    match log.record(by, &request.entry) {
        Ok(until) => {
            let unanswered = Unanswered { request, until };
            if moment == Some(Moment::Stored(log.asked)) || moment == Some(Moment::AtWork) && is_at_work {
                return Some(Reached::Moment(Some(unanswered)));
            }
            unanswered.answer();
        }
        // An attempt that was ended meanwhile does not need the answer.
        Err(halt) => drop(request.answer.send(Err(halt))),
    }
    None
}

/// What a state of an attempt consists of that can be seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Milestone {
    step: Step,
    facts: [bool; 6],
    payloads: usize,
}

impl Milestone {
    fn of(view: &View) -> Self {
        let facts = [
            view.authenticated,
            view.deploying,
            view.engine.is_some(),
            view.survey.is_some(),
            view.plan.is_some(),
            view.applied,
        ];
        Self { step: view.step.clone(), facts, payloads: view.payloads_verified }
    }

    fn is_at_work(&self) -> bool {
        matches!(&self.step, Step::Applying { component } if !component.is_empty())
    }
}

/// Returns the moments of an attempt with this many entries and states.
pub(super) fn moments(journal: Journal, asked: usize, shown: usize) -> Vec<Moment> {
    match journal {
        Journal::Logbook => (1..=asked).flat_map(|n| [Moment::Asked(n), Moment::Stored(n)]).collect(),
        Journal::Machine => (1..=shown).map(Moment::Shown).collect(),
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked(number) => write!(f, "before entry {number}"),
            Self::Stored(number) => write!(f, "after entry {number}"),
            Self::Shown(number) => write!(f, "at state {number}"),
            Self::AtWork => f.write_str("at work"),
        }
    }
}
