//! What requests need to know of the last reading.

use super::super::Link;
use super::super::inventory::{Inventory as Everything, Work};
use super::entries::entries;
use super::work::{self, Known, Sorted};
use super::{Device, boot};
use farrier_update::Component;
use farrier_update::device::{Action, Part};

impl Device {
    /// Sorts what the device works on. `boot` is the boot mark of the management processor.
    pub(super) fn sorted(
        &self,
        everything: &Everything,
        work: &Work,
        actions: &[Action],
        boot: &str,
    ) -> Sorted {
        let (marks, components, waiting) = (&self.marks, &self.components, &self.order.waiting);
        let mut sorted = work::sort(work, &Known { marks, actions, components, waiting, boot });
        sorted.add_service(everything, marks, actions);
        sorted
    }

    /// Notes what requests need of a reading.
    pub(super) fn note(&mut self, everything: &Everything, work: &Work, sorted: &Sorted) {
        self.update.clone_from(&everything.update);
        self.events.clone_from(&everything.root.events);
        self.manager_reset = boot::manager(everything).and_then(|manager| manager.reset.clone());
        self.host_reset = boot::host(everything).and_then(|system| system.reset.clone());
        let entries = entries(&everything.firmware);
        let part = |component: &Component| {
            let entry = entries.get(component.firmware_entry()?)?;
            Some((component.name.clone(), entry.part))
        };
        // An entry may be missing while a part restarts.
        self.parts.extend(self.components.iter().filter_map(part));
        self.links = sorted
            .artifacts
            .iter()
            .filter_map(|artifact| Some((artifact.action, Link::parse(&artifact.ticket.0).ok()?)))
            .collect();
        let agents = work.components.iter().filter_map(|(_, image)| {
            Some((image.text("/Filename")?, image.texts("/UpdatableBy").filter(|agents| !agents.is_empty())?))
        });
        self.agents = agents.collect();
        self.earlier.clone_from(&sorted.earlier);
        self.files.clone_from(&sorted.files);
        self.over.extend(sorted.over.iter().cloned());
    }

    /// Returns the part that a component belongs to. One that is not known is taken for the host's, which is
    /// restarted only if the run allows it.
    pub(super) fn part_of(&self, component: &str) -> Part {
        self.parts.get(component).copied().unwrap_or(Part::Host)
    }
}
