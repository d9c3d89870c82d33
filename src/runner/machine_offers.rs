//! Offers images to the machine of one NodeUpdate: waits until it can reach this runner, and makes the URL.

mod place;
mod resume;
mod usable;
mod ways;

use super::Context;
use super::callback::{Target, awaited_ports, listener_wait, own_port, set_by_user};
use super::listeners::OpenListener;
use super::offers::{NewFetch, source_towards, without_zone};
use crate::api::update_run::{Exposure, UpdateRun};
use crate::api::{ManagedNode, NodeUpdate, condition};
use crate::attempt::{Fetch, FetchWay, Login, Offer, OfferedFile, Offers, Scheme, Waiting, WaysBack};
use crate::callback::{ACCOUNT, OpenOffer, POSTS, RunIdentity};
use crate::convert::{address_families, forwarded_port};
use crate::exposure::named_port;
use crate::failure::Failure;
use crate::membership::RunnerLocation;
use farrier_network::cidr;
use farrier_network::table::fetch_schemes;
use farrier_update::Reason;
use farrier_update::device::ActionId;
use futures::future::BoxFuture;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often the caches are looked at again while ports are waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long NetworkPolicies may take from being written to being enforced (see `exposure/paths.rs`), and the caches
/// of other runners to show the machine.
const SETTLE: Duration = Duration::from_secs(2);

/// The offers to the machine of one NodeUpdate. They are dead when this is dropped.
pub(super) struct MachineOffers {
    context: Arc<Context>,
    update: NodeUpdate,
    session: String,
    worker: u64,
    /// Where the machine was last told to connect.
    place: Mutex<Option<(Scheme, Target, Arc<RunIdentity>)>>,
}

/// Where a machine can reach this runner.
struct Opening {
    node: Arc<ManagedNode>,
    run: Arc<UpdateRun>,
    listener: OpenListener,
    /// The addresses of the machine.
    own: Vec<IpAddr>,
    target: Target,
}

impl MachineOffers {
    pub(super) fn new(context: Arc<Context>, update: &NodeUpdate) -> Self {
        let session = update.uid().unwrap_or_default();
        let worker = context.listeners.fetches.work_on(&session);
        Self { context, update: update.clone(), session, worker, place: Mutex::default() }
    }

    fn node(&self) -> Result<Arc<ManagedNode>, Failure> {
        let name = &self.update.spec.node_ref.name;
        let namespace = self.update.namespace().unwrap_or_default();
        self.context.caches.nodes.get(&ObjectRef::new(name).within(&namespace)).ok_or_else(|| {
            Failure::new(
                Reason::NodeNotFound,
                format!("ManagedNode {name} is gone; create it again, or delete the run"),
            )
        })
    }

    /// Returns how long ports are waited for: there is no other way to hand the image over.
    fn limit(&self) -> Duration {
        let run = self.context.cached_run(&self.update);
        run.map_or(Duration::from_secs(self.context.wait_seconds), |run| {
            listener_wait(&run, self.context.wait_seconds)
        })
    }

    /// Returns this runner's listener of a run, once the run is exposed.
    async fn exposed(&self, run: &UpdateRun) -> Result<OpenListener, Failure> {
        let Some(listener) = self.context.listeners.of(&run.uid().unwrap_or_default(), Duration::ZERO).await
        else {
            return Err(self.not_open(Some(run), "this runner does not listen"));
        };
        let exposed = run.status.as_ref().and_then(|status| condition::find(&status.conditions, "Exposed"));
        if exposed
            .is_none_or(|exposed| exposed.status != "True" || exposed.reason != Reason::Exposed.as_str())
        {
            return Err(self.not_open(Some(run), exposed.map_or("", |exposed| &exposed.message)));
        }
        Ok(listener)
    }

    /// Returns where the machine can reach this runner now by this protocol.
    async fn opening(&self, way: FetchWay, reached: Option<IpAddr>) -> Result<Opening, Failure> {
        let scheme = way.scheme;
        let node = self.node()?;
        let run =
            self.context.cached_run(&self.update).ok_or_else(|| self.not_open(None, "the run is gone"))?;
        let listener = self.exposed(&run).await?;
        let own = self.context.names.of(&node).await;
        if own.is_empty() {
            return Err(
                self.not_open(Some(&run), "none of its spec.addresses is an address or resolves to one")
            );
        }
        let is_admitted = {
            let sources = listener.sources.borrow();
            own.iter().all(|address| sources.contains(*address))
        };
        if !is_admitted {
            return Err(self.not_open(Some(&run), "this runner does not admit the machine yet"));
        }
        if own_port(&listener, scheme).is_none() {
            return Err(self.not_open(Some(&run), "this runner has not opened the service for it yet"));
        }
        let target = self.target(&node, &run, &listener, scheme, &own, reached);
        let target = target.ok_or_else(|| usable::no_address(&node, reached))?;
        usable::check_port(&node, &run, way, target.port, self.here().as_ref())?;
        if scheme == Scheme::Https && !listener.names.borrow().contains(&without_zone(&target.host)) {
            return Err(self.not_open(Some(&run), "the server's certificate does not name its address yet"));
        }
        Ok(Opening { node, run, listener, own, target })
    }

    /// Makes the offer if the machine can reach this runner now.
    async fn try_offer(&self, way: FetchWay, file: OfferedFile<'_>) -> Result<Offer, Failure> {
        let scheme = way.scheme;
        let Opening { node, run, listener, own, target } = self.opening(way, file.reached).await?;
        let made = self.made(&listener.identity, scheme, &target, file);
        let is_alone = self.context.membership.live().len() <= 1;
        let is_direct = run.spec.callback.exposure == Exposure::HostPort
            && node.spec.callback_address.is_none()
            && target.ours;
        let offer = OpenOffer {
            session: self.session.clone(),
            action: file.action.0,
            name: file.name.to_owned(),
            digest: file.digest.to_owned(),
            unpack: file.unpack,
        };
        let place = self.note_place(scheme, target, &listener);
        self.context.listeners.fetches.begin(NewFetch {
            offer,
            size: file.size,
            resumed: None,
            place,
            own,
            is_ours: is_direct || is_alone,
            closed: listener.closed,
            refusals: listener.refusals,
        });
        Ok(made)
    }

    /// Makes the URL, and the account where the protocol has one.
    fn made(&self, identity: &RunIdentity, scheme: Scheme, target: &Target, file: OfferedFile<'_>) -> Offer {
        let action = file.action.0;
        let login = scheme
            .service()
            .map(|_| Login { user: ACCOUNT.to_owned(), password: identity.password(&self.session, action) });
        let folder = match &login {
            Some(_) => String::new(),
            None => format!("/{}/{}", identity.path_token(), identity.offer_token(&self.session, action)),
        };
        let url = place::url(scheme, target, &folder, file.name);
        let authority = if scheme == Scheme::Https { identity.authority().to_owned() } else { String::new() };
        Offer { url, scheme, authority, login }
    }

    /// Notes where the machine is told to connect, for what it is to post. Returns address and port.
    fn note_place(&self, scheme: Scheme, target: Target, listener: &OpenListener) -> (String, u16) {
        let told = (target.host.clone(), target.port);
        let place = (scheme, target, listener.identity.clone());
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
        told
    }

    /// Returns where the machine should connect to.
    fn target(
        &self,
        node: &ManagedNode,
        run: &UpdateRun,
        listener: &OpenListener,
        scheme: Scheme,
        own: &[IpAddr],
        reached: Option<IpAddr>,
    ) -> Option<Target> {
        let targets = if let Some(text) = &node.spec.callback_address {
            set_by_user(text, forwarded_port(node, scheme), run, listener, scheme).into_iter().collect()
        } else {
            let (mut targets, own_port) = self.context.advertised(run, listener, scheme);
            let runners = self.context.membership.live();
            let here = runners.get(&self.context.name).map(|info| &info.location);
            // Outside a cluster, the address from which this host reaches the machine is one of its own.
            if let (Some(RunnerLocation::Host { .. }), Some(port)) = (here, own_port) {
                let sources = own.iter().filter_map(|address| source_towards(*address));
                targets.extend(sources.map(|ip| Target { ours: true, host: ip.to_string(), port }));
            }
            targets
        };
        place::best(targets, &address_families(node), own, reached)
    }

    /// Returns where this runner is.
    fn here(&self) -> Option<RunnerLocation> {
        self.context.membership.live().get(&self.context.name).map(|info| info.location.clone())
    }

    /// Returns the addresses at which runners are, as far as they are known before ports are open.
    fn known_addresses(&self, node: &ManagedNode, reached: Option<IpAddr>) -> Vec<IpAddr> {
        let runners = self.context.membership.live();
        let of = |location: &RunnerLocation| match location {
            RunnerLocation::Host { addresses, .. } => addresses.clone(),
            RunnerLocation::Pod { host_ips, .. } => host_ips.clone(),
        };
        let mut found: Vec<IpAddr> = runners.values().flat_map(|info| of(&info.location)).collect();
        if let Some(RunnerLocation::Host { .. }) = self.here() {
            let own = node.spec.addresses.iter().filter_map(|text| cidr::parse(text)).chain(reached);
            found.extend(own.filter_map(source_towards));
        }
        found
    }

    fn not_open(&self, run: Option<&UpdateRun>, why: &str) -> Failure {
        let run = run.map_or_else(|| self.update.spec.run_ref.name.clone(), ResourceExt::name_any);
        Failure::new(
            Reason::CallbackRefused,
            format!(
                "the ports from which {} has to fetch its image are not open: {why}; see the condition Exposed and status.listeners of UpdateRun {run}",
                self.update.spec.node_ref.name
            ),
        )
    }

    /// Repeats an attempt until the ports of the run are open, or the time is over.
    async fn in_time<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        attempt: impl Fn() -> F,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + self.limit();
        let mut settled = false;
        loop {
            let failure = match attempt().await {
                Ok(made) if settled || self.is_immediate() => return Ok(made),
                Ok(_) => {
                    settled = true;
                    // sleep: nobody reports when a NetworkPolicy is in effect.
                    tokio::time::sleep(SETTLE).await;
                    continue;
                }
                // Waiting does not move a port.
                Err(failure) if failure.reason == Reason::FetchPortWrong => return Err(failure),
                Err(failure) => failure,
            };
            if Instant::now() >= deadline {
                let seconds = self.limit().as_secs();
                let message = format!(
                    "{}; it was waited for {seconds} s (--wait-seconds or spec.arrivalTimeout, whichever is longer)",
                    failure.message
                );
                return Err(Failure::new(failure.reason, message));
            }
            settled = false;
            // sleep: several caches and channels must agree, and none of them reports that.
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Reports whether an open port can be reached at once: there are no NetworkPolicies, and nobody else who could
    /// be asked.
    fn is_immediate(&self) -> bool {
        let runners = self.context.membership.live();
        let is_on_host = |location: &RunnerLocation| matches!(location, RunnerLocation::Host { .. });
        runners.len() <= 1 && runners.values().all(|info| is_on_host(&info.location))
    }
}

impl Offers for MachineOffers {
    fn pick(&self, ways: &[FetchWay], reached: Option<IpAddr>) -> Result<FetchWay, Failure> {
        let node = self.node()?;
        let run = self.context.cached_run(&self.update);
        let is_named = |scheme: &Scheme| match (scheme.service(), &run) {
            (None, _) => true,
            (Some(service), Some(run)) => named_port(run, service).is_some(),
            (Some(_), None) => false,
        };
        let mut allowed = fetch_schemes(node.spec.type_);
        allowed.retain(is_named);
        let mut unusable = None;
        for way in ways.iter().filter(|way| allowed.contains(&way.scheme)) {
            let Some(run) = &run else { return Ok(*way) };
            match usable::check(
                &node,
                run,
                *way,
                &self.known_addresses(&node, reached),
                reached,
                self.here().as_ref(),
            ) {
                Ok(()) => return Ok(*way),
                Err(failure) => drop(unusable.get_or_insert(failure)),
            }
        }
        Err(unusable.unwrap_or_else(|| usable::nothing_in_common(&node, ways, &allowed)))
    }

    fn wait(&self) -> Waiting {
        let what = awaited_ports(&self.context.name, &self.update.spec.run_ref.name);
        Waiting::new(Reason::Exposing, what, "ports", self.limit())
    }

    fn offer<'a>(&'a self, way: FetchWay, file: OfferedFile<'a>) -> BoxFuture<'a, Result<Offer, Failure>> {
        Box::pin(self.in_time(move || self.try_offer(way, file)))
    }

    fn ways_back(&self, reached: Option<IpAddr>) -> BoxFuture<'_, Result<WaysBack, Failure>> {
        Box::pin(self.in_time(move || self.try_ways(reached)))
    }

    fn fetched(&self, action: ActionId) -> Option<Fetch> {
        self.context.listeners.fetches.of(&self.session, action)
    }

    fn resume(&self, action: ActionId) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.try_resume(action).await.is_ok() })
    }

    fn withdraw(&self, action: ActionId) -> bool {
        self.context.listeners.fetches.withdraw(&self.session, action)
    }

    fn offer_posts(&self, action: ActionId) -> Option<String> {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let (scheme, target, identity) = place.as_ref()?;
        if scheme.service().is_some() {
            // Nothing can be posted to a file service.
            return None;
        }
        let folder = format!("/{}/{}", identity.path_token(), identity.offer_token(&self.session, action.0));
        self.context.listeners.fetches.take_posts(&self.session, action);
        Some(place::url(*scheme, target, &folder, POSTS))
    }

    fn posts(&self) -> watch::Receiver<u64> {
        self.context.listeners.fetches.posted(&self.session)
    }

    fn keep(&self, actions: &[ActionId]) {
        self.context.listeners.fetches.keep(&self.session, actions);
    }
}

impl Drop for MachineOffers {
    fn drop(&mut self) {
        self.context.listeners.fetches.leave(&self.session, self.worker);
    }
}
