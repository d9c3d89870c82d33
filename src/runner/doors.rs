//! The callback server of this runner: a door for each run that needs one.
//!
//! The controller writes which ports a runner is to listen on; the runner takes them, holds them,
//! and says what came of it. A door is open as long as the run's status names its ports.

use super::{Context, is_finished};
use crate::api::update_run::{ListenerState, ListenerStatus};
use crate::api::{NodeUpdate, UpdateRun};
use crate::callback::{
    self, AddressSet, BindErrorKind, Family, Limits, Pair, Refusals, RunIdentity, RunSide, Server,
};
use crate::exposure;
use crate::failure::chain;
use crate::membership::{Home, Runners};
use crate::payload::{PayloadFiles, Store};
use crate::publish::{self, Action};
use farrier_update::Reason;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Changes that come closer together than this are looked at once.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// How often everything is looked at although nothing changed: names may mean other addresses, and
/// what could not be written is written.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long a port counts as taken after it was found so.
const TAKEN_FOR: Duration = Duration::from_secs(30);

/// How often a run is told of refused connections at most.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// What sessions need of the doors.
#[derive(Default)]
pub struct Doors {
    open: Mutex<HashMap<String, Open>>,
    changed: Notify,
}

/// A door that is open.
#[derive(Clone)]
pub(super) struct Open {
    /// Who the run is on the wire.
    pub(super) identity: Arc<RunIdentity>,
    /// Where this runner listens.
    pub(super) pair: Pair,
}

impl Doors {
    /// The door of a run, as soon as it is open; `None`: it was not for as long as this.
    pub(super) async fn of(&self, run: &str, patience: Duration) -> Option<Open> {
        let opened = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(open) = self.lock().get(run) {
                    return open.clone();
                }
                changed.await;
            }
        };
        tokio::time::timeout(patience, opened).await.ok()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One door, or the attempt at one.
struct Door {
    pair: Pair,
    server: Option<Server>,
    sources: watch::Sender<Arc<AddressSet>>,
    peers: watch::Sender<Arc<[IpAddr]>>,
    /// Ports that were found taken, and when.
    taken: Vec<(u16, Instant)>,
    /// What was written last.
    told: Option<ListenerStatus>,
}

/// Keeps the doors of this runner as the runs' statuses want them, for ever.
pub async fn keep(context: Arc<Context>, changed: &Notify) {
    let mut keeper = Keeper { context, doors: HashMap::new() };
    let mut membership = keeper.context.membership.clone();
    loop {
        keeper.look().await;
        tokio::select! {
            () = changed.notified() => {}
            () = membership.changed() => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
        tokio::time::sleep(DEBOUNCE).await;
    }
}

struct Keeper {
    context: Arc<Context>,
    /// By UID of the run.
    doors: HashMap<String, (Arc<UpdateRun>, Door)>,
}

impl Keeper {
    async fn look(&mut self) {
        let runs = self.context.world.runs.state();
        let wanted: HashMap<String, (Arc<UpdateRun>, Pair)> = runs
            .iter()
            .filter_map(|run| Some((run.uid()?, (run.clone(), pair_of(run, &self.context.name)?))))
            .collect();
        let gone: Vec<String> = self.doors.keys().filter(|uid| !wanted.contains_key(*uid)).cloned().collect();
        for uid in gone {
            self.shut(&uid).await;
        }
        let runners = self.context.membership.live();
        let updates = self.context.world.updates.state();
        self.tell_where_else(&wanted, &updates, &runners);
        for (uid, (run, pair)) in wanted {
            self.tend(&uid, run, pair, &updates, &runners).await;
        }
        self.forget_reports(&runs).await;
    }

    /// Opens a door, or moves it to other ports, and says what came of it.
    async fn tend(
        &mut self,
        uid: &str,
        run: Arc<UpdateRun>,
        pair: Pair,
        updates: &[Arc<NodeUpdate>],
        runners: &Runners,
    ) {
        let sources = self.sources(&run, updates).await;
        let peers = peers(runners, &self.context.name);
        let (old, mut door) = self.doors.remove(uid).unwrap_or_else(|| (run.clone(), Door::new(pair)));
        drop(old);
        let moved = door.pair != pair;
        if moved && let Some(server) = door.server.take() {
            self.context.doors.lock().remove(uid);
            server.close().await;
        }
        door.pair = pair;
        door.taken.retain(|(_, at)| at.elapsed() < TAKEN_FOR);
        send_if_new(&door.sources, sources);
        send_if_new(&door.peers, peers);
        if door.server.is_none() {
            self.open(uid, &run, &mut door, moved).await;
        }
        self.doors.insert(uid.to_owned(), (run, door));
    }

    async fn open(&self, uid: &str, run: &Arc<UpdateRun>, door: &mut Door, moved: bool) {
        // A pair that failed is not tried again before the controller has answered.
        let failed = door.told.as_ref().is_some_and(|told| told.state != ListenerState::Bound);
        let again = door.told.as_ref().is_some_and(|told| told.taken.len() != door.taken.len());
        if failed && !moved && !again {
            return;
        }
        let report = match callback::bind(door.pair, &[Family::V4, Family::V6]) {
            Ok(bound) => match self.serve(uid, run, door, bound).await {
                Ok(server) => {
                    door.server = Some(server);
                    door.report(&self.context.name, ListenerState::Bound, String::new())
                }
                // Without the identity nobody can be answered: it is being made.
                Err(None) => return,
                Err(Some(message)) => door.report(&self.context.name, ListenerState::Failed, message),
            },
            Err(error) => {
                let state = match error.kind {
                    BindErrorKind::InUse => {
                        door.taken.retain(|(port, _)| *port != error.port);
                        door.taken.push((error.port, Instant::now()));
                        ListenerState::Conflict
                    }
                    BindErrorKind::NotPermitted => ListenerState::NotPermitted,
                    BindErrorKind::NoFamily | BindErrorKind::Other(_) => ListenerState::Failed,
                };
                door.report(&self.context.name, state, error.to_string())
            }
        };
        if door.told.as_ref() != Some(&report) && self.tell(run, Some(&report)).await {
            door.told = Some(report);
        }
    }

    async fn serve(
        &self,
        uid: &str,
        run: &Arc<UpdateRun>,
        door: &Door,
        bound: callback::Bound,
    ) -> Result<Server, Option<String>> {
        let identity = exposure::identity(&self.context.client, run).await?;
        let identity = Arc::new(identity);
        let side = RunSide {
            identity: identity.clone(),
            sources: door.sources.subscribe(),
            peers: door.peers.subscribe(),
            registry: self.context.tools.calls.clone(),
            files: Arc::new(self.files(run)),
            counters: self.context.metrics.callback.clone(),
            limits: Limits::default(),
        };
        let server = callback::serve(bound, side).map_err(|error| Some(error.to_string()))?;
        self.context.doors.lock().insert(uid.to_owned(), Open { identity, pair: door.pair });
        self.context.doors.changed.notify_waiters();
        tokio::spawn(tell_of_refusals(self.context.clone(), run.clone(), server.refusals().clone()));
        tracing::info!(run = %run.name_any(), http = door.pair.http, https = door.pair.https, "the callback server listens");
        Ok(server)
    }

    async fn shut(&mut self, uid: &str) {
        let Some((run, door)) = self.doors.remove(uid) else { return };
        self.context.doors.lock().remove(uid);
        if let Some(server) = door.server {
            server.close().await;
            tracing::info!(run = %run.name_any(), http = door.pair.http, https = door.pair.https, "the callback server is closed");
        }
    }

    /// Takes back what is said of ports that are not ours any more, by an earlier process too.
    async fn forget_reports(&self, runs: &[Arc<UpdateRun>]) {
        for run in runs {
            let reported =
                run.status.iter().flat_map(|s| &s.listeners).any(|l| l.runner == self.context.name);
            let open = run.uid().is_some_and(|uid| self.doors.contains_key(&uid));
            if reported && !open {
                self.tell(run, None).await;
            }
        }
    }

    async fn tell(&self, run: &Arc<UpdateRun>, report: Option<&ListenerStatus>) -> bool {
        match publish::listener(&self.context.client, run, &self.context.name, report).await {
            Ok(()) => true,
            Err(error) if publish::is_gone(&error) => true,
            Err(error) => {
                tracing::warn!(run = %run.name_any(), error = %chain(&error), "the state of the ports could not be written; tried again");
                false
            }
        }
    }

    /// Addresses of the machines that may call.
    async fn sources(&self, run: &UpdateRun, updates: &[Arc<NodeUpdate>]) -> Arc<AddressSet> {
        let namespace = run.namespace().unwrap_or_default();
        let mut found = Vec::new();
        let ended = |name: &String| {
            updates.iter().any(|u| is_of(u, run) && is_finished(u) && u.spec.node_ref.name == *name)
        };
        for name in run.status.iter().flat_map(|s| s.nodes.iter().flatten()).filter(|name| !ended(name)) {
            let node = self.context.world.nodes.get(&ObjectRef::new(name).within(&namespace));
            if let Some(node) = node.filter(|node| exposure::calls_back(node, run)) {
                found.extend(self.context.names.of(&node).await);
            }
        }
        Arc::new(found.into_iter().collect())
    }

    /// Which sessions other runners answer for, and where.
    fn tell_where_else(
        &self,
        wanted: &HashMap<String, (Arc<UpdateRun>, Pair)>,
        updates: &[Arc<NodeUpdate>],
        runners: &Runners,
    ) {
        let mut elsewhere = HashMap::new();
        for (run, _) in wanted.values() {
            for update in updates
                .iter()
                .filter(|u| is_of(u, run) && !is_finished(u) && u.spec.runner != self.context.name)
            {
                let owner = &update.spec.runner;
                let address = runners.get(owner).and_then(|info| inner_address(&info.home));
                if let (Some(ip), Some(pair), Some(uid)) = (address, pair_of(run, owner), update.uid()) {
                    elsewhere.insert(uid, SocketAddr::new(ip, pair.https));
                }
            }
        }
        self.context.tools.calls.set_elsewhere(elsewhere);
    }

    fn files(&self, run: &UpdateRun) -> Files {
        let namespace = run.namespace().unwrap_or_default();
        let baseline = run.spec.baseline_ref.as_ref();
        let baseline = baseline
            .and_then(|b| self.context.world.baselines.get(&ObjectRef::new(&b.name).within(&namespace)));
        let digests =
            baseline.iter().flat_map(|b| &b.spec.components).map(|c| c.payload.digest.clone()).collect();
        Files { store: self.context.tools.store.clone(), digests }
    }
}

impl Door {
    fn new(pair: Pair) -> Self {
        Self {
            pair,
            server: None,
            sources: watch::channel(Arc::default()).0,
            peers: watch::channel(Arc::from([])).0,
            taken: Vec::new(),
            told: None,
        }
    }

    fn report(&self, runner: &str, state: ListenerState, message: String) -> ListenerStatus {
        let taken: BTreeSet<u16> = self.taken.iter().map(|(port, _)| *port).collect();
        ListenerStatus {
            runner: runner.to_owned(),
            http_port: self.pair.http,
            https_port: self.pair.https,
            state,
            message,
            taken: taken.into_iter().collect(),
        }
    }
}

/// Writes an event whenever somebody was refused, at most once a minute for each cause.
async fn tell_of_refusals(context: Arc<Context>, run: Arc<UpdateRun>, refusals: Arc<Refusals>) {
    let about = run.object_ref(&());
    // Ends with the server: nobody else refuses.
    while Arc::strong_count(&refusals) > 1 {
        let Ok(news) = tokio::time::timeout(TELL_EVERY, refusals.next()).await else { continue };
        for refusal in news {
            let note = format!(
                "{} connections refused: {}; the last one came from {}",
                refusal.count,
                refusal.cause.describe(),
                refusal.source
            );
            context.events.warning(&about, Reason::ConnectionsRefused, Action::Refuse, &note).await;
        }
        tokio::time::sleep(TELL_EVERY).await;
    }
}

/// The payloads of a run's baseline.
struct Files {
    store: Store,
    digests: Vec<String>,
}

impl PayloadFiles for Files {
    fn file(&self, digest: &str) -> Option<PathBuf> {
        self.digests.iter().any(|d| d == digest).then(|| self.store.path(digest)).flatten()
    }
}

/// The ports that a runner is to listen on for a run.
pub(super) fn pair_of(run: &UpdateRun, runner: &str) -> Option<Pair> {
    let callback = run.status.as_ref()?.callback.as_ref()?;
    let ports = callback.ports.iter().find(|ports| ports.runner == runner)?;
    Some(Pair { http: ports.http_port, https: ports.https_port })
}

fn is_of(update: &NodeUpdate, run: &UpdateRun) -> bool {
    update.namespace() == run.namespace()
        && update.spec.run_ref.name == run.name_any()
        && update.owner_references().iter().any(|owner| Some(&owner.uid) == run.meta().uid.as_ref())
}

/// Where other runners reach a runner.
fn inner_address(home: &Home) -> Option<IpAddr> {
    match home {
        Home::Pod { pod_ips, .. } => pod_ips.first().copied(),
        Home::Host { addresses, .. } => addresses.first().copied(),
    }
}

fn peers(runners: &Runners, own: &str) -> Arc<[IpAddr]> {
    let others = runners.iter().filter(|(name, _)| *name != own);
    others
        .flat_map(|(_, info)| match &info.home {
            Home::Pod { pod_ips, .. } => pod_ips.clone(),
            Home::Host { addresses, .. } => addresses.clone(),
        })
        .collect()
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
