//! A Redfish service as a device.

mod adopt;
mod asked;
mod body;
mod boot;
mod entries;
mod hand_over;
mod noted;
mod obstacles;
mod preparations;
mod refused;
mod repository;
mod routes;
mod sessions;
mod signing;
mod work;

use super::inventory::{Reset, UpdateService};
use super::retry_after::RetryAfter;
use super::{Credentials, Endpoint, Link, Session};
use crate::attempt::logbook::Intended;
use crate::attempt::{self, DeviceOrder, Goal, Job, Marks, Offer, Scheme, Tools};
use crate::drivers::device::{self, Contact, Image, Reading, Report, Trouble, Way};
use crate::drivers::{HandOver, HttpsSettings, Keys, Node};
use crate::failure::Failure;
use crate::ssh::Target;
use asked::Asked;
use boot::Boot;
use entries::{entries, survey};
use farrier_network::MachineType;
use farrier_update::device::{
    Action, ActionId, Answer, Earlier, Intent, Inventory, Limits, Part, Preparation, Progress, Ticket, Verb,
};
use farrier_update::{Component, InstallerKind, NodePlan, Reason};
use obstacles::Lock;
use preparations::Prepared;
use signing::recorded;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long a device may be silent before an attempt ends in which it does no work for us. Further attempts are
/// those of the run's retries.
const AWAY: Duration = Duration::from_secs(30);

/// How long the readings of a device may take until they agree: three of a slow device.
const READING: Duration = Duration::from_mins(45);

/// How much longer than its timeout an update is followed that must not be interrupted. The slowest of today, of
/// all parts of a large machine, take an hour.
const OVERDUE: Duration = Duration::from_hours(1);

/// How long a device may refuse a request for now, such as while it is busy.
const REFUSED: Duration = Duration::from_mins(10);

/// How long the service that takes firmware may show an earlier state after a request.
const STALE: Duration = Duration::from_secs(5);

/// Time between two readings.
const POLL: Duration = Duration::from_secs(2);

/// Returns the times of a device of which nothing is known.
pub(super) fn usual_limits() -> Limits {
    Limits {
        away: AWAY,
        refused: REFUSED,
        reading: READING,
        poll: POLL,
        overdue: OVERDUE,
        ..Limits::default()
    }
}

/// What is needed to connect to a Redfish service.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    endpoint: Endpoint,
    credentials: Credentials,
    limits: Limits,
    /// How images get to the device, if the user says so.
    hand_over: Option<HandOver>,
}

impl Settings {
    /// Reads the settings of a machine.
    ///
    /// # Errors
    /// `SecretIncomplete`.
    pub(super) fn new(node: &Node, keys: &Keys, limits: Limits) -> Result<Self, Failure> {
        let HttpsSettings { port, trust } = node.https.clone();
        let target = Target {
            node: node.name.clone(),
            addresses: node.addresses.clone(),
            families: node.families.clone(),
            port,
        };
        let credentials = Credentials::new(&node.name, keys)?;
        let hand_over = node.hand_over;
        Ok(Self { endpoint: Endpoint { target, trust }, credentials, limits, hand_over })
    }
}

/// A Redfish service, for one attempt.
pub(super) struct Device {
    settings: Settings,
    /// The sign-in; `None` before it.
    session: Option<Session>,
    /// Whether the service has sessions. Known after the first sign-in.
    has_sessions: bool,
    /// The sessions of recorded actions.
    sessions: BTreeMap<ActionId, Link>,
    /// Name of the machine.
    node: String,
    /// Whether it is the chassis manager of a Moonshot.
    is_moonshot: bool,
    /// Whether tasks and images are read, which an inventory does not need.
    reads_work: bool,
    components: Vec<Component>,
    /// What the run asks for.
    order: DeviceOrder,
    marks: Marks,
    /// How the device takes firmware, as it was last read.
    update: Option<UpdateService>,
    /// The part that each component belongs to, by name.
    parts: BTreeMap<String, Part>,
    manager_reset: Option<Reset>,
    host_reset: Option<Reset>,
    /// Images and queue entries of ours on the device.
    links: BTreeMap<ActionId, Link>,
    /// What earlier runs have left for the components.
    earlier: Vec<Earlier>,
    /// Names of the images of earlier runs, by component.
    files: BTreeMap<String, String>,
    /// Who can install the images in the repository, by name of the file.
    agents: BTreeMap<String, Vec<String>>,
    /// Tasks of others that are over.
    over: BTreeSet<Link>,
    /// When the parts of the machine were started.
    boot: Boot,
    /// When a request was last sent that begins work.
    requested: Option<Instant>,
    /// Whether the configuration is locked.
    lock: Lock,
    /// The service of events, as it was last read.
    events: Option<Link>,
    prepared: Prepared,
    /// When the device wants to be asked again.
    retry_after: RetryAfter,
}

impl device::Device for Device {
    type Settings = Settings;

    fn new(settings: &Settings, job: &Job, _: &Tools) -> Result<Self, Failure> {
        Ok(Self {
            settings: settings.clone(),
            session: None,
            has_sessions: true,
            sessions: BTreeMap::new(),
            node: job.node.clone(),
            reads_work: matches!(job.goal, Goal::Update | Goal::CleanUp),
            components: job.components.clone(),
            order: job.device.clone(),
            marks: Marks::new(&job.id()),
            update: None,
            parts: BTreeMap::new(),
            manager_reset: None,
            host_reset: None,
            links: BTreeMap::new(),
            earlier: Vec::new(),
            files: BTreeMap::new(),
            agents: BTreeMap::new(),
            over: BTreeSet::new(),
            boot: Boot::default(),
            requested: None,
            lock: Lock::default(),
            events: None,
            prepared: Prepared::default(),
            retry_after: RetryAfter::default(),
            is_moonshot: job.node_type == MachineType::Moonshot,
        })
    }

    fn limits(&self) -> Limits {
        Limits { has_sessions: self.has_sessions, ..self.settings.limits.clone() }
    }

    async fn read(
        &mut self,
        actions: &[Action],
        mut report: impl FnMut(Contact) + Send,
    ) -> Result<Reading, Trouble> {
        let at = attempt::now();
        let asked = self.ask(actions).await.inspect_err(|trouble| self.note_trouble(trouble));
        let Asked { everything, work, ours, lists_sessions, is_locked } = asked?;
        let address = self.session.as_ref().and_then(|session| session.client().address());
        report(Contact::Reached { address: address.unwrap_or_default() });
        for note in &everything.notes {
            tracing::info!("{note}");
        }
        let boot = self.boot.read(&everything, &known_marks(actions, &self.order));
        let mut sorted = self.sorted(&everything, &work, actions, &boot.manager);
        sorted.artifacts.extend(ours);
        self.note(&everything, &work, &sorted);
        let obstacles = obstacles::of(&self.node, &everything, is_locked);
        let inventory = Inventory {
            at,
            entries: entries(&everything.firmware),
            boot,
            tasks: sorted.tasks,
            artifacts: sorted.artifacts,
            earlier: sorted.earlier,
            keeps_tasks: None,
            lists_sessions,
            obstacles: obstacles.keys().copied().collect(),
        };
        Ok(Reading {
            inventory,
            survey: survey(&everything),
            others: sorted.others,
            obstacles,
            parts: sorted.parts,
        })
    }

    async fn request(
        &mut self,
        permission: Intended,
        intent: &Intent,
        actions: &[Action],
        image: Option<Image>,
        report: impl FnMut(Contact) + Send,
    ) -> (Answer, Option<Trouble>) {
        let Some(left) = permission.time_left() else { return (Answer::NotBegun, None) };
        self.sessions.extend(actions.iter().filter_map(recorded));
        match intent.verb {
            Verb::SignIn => self.sign_in(intent.id, &permission, report).await,
            Verb::SignOut => {
                let signed_out = tokio::time::timeout(left, self.sign_out(intent.of)).await;
                signed_out.unwrap_or((Answer::Unknown, None))
            }
            Verb::Upload
            | Verb::Pull
            | Verb::Enqueue
            | Verb::Activate
            | Verb::AdoptImage
            | Verb::AdoptWork
            | Verb::ResetManager
            | Verb::ResetHost
            | Verb::ImportAuthority
            | Verb::Subscribe
            | Verb::RemoveUpload
            | Verb::RemoveQueueEntry
            | Verb::RemoveAuthority
            | Verb::Unsubscribe
            | Verb::Unknown => {
                let (answer, trouble) = self.work(&permission, intent, actions, image.as_ref()).await;
                if intent.verb.is_work() && !intent.verb.is_adoption() {
                    self.requested = Some(Instant::now());
                }
                if let Some(trouble) = &trouble {
                    self.note_trouble(trouble);
                }
                (answer, trouble)
            }
        }
    }

    async fn follow(&mut self, ticket: &Ticket) -> Result<Report, Trouble> {
        let Some(session) = &self.session else { return Err(signed_out()) };
        let Ok(link) = Link::parse(&ticket.0) else { return Ok(Progress::Gone.into()) };
        let queue = self.update.as_ref().and_then(|service| service.ways.repository.as_ref()?.queue.as_ref());
        let followed = async {
            let report = work::follow(session, &link).await?;
            match (report.progress, queue) {
                // What is before it may be in its way.
                (Progress::Queued, Some(queue)) => {
                    let progress = work::follow_queue(session, queue, &link).await?;
                    Ok(Report { progress: progress.unwrap_or(report.progress), ..report })
                }
                _ => Ok(report),
            }
        };
        let followed = followed.await.map_err(|error: super::Trouble| trouble(error.into()));
        // The service may still show the end of what it did before.
        let is_service = self.update.as_ref().is_some_and(|service| service.link.is_same(&link));
        let is_new = self.requested.is_some_and(|at| at.elapsed() < STALE);
        let followed = followed.map(|report| {
            if is_service && is_new && !report.progress.is_open() { Progress::Running.into() } else { report }
        });
        if let Err(trouble) = &followed {
            self.note_trouble(trouble);
        }
        followed
    }

    fn wants_rest(&self) -> Option<Duration> {
        self.retry_after.left()
    }

    async fn prepare(&mut self, offer: &Offer) -> Result<Vec<Preparation>, Trouble> {
        let prepared = self.needs(offer).await;
        if let Err(trouble) = &prepared {
            self.note_trouble(trouble);
        }
        prepared
    }

    fn note_destination(&mut self, url: String) {
        self.prepared.destination = Some(url);
    }

    async fn close(&mut self) {
        if let Some(session) = self.session.take()
            && let Some(link) = session.link()
            && let Err(failure) = session.end(link).await
        {
            tracing::warn!(reason = %failure.reason, "{}", failure.message);
        }
    }

    fn methods(&self, plan: &NodePlan) -> BTreeMap<String, Result<Way, Failure>> {
        let route = self.route();
        // Of those that cannot be read too: a device that takes no firmware lists none.
        let images = plan.items.iter().filter(|item| item.component.installer == InstallerKind::RedfishImage);
        let names = images.map(|item| item.component.name.clone());
        names
            .map(|name| {
                let way = route.clone().and_then(|route| self.way(&name, &route));
                (name, way)
            })
            .collect()
    }

    fn schemes(&self) -> Vec<Scheme> {
        routes::schemes(self.update.as_ref())
    }
}

impl Device {
    /// Forgets a session that the device has ended.
    fn note_trouble(&mut self, trouble: &Trouble) {
        if trouble.failure.reason == Reason::SessionEnded {
            self.session = None;
        }
    }
}

/// Returns the boot marks that earlier readings have recorded, in this NodeUpdate and in others.
fn known_marks<'a>(actions: &'a [Action], order: &'a DeviceOrder) -> Vec<&'a str> {
    let recorded = actions.iter().map(|action| action.boot.as_str());
    recorded.chain(order.waiting.iter().map(|work| work.boot.as_str())).collect()
}

/// What a user has to change ends the attempt at once.
const REFUSALS: &[Reason] = &[
    Reason::PasswordRejected,
    Reason::AuthenticationFailed,
    Reason::AccountLocked,
    Reason::PasswordChangeRequired,
    Reason::CertificateChanged,
    Reason::CertificateUntrusted,
    Reason::NotYetSupported,
];

fn trouble(failure: Failure) -> Trouble {
    let is_refused = REFUSALS.contains(&failure.reason);
    Trouble { failure, is_refused, is_answer: false }
}

fn signed_out() -> Trouble {
    trouble(Failure::new(Reason::SessionEnded, "the device has ended the session of this attempt"))
}
