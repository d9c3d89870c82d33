//! The tasks of a device, the entries of its queue, and the images in its repository: which are ours, and how far
//! they are.

use super::super::inventory::{Inventory as Everything, Work};
use super::super::words::{Meaning, has_state, progress, report};
use super::super::{Link, Refusal, Request, Resource, Session, Trouble};
use crate::attempt::{EarlierWork, Marks};
use crate::drivers::device::{Other, Part, Report};
use farrier_update::device::{
    Action, ActionId, Artifact, ArtifactKind, Earlier, Progress, Task, Ticket, Verb,
};
use farrier_update::{Component, Reason};
use std::collections::BTreeMap;

/// Maximum length of the name of another manager's work in a message.
const LONGEST: usize = 80;

/// What a device works on, by whom.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub(super) tasks: Vec<Task>,
    /// Queue entries and images of ours.
    pub(super) artifacts: Vec<Artifact>,
    /// What the device does for others.
    pub(super) others: Vec<Other>,
    /// What the tasks say about the parts of the machine that an image is for.
    pub(super) parts: BTreeMap<ActionId, Vec<Part>>,
    /// Tasks that are over and are not ours. They need not be read again.
    pub(super) over: Vec<Link>,
    /// What earlier runs have left for the components of this one.
    pub(super) earlier: Vec<Earlier>,
    /// Names of the images of earlier runs, by component.
    pub(super) files: BTreeMap<String, String>,
}

/// Asks how far a task is, or what its monitor says.
///
/// # Errors
/// What concerns the device as a whole.
pub(super) async fn follow(session: &Session, link: &Link) -> Result<Report, Trouble> {
    let request = Request::get(link.clone());
    match session.send(&request).await {
        Ok(answer) => {
            let resource = answer.resource().unwrap_or_default();
            let report = report(&resource);
            // A monitor has the answer to the request itself once that is there.
            let is_over = is_monitor(link) && answer.status != 202 && !has_state(&resource);
            Ok(if is_over { Report { progress: Progress::Done, ..report } } else { report })
        }
        Err(error) if matches!(error.status(), Some(404 | 410)) => Ok(Progress::Gone.into()),
        Err(error) if is_monitor(link) && error.is_about_resource() => {
            let reason = error.refusal().and_then(Refusal::meaning).and_then(Meaning::reason);
            Ok(Report { reason, words: error.to_string(), ..Progress::Failed.into() })
        }
        // This task cannot be read. The inventory tells what became of it.
        Err(error) if error.is_about_resource() => {
            Ok(Report { words: error.to_string(), ..Progress::Gone.into() })
        }
        Err(error) => Err(error),
    }
}

/// Asks how far an entry of the queue is, with what is before it.
///
/// # Errors
/// What concerns the device as a whole.
pub(super) async fn follow_queue(
    session: &Session,
    queue: &Link,
    link: &Link,
) -> Result<Option<Progress>, Trouble> {
    let entries = Work::queue(session, queue).await?;
    let index = entries.iter().position(|(entry, _)| entry.is_same(link));
    Ok(index.and_then(|index| {
        let (_, entry) = entries.get(index)?;
        Some(queue_progress(entry, entries.get(..index)?.iter().map(|(_, entry)| entry)))
    }))
}

/// What is known before the device is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    /// The names of what this NodeUpdate hands over.
    pub(super) marks: &'a Marks,
    /// Its recorded actions.
    pub(super) actions: &'a [Action],
    /// The components, which work and images of earlier runs may be for.
    pub(super) components: &'a [Component],
    /// What earlier runs have recorded as waiting for a reset.
    pub(super) waiting: &'a [EarlierWork],
    /// The boot mark of the management processor.
    pub(super) boot: &'a str,
}

impl<'a> Known<'a> {
    /// Returns the component that the work with this name was recorded for by an earlier run. Devices number their
    /// tasks anew when they start; job numbers of Dell are never used again.
    fn recorded(&self, link: &Link) -> Option<&'a Component> {
        let is_it = |work: &&EarlierWork| {
            let is_unique = link.name().starts_with("JID_");
            let is_same_start = !self.boot.is_empty() && work.boot == self.boot;
            (is_unique || is_same_start)
                && Link::parse(&work.ticket.0).is_ok_and(|ticket| {
                    ticket.is_same(link) || is_monitor(&ticket) && ticket.name() == link.name()
                })
        };
        let work = self.waiting.iter().find(is_it)?;
        let is_of = |component: &&Component| {
            component.name == work.component && component.version.trim() == work.version
        };
        self.components.iter().find(is_of)
    }
}

/// Reports whether a text names the image of a component.
fn is_image_of(text: &str, component: &Component) -> bool {
    component.digest().is_some_and(|digest| Marks::is_image(text, digest))
}

/// Sorts what a device works on.
pub(super) fn sort(work: &Work, known: &Known<'_>) -> Sorted {
    let Known { marks, actions, components, .. } = *known;
    let mut sorted = Sorted::default();
    let is_of = |component: &&Component, text: &str| is_image_of(text, component);
    for (link, resource) in &work.tasks {
        let action = resource.find(|text| marks.find(text)).or_else(|| of_ticket(link, actions));
        let progress = progress(resource);
        if action.is_none() && !progress.is_open() {
            sorted.over.push(link.clone());
            continue;
        }
        if action.is_none() {
            let component = resource.find(|text| components.iter().find(|component| is_of(component, text)));
            let component = component.or_else(|| known.recorded(link));
            sorted.add_earlier(component, components, link, progress);
        }
        if let Some(action) = action {
            let parts = report(resource).parts;
            if !parts.is_empty() {
                sorted.parts.insert(action, parts);
            }
        }
        sorted.add(link, resource, action, progress);
    }
    for (index, (link, resource)) in work.queue.iter().enumerate() {
        // The name of the file mentions the action that uploaded it, the name of the entry that of its own.
        let name = resource.text("/Name").unwrap_or_default();
        let action = marks.find(&name).or_else(|| of_ticket(link, actions));
        let before = work.queue.get(..index).unwrap_or_default();
        let progress = queue_progress(resource, before.iter().map(|(_, entry)| entry));
        let file = resource.text("/Filename").unwrap_or_default();
        match action {
            Some(action) => sorted.artifacts.push(artifact(ArtifactKind::QueueEntry, link, action)),
            None if progress.is_open() => {
                let component = components.iter().find(|component| is_of(component, &file));
                sorted.add_earlier(component, components, link, progress);
            }
            None => {}
        }
        sorted.add(link, resource, action, progress);
    }
    sort_images(work, known, &mut sorted);
    sorted
}

/// Sorts the images in the repository.
fn sort_images(work: &Work, known: &Known<'_>, sorted: &mut Sorted) {
    let Known { marks, actions, components, .. } = *known;
    for (link, resource) in &work.components {
        let file = resource.text("/Filename").or_else(|| resource.text("/Name")).unwrap_or_default();
        if let Some(action) = marks.find(&file) {
            sorted.artifacts.push(artifact(ArtifactKind::Upload, link, action));
            continue;
        }
        // The same image, as far as the device tells.
        let bytes = resource.number("/SizeBytes");
        let has_size = |component: &&Component| {
            let size = component.payload.as_ref().and_then(|payload| payload.size);
            bytes.zip(size).is_none_or(|(bytes, size)| bytes == size)
        };
        for component in
            components.iter().filter(|component| is_image_of(&file, component) && has_size(component))
        {
            sorted.files.insert(component.name.clone(), file.clone());
            let is_adopted = |action: &&Action| {
                action.verb == Verb::AdoptImage && action.component == component.name && action.has_adopted()
            };
            match actions.iter().find(is_adopted) {
                Some(action) => {
                    sorted.artifacts.push(artifact(ArtifactKind::Upload, link, action.id));
                }
                None => sorted.earlier.push(earlier(component, link, None)),
            }
        }
    }
}

fn earlier(component: &Component, link: &Link, progress: Option<Progress>) -> Earlier {
    Earlier { component: component.name.clone(), ticket: ticket(link), progress }
}

/// Returns how far an entry of the queue is. One that only the firmware of the host can work off goes on when the
/// host is restarted, unless something else is in its way.
fn queue_progress<'a>(entry: &Resource, mut before: impl Iterator<Item = &'a Resource>) -> Progress {
    match progress(entry) {
        Progress::Queued if is_for_host(entry) => {
            let blocks = |other: &Resource| {
                let progress = progress(other);
                progress.is_active() && !(progress == Progress::Queued && is_for_host(other))
            };
            if before.any(blocks) { Progress::Queued } else { Progress::WaitsForReset }
        }
        progress @ (Progress::Queued
        | Progress::Running
        | Progress::WaitsForReset
        | Progress::Done
        | Progress::Failed
        | Progress::Interrupted
        | Progress::Gone) => progress,
    }
}

/// Reports whether only the firmware of the host can work an entry off (HPE, `UpdatableBy`).
fn is_for_host(entry: &Resource) -> bool {
    entry
        .texts("/UpdatableBy")
        .is_some_and(|agents| agents.len() == 1 && agents.iter().all(|agent| agent == "Uefi"))
}

impl Sorted {
    /// Adds work of an earlier run, for all components that have the same image.
    fn add_earlier(
        &mut self,
        of: Option<&Component>,
        components: &[Component],
        link: &Link,
        progress: Progress,
    ) {
        let Some(of) = of else { return };
        let same = components.iter().filter(|component| component.digest() == of.digest());
        self.earlier.extend(same.map(|component| earlier(component, link, Some(progress))));
    }

    /// Adds what the service that takes firmware does, which some list nowhere else: it verifies an image of ours, or
    /// works for somebody else.
    pub(super) fn add_service(&mut self, everything: &Everything, marks: &Marks, actions: &[Action]) {
        let Some(service) = &everything.update else { return };
        let ticket = ticket(&service.link);
        let upload = service.uploading.as_deref().and_then(|name| marks.find(name));
        let is_idle = !actions.iter().any(|action| action.verb.is_work() && action.is_open());
        if upload.is_some() {
            self.tasks.push(Task { ticket, action: upload, progress: Progress::Running });
        } else if service.is_busy && is_idle && self.others.is_empty() {
            let words = format!("an update in progress, {}", service.link);
            self.others.push(Other { words, reason: Reason::ManagedElsewhere });
            self.tasks.push(Task { ticket, action: None, progress: Progress::Running });
        }
    }

    fn add(&mut self, link: &Link, resource: &Resource, action: Option<ActionId>, progress: Progress) {
        if action.is_none() && progress.is_active() {
            let name = resource.text("/Name").unwrap_or_else(|| "a task".to_owned());
            let name: String = name.chars().take(LONGEST).collect();
            let waits = progress == Progress::Queued;
            let reason = if waits { Reason::QueueBlocked } else { Reason::ManagedElsewhere };
            self.others.push(Other { words: format!("{name}, {link}"), reason });
        }
        self.tasks.push(Task { ticket: ticket(link), action, progress });
    }
}

fn artifact(kind: ArtifactKind, link: &Link, action: ActionId) -> Artifact {
    // A repository lists an image only when it is complete.
    Artifact { kind, ticket: ticket(link), action, whole: true }
}

fn ticket(link: &Link) -> Ticket {
    Ticket(link.as_str().to_owned())
}

/// Returns the action whose work has this link. A task and its monitor end with the same name.
fn of_ticket(link: &Link, actions: &[Action]) -> Option<ActionId> {
    let is_it = |action: &&Action| {
        let ticket = action.ticket.as_ref().filter(|_| action.verb != Verb::SignIn);
        ticket
            .and_then(|ticket| Link::parse(&ticket.0).ok())
            .is_some_and(|ticket| ticket.is_same(link) || is_monitor(&ticket) && ticket.name() == link.name())
    };
    actions.iter().rfind(is_it).map(|action| action.id)
}

/// Reports whether a link leads to the monitor of a task.
pub(super) fn is_monitor(link: &Link) -> bool {
    link.as_str().to_ascii_lowercase().contains("/taskmon")
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_update::{AppliesTo, InstallerKind, Needs, PayloadRef, RebootNeed};
    use serde_json::json;
    use std::time::Duration;

    const DIGEST: &str = "sha256:00112233445566778899aabbccddeeff";

    fn bios() -> Component {
        Component {
            name: "bios".to_owned(),
            version: "2.0".to_owned(),
            applies_to: AppliesTo::default(),
            installer: InstallerKind::RedfishImage,
            detect: None,
            firmware: None,
            payload: Some(PayloadRef {
                url: "https://x/bios.bin".to_owned(),
                digest: DIGEST.to_owned(),
                size: Some(7),
                unpack: false,
                signatures: Vec::new(),
            }),
            requires: Vec::new(),
            needs: Needs::default(),
            reboot: RebootNeed::IfRequested,
            interruptible: true,
            timeout: Duration::from_mins(1),
        }
    }

    fn link(path: &str) -> Link {
        Link::parse(path).unwrap()
    }

    fn earlier(work: &Work, waiting: &[EarlierWork], boot: &str) -> Vec<Earlier> {
        let marks = Marks::new("ffffffffffff");
        let components = [bios()];
        let known = Known { marks: &marks, actions: &[], components: &components, waiting, boot };
        sort(work, &known).earlier
    }

    /// Otherwise a run would hand its image over to a device on which it waits already, or adopt somebody else's work.
    #[test]
    fn work_of_an_earlier_run_is_known_by_the_file_or_by_the_record() {
        let task = |path: &str, name: &str| Work {
            tasks: vec![(
                link(path),
                Resource::new(json!({"Name": name, "Oem": {"Dell": {"JobState": "Scheduled"}}})),
            )],
            ..Work::default()
        };
        let recorded = |ticket: &str, version: &str| {
            let (component, version) = ("bios".to_owned(), version.to_owned());
            vec![EarlierWork { component, version, ticket: Ticket(ticket.to_owned()), boot: "b1".to_owned() }]
        };
        let (jid, nine) = ("/redfish/v1/TaskService/Tasks/JID_9", "/redfish/v1/TaskService/Tasks/9");
        let named = task(nine, "Update with farrier-0123456789ab-3-001122334455-bios.bin");
        assert_eq!(earlier(&named, &[], "b2").len(), 1);
        let other = task(nine, "Update with farrier-0123456789ab-3-ffff22334455-bios.bin");
        assert_eq!(earlier(&other, &[], "b2"), []);
        let silent = |path| task(path, "Firmware Update: BIOS");
        assert_eq!(earlier(&silent(jid), &[], "b1"), []);
        assert_eq!(earlier(&silent(jid), &recorded(jid, "2.0"), "b2").len(), 1);
        assert_eq!(earlier(&silent(jid), &recorded(jid, "1.9"), "b2"), [], "another version");
        assert_eq!(earlier(&silent(nine), &recorded(nine, "2.0"), "b1").len(), 1);
        assert_eq!(earlier(&silent(nine), &recorded(nine, "2.0"), "b2"), [], "the number may be another's");
    }

    /// What UEFI works off waits for the restart of the host, unless something else is in its way.
    #[test]
    fn entries_for_the_firmware_of_the_host_wait_for_its_restart() {
        let entry = |agent: &str| {
            Resource::new(json!({"Command": "ApplyUpdate", "State": "Pending", "UpdatableBy": [agent]}))
        };
        let (uefi, agent) = (entry("Uefi"), entry("RuntimeAgent"));
        assert_eq!(queue_progress(&uefi, [].into_iter()), Progress::WaitsForReset);
        assert_eq!(queue_progress(&uefi, [&uefi].into_iter()), Progress::WaitsForReset);
        assert_eq!(queue_progress(&uefi, [&agent].into_iter()), Progress::Queued);
        assert_eq!(queue_progress(&entry("Bmc"), [].into_iter()), Progress::Queued);
    }

    /// An image of another size is not the same, whatever its name is.
    #[test]
    fn an_image_of_another_size_is_not_taken_over() {
        let image = |bytes: u64| Work {
            components: vec![(
                link("/redfish/v1/UpdateService/ComponentRepository/1"),
                Resource::new(
                    json!({"Filename": "farrier-0123456789ab-3-001122334455-bios.bin", "SizeBytes": bytes}),
                ),
            )],
            ..Work::default()
        };
        assert_eq!(earlier(&image(7), &[], "").len(), 1);
        assert_eq!(earlier(&image(8), &[], ""), []);
    }
}
