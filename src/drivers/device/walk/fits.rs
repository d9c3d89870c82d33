//! Whether an image can be handed over at all, as far as that is known when the plan is made.

use super::super::{Device, Way};
use super::Walk;
use crate::attempt::FetchWay;
use crate::failure::Failure;
use farrier_network::cidr;
use farrier_update::device::Verb;
use farrier_update::plan::Action;
use farrier_update::{NodePlan, PlanItem, Reason};
use std::net::IpAddr;

impl<D: Device> Walk<'_, D> {
    /// Returns why a component cannot be handed over in this way, which the plan then says. What has begun is not
    /// asked again: an image that is fetched already can be.
    pub(super) fn fits(&self, component: &str, way: Way) -> Result<(), Failure> {
        if self.actions.iter().any(|action| action.component == component) {
            return Ok(());
        }
        let payload = self.job.components.iter().find(|of| of.name == component);
        let is_folder = payload.and_then(|of| of.payload.as_ref()).is_some_and(|payload| payload.unpack);
        let is_pull = way.method.verbs().contains(&Verb::Pull);
        let node = &self.job.node;
        let takes_folder = if is_pull { self.device.fetches_folders() } else { Some(false) };
        match (is_folder, takes_folder) {
            (true, Some(true)) | (false, Some(false)) | (_, None) => {}
            (true, Some(false)) => {
                return Err(Failure::new(
                    Reason::ImageNotForMachine,
                    format!(
                        "component {component} has payload.unpack, and {node} takes a file; make a baseline without payload.unpack for it"
                    ),
                ));
            }
            (false, Some(true)) => {
                return Err(Failure::new(
                    Reason::ImageNotForMachine,
                    format!(
                        "{node} fetches a folder, and the payload of component {component} is a file; make a baseline with the archive that has the folder, and payload.unpack: true"
                    ),
                ));
            }
        }
        if is_pull {
            self.desk.offers.pick(&self.fetch_ways(), self.reached())?;
        }
        Ok(())
    }

    /// Marks what counts as up to date while a part of the machine is not there, or not well: that one may have another
    /// version. What is to be installed is not begun before the device is well, which is waited for.
    pub(super) fn doubt(&mut self, plan: &mut NodePlan) {
        let parts = self.latest.as_ref().and_then(|reading| reading.survey.parts.clone());
        let Some(Err(failure)) = parts else { return };
        let is_current = |item: &&PlanItem| matches!(item.action, Action::UpToDate { .. });
        let current = plan.items.iter().filter(is_current).map(|item| item.component.name.clone());
        for component in current.collect::<Vec<_>>() {
            // The end of work that has begun is decided by the device itself.
            if self.actions.iter().all(|action| action.component != component) {
                block(plan, &component, &failure);
                self.refusals.insert(component, failure.clone());
            }
        }
    }

    /// Returns how the device fetches.
    pub(super) fn fetch_ways(&self) -> Vec<FetchWay> {
        let way = |scheme| FetchWay { scheme, port: self.device.fixed_port(scheme) };
        self.device.schemes().into_iter().map(way).collect()
    }

    /// Returns the address at which the device answered.
    pub(super) fn reached(&self) -> Option<IpAddr> {
        cidr::parse(self.desk.view.borrow().address.as_deref()?)
    }
}

/// Reports whether the plan has this component installed. What is for other machines, or installed already, has to fit
/// nothing.
pub(super) fn is_to_install(plan: &NodePlan, component: &str) -> bool {
    let item = plan.items.iter().find(|item| item.component.name == component);
    item.is_some_and(|item| matches!(item.action, Action::Install { .. }))
}

/// Marks a component of a plan as one that cannot be handed over.
pub(super) fn block(plan: &mut NodePlan, component: &str, failure: &Failure) {
    if let Some(item) = plan.items.iter_mut().find(|item| item.component.name == component) {
        item.action = Action::Blocked { why: failure.message.clone(), reason: failure.reason };
    }
}
