//! A device with a command line, as the walk of devices sees it (docs/adr/0040-console-driver.md).

mod checks;
mod follow;
mod offered;
mod push;
mod reading;
mod settings;
mod talk;
mod through;
mod trouble;
mod work;

pub(super) use settings::{Settings, usual_limits};

use super::dialogue::Answer as Said;
use super::file::{Need, Verb as Command};
use super::product::{Product, Pull};
use super::push::Pusher;
use super::session::{Sent, Session};
use crate::attempt::logbook::Intended;
use crate::attempt::{self, Goal, Job, Scheme, Tools};
use crate::drivers::HandOver;
use crate::drivers::device::{self, Contact, Image, Reading, Report, Trouble, Way};
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::ssh::Connection;
use farrier_update::device::{Action, ActionId, Answer, Intent, Inventory, Limits, Method, Ticket, Verb};
use farrier_update::{Component, InstallerKind, NodePlan, Reason};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A device, for one attempt.
pub(super) struct Device {
    settings: Arc<Settings>,
    /// Name of the machine.
    node: String,
    components: Vec<Component>,
    metrics: Metrics,
    /// The host key that was trusted on first use in this attempt.
    first_key: Option<String>,
    /// What the user has said yes to.
    consents: BTreeSet<Need>,
    /// Whether the work of the device is read, which an inventory does not need.
    reads_work: bool,
    line: Option<Line>,
    /// A command that was accepted, or has not ended yet.
    running: Option<Running>,
    /// Sends images over HTTPS, once it was needed.
    pusher: Option<Pusher>,
    /// What the device calls its things, by the entries of its versions, as they were read last.
    parts: BTreeMap<String, String>,
    /// The actions that the device was seen at work on.
    worked: BTreeSet<ActionId>,
    /// Questions about licence agreements that were answered with yes, and not reported yet.
    agreed: BTreeSet<String>,
    /// What the device calls the images that this attempt has sent, by component, as long as it has them.
    sent: BTreeMap<String, Ticket>,
    /// The recorded actions, as they were passed in last.
    actions: Vec<Action>,
    /// What an installation interrupts, once it was asked for.
    interrupts: Option<String>,
    /// When a device that had no free session is asked again.
    asks_again: Option<Instant>,
}

/// A session and the connection that it is on.
struct Line {
    connection: Connection,
    session: Session,
    /// Where the device is: what was dialled, or where its manager says that it is.
    address: String,
    /// The bay of the device, if it is reached through its manager.
    bay: Option<String>,
}

/// A command of an action, as this attempt has sent it.
struct Running {
    action: ActionId,
    stage: Stage,
}

/// Whether a command has ended.
enum Stage {
    Runs(Sent),
    Over(Said),
}

impl device::Device for Device {
    type Settings = Arc<Settings>;

    fn new(settings: &Arc<Settings>, job: &Job, tools: &Tools) -> Result<Self, Failure> {
        Ok(Self {
            settings: settings.clone(),
            node: job.node.clone(),
            components: job.components.clone(),
            metrics: tools.metrics.clone(),
            first_key: None,
            consents: consents(job),
            reads_work: matches!(job.goal, Goal::Update | Goal::CleanUp),
            line: None,
            running: None,
            pusher: None,
            parts: BTreeMap::new(),
            worked: BTreeSet::new(),
            agreed: BTreeSet::new(),
            sent: BTreeMap::new(),
            actions: Vec::new(),
            interrupts: None,
            asks_again: None,
        })
    }

    fn limits(&self) -> Limits {
        self.settings.limits.clone()
    }

    async fn read(
        &mut self,
        actions: &[Action],
        mut report: impl FnMut(Contact) + Send,
    ) -> Result<Reading, Trouble> {
        let at = attempt::now();
        actions.clone_into(&mut self.actions);
        self.report_agreements(&mut report);
        // What still runs in the session is not followed any more: the walk reads after it has decided that.
        if self.is_running() {
            self.hang_up().await;
        }
        self.sign_in(report).await?;
        let found = self.ask_everything().await?;
        let others = found.others(self.open_work());
        let open = self.open_work().and_then(|open| Some((open.id, self.entry_of(&open.component)?)));
        let parts = open.map(|(id, entry)| (id, found.parts(entry))).into_iter().collect();
        let survey = found.survey();
        let inventory = Inventory {
            at,
            entries: found.entries(),
            boot: found.marks(),
            tasks: found.tasks(self.open_work()),
            artifacts: Vec::new(),
            earlier: Vec::new(),
            keeps_tasks: None,
            lists_sessions: false,
            obstacles: Vec::new(),
        };
        Ok(Reading { inventory, survey, others, obstacles: BTreeMap::new(), parts })
    }

    async fn request(
        &mut self,
        permission: Intended,
        intent: &Intent,
        actions: &[Action],
        image: Option<Image>,
        report: impl FnMut(Contact) + Send,
    ) -> (Answer, Option<Trouble>) {
        actions.clone_into(&mut self.actions);
        if self.is_sent() && is_of_push(intent.verb) {
            return self.push(&permission, intent, image.as_ref(), report).await;
        }
        match command_of(intent.verb) {
            Some(command) => self.work(&permission, intent, command, image.as_ref(), report).await,
            None => (Answer::Rejected, Some(self.no_command(intent.verb))),
        }
    }

    fn note_actions(&mut self, actions: &[Action]) {
        actions.clone_into(&mut self.actions);
    }

    async fn follow(&mut self, ticket: &Ticket) -> Result<Report, Trouble> {
        match self.is_stored(ticket) {
            Some(report) => Ok(report),
            None => self.how_far(ticket).await,
        }
    }

    fn wants_rest(&self) -> Option<Duration> {
        let left = self.asks_again?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn takes_image(&self, intent: &Intent) -> bool {
        self.is_to_send_again(intent.verb, &intent.component)
    }

    async fn close(&mut self) {
        if let Some(pusher) = &mut self.pusher {
            pusher.close().await;
        }
        if !self.is_running() {
            self.sign_out().await;
        }
        self.hang_up().await;
    }

    fn methods(&self, plan: &NodePlan) -> BTreeMap<String, Result<Way, Failure>> {
        let images = plan.items.iter().filter(|item| item.component.installer == InstallerKind::DeviceImage);
        images.map(|item| (item.component.name.clone(), self.method())).collect()
    }

    fn schemes(&self) -> Vec<Scheme> {
        self.product().pulls.iter().map(|pull| pull.scheme).collect()
    }

    fn fetches_folders(&self) -> Option<bool> {
        let (folders, files): (Vec<&Pull>, Vec<&Pull>) =
            self.product().pulls.iter().partition(|pull| pull.folder);
        match (folders.is_empty(), files.is_empty()) {
            (true, false) => Some(false),
            (false, true) => Some(true),
            (true, true) | (false, false) => None,
        }
    }

    fn fixed_port(&self, scheme: Scheme) -> Option<u16> {
        self.product().pulls.iter().find(|pull| pull.scheme == scheme)?.port
    }
}

impl Device {
    fn product(&self) -> &Product {
        &self.settings.product
    }

    /// Returns how an image is handed over.
    fn method(&self) -> Result<Way, Failure> {
        let wanted = self.settings.hand_over;
        // Nothing has to be opened towards us for it.
        if self.is_sent() {
            return Ok(Method::PushThenActivate.into());
        }
        let has = |command: Command| self.product().requests.contains_key(&command);
        let fetches = has(Command::Pull) && !self.product().pulls.is_empty();
        // A product that has neither way is named below.
        let other = if fetches { HandOver::Push } else { HandOver::Pull };
        if wanted == Some(other) && (fetches || self.product().push.is_some()) {
            return Err(other.missing(&self.node));
        }
        match (fetches, has(Command::Activate)) {
            (true, true) => Ok(Method::PullThenActivate.into()),
            (true, false) => Ok(Method::Pull.into()),
            (false, _) => Err(Failure::new(
                Reason::NotYetSupported,
                format!(
                    "the product file {} has no command by which {} fetches an image; add `requests.Pull` and `pulls` to it, or update the device by hand",
                    self.product().name,
                    self.node
                ),
            )),
        }
    }

    /// Reports whether images are sent to the device.
    fn is_sent(&self) -> bool {
        self.product().sends(self.settings.hand_over)
    }

    /// Reports the licence agreements that were accepted.
    fn report_agreements(&mut self, report: &mut impl FnMut(Contact)) {
        for question in std::mem::take(&mut self.agreed) {
            report(Contact::AgreementAccepted { question });
        }
    }

    /// Returns the entry of the versions that a component is about.
    fn entry_of(&self, component: &str) -> Option<&str> {
        self.components.iter().find(|known| known.name == component)?.own_entry()
    }

    /// Returns the action that the device may be at work on.
    fn open_work(&self) -> Option<&Action> {
        self.actions.iter().rev().find(|action| action.is_open() && action.verb.is_work())
    }

    /// Reports whether a command of this attempt has not ended.
    fn is_running(&self) -> bool {
        self.running.as_ref().is_some_and(|running| matches!(running.stage, Stage::Runs(_)))
    }
}

/// Reports whether a verb is one of sending an image.
const fn is_of_push(verb: Verb) -> bool {
    matches!(verb, Verb::Upload | Verb::Activate | Verb::RemoveUpload)
}

/// Returns the command of a verb; `None` if no product has one.
const fn command_of(verb: Verb) -> Option<Command> {
    match verb {
        Verb::Pull => Some(Command::Pull),
        Verb::Activate => Some(Command::Activate),
        Verb::ResetManager => Some(Command::ResetManager),
        Verb::RemoveUpload => Some(Command::RemoveUpload),
        Verb::SignIn
        | Verb::SignOut
        | Verb::Upload
        | Verb::Enqueue
        | Verb::AdoptImage
        | Verb::AdoptWork
        | Verb::ResetHost
        | Verb::ImportAuthority
        | Verb::Subscribe
        | Verb::RemoveQueueEntry
        | Verb::RemoveAuthority
        | Verb::Unsubscribe
        | Verb::Unknown => None,
    }
}

/// Returns what the user of the run has said yes to.
fn consents(job: &Job) -> BTreeSet<Need> {
    let mut consents = BTreeSet::new();
    let mut add = |need: Need, is_given: bool| {
        if is_given {
            consents.insert(need);
        }
    };
    add(Need::Restart, job.device.resets_host);
    add(Need::Disruption, job.device.interrupts);
    add(Need::Agreement, job.device.accepts_agreements);
    add(Need::Downgrade, job.force.downgrade);
    add(Need::Rewrite, job.force.rewrite);
    consents
}

#[cfg(test)]
mod tests;
