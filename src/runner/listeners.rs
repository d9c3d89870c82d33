//! The callback server of this runner: a listener for each run that needs one.
//!
//! The controller allocates the ports of a runner; the runner binds them, holds them, and reports the result.
//! A listener is open as long as the run's status names its ports.

mod listener;
mod peers;
mod refusals;
mod service;
mod services;

use super::offers::{Fetches, FetchingMachine, RunOffers, source_towards, without_zone};
use super::owner::owner_uid;
use super::{Context, is_finished};
use crate::api::update_run::{ListenerStatus, RunnerPorts};
use crate::api::{NodeUpdate, UpdateRun};
use crate::callback::{self, AddressSet, Family, Limits, Pair, Refusals, RunIdentity, ServerOptions};
use crate::exposure::{self, WayBack};
use crate::failure::chain;
use crate::membership::Runners;
use crate::publish;
use farrier_network::FileService;
use futures::future::join_all;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use listener::{ActiveListener, Listener};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub(super) use peers::peers;

/// Changes within this time are handled in one pass.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// How often everything is reconciled without a change: names may resolve to other addresses, and failed
/// writes are retried.
const RESYNC_INTERVAL: Duration = Duration::from_secs(5);

/// The open listeners, for the sessions.
#[derive(Default)]
pub struct Listeners {
    open: Mutex<HashMap<String, OpenListener>>,
    changed: Notify,
    /// What is known of the images that this process has offered.
    pub(super) fetches: Fetches,
}

/// A listener that is open.
#[derive(Clone)]
pub(super) struct OpenListener {
    /// The TLS identity of the run.
    pub(super) identity: Arc<RunIdentity>,
    /// The ports of this listener.
    pub(super) pair: Pair,
    /// Addresses of the machines that may connect.
    pub(super) sources: watch::Receiver<Arc<AddressSet>>,
    /// Names and addresses for which the certificate is valid that machines without an engine see.
    pub(super) names: watch::Receiver<Arc<BTreeSet<String>>>,
    /// The file services that are open, with their ports.
    pub(super) services: watch::Receiver<BTreeMap<FileService, u16>>,
    /// Rejected connections.
    pub(super) refusals: Arc<Refusals>,
    /// Cancelled when the listener is closed.
    pub(super) closed: CancellationToken,
}

impl Listeners {
    /// Waits for the open listener of a run; `None`: it did not open within `patience`.
    pub(super) async fn of(&self, run: &str, patience: Duration) -> Option<OpenListener> {
        let opened = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(open) = self.find_open(run) {
                    return open;
                }
                changed.await;
            }
        };
        tokio::time::timeout(patience, opened).await.ok()
    }

    /// Whether the listener of a run is open.
    pub(super) fn is_open(&self, run: &str) -> bool {
        self.find_open(run).is_some()
    }

    /// Returns the listener of a run. When the process ends, listeners close without being removed here.
    fn find_open(&self, run: &str) -> Option<OpenListener> {
        self.lock().get(run).filter(|listener| !listener.closed.is_cancelled()).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, OpenListener>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reconciles the listeners of this runner with the runs' statuses, forever.
pub async fn keep(context: Arc<Context>, changed: &Notify) {
    let mut reconciler = ListenerReconciler { context, listeners: HashMap::new() };
    let mut membership = reconciler.context.membership.clone();
    loop {
        reconciler.reconcile().await;
        tokio::select! {
            () = changed.notified() => {}
            () = membership.changed() => {}
            () = tokio::time::sleep(RESYNC_INTERVAL) => {}
        }
        // sleep: changes that come together are handled together.
        tokio::time::sleep(DEBOUNCE).await;
    }
}

struct ListenerReconciler {
    context: Arc<Context>,
    /// By UID of the run.
    listeners: HashMap<String, (Arc<UpdateRun>, Listener)>,
}

/// The input of one pass over all listeners.
struct Snapshot {
    runners: Runners,
    updates: Vec<Arc<NodeUpdate>>,
    /// The NodeUpdates by the UID of their run and the name of their machine.
    by_node: HashMap<(String, String), Arc<NodeUpdate>>,
}

impl ListenerReconciler {
    async fn reconcile(&mut self) {
        let runs = self.context.caches.runs.state();
        let open: HashMap<String, Arc<UpdateRun>> = runs
            .iter()
            .filter(|run| run.status.as_ref().is_some_and(|s| s.callback.is_some()))
            .filter_map(|run| Some((run.uid()?, run.clone())))
            .collect();
        let gone: Vec<String> =
            self.listeners.keys().filter(|uid| !open.contains_key(*uid)).cloned().collect();
        for uid in gone {
            if let Some((run, mut listener)) = self.listeners.remove(&uid) {
                self.shut(&uid, &run, &mut listener).await;
            }
        }
        // Each change of a NodeUpdate leads here, and most runs have no ports.
        let updates = if open.is_empty() { Vec::new() } else { self.context.caches.updates.state() };
        let key = |u: &NodeUpdate| Some((owner_uid(u)?.to_owned(), u.spec.node_ref.name.clone()));
        let snapshot = Snapshot {
            runners: Runners::clone(&self.context.membership.live()),
            by_node: updates.iter().filter_map(|u| Some((key(u)?, u.clone()))).collect(),
            updates,
        };
        self.update_remote_sessions(&open, &snapshot);
        for (uid, run) in open {
            match ports_of(&run, &self.context.name).cloned() {
                Some(ports) => self.reconcile_run(&uid, run, &ports, &snapshot).await,
                None => self.without_ports(&uid, run).await,
            }
        }
        self.forget_reports(&runs).await;
    }

    /// Opens a listener, or moves it to other ports, and reports the result.
    async fn reconcile_run(
        &mut self,
        uid: &str,
        run: Arc<UpdateRun>,
        ports: &RunnerPorts,
        snapshot: &Snapshot,
    ) {
        let pair = pair(ports);
        let Callers { sources, fetching, names } = self.callers(uid, &run, snapshot).await;
        let peers: Arc<[IpAddr]> =
            peers(&snapshot.runners, &self.context.name).into_iter().map(|(address, _)| address).collect();
        let old = self.listeners.remove(uid).map(|(_, listener)| listener);
        let mut listener = old.unwrap_or_else(|| Listener::new(pair, self.reported(&run), Instant::now()));
        if listener.pair != pair {
            self.shut(uid, &run, &mut listener).await;
            listener.move_to(pair);
        }
        listener.forget_old(Instant::now());
        send_if_new(&listener.sources, sources);
        send_if_new(&listener.fetching, fetching);
        send_if_new(&listener.names, names);
        send_if_new(&listener.peers, peers);
        if listener.active.is_none() && listener.is_due(Instant::now()) {
            self.open(uid, &run, &mut listener).await;
        }
        services::reconcile(&self.context, &run, ports, &mut listener).await;
        self.report_changes(&run, &mut listener).await;
        self.listeners.insert(uid.to_owned(), (run, listener));
    }

    /// Handles a run that allocates no ports to this runner, perhaps because the runner found all of them
    /// taken. The runner reports the taken ports for a while, and then the controller tries again.
    async fn without_ports(&mut self, uid: &str, run: Arc<UpdateRun>) {
        let now = Instant::now();
        let reported = self.reported(&run).map(|reported| {
            Listener::new(Pair { http: reported.http_port, https: reported.https_port }, Some(reported), now)
        });
        let Some(mut listener) = self.listeners.remove(uid).map(|(_, listener)| listener).or(reported) else {
            return;
        };
        self.shut(uid, &run, &mut listener).await;
        if listener.without_ports(now) {
            self.report_changes(&run, &mut listener).await;
            self.listeners.insert(uid.to_owned(), (run, listener));
        }
    }

    async fn open(&self, uid: &str, run: &Arc<UpdateRun>, listener: &mut Listener) {
        let bound = match callback::bind(listener.pair, &[Family::V4, Family::V6]) {
            Ok(bound) => bound,
            Err(error) => return listener.refused(&error.named().await, Instant::now()),
        };
        match self.serve(uid, run, listener, bound).await {
            Ok(active) => listener.opened(active, Instant::now()),
            // Without the identity no client can be answered; the controller is creating it.
            Err(None) => {}
            Err(Some(message)) => {
                tracing::warn!(run = %run.name_any(), "the callback server cannot begin yet: {message}");
                listener.failed(message, Instant::now());
            }
        }
    }

    async fn serve(
        &self,
        uid: &str,
        run: &Arc<UpdateRun>,
        listener: &Listener,
        bound: callback::BoundListeners,
    ) -> Result<ActiveListener, Option<String>> {
        let identity = exposure::identity(&self.context.client, run).await?;
        let identity = Arc::new(identity);
        let side = ServerOptions {
            identity: identity.clone(),
            sources: listener.sources.subscribe(),
            peers: listener.peers.subscribe(),
            registry: self.context.tools.calls.clone(),
            offers: Arc::new(RunOffers::new(self.context.clone(), run, listener.fetching.subscribe())),
            names: listener.names.subscribe(),
            counters: self.context.callback_counters.clone(),
            limits: Limits::for_descriptors(crate::descriptors::limit()),
        };
        let server = callback::serve(bound, side).map_err(|error| Some(error.to_string()))?;
        let refusals = server.refusals().clone();
        let closed = CancellationToken::new();
        let open = OpenListener {
            identity,
            pair: listener.pair,
            sources: listener.sources.subscribe(),
            names: listener.names.subscribe(),
            services: listener.open_services.subscribe(),
            refusals: refusals.clone(),
            closed: closed.clone(),
        };
        self.context.listeners.lock().insert(uid.to_owned(), open);
        self.context.listeners.changed.notify_waiters();
        tokio::spawn(refusals::write_report(self.context.clone(), run.clone(), refusals, closed.clone()));
        tracing::info!(run = %run.name_any(), http = listener.pair.http, https = listener.pair.https, "the callback server listens");
        Ok(ActiveListener { server, reporter: closed.drop_guard() })
    }

    async fn shut(&self, uid: &str, run: &UpdateRun, listener: &mut Listener) {
        let Some(ActiveListener { server, reporter }) = listener.active.take() else { return };
        self.context.listeners.lock().remove(uid);
        services::shut(listener).await;
        server.close().await;
        drop(reporter);
        tracing::info!(run = %run.name_any(), http = listener.pair.http, https = listener.pair.https, "the callback server is closed");
    }

    /// Returns what this runner has reported about the run's ports.
    fn reported<'a>(&self, run: &'a UpdateRun) -> Option<&'a ListenerStatus> {
        run.status.iter().flat_map(|s| &s.listeners).find(|reported| reported.runner == self.context.name)
    }

    /// Removes reports of ports that this runner does not hold any more, including those of an earlier
    /// process.
    async fn forget_reports(&self, runs: &[Arc<UpdateRun>]) {
        for run in runs {
            let open = run.uid().is_some_and(|uid| self.listeners.contains_key(&uid));
            if self.reported(run).is_some() && !open {
                self.write_report(run, None).await;
            }
        }
    }

    async fn report_changes(&self, run: &Arc<UpdateRun>, listener: &mut Listener) {
        let report = listener.report(&self.context.name);
        if report.is_some() && report != listener.written && self.write_report(run, report.as_ref()).await {
            listener.written = report;
        }
    }

    async fn write_report(&self, run: &Arc<UpdateRun>, report: Option<&ListenerStatus>) -> bool {
        match publish::listener(&self.context.client, run, &self.context.name, report).await {
            Ok(()) => true,
            Err(error) if publish::is_gone(&error) => true,
            Err(error) => {
                tracing::warn!(run = %run.name_any(), error = %chain(&error), "the state of the ports could not be written; it is retried");
                false
            }
        }
    }

    /// Returns who may connect: machines whose engines do, and machines that fetch an image at present.
    async fn callers(&self, uid: &str, run: &UpdateRun, snapshot: &Snapshot) -> Callers {
        let namespace = run.namespace().unwrap_or_default();
        let names = run.status.iter().flat_map(|s| s.nodes.iter().flatten());
        let callers: Vec<_> = names
            .filter_map(|name| {
                let update = snapshot.by_node.get(&(uid.to_owned(), name.clone()));
                let node = self.context.caches.nodes.get(&ObjectRef::new(name).within(&namespace))?;
                let at_work = update.is_none_or(|update| !is_finished(update));
                let back = exposure::way_back(&node, run, update.map(|u| &**u)).filter(|_| at_work)?;
                Some((node, update, back))
            })
            .collect();
        let found = join_all(callers.iter().map(|(node, ..)| self.context.names.of(node))).await;
        let own = callers.iter().map(|(node, ..)| self.context.names.callback_address_of(node));
        let own = join_all(own).await;
        let mut fetching = Vec::new();
        let callback = run.status.as_ref().and_then(|status| status.callback.as_ref());
        let mut names: BTreeSet<String> = callback.iter().flat_map(|c| c.addresses.clone()).collect();
        for (((node, update, back), addresses), own) in callers.iter().zip(&found).zip(&own) {
            if let (WayBack::Fetch(scheme), Some(update)) = (back, update) {
                names.extend(node.spec.callback_address.as_deref().map(without_zone));
                names.extend(addresses.iter().filter_map(|ip| source_towards(*ip)).map(|ip| ip.to_string()));
                let session = update.uid().unwrap_or_default();
                let update = ObjectRef::from_obj(&***update);
                let reached_at = peers::reached_at(&snapshot.runners, &self.context.name, own, run);
                let (service, addresses) = (scheme.service(), addresses.clone());
                fetching.push(FetchingMachine { update, session, addresses, service, reached_at });
            }
        }
        let sources = Arc::new(found.into_iter().flatten().collect());
        Callers { sources, fetching: fetching.into(), names: Arc::new(names) }
    }

    /// Updates the registry with the sessions of other runners and their addresses.
    fn update_remote_sessions(&self, open: &HashMap<String, Arc<UpdateRun>>, snapshot: &Snapshot) {
        let others =
            snapshot.updates.iter().filter(|u| !is_finished(u) && u.spec.runner != self.context.name);
        let elsewhere = others.filter_map(|update| {
            let owner = &update.spec.runner;
            let pair = pair(ports_of(open.get(owner_uid(update)?)?, owner)?);
            let address = peers::address_of(&snapshot.runners, &self.context.name, owner)?;
            Some((update.uid()?, SocketAddr::new(address, pair.https)))
        });
        self.context.tools.calls.set_elsewhere(elsewhere.collect());
    }
}

/// Who may connect to the ports of a run.
struct Callers {
    sources: Arc<AddressSet>,
    fetching: Arc<[FetchingMachine]>,
    /// Names and addresses by which the fetching machines reach this runner, and all runners of the run.
    names: Arc<BTreeSet<String>>,
}

/// Returns the ports that are allocated to a runner for a run.
pub(super) fn ports_of<'a>(run: &'a UpdateRun, runner: &str) -> Option<&'a RunnerPorts> {
    let callback = run.status.as_ref()?.callback.as_ref()?;
    callback.ports.iter().find(|ports| ports.runner == runner)
}

fn pair(ports: &RunnerPorts) -> Pair {
    Pair { http: ports.http_port, https: ports.https_port }
}

fn send_if_new<T: PartialEq>(to: &watch::Sender<T>, new: T) {
    to.send_if_modified(|old| {
        let differs = *old != new;
        if differs {
            *old = new;
        }
        differs
    });
}

#[cfg(test)]
mod tests;
