//! The offers of a run, as its callback server on this runner sees them. They follow from the statuses of the
//! NodeUpdates, so every runner knows them.

use super::super::{Context, actions};
use crate::api::{Baseline, NodeUpdate, UpdateRun};
use crate::attempt::{image_name, open_pulls, open_subscriptions};
use crate::callback::{OfferContent, OpenOffer, OpenOffers, OpenPosts};
use crate::convert;
use crate::failure::Failure;
use crate::payload::Source;
use farrier_network::FileService;
use farrier_update::device::{Action, ActionId};
use farrier_update::{Component, Reason};
use futures::future::BoxFuture;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// A machine of the run that fetches an image, or is about to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::runner) struct FetchingMachine {
    /// Its NodeUpdate.
    pub(in crate::runner) update: ObjectRef<NodeUpdate>,
    /// UID of its NodeUpdate.
    pub(in crate::runner) session: String,
    /// Its addresses.
    pub(in crate::runner) addresses: Vec<IpAddr>,
    /// The file service by which it fetches, if any.
    pub(in crate::runner) service: Option<FileService>,
    /// The address at which it reaches this runner, where that differs from the address of the socket.
    pub(in crate::runner) reached_at: Option<IpAddr>,
}

/// The offers of one run.
pub(in crate::runner) struct RunOffers {
    context: Arc<Context>,
    run: ObjectRef<UpdateRun>,
    machines: watch::Receiver<Arc<[FetchingMachine]>>,
}

impl RunOffers {
    pub(in crate::runner) fn new(
        context: Arc<Context>,
        run: &UpdateRun,
        machines: watch::Receiver<Arc<[FetchingMachine]>>,
    ) -> Self {
        Self { context, run: ObjectRef::from_obj(run), machines }
    }

    /// Returns the recorded actions of a machine.
    fn recorded(&self, machine: &FetchingMachine) -> Vec<Action> {
        let update = self.context.caches.updates.get(&machine.update);
        let update = update.filter(|update| update.uid().as_ref() == Some(&machine.session));
        let recorded = update.and_then(|update| Some(actions::read(&update.status.as_ref()?.actions)));
        recorded.unwrap_or_default()
    }

    /// Returns for which actions a machine may post its events: recorded ones, and those that this process is about to
    /// record.
    fn posts_of(&self, machine: &FetchingMachine) -> BTreeSet<OpenPosts> {
        let recorded = open_subscriptions(&self.recorded(machine)).into_iter().map(|id| id.0);
        let own = self.context.listeners.fetches.posts_of(&machine.session);
        let open = |action| OpenPosts { session: machine.session.clone(), action };
        recorded.chain(own).map(open).collect()
    }

    /// Returns the offers to one machine: those whose actions are recorded as open, and those that this process is
    /// about to record.
    fn of(&self, machine: &FetchingMachine, components: &[Component]) -> Vec<OpenOffer> {
        let recorded = self.recorded(machine);
        let own = self.context.listeners.fetches.offers_of(&machine.session);
        let is_recorded = |offer: &OpenOffer| recorded.iter().any(|action| action.id.0 == offer.action);
        let mut found: Vec<OpenOffer> = own.into_iter().filter(|offer| !is_recorded(offer)).collect();
        let is_withdrawn =
            |id: &ActionId| self.context.listeners.fetches.is_withdrawn(&machine.session, id.0);
        for id in open_pulls(&recorded).into_iter().filter(|id| !is_withdrawn(id)) {
            let action = recorded.iter().find(|action| action.id == id);
            let component = action.and_then(|a| components.iter().find(|c| c.name == a.component));
            let payload = component.and_then(|component| component.payload.as_ref());
            found.extend(payload.map(|payload| OpenOffer {
                session: machine.session.clone(),
                action: id.0,
                name: image_name(&machine.session, id, payload),
                digest: payload.digest.clone(),
                unpack: payload.unpack,
            }));
        }
        found
    }
}

impl OpenOffers for RunOffers {
    fn to(&self, source: IpAddr) -> Vec<OpenOffer> {
        let machines = self.machines.borrow().clone();
        let Some(run) = self.context.caches.runs.get(&self.run) else { return Vec::new() };
        let components = components(&self.context, &run);
        let of_source = machines.iter().filter(|machine| machine.addresses.contains(&source));
        of_source.flat_map(|machine| self.of(machine, &components)).collect()
    }

    fn is_served(&self, source: IpAddr, service: FileService) -> bool {
        let machines = self.machines.borrow().clone();
        machines.iter().any(|machine| machine.service == Some(service) && machine.addresses.contains(&source))
    }

    fn content(&self, offer: &OpenOffer) -> BoxFuture<'static, Result<OfferContent, Failure>> {
        let (context, run) = (self.context.clone(), self.run.clone());
        let (digest, unpack) = (offer.digest.clone(), offer.unpack);
        Box::pin(async move {
            let path = stored(&context, &run, &digest).await?;
            if !unpack {
                return Ok(OfferContent::File(path));
            }
            context.tools.store.tree(&digest, &digest).await.map(OfferContent::Tree)
        })
    }

    fn posts_from(&self, source: IpAddr) -> Vec<OpenPosts> {
        let machines = self.machines.borrow().clone();
        let of_source = machines.iter().filter(|machine| machine.addresses.contains(&source));
        of_source.flat_map(|machine| self.posts_of(machine)).collect()
    }

    fn note_post(&self, posts: &OpenPosts) -> bool {
        self.context.listeners.fetches.note_post(&posts.session, posts.action)
    }

    fn reached_at(&self, source: IpAddr) -> Option<IpAddr> {
        let machines = self.machines.borrow().clone();
        machines
            .iter()
            .find(|machine| machine.addresses.contains(&source))
            .and_then(|machine| machine.reached_at)
    }

    fn note_connection(&self, source: IpAddr) {
        let machines = self.machines.borrow().clone();
        let of_source: Vec<_> =
            machines.iter().filter(|machine| machine.addresses.contains(&source)).collect();
        let is_shared = of_source.len() > 1;
        for machine in of_source {
            self.context.listeners.fetches.note_connection(&machine.session, source, is_shared);
        }
    }

    fn note_rejection(&self, source: IpAddr, how: &str) {
        let machines = self.machines.borrow().clone();
        for machine in machines.iter().filter(|machine| machine.addresses.contains(&source)) {
            self.context.listeners.fetches.note_rejection(&machine.session, how);
        }
    }

    fn note_request(&self, offer: &OpenOffer, source: IpAddr) {
        self.context.listeners.fetches.note_request(&offer.session, offer.action, source);
    }

    fn note_sent(&self, offer: &OpenOffer, number: u32, position: u64) {
        self.context.listeners.fetches.note_sent(&offer.session, offer.action, number, position);
    }
}

/// Returns the file of a payload of the run, fetched if this runner does not have it.
async fn stored(
    context: &Arc<Context>,
    run: &ObjectRef<UpdateRun>,
    digest: &str,
) -> Result<PathBuf, Failure> {
    if let Some(path) = context.tools.store.verified(digest) {
        return Ok(path);
    }
    let gone = || Failure::new(Reason::BaselineNotFound, "the baseline of the run is gone");
    let run = context.caches.runs.get(run).ok_or_else(gone)?;
    let baseline = baseline(context, &run).ok_or_else(gone)?;
    let component = baseline.spec.components.iter().map(convert::component);
    let has_digest = |component: &Component| component.digest() == Some(digest);
    let component = component.into_iter().find(has_digest).ok_or_else(gone)?;
    let payload = component.payload.ok_or_else(gone)?;
    let namespace = run.namespace().unwrap_or_default();
    let mut access = context.inputs().payload_access(Some(&baseline), &namespace).await;
    let source = Source {
        access: access.remove(&component.name).transpose()?.unwrap_or_default(),
        component: component.name,
        url: payload.url,
        digest: payload.digest,
        size: payload.size,
    };
    context.tools.store.ensure(&source).await.map(|stored| stored.path)
}

/// Returns the components of a run's baseline; none if the baseline is gone or was replaced.
fn components(context: &Context, run: &UpdateRun) -> Vec<Component> {
    let baseline = baseline(context, run);
    baseline.iter().flat_map(|baseline| &baseline.spec.components).map(convert::component).collect()
}

fn baseline(context: &Context, run: &UpdateRun) -> Option<Arc<Baseline>> {
    let name = &run.spec.baseline_ref.as_ref()?.name;
    let namespace = run.namespace().unwrap_or_default();
    let baseline = context.caches.baselines.get(&ObjectRef::new(name).within(&namespace))?;
    convert::is_baseline_of(run, &convert::baseline_id(&baseline)).then_some(baseline)
}
