//! The drain of a device, or of the host that it manages, before it is disrupted.

use super::super::Device;
use super::{FRESH, Walk};
use crate::attempt::Goal;
use farrier_network::MachineType;
use farrier_update::device::{Intent, Part, ResetPolicy, Scope};
use farrier_update::{NodePlan, Reason, drain};
use std::time::Instant;

impl<D: Device> Walk<'_, D> {
    /// Reports whether carrying out the plan disrupts what the device, or its host, does for others.
    pub(super) fn is_disrupted_by(&self, plan: &NodePlan) -> bool {
        let scope = self.job.device.scope;
        scope == Scope::Install
            && self.readings.last().is_some_and(|reading| drain::is_needed(plan, reading, self.is_of_host()))
    }

    /// Drains what a request disrupts. Returns false if the request must not be sent, or has to be decided anew because
    /// that took its time.
    pub(super) async fn may_disrupt(&mut self, intent: &Intent) -> bool {
        if !self.desk.drain.is_wanted() || self.job.goal != Goal::Update || !self.is_disruptive(intent) {
            return true;
        }
        let begun = Instant::now();
        let drained = match self.undrained.clone() {
            // It was tried for long enough in this attempt.
            Some(failure) => Err(failure),
            None => self.desk.drain.before(self.desk.view, self.desk.stop.clone()).await,
        };
        match drained {
            Ok(()) if begun.elapsed() <= FRESH => {
                self.show_verb(intent);
                true
            }
            Ok(()) => {
                self.readings.clear();
                false
            }
            Err(failure) if failure.reason == Reason::Cancelled => false,
            Err(failure) => {
                self.refusals.insert(intent.component.clone(), failure.clone());
                self.methods.remove(&intent.component);
                self.undrained = Some(failure);
                self.is_preparing = false;
                self.end_offers();
                false
            }
        }
    }

    /// What may be restarted: not what could not be drained. A management controller restarts as part of its own update.
    pub(super) fn resets(&self) -> ResetPolicy {
        let may_disrupt = self.undrained.is_none();
        ResetPolicy {
            manager: may_disrupt || self.is_of_host(),
            host: may_disrupt && self.job.device.resets_host,
        }
    }

    fn is_disruptive(&self, intent: &Intent) -> bool {
        let reading = self.readings.last();
        let entry = reading.and_then(|reading| reading.entries.get(&intent.component));
        let part = entry.map_or(Part::Host, |entry| entry.part);
        let holds = self.holds.contains(&intent.component);
        drain::is_disruptive(intent.verb, part, !intent.to.is_empty(), holds, self.is_of_host())
    }

    /// Reports whether the device is the management processor of a host.
    fn is_of_host(&self) -> bool {
        match self.job.node_type {
            MachineType::ILO | MachineType::IDRAC | MachineType::Redfish | MachineType::SuperdomeFlex => true,
            MachineType::Linux
            | MachineType::Windows
            | MachineType::HPUX
            | MachineType::VMware
            | MachineType::OnboardAdministrator
            | MachineType::VirtualConnect
            | MachineType::FCSwitch
            | MachineType::SASSwitch
            | MachineType::Moonshot
            | MachineType::Superdome2
            | MachineType::SuperdomeX => false,
        }
    }
}
