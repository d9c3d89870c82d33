//! A Redfish service as a device.

mod adopt;
mod body;
mod boot;
mod entries;
mod hand_over;
mod noted;
mod refused;
mod repository;
mod routes;
mod sessions;
mod work;

use super::inventory::{Inventory as Everything, Reset, UpdateService, Work};
use super::session::SignInError;
use super::{Client, Credentials, Endpoint, Link, Session};
use crate::attempt::logbook::Intended;
use crate::attempt::{self, DeviceOrder, Goal, Job, Marks, Scheme, Tools};
use crate::drivers::device::{self, Contact, Image, Reading, Report, Trouble, Way};
use crate::drivers::{HttpsSettings, Keys, Node};
use crate::failure::Failure;
use crate::ssh::Target;
use boot::Boot;
use entries::{entries, survey};
use farrier_update::device::{
    Action, ActionId, Answer, Earlier, Intent, Inventory, Limits, Part, Progress, State, Ticket, Verb,
};
use farrier_update::{Component, InstallerKind, NodePlan, Reason};
use routes::Route;
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
        Ok(Self { endpoint: Endpoint { target, trust }, credentials, limits })
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
        let Some(session) = &self.session else { return Err(signed_out()) };
        self.sessions.extend(actions.iter().filter_map(recorded));
        let read = async {
            let everything = Everything::read(session).await.map_err(trouble)?;
            let work = if self.reads_work {
                let repository =
                    everything.update.as_ref().and_then(|update| update.ways.repository.as_ref());
                let work = Work::read(session, &everything.root, repository, &self.over).await;
                work.map_err(|error| trouble(error.into()))?
            } else {
                Work::default()
            };
            let known =
                sessions::known(session, &self.sessions).await.map_err(|error| trouble(error.into()))?;
            let lost: Vec<&Action> = actions.iter().filter(|action| sessions::is_lost(action)).collect();
            let others = sessions::lost(session, &everything, &self.sessions, &lost).await;
            let others = others.map_err(|error| trouble(error.into()))?;
            Ok::<_, Trouble>((everything, work, known, others))
        };
        let (everything, work, known, lost) = match read.await {
            Ok(read) => read,
            Err(trouble) => {
                self.note_trouble(&trouble);
                return Err(trouble);
            }
        };
        report(Contact::Reached { address: session.client().address().unwrap_or_default() });
        for note in &everything.notes {
            tracing::info!("{note}");
        }
        let found =
            lost.found.iter().filter_map(|lost| Some((lost.action, Link::parse(&lost.ticket.0).ok()?)));
        self.sessions.extend(found);
        let boot = self.boot.read(&everything);
        let sorted = self.sorted(&everything, &work, actions, &boot.manager);
        self.note(&everything, &work, &sorted);
        let inventory = Inventory {
            at,
            entries: entries(&everything.firmware),
            boot,
            tasks: sorted.tasks,
            artifacts: sorted.artifacts.into_iter().chain(known).chain(lost.found).collect(),
            earlier: sorted.earlier,
            keeps_tasks: None,
            lists_sessions: lost.is_complete,
        };
        Ok(Reading { inventory, survey: survey(&everything), others: sorted.others, parts: sorted.parts })
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
            | Verb::RemoveUpload
            | Verb::RemoveQueueEntry
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

    async fn close(&mut self) {
        if let Some(session) = self.session.take()
            && let Some(link) = session.link()
            && let Err(failure) = session.end(link).await
        {
            tracing::warn!(reason = %failure.reason, "{}", failure.message);
        }
    }

    fn methods(&self, plan: &NodePlan) -> BTreeMap<String, Result<Way, Failure>> {
        let route = Route::choose(&self.node, self.update.as_ref());
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
    async fn sign_in(
        &mut self,
        id: ActionId,
        permission: &Intended,
        mut report: impl FnMut(Contact) + Send,
    ) -> (Answer, Option<Trouble>) {
        let client = match Client::new(self.settings.endpoint.clone()) {
            Ok(client) => client,
            Err(failure) => return (Answer::NotBegun, Some(trouble(failure))),
        };
        let may_send = || permission.time_left();
        let session = match Session::open_within(client, &self.settings.credentials, may_send).await {
            Ok(session) => session,
            Err(SignInError { failure, may_have_begun }) => {
                let answer = if may_have_begun { Answer::Unknown } else { Answer::NotBegun };
                return (answer, Some(trouble(failure)));
            }
        };
        report(Contact::Reached { address: session.client().address().unwrap_or_default() });
        let first = session.client().first_certificate();
        report(Contact::CertificateAccepted { first: first.as_ref().map(ToString::to_string) });
        // Further connections of this attempt must meet the same certificate.
        self.settings.endpoint.trust.fingerprints.extend(first);
        report(Contact::SignedIn);
        let link = session.link().cloned();
        self.session = Some(session);
        self.has_sessions = link.is_some();
        match link {
            Some(link) => {
                let ticket = Ticket(link.as_str().to_owned());
                self.sessions.insert(id, link);
                (Answer::Began(ticket), None)
            }
            // Requests carry the password instead: nothing is on the device.
            None => (Answer::NotBegun, None),
        }
    }
}

impl Device {
    /// Forgets a session that the device has ended.
    fn note_trouble(&mut self, trouble: &Trouble) {
        if trouble.failure.reason == Reason::SessionEnded {
            self.session = None;
        }
    }

    /// Deletes a session, and looks whether it is gone.
    async fn sign_out(&mut self, of: Option<ActionId>) -> (Answer, Option<Trouble>) {
        let Some(link) = of.and_then(|of| self.sessions.get(&of)).cloned() else {
            return (Answer::Rejected, None);
        };
        let Some(session) = &self.session else { return (Answer::NotBegun, Some(signed_out())) };
        let is_own = session.link().is_some_and(|own| own.is_same(&link));
        match session.end(&link).await {
            Ok(()) => {
                if is_own {
                    self.session = None;
                }
                (Answer::Done, None)
            }
            // The next reading shows whether it is gone.
            Err(failure) if failure.reason == Reason::Leftovers => {
                tracing::info!(reason = %failure.reason, "{}", failure.message);
                (Answer::Unknown, None)
            }
            Err(failure) => (Answer::Unknown, Some(trouble(failure))),
        }
    }
}

/// Returns the session of a recorded sign-in that may still be there.
fn recorded(action: &Action) -> Option<(ActionId, Link)> {
    let is_session = action.verb == Verb::SignIn && action.state == State::Begun;
    let ticket = action.ticket.as_ref().filter(|_| is_session)?;
    Some((action.id, Link::parse(&ticket.0).ok()?))
}

/// What a user has to change ends the attempt at once.
const REFUSALS: &[Reason] = &[
    Reason::PasswordRejected,
    Reason::AuthenticationFailed,
    Reason::AccountLocked,
    Reason::PasswordChangeRequired,
    Reason::CertificateChanged,
    Reason::CertificateUntrusted,
];

fn trouble(failure: Failure) -> Trouble {
    let is_refused = REFUSALS.contains(&failure.reason);
    Trouble { failure, is_refused, is_answer: false }
}

fn signed_out() -> Trouble {
    trouble(Failure::new(Reason::SessionEnded, "the device has ended the session of this attempt"))
}
