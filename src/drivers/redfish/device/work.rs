//! The tasks of a device, the entries of its queue, and the images in its repository: which are ours, and how far
//! they are.

use super::super::inventory::{Inventory as Everything, Work};
use super::super::words::{Meaning, has_state, progress, report};
use super::super::{Link, Refusal, Request, Resource, Session, Trouble};
use crate::attempt::Marks;
use crate::drivers::device::{Other, Report};
use farrier_update::device::{Action, ActionId, Artifact, ArtifactKind, Progress, Task, Ticket, Verb};

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
            Ok(Report { progress: Progress::Failed, reason, words: error.to_string() })
        }
        // This task cannot be read. The inventory tells what became of it.
        Err(error) if error.is_about_resource() => {
            Ok(Report { progress: Progress::Gone, reason: None, words: error.to_string() })
        }
        Err(error) => Err(error),
    }
}

/// Sorts what a device works on.
pub(super) fn sort(work: &Work, marks: &Marks, actions: &[Action]) -> Sorted {
    let mut sorted = Sorted::default();
    for (link, resource) in &work.tasks {
        let action = resource.find(|text| marks.find(text)).or_else(|| of_ticket(link, actions));
        let progress = progress(resource);
        if action.is_none() && !progress.is_open() {
            sorted.over.push(link.clone());
            continue;
        }
        sorted.add(link, resource, action, progress);
    }
    for (link, resource) in &work.queue {
        // The name of the file mentions the action that uploaded it, the name of the entry that of its own.
        let name = resource.text("/Name").unwrap_or_default();
        let action = marks.find(&name).or_else(|| of_ticket(link, actions));
        if let Some(action) = action {
            sorted.artifacts.push(artifact(ArtifactKind::QueueEntry, link, action));
        }
        sorted.add(link, resource, action, progress(resource));
    }
    for (link, resource) in &work.components {
        let file = resource.text("/Filename").or_else(|| resource.text("/Name")).unwrap_or_default();
        if let Some(action) = marks.find(&file) {
            sorted.artifacts.push(artifact(ArtifactKind::Upload, link, action));
        }
    }
    sorted
}

impl Sorted {
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
            self.others.push(Other { words, waits: false });
            self.tasks.push(Task { ticket, action: None, progress: Progress::Running });
        }
    }

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
