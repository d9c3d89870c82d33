//! Leases: how a replica shows that it is alive, and how the replicas elect a leader.
//!
//! Only the local clock is trusted: another holder's Lease has expired when this process has not
//! seen a renewal for the Lease's duration, and our own Lease counts as lost some time before
//! others may consider it expired. Every write names the version that it replaces, so that only one
//! of two contenders gets a Lease.
//!
//! Code that acts on a Lease calls [`Hold::is_held`] each time: a process that was suspended for a
//! minute finds that it no longer holds the Lease, without having to communicate first.

mod durations;
mod process;

pub use durations::LeaseDurations;

use crate::failure::chain;
use crate::publish::{is_conflict, is_gone, is_of_dying_namespace};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use process::Process;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The process that wrote the Lease. A successor on the same host need not wait for the Lease of a
/// holder that was killed.
const PROCESS_ANNOTATION: &str = "farrier.dev/process";

/// How often one attempt reads the Lease again after another writer was faster.
const MAX_READS: u32 = 3;

/// Configuration of a Lease.
#[derive(Debug, Clone)]
pub struct LeaseConfig {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Name of the runner that acquires the Lease.
    pub runner: String,
    /// Labels of the Lease.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Lease.
    pub annotations: BTreeMap<String, String>,
}

/// The outcome of an attempt to hold the Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseState {
    /// This process holds the Lease.
    Held,
    /// Another process holds the Lease, and is alive as far as is known.
    Other {
        /// The holder.
        holder: String,
    },
}

/// Shows every part of this process whether it holds the Lease.
#[derive(Debug, Clone)]
pub struct Hold {
    until: watch::Receiver<Option<Instant>>,
}

impl Hold {
    /// Reports whether the Lease is held right now.
    pub fn is_held(&self) -> bool {
        self.until().is_some()
    }

    /// Returns until when the Lease is held, if it is held right now and not renewed any more.
    pub fn until(&self) -> Option<Instant> {
        self.until.borrow().filter(|until| Instant::now() < *until)
    }

    /// Waits until the Lease is held.
    pub async fn gained(&self) {
        let mut until = self.until.clone();
        let held = |until: &Option<Instant>| until.is_some_and(|until| Instant::now() < until);
        if until.wait_for(held).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the Lease is no longer held, also if it expires without a renewal.
    pub async fn lost(&self) {
        let mut until = self.until.clone();
        loop {
            let Some(end) = *until.borrow_and_update() else { return };
            tokio::select! {
                () = tokio::time::sleep_until(end) => {
                    if !self.is_held() {
                        return;
                    }
                }
                changed = until.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Acquires and renews a Lease.
pub struct LeaseManager {
    api: Api<Lease>,
    claim: LeaseConfig,
    terms: LeaseDurations,
    /// Identity of this process: another process with the same runner name has a different one.
    identity: String,
    until: watch::Sender<Option<Instant>>,
    /// The Lease as this process last wrote it.
    ours: Option<Lease>,
    /// The Lease of another holder, and since when it has been seen unchanged.
    theirs: Option<(Mark, Instant)>,
}

/// The fields that change when a Lease is renewed.
type Mark = (Option<String>, Option<MicroTime>);

impl LeaseManager {
    /// Creates a manager that does nothing yet.
    pub fn new(client: &Client, claim: LeaseConfig, terms: LeaseDurations) -> (Self, Hold) {
        let (send, until) = watch::channel(None);
        let keeper = Self {
            api: Api::namespaced(client.clone(), &claim.namespace),
            identity: format!("{}_{:016x}", claim.runner, RandomState::new().build_hasher().finish()),
            claim,
            terms,
            until: send,
            ours: None,
            theirs: None,
        };
        (keeper, Hold { until })
    }

    /// Acquires and renews the Lease until `stop` is cancelled, and then releases it, so that other
    /// replicas need not wait for it to expire.
    pub async fn run(mut self, stop: CancellationToken) {
        let (mut said, mut failing) = (None, false);
        while !stop.is_cancelled() {
            // Only the timeout interrupts an attempt, because the outcome of an interrupted write
            // is unknown.
            let tried = tokio::time::timeout(self.terms.attempt_limit(), self.attempt()).await;
            let pause = match tried {
                Ok(Ok(state)) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!(lease = %self.claim.name, "the Lease can be renewed again");
                    }
                    let pause = self.terms.pause(&state);
                    if said.as_ref() != Some(&state) {
                        self.say(&state);
                        said = Some(state);
                    }
                    pause
                }
                Ok(Err(error)) => {
                    self.log_failure(&mut failing, &chain(&error));
                    self.terms.after_error()
                }
                Err(_) => {
                    self.log_failure(&mut failing, "no answer in time");
                    Duration::ZERO
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
        self.release().await;
    }

    /// Acquires or renews the Lease once.
    ///
    /// # Errors
    /// Errors of the API server.
    pub async fn attempt(&mut self) -> Result<LeaseState, kube::Error> {
        // Measured from before the write: no other process can have seen the renewal earlier.
        let begun = Instant::now();
        let state = match self.ours.take() {
            Some(ours) => match self.write(ours).await? {
                Some(held) => Ok(Ok(held)),
                None => self.read_or_acquire().await,
            },
            None => self.read_or_acquire().await,
        };
        let state = match state {
            Ok(state) => state,
            // The Lease was deleted with its namespace, in which no process can create another one.
            // Until everything in that namespace is cleaned up, the last holder continues.
            Err(error) if is_of_dying_namespace(&error) && self.holds_at(begun) => {
                self.until.send_replace(Some(begun + self.terms.held_for()));
                return Ok(LeaseState::Held);
            }
            Err(error) => return Err(error),
        };
        match state {
            Ok(held) => {
                self.ours = Some(held);
                self.theirs = None;
                self.until.send_replace(Some(begun + self.terms.held_for()));
                Ok(LeaseState::Held)
            }
            Err(holder) => {
                self.until.send_replace(None);
                Ok(LeaseState::Other { holder })
            }
        }
    }

    fn holds_at(&self, now: Instant) -> bool {
        self.until.borrow().is_some_and(|until| now < until)
    }

    /// Reads the Lease, and acquires it if it is free. Returns our Lease, or the holder.
    async fn read_or_acquire(&mut self) -> Result<Result<Lease, String>, kube::Error> {
        // A client that only edits the Lease must not make us lose it.
        for _ in 0..MAX_READS {
            let Some(found) = self.api.get_opt(&self.claim.name).await? else {
                let made = self.api.create(&PostParams::default(), &self.signed(Lease::default())).await;
                match made {
                    Ok(made) => return Ok(Ok(made)),
                    Err(error) if is_conflict(&error) => continue,
                    Err(error) => return Err(error),
                }
            };
            let holder = holder(&found).unwrap_or_default().to_owned();
            if !holder.is_empty() && holder != self.identity && !self.is_dead(&found, &holder) {
                return Ok(Err(holder));
            }
            if let Some(written) = self.write(found).await? {
                return Ok(Ok(written));
            }
        }
        Ok(Err("another process".to_owned()))
    }

    /// Reports whether the holder has not renewed the Lease for its duration, as observed by this
    /// process, or is a process of this host or pod, with our runner name, that has ended.
    fn is_dead(&mut self, found: &Lease, holder: &str) -> bool {
        let same_runner = holder.rsplit_once('_').is_some_and(|(runner, _)| runner == self.claim.runner);
        let process = found.annotations().get(PROCESS_ANNOTATION).and_then(|text| Process::parse(text));
        if same_runner && process.is_some_and(|process| process.has_ended()) {
            return true;
        }
        let now = Instant::now();
        let mark = mark(found);
        match &self.theirs {
            Some((seen, since)) if *seen == mark => now.duration_since(*since) > duration(found),
            Some(_) | None => {
                self.theirs = Some((mark, now));
                false
            }
        }
    }

    /// Writes the Lease as ours over exactly this version. Returns `None` if another writer was
    /// faster.
    async fn write(&self, lease: Lease) -> Result<Option<Lease>, kube::Error> {
        match self.api.replace(&self.claim.name, &PostParams::default(), &self.signed(lease)).await {
            Ok(written) => Ok(Some(written)),
            Err(error) if is_conflict(&error) || is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn signed(&self, mut lease: Lease) -> Lease {
        let metadata = &mut lease.metadata;
        metadata.name = Some(self.claim.name.clone());
        metadata.namespace = Some(self.claim.namespace.clone());
        metadata.labels.get_or_insert_default().extend(self.claim.labels.clone());
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.extend(self.claim.annotations.clone());
        if let Some(process) = Process::this() {
            annotations.insert(PROCESS_ANNOTATION.to_owned(), process.to_string());
        }
        let now = MicroTime(jiff::Timestamp::now());
        let old = lease.spec.take().unwrap_or_default();
        let taken = old.holder_identity.as_ref() != Some(&self.identity);
        let transitions = old.lease_transitions.unwrap_or(0).saturating_add(i32::from(taken));
        lease.spec = Some(LeaseSpec {
            acquire_time: if taken { Some(now.clone()) } else { old.acquire_time },
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(self.terms.seconds()),
            lease_transitions: Some(transitions),
            renew_time: Some(now),
            ..old
        });
        lease
    }

    /// Releases the Lease if it is ours.
    async fn release(&mut self) {
        self.until.send_replace(None);
        let released = async {
            let Some(found) = self.api.get_opt(&self.claim.name).await? else { return Ok(()) };
            if holder(&found) != Some(&self.identity) {
                return Ok(());
            }
            let this_one = Preconditions { uid: found.uid(), resource_version: found.resource_version() };
            let parameters = DeleteParams::default().preconditions(this_one);
            self.api.delete(&self.claim.name, &parameters).await.map(|_| ())
        };
        match tokio::time::timeout(self.terms.attempt_limit(), released).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(lease = %self.claim.name, error = %chain(&error), "a Lease could not be released; it expires by itself");
            }
            Err(_) => {
                tracing::warn!(lease = %self.claim.name, "a Lease could not be released in time; it expires by itself");
            }
        }
    }

    /// Logs once, and not several times a second, that the Lease cannot be renewed.
    fn log_failure(&self, failing: &mut bool, error: &str) {
        if std::mem::replace(failing, true) {
            tracing::debug!(lease = %self.claim.name, error, "a Lease could not be renewed again");
        } else {
            tracing::warn!(lease = %self.claim.name, error, "a Lease could not be renewed and will be retried");
        }
    }

    fn say(&self, state: &LeaseState) {
        match state {
            LeaseState::Held => tracing::info!(lease = %self.claim.name, "this process holds the Lease"),
            LeaseState::Other { holder } => {
                tracing::info!(lease = %self.claim.name, %holder, "another process holds the Lease");
            }
        }
    }
}

/// Returns the holder of a Lease.
pub fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// Returns the fields that change when a Lease is renewed.
pub(crate) fn mark(lease: &Lease) -> Mark {
    let spec = lease.spec.as_ref();
    (spec.and_then(|s| s.holder_identity.clone()), spec.and_then(|s| s.renew_time.clone()))
}

/// Returns how long a Lease is valid without a renewal.
pub(crate) fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|s| s.lease_duration_seconds).unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
