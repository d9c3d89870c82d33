//! The callback server of this runner: a door for each run that needs one.
//!
//! The controller writes which ports a runner is to listen on; the runner takes them, holds them,
//! and says what came of it. A door is open as long as the run's status names its ports.

mod door;
mod peers;
mod refusals;

use super::{Context, is_finished};
use crate::api::update_run::ListenerStatus;
use crate::api::{NodeUpdate, UpdateRun};
use crate::callback::{self, AddressSet, Family, Limits, Pair, Refusals, RunIdentity, RunSide};
use crate::exposure;
use crate::failure::chain;
use crate::membership::Runners;
use crate::payload::{PayloadFiles, Store};
use crate::publish;
use door::{Door, Listening};
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub(super) use peers::peers;

/// Changes that come closer together than this are looked at once.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// How often everything is looked at although nothing changed: names may mean other addresses, and
/// what could not be written is written.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

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
    /// Whom it has turned away.
    pub(super) refusals: Arc<Refusals>,
    /// It is not open any more.
    pub(super) closed: CancellationToken,
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

/// What every door is looked at with.
struct Scene {
    runners: Runners,
    updates: Vec<Arc<NodeUpdate>>,
    /// UID of the run and name of the machine, for each machine that a run is done with.
    ended: HashSet<(String, String)>,
}

impl Keeper {
    async fn look(&mut self) {
        let runs = self.context.world.runs.state();
        let open: HashMap<String, Arc<UpdateRun>> = runs
            .iter()
            .filter(|run| run.status.as_ref().is_some_and(|s| s.callback.is_some()))
            .filter_map(|run| Some((run.uid()?, run.clone())))
            .collect();
        let gone: Vec<String> = self.doors.keys().filter(|uid| !open.contains_key(*uid)).cloned().collect();
        for uid in gone {
            if let Some((run, mut door)) = self.doors.remove(&uid) {
                self.shut(&uid, &run, &mut door).await;
            }
        }
        let updates = self.context.world.updates.state();
        let ended = updates.iter().filter(|u| is_finished(u));
        let scene = Scene {
            runners: Runners::clone(&self.context.membership.live()),
            ended: ended
                .filter_map(|u| Some((run_of(u)?.to_owned(), u.spec.node_ref.name.clone())))
                .collect(),
            updates,
        };
        self.tell_where_else(&open, &scene);
        for (uid, run) in open {
            match pair_of(&run, &self.context.name) {
                Some(pair) => self.tend(&uid, run, pair, &scene).await,
                None => self.rest(&uid, run).await,
            }
        }
        self.forget_reports(&runs).await;
    }

    /// Opens a door, or moves it to other ports, and says what came of it.
    async fn tend(&mut self, uid: &str, run: Arc<UpdateRun>, pair: Pair, scene: &Scene) {
        let sources = self.sources(uid, &run, scene).await;
        let peers: Arc<[IpAddr]> =
            peers(&scene.runners, &self.context.name).into_iter().map(|(address, _)| address).collect();
        let old = self.doors.remove(uid).map(|(_, door)| door);
        let mut door = old.unwrap_or_else(|| Door::new(pair, self.said(&run), Instant::now()));
        if door.pair != pair {
            self.shut(uid, &run, &mut door).await;
            door.move_to(pair);
        }
        door.forget_old(Instant::now());
        send_if_new(&door.sources, sources);
        send_if_new(&door.peers, peers);
        if door.listening.is_none() && door.is_due(Instant::now()) {
            self.open(uid, &run, &mut door).await;
        }
        self.tell_news(&run, &mut door).await;
        self.doors.insert(uid.to_owned(), (run, door));
    }

    /// No ports are given to this runner, perhaps because it found all of them taken: that is
    /// still said for a while, and then the controller tries again.
    async fn rest(&mut self, uid: &str, run: Arc<UpdateRun>) {
        let now = Instant::now();
        let said = self
            .said(&run)
            .map(|said| Door::new(Pair { http: said.http_port, https: said.https_port }, Some(said), now));
        let Some(mut door) = self.doors.remove(uid).map(|(_, door)| door).or(said) else { return };
        self.shut(uid, &run, &mut door).await;
        if door.rest(now) {
            self.tell_news(&run, &mut door).await;
            self.doors.insert(uid.to_owned(), (run, door));
        }
    }

    async fn open(&self, uid: &str, run: &Arc<UpdateRun>, door: &mut Door) {
        let bound = match callback::bind(door.pair, &[Family::V4, Family::V6]) {
            Ok(bound) => bound,
            Err(error) => return door.refused(&error.named().await, Instant::now()),
        };
        match self.serve(uid, run, door, bound).await {
            Ok(listening) => door.opened(listening, Instant::now()),
            // Without the identity nobody can be answered: it is being made.
            Err(None) => {}
            Err(Some(message)) => {
                tracing::warn!(run = %run.name_any(), "the callback server cannot begin yet: {message}");
                door.troubled(message, Instant::now());
            }
        }
    }

    async fn serve(
        &self,
        uid: &str,
        run: &Arc<UpdateRun>,
        door: &Door,
        bound: callback::Bound,
    ) -> Result<Listening, Option<String>> {
        let identity = exposure::identity(&self.context.client, run).await?;
        let identity = Arc::new(identity);
        let side = RunSide {
            identity: identity.clone(),
            sources: door.sources.subscribe(),
            peers: door.peers.subscribe(),
            registry: self.context.tools.calls.clone(),
            files: Arc::new(self.files(run)),
            counters: self.context.metrics.callback.clone(),
            limits: Limits::for_descriptors(crate::descriptors::limit()),
        };
        let server = callback::serve(bound, side).map_err(|error| Some(error.to_string()))?;
        let refusals = server.refusals().clone();
        let closed = CancellationToken::new();
        let open = Open { identity, pair: door.pair, refusals: refusals.clone(), closed: closed.clone() };
        self.context.doors.lock().insert(uid.to_owned(), open);
        self.context.doors.changed.notify_waiters();
        tokio::spawn(refusals::tell(self.context.clone(), run.clone(), refusals, closed.clone()));
        tracing::info!(run = %run.name_any(), http = door.pair.http, https = door.pair.https, "the callback server listens");
        Ok(Listening { server, teller: closed.drop_guard() })
    }

    async fn shut(&self, uid: &str, run: &UpdateRun, door: &mut Door) {
        let Some(Listening { server, teller }) = door.listening.take() else { return };
        self.context.doors.lock().remove(uid);
        server.close().await;
        drop(teller);
        tracing::info!(run = %run.name_any(), http = door.pair.http, https = door.pair.https, "the callback server is closed");
    }

    /// What this runner has said of the run's ports.
    fn said<'a>(&self, run: &'a UpdateRun) -> Option<&'a ListenerStatus> {
        run.status.iter().flat_map(|s| &s.listeners).find(|said| said.runner == self.context.name)
    }

    /// Takes back what is said of ports that are not ours any more, by an earlier process too.
    async fn forget_reports(&self, runs: &[Arc<UpdateRun>]) {
        for run in runs {
            let open = run.uid().is_some_and(|uid| self.doors.contains_key(&uid));
            if self.said(run).is_some() && !open {
                self.tell(run, None).await;
            }
        }
    }

    async fn tell_news(&self, run: &Arc<UpdateRun>, door: &mut Door) {
        let report = door.report(&self.context.name);
        if report.is_some() && report != door.told && self.tell(run, report.as_ref()).await {
            door.told = report;
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
    async fn sources(&self, uid: &str, run: &UpdateRun, scene: &Scene) -> Arc<AddressSet> {
        let namespace = run.namespace().unwrap_or_default();
        let names = run.status.iter().flat_map(|s| s.nodes.iter().flatten());
        let nodes: Vec<_> = names
            .filter(|name| !scene.ended.contains(&(uid.to_owned(), (*name).clone())))
            .filter_map(|name| self.context.world.nodes.get(&ObjectRef::new(name).within(&namespace)))
            .filter(|node| exposure::calls_back(node, run))
            .collect();
        let found = futures::future::join_all(nodes.iter().map(|node| self.context.names.of(node))).await;
        Arc::new(found.into_iter().flatten().collect())
    }

    /// Which sessions other runners answer for, and where.
    fn tell_where_else(&self, open: &HashMap<String, Arc<UpdateRun>>, scene: &Scene) {
        let others = scene.updates.iter().filter(|u| !is_finished(u) && u.spec.runner != self.context.name);
        let elsewhere = others.filter_map(|update| {
            let owner = &update.spec.runner;
            let pair = pair_of(open.get(run_of(update)?)?, owner)?;
            let address = peers::address_of(&scene.runners, &self.context.name, owner)?;
            Some((update.uid()?, SocketAddr::new(address, pair.https)))
        });
        self.context.tools.calls.set_elsewhere(elsewhere.collect());
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

/// UID of the run that a machine is updated in.
fn run_of(update: &NodeUpdate) -> Option<&str> {
    let owner = update.owner_references().iter().find(|owner| owner.kind == UpdateRun::kind(&()));
    owner.map(|owner| owner.uid.as_str())
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
