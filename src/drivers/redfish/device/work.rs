//! The tasks of a device, the entries of its queue, and the images in its repository: which are ours, and how far
//! they are.

use super::super::inventory::Work;
use super::super::words::{Meaning, has_state, progress, report};
use super::super::{Link, Refusal, Request, Resource, Session, Trouble};
use crate::attempt::Marks;
use crate::drivers::device::{Other, Report};
use farrier_update::Component;
use farrier_update::device::{
    Action, ActionId, Artifact, ArtifactKind, Earlier, Progress, Task, Ticket, Verb,
};
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

/// Sorts what a device works on. `components` are those that images of earlier runs may be for.
pub(super) fn sort(work: &Work, marks: &Marks, actions: &[Action], components: &[Component]) -> Sorted {
    let mut sorted = Sorted::default();
    let is_of = |component: &&Component, text: &str| Marks::is_image(text, &component.payload.digest);
    for (link, resource) in &work.tasks {
        let action = resource.find(|text| marks.find(text)).or_else(|| of_ticket(link, actions));
        let progress = progress(resource);
        if action.is_none() && !progress.is_open() {
            sorted.over.push(link.clone());
            continue;
        }
        if action.is_none() {
            let component = resource.find(|text| components.iter().find(|component| is_of(component, text)));
            sorted.earlier.extend(component.map(|component| earlier(component, link, Some(progress))));
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
                sorted.earlier.extend(component.map(|component| earlier(component, link, Some(progress))));
            }
            None => {}
        }
        sorted.add(link, resource, action, progress);
    }
    for (link, resource) in &work.components {
        let file = resource.text("/Filename").or_else(|| resource.text("/Name")).unwrap_or_default();
        if let Some(action) = marks.find(&file) {
            sorted.artifacts.push(artifact(ArtifactKind::Upload, link, action));
            continue;
        }
        // The same image, as far as the device tells.
        let bytes = resource.number("/SizeBytes");
        let has_size = |component: &&Component| {
            bytes.zip(component.payload.size).is_none_or(|(bytes, size)| bytes == size)
        };
        for component in components.iter().filter(|component| is_of(component, &file) && has_size(component))
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
    sorted
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
        progress => progress,
    }
}

/// Reports whether only the firmware of the host can work an entry off (HPE, `UpdatableBy`).
fn is_for_host(entry: &Resource) -> bool {
    entry
        .texts("/UpdatableBy")
        .is_some_and(|agents| agents.len() == 1 && agents.iter().all(|agent| agent == "Uefi"))
}

impl Sorted {
    fn add(&mut self, link: &Link, resource: &Resource, action: Option<ActionId>, progress: Progress) {
        if action.is_none() && progress.is_active() {
            let name = resource.text("/Name").unwrap_or_else(|| "a task".to_owned());
            let name: String = name.chars().take(LONGEST).collect();
            self.others.push(Other { words: format!("{name}, {link}"), waits: progress == Progress::Queued });
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
