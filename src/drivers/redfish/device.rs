//! A Redfish service as a device.

use super::inventory::{Entry as Firmware, Inventory as Everything, System};
use super::session::SignInError;
use super::{Client, Credentials, Endpoint, Link, Session};
use crate::attempt::logbook::Intended;
use crate::attempt::{self, Job, Scheme, Survey, Tools};
use crate::drivers::device::{self, Contact, Image, Reading, Trouble};
use crate::drivers::{HttpsSettings, Keys, Node};
use crate::failure::Failure;
use crate::ssh::Target;
use farrier_protocol::Facts;
use farrier_update::device::{
    Action, ActionId, Answer, Artifact, ArtifactKind, BootMarks, Entry, Intent, Inventory, Limits, Method,
    Part, Progress, State, Ticket, Verb,
};
use farrier_update::{NodePlan, Reason};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a device may be silent before an attempt ends in which it does no work for us. Further attempts are
/// those of the run's retries.
const AWAY: Duration = Duration::from_secs(30);

/// How long the readings of a device may take until they agree: three of a slow device.
const READING: Duration = Duration::from_mins(45);

/// Time between two readings.
const POLL: Duration = Duration::from_secs(2);

/// Words by which the names of management processors begin, where a device does not say what an entry belongs
/// to.
const MANAGERS: &[&str] =
    &["iLO", "iDRAC", "Integrated Dell Remote Access Controller", "BMC", "RMC", "OpenBMC"];

/// What is needed to connect to a Redfish service.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    endpoint: Endpoint,
    credentials: Credentials,
}

impl Settings {
    /// Reads the settings of a machine.
    ///
    /// # Errors
    /// `SecretIncomplete`.
    pub(super) fn new(node: &Node, keys: &Keys) -> Result<Self, Failure> {
        let HttpsSettings { port, trust } = node.https.clone();
        let target = Target {
            node: node.name.clone(),
            addresses: node.addresses.clone(),
            families: node.families.clone(),
            port,
        };
        let credentials = Credentials::new(&node.name, keys)?;
        Ok(Self { endpoint: Endpoint { target, trust }, credentials })
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
}

impl device::Device for Device {
    type Settings = Settings;

    fn new(settings: &Settings, _: &Job, _: &Tools) -> Result<Self, Failure> {
        Ok(Self { settings: settings.clone(), session: None, has_sessions: true, sessions: BTreeMap::new() })
    }

    fn limits(&self) -> Limits {
        let has_sessions = self.has_sessions;
        Limits { has_sessions, away: AWAY, reading: READING, poll: POLL, ..Limits::default() }
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
            let traces = self.traces(session).await?;
            Ok::<_, Trouble>((everything, traces))
        };
        let (everything, traces) = match read.await {
            Ok(read) => read,
            Err(trouble) => {
                if trouble.failure.reason == Reason::SessionEnded {
                    self.session = None;
                }
                return Err(trouble);
            }
        };
        report(Contact::Reached { address: session.client().address().unwrap_or_default() });
        for note in &everything.notes {
            tracing::info!("{note}");
        }
        let inventory = Inventory {
            at,
            entries: entries(&everything.firmware),
            boot: BootMarks::default(),
            tasks: Vec::new(),
            artifacts: traces,
            keeps_tasks: None,
        };
        Ok(Reading { inventory, survey: survey(&everything) })
    }

    async fn request(
        &mut self,
        permission: Intended,
        intent: &Intent,
        actions: &[Action],
        _: Option<Image>,
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
            | Verb::ResetManager
            | Verb::ResetHost
            | Verb::RemoveUpload
            | Verb::RemoveQueueEntry
            | Verb::Unknown => (Answer::Rejected, None),
        }
    }

    async fn follow(&mut self, _: &Ticket) -> Result<Progress, Trouble> {
        Ok(Progress::Gone)
    }

    async fn close(&mut self) {
        if let Some(session) = self.session.take()
            && let Some(link) = session.link()
            && let Err(failure) = session.end(link).await
        {
            tracing::warn!(reason = %failure.reason, "{}", failure.message);
        }
    }

    fn methods(&self, _: &NodePlan) -> BTreeMap<String, Method> {
        BTreeMap::new()
    }

    fn schemes(&self) -> Vec<Scheme> {
        Vec::new()
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

    /// Returns the recorded sessions that are on the device.
    async fn traces(&self, session: &Session) -> Result<Vec<Artifact>, Trouble> {
        let mut found = Vec::new();
        for (action, link) in &self.sessions {
            match session.get(link).await {
                Ok(_) => found.push(Artifact {
                    kind: ArtifactKind::Session,
                    ticket: Ticket(link.as_str().to_owned()),
                    action: *action,
                    whole: true,
                }),
                Err(error) if matches!(error.status(), Some(404 | 410)) => {}
                Err(error) => return Err(trouble(error.into())),
            }
        }
        Ok(found)
    }
}

/// Returns the session of a recorded sign-in that may still be there.
fn recorded(action: &Action) -> Option<(ActionId, Link)> {
    let is_session = action.verb == Verb::SignIn && action.state == State::Begun;
    let ticket = action.ticket.as_ref().filter(|_| is_session)?;
    Some((action.id, Link::parse(&ticket.0).ok()?))
}

/// Returns the entries by id, name and software id. A name that several entries have identifies none.
fn entries(firmware: &[Firmware]) -> BTreeMap<String, Entry> {
    let mut found: BTreeMap<String, Option<Entry>> = BTreeMap::new();
    for piece in firmware {
        let entry = entry(piece);
        let names = [Some(&piece.id), piece.name.as_ref(), piece.software_id.as_ref()];
        let names: BTreeSet<&String> = names.into_iter().flatten().collect();
        for name in names {
            let is_new = !found.contains_key(name);
            found.insert(name.clone(), is_new.then(|| entry.clone()));
        }
    }
    // An id is unique whatever other entries are called.
    for piece in firmware {
        found.insert(piece.id.clone(), Some(entry(piece)));
    }
    found.into_iter().filter_map(|(name, entry)| Some((name, entry?))).collect()
}

fn entry(piece: &Firmware) -> Entry {
    let is_related = piece.related.iter().any(|link| link.as_str().contains("/Managers/"));
    let name = piece.name.as_deref().unwrap_or(&piece.id);
    let is_manager = is_related || MANAGERS.iter().any(|word| name.starts_with(word));
    let part = if is_manager { Part::Manager } else { Part::Host };
    Entry { version: piece.version.clone().unwrap_or_default(), part, pending: None }
}

/// Returns what users see of a reading.
fn survey(everything: &Everything) -> Survey {
    let system = everything.systems.first();
    let of = |value: fn(&System) -> &Option<String>| system.and_then(|system| value(system).clone());
    let facts = Facts {
        vendor: of(|system| &system.manufacturer).or(everything.root.vendor.clone()).unwrap_or_default(),
        model: of(|system| &system.model).unwrap_or_default(),
        serial: of(|system| &system.serial).unwrap_or_default(),
        hostname: of(|system| &system.host_name).unwrap_or_default(),
        bios_version: of(|system| &system.bios_version).unwrap_or_default(),
        ..Facts::default()
    };
    let firmware = everything.firmware.iter().map(|piece| attempt::Firmware {
        id: piece.id.clone(),
        name: piece.name.clone().unwrap_or_default(),
        software_id: piece.software_id.clone().unwrap_or_default(),
        version: piece.version.clone().unwrap_or_default(),
        updateable: piece.updateable.unwrap_or_default(),
        health: piece.health.clone().unwrap_or_default(),
    });
    let notes = everything.notes.iter().map(ToString::to_string).collect();
    Survey { facts, packages: Vec::new(), firmware: firmware.collect(), notes }
}

/// What a user has to change ends the attempt at once.
const REFUSALS: &[Reason] = &[
    Reason::PasswordRejected,
    Reason::AuthenticationFailed,
    Reason::AccountLocked,
    Reason::PasswordChangeRequired,
    Reason::CertificateChanged,
    Reason::CertificateUntrusted,
    Reason::NotARedfishService,
];

fn trouble(failure: Failure) -> Trouble {
    let is_refused = REFUSALS.contains(&failure.reason);
    Trouble { failure, is_refused }
}

fn signed_out() -> Trouble {
    trouble(Failure::new(Reason::SessionEnded, "the device has ended the session of this attempt"))
}
