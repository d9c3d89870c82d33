//! Drains a machine before it is disrupted, and undoes that: does what `farrier_update::drain` decides
//! (docs/adr/0049).
//!
//! Each step is decided anew from the stored record and from what is there. The record is stored by whoever publishes
//! the status of the attempt; nothing is done before that.

mod act;
mod hook;
mod http;
mod job;
mod node;
mod pods;
mod record;

pub(super) use record::{rendered, stays};

use super::Context;
use crate::api::managed_node::Drain as DrainSpec;
use crate::api::node_update::{DrainState, DrainStatus};
use crate::api::quantity::Span;
use crate::api::{ManagedNode, NodeUpdate};
use crate::attempt::{self, Drain, Drained, Step, View, Waiting};
use crate::failure::Failure;
use crate::publish::Action;
use farrier_update::Reason;
use farrier_update::drain::{Aim, Clock, DEFAULT_TIMEOUT, Next, Record, State};
use futures::future::BoxFuture;
use hook::{Hook, Kind};
use http::HttpHook;
use job::JobHook;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use node::NodeDrain;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Time between two looks at what is waited for.
const INTERVAL: Duration = Duration::from_secs(2);

/// The drain of the machine of one NodeUpdate.
pub(super) struct MachineDrain {
    context: Arc<Context>,
    update: NodeUpdate,
    /// The record that is stored.
    stored: watch::Sender<Option<DrainStatus>>,
    /// Whether anything may have been done since the drain was recorded: by an earlier process, or by a request that
    /// was not refused.
    begun: AtomicBool,
}

/// What is drained, and how.
struct Target {
    what: String,
    kubernetes_node: Option<String>,
    timeout: Duration,
    spec: DrainSpec,
}

/// Why a step could not be taken now.
enum Trouble {
    /// The API server, or something before the hook, refuses it: this is waited for.
    Refused(String),
    /// It will not go any better later.
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// How a machine is drained.
enum Means<'a> {
    Node(Box<NodeDrain<'a>>),
    Hook(Hook<'a>),
}

impl Means<'_> {
    async fn next(&mut self, record: Option<Record>, aim: Aim, clock: Clock) -> Result<Next, Trouble> {
        match self {
            Self::Node(node) => node.next(record, aim, clock).await,
            Self::Hook(hook) => Ok(hook.next(record, aim, clock)),
        }
    }

    /// Carries out a step that is neither a record nor a wait.
    async fn act(&mut self, next: &Next, record: Record, aim: Aim) -> Result<(), Trouble> {
        match self {
            Self::Node(node) => node.act(next).await,
            Self::Hook(hook) => hook.call(record, aim).await,
        }
    }

    /// Forgets what is asked for again after a wait.
    fn look_again(&mut self) {
        match self {
            Self::Node(_) => {}
            Self::Hook(hook) => hook.forget(),
        }
    }

    /// Describes what a step waits for, or has failed because of; and the same in one or two words.
    fn words(&self, next: &Next) -> (String, String) {
        match self {
            Self::Node(node) => node.words(next),
            Self::Hook(_) => (hook::words(next), "the hook".to_owned()),
        }
    }

    /// Says how a user undoes by hand what could not be undone.
    fn by_hand(&self) -> String {
        match self {
            Self::Node(node) => node.by_hand(),
            Self::Hook(_) => "undo by hand what the hook has done".to_owned(),
        }
    }
}

impl MachineDrain {
    pub(super) fn new(context: &Arc<Context>, update: &NodeUpdate) -> Self {
        let stored = update.status.as_ref().and_then(|status| status.drain.clone());
        let begun =
            AtomicBool::new(stored.as_ref().and_then(record::of).is_some_and(|record| record.is_open()));
        Self { context: context.clone(), update: update.clone(), stored: watch::channel(stored).0, begun }
    }

    /// Notes what is stored.
    pub(super) fn note_stored(&self, stored: Option<&DrainStatus>) {
        self.stored.send_if_modified(|before| {
            let is_new = before.as_ref() != stored;
            *before = stored.cloned();
            is_new
        });
    }

    /// Reports whether something may have been done that is to be undone.
    pub(super) fn is_open(&self) -> bool {
        self.record().is_some_and(|record| record.is_open())
    }

    /// Returns what the status says about a machine that will be drained; `None` if its ManagedNode asks for nothing.
    pub(super) fn planned(&self) -> Option<DrainStatus> {
        let target = Target::of(self.cached()?.spec.drain.clone()?);
        Some(DrainStatus {
            state: DrainState::Planned,
            what: target.what,
            kubernetes_node: target.kubernetes_node,
            round: 0,
            since: None,
            until: None,
        })
    }

    fn cached(&self) -> Option<Arc<ManagedNode>> {
        let node = ObjectRef::new(&self.update.spec.node_ref.name);
        self.context.caches.nodes.get(&node.within(&self.namespace()))
    }

    fn namespace(&self) -> String {
        self.update.namespace().unwrap_or_default()
    }

    fn machine(&self) -> &str {
        &self.update.spec.node_ref.name
    }

    fn record(&self) -> Option<Record> {
        self.stored.borrow().as_ref().and_then(record::of)
    }

    /// Undoes what was done to drain the machine.
    ///
    /// # Errors
    /// `UndrainFailed`.
    pub(super) async fn undo(&self, view: &watch::Sender<View>) -> Result<(), Failure> {
        let Some(stored) = self.stored.borrow().clone().filter(|_| self.is_open()) else { return Ok(()) };
        let spec = self.context.node(&self.update, &self.namespace()).await;
        let spec = spec.ok().and_then(|node| node.spec.drain.clone()).unwrap_or_default();
        let target = Target::stored(stored, spec);
        if let (false, Some(record)) = (self.begun.load(Ordering::Relaxed), self.record()) {
            // What could not be asked for needs no reverse, which would be refused as well.
            let undone = Record { state: State::Undrained, since: attempt::now(), ..record };
            Box::pin(self.store(&target, undone, view)).await;
            return Ok(());
        }
        let (_send, stop) = watch::channel(false);
        Box::pin(self.reach(&target, Aim::Undrain, view, stop))
            .await
            .map_err(|failure| Failure::new(Reason::UndrainFailed, failure.message))
    }

    async fn drain(&self, view: &watch::Sender<View>, stop: watch::Receiver<bool>) -> Result<(), Failure> {
        let node = self.context.node(&self.update, &self.namespace()).await?;
        let Some(spec) = node.spec.drain.clone() else { return Ok(()) };
        let target = Target::of(spec);
        if self.stored.borrow().as_ref().is_some_and(|stored| stored.what != target.what) {
            // The user has changed it since.
            self.undo(view).await?;
        }
        if !self.is_open() {
            let words = format!("{} is drained ({}) before it is changed", self.machine(), target.what);
            let about = self.update.object_ref(&());
            self.context.events.normal(&about, Reason::Draining, Action::Drain, &words).await;
        }
        Box::pin(self.reach(&target, Aim::Drain, view, stop)).await
    }

    /// Takes one step after the other until the aim is reached.
    async fn reach(
        &self,
        target: &Target,
        aim: Aim,
        view: &watch::Sender<View>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Failure> {
        view.send_modify(|v| v.step = Step::Draining);
        let mut means = self.means(target)?;
        loop {
            if *stop.borrow_and_update() {
                let words = format!(
                    "cancelled while {} was being drained ({}); nothing was changed",
                    self.machine(),
                    target.what
                );
                return Err(Failure::new(Reason::Cancelled, words));
            }
            if !self.context.holds.is_held() {
                let words = "this runner has lost its Lease; another one continues";
                return Err(Failure::new(Reason::ConnectionLost, words));
            }
            let (record, now) = (self.record(), attempt::now());
            let clock = Clock { now, timeout: target.timeout };
            let taken = match means.next(record, aim, clock).await {
                Ok(Next::Done) => return Ok(()),
                Ok(Next::Record(record)) => {
                    self.store(target, record, view).await;
                    continue;
                }
                Ok(next @ (Next::Wait(_) | Next::Fail(..))) => Err((next, None)),
                Ok(next) => match (record, aim) {
                    (Some(record), _) => {
                        self.act(&mut means, &next, record, aim).await.map_err(|why| (next, Some(why)))
                    }
                    (None, _) => Ok(()),
                },
                Err(why) => Err((Next::Done, Some(why))),
            };
            let until = record.map_or(now, |record| record.until);
            let waiting = match taken {
                Ok(()) => continue,
                Err((_, Some(Trouble::Failed(failure)))) => return Err(failure),
                Err((_, Some(Trouble::Refused(words)))) if now >= until => {
                    return Err(self.failure(aim, Reason::DrainRefused, &words, target, &means));
                }
                Err((_, Some(Trouble::Refused(words)))) => {
                    (Reason::DrainRefused, words, "the right to drain".to_owned())
                }
                Err((Next::Fail(reason, why), None)) => {
                    let (words, _) = means.words(&Next::Fail(reason, why));
                    return Err(self.failure(aim, reason, &words, target, &means));
                }
                Err((next, None)) => {
                    let (words, short) = means.words(&next);
                    (Reason::Draining, words, short)
                }
            };
            show(view, waiting, until);
            tokio::select! {
                // sleep: the interval between looks; nothing is watched.
                () = tokio::time::sleep(INTERVAL) => {}
                _ = stop.changed() => {}
            }
            means.look_again();
        }
    }

    /// Carries out a step. One that fails has done nothing that is to be undone.
    async fn act(&self, means: &mut Means<'_>, next: &Next, record: Record, aim: Aim) -> Result<(), Trouble> {
        let before = self.begun.swap(true, Ordering::Relaxed);
        let acted = means.act(next, record, aim).await;
        if acted.is_err() {
            self.begun.store(before, Ordering::Relaxed);
        }
        acted
    }

    /// Shows a record, and returns when it is stored.
    async fn store(&self, target: &Target, record: Record, view: &watch::Sender<View>) {
        if record.state == State::Draining && !self.is_open() {
            self.begun.store(false, Ordering::Relaxed);
        }
        let Target { what, kubernetes_node, .. } = target;
        let drained = Drained { what: what.clone(), kubernetes_node: kubernetes_node.clone(), record };
        let wanted = record::status(&drained);
        let mut stored = self.stored.subscribe();
        view.send_modify(|v| {
            v.drain = Some(drained);
            v.waits.retain(|waiting| !is_for_drain(waiting));
        });
        // Whoever publishes the view lives longer.
        drop(stored.wait_for(|stored| stored.as_ref() == Some(&wanted)).await);
        tracing::info!(what, state = ?record.state, "the drain of the machine is recorded");
    }

    fn means<'a>(&'a self, target: &'a Target) -> Result<Means<'a>, Failure> {
        let DrainSpec { kubernetes_node: _, job, http, .. } = &target.spec;
        if let Some(name) = &target.kubernetes_node {
            return Ok(Means::Node(Box::new(NodeDrain::new(self, name, &target.spec))));
        }
        match (job, http) {
            (Some(job), _) => Ok(Means::Hook(Hook::new(Kind::Job(JobHook::new(self, job, target))))),
            (None, Some(http)) => Ok(Means::Hook(Hook::new(Kind::Http(HttpHook::new(self, http))))),
            (None, None) => Err(Failure::new(
                Reason::UndrainFailed,
                format!(
                    "the drain of {0} ({1}) was to be undone, and spec.drain of ManagedNode {0} is gone; undo it by hand",
                    self.machine(),
                    target.what
                ),
            )),
        }
    }

    fn failure(&self, aim: Aim, reason: Reason, words: &str, target: &Target, means: &Means) -> Failure {
        let (machine, what) = (self.machine(), &target.what);
        match aim {
            Aim::Drain => {
                let why = if reason == Reason::DrainTimedOut {
                    let after = Span::of(target.timeout).0;
                    format!(
                        "after {after} it still waited for {words}; end that, or raise spec.drain.timeout of ManagedNode {machine}"
                    )
                } else {
                    words.to_owned()
                };
                let unchanged =
                    format!("{machine} was not drained ({what}), so nothing was changed on {machine}");
                Failure::new(reason, format!("{unchanged}: {why}"))
            }
            Aim::Undrain => Failure::new(
                Reason::UndrainFailed,
                format!(
                    "{machine} was drained, and was not given back ({what}): {words}; {}",
                    means.by_hand()
                ),
            ),
        }
    }
}

impl Drain for MachineDrain {
    fn is_wanted(&self) -> bool {
        self.is_open() || self.cached().is_some_and(|node| node.spec.drain.is_some())
    }

    fn before<'a>(
        &'a self,
        view: &'a watch::Sender<View>,
        stop: watch::Receiver<bool>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let drained = self.drain(view, stop).await;
            view.send_modify(|v| v.waits.retain(|waiting| !is_for_drain(waiting)));
            drained
        })
    }
}

impl Target {
    /// Returns what a ManagedNode asks to be drained.
    fn of(spec: DrainSpec) -> Self {
        let timeout = spec.timeout.duration().unwrap_or(DEFAULT_TIMEOUT);
        Self { what: spec.what(), kubernetes_node: spec.kubernetes_node.clone(), timeout, spec }
    }

    /// Returns what was drained, with what the ManagedNode says now about how.
    fn stored(stored: DrainStatus, spec: DrainSpec) -> Self {
        let timeout = spec.timeout.duration().unwrap_or(DEFAULT_TIMEOUT);
        Self { what: stored.what, kubernetes_node: stored.kubernetes_node, timeout, spec }
    }
}

/// The name of what is asked for, as hooks get it.
const fn phase(aim: Aim) -> &'static str {
    match aim {
        Aim::Drain => "Drain",
        Aim::Undrain => "Undrain",
    }
}

/// Shows what a drain waits for.
fn show(
    view: &watch::Sender<View>,
    (reason, what, short): (Reason, String, String),
    until: farrier_update::Millis,
) {
    view.send_if_modified(|v| {
        let shown = v.waits.iter().find(|waiting| is_for_drain(waiting));
        if shown.is_some_and(|shown| shown.reason == reason && shown.what == what) {
            return false;
        }
        let since = shown.map_or_else(attempt::now, |shown| shown.since);
        tracing::info!(%reason, what, "the drain of the machine waits");
        v.waits.retain(|waiting| !is_for_drain(waiting));
        v.waits.push(Waiting { reason, what, short, holder: None, since, until: Some(until) });
        true
    });
}

/// Whether a wait is one of a drain.
pub(super) fn is_for_drain(waiting: &Waiting) -> bool {
    matches!(waiting.reason, Reason::Draining | Reason::DrainRefused)
}
