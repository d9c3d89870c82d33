//! An HP-UX machine as a device.

use super::link::{Link, refused, trouble};
use super::look::{Digester, Look, Tool};
use super::programs::{self, Directories};
use super::{reach, said, software};
use crate::attempt::logbook::Intended;
use crate::attempt::{self, DeviceOrder, Job, Place, Scheme, Tools};
use crate::drivers::device::{self, Contact, Image, Reading, Report, Trouble, Way};
use crate::drivers::{HandOver, Keys, Node, shell};
use crate::failure::Failure;
use farrier_protocol::Dial;
use farrier_update::device::{Action, Answer, Intent, Limits, Method, Ticket, Verb};
use farrier_update::{Component, Force, InstallerKind, NodePlan, PlanItem, Reason, RebootNeed};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a machine may be silent before an attempt ends in which nothing was done. Further attempts are those of the
/// run's retries.
const AWAY: Duration = Duration::from_secs(30);

/// How long a restart may take: large Integrity servers test their memory for the better part of an hour.
const RESET: Duration = Duration::from_mins(90);

/// Time between two readings, and between two questions about work.
const POLL: Duration = Duration::from_secs(3);

/// How long what was sent may be on its way: the operator's kernel gives a silent connection up after 40 s
/// (`src/ssh/connect.rs`).
const IDLE: Duration = Duration::from_secs(45);

/// How long the machine may take to restart, after an installation that restarts it has ended, and to show what it has.
const SETTLE: Duration = Duration::from_mins(5);

/// Returns the times of a machine of which nothing is known.
pub(super) fn usual_limits() -> Limits {
    Limits {
        has_sessions: false,
        session_timeout: None,
        away: AWAY,
        reset: RESET,
        poll: POLL,
        idle: IDLE,
        settle: SETTLE,
        refused: Duration::from_mins(10),
        ..Limits::default()
    }
}

/// What is needed to connect to an HP-UX machine.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    shell: Arc<shell::Settings>,
    limits: Limits,
    /// How depots get to the machine, if the user says so.
    hand_over: Option<HandOver>,
}

impl Settings {
    /// Reads the settings of a machine.
    ///
    /// # Errors
    /// `SecretIncomplete`, `KeyUnreadable`, `KeyPassphraseWrong`.
    pub(super) fn new(node: &Node, keys: &Keys, limits: Limits) -> Result<Self, Failure> {
        Ok(Self { shell: Arc::new(shell::Settings::new(node, keys)?), limits, hand_over: node.hand_over })
    }
}

/// An HP-UX machine, for one attempt.
pub(super) struct Device {
    pub(super) link: Link,
    pub(super) limits: Limits,
    hand_over: Option<HandOver>,
    /// Name of the machine.
    pub(super) node: String,
    pub(super) id: String,
    pub(super) directories: Directories,
    pub(super) components: Vec<Component>,
    pub(super) order: DeviceOrder,
    pub(super) force: Force,
    /// What the machine can fetch with, as it was last read.
    tools: BTreeSet<Tool>,
    pub(super) digester: Digester,
    /// The protocols by which it reaches us, each with what it has done so with; `None`: it was not tried.
    reached: Option<BTreeMap<Scheme, Tool>>,
    /// When installations were first seen to have ended, by their directory.
    pub(super) ended: BTreeMap<String, Instant>,
}

impl device::Device for Device {
    type Settings = Settings;

    fn new(settings: &Settings, job: &Job, _: &Tools) -> Result<Self, Failure> {
        Ok(Self {
            link: Link::new(settings.shell.clone(), job.id()),
            limits: Limits { has_sessions: false, ..settings.limits.clone() },
            hand_over: settings.hand_over,
            node: job.node.clone(),
            id: job.id(),
            directories: Directories::new(&job.id()),
            components: job.components.clone(),
            order: job.device.clone(),
            force: job.force,
            tools: BTreeSet::new(),
            digester: Digester::None,
            reached: None,
            ended: BTreeMap::new(),
        })
    }

    fn limits(&self) -> Limits {
        self.limits.clone()
    }

    async fn read(&mut self, _: &[Action], report: impl FnMut(Contact) + Send) -> Result<Reading, Trouble> {
        let at = attempt::now();
        self.link.connect(report).await.map_err(trouble)?;
        let names: BTreeSet<&str> = self.components.iter().filter_map(Component::depot_entry).collect();
        let names: Vec<&str> = names.into_iter().filter(|name| software::is_name(name)).collect();
        let program = programs::look(&self.directories, &names);
        let lines = self.link.run_within(programs::READING, program, || true).await;
        let look = Look::read(&lines.map_err(|cut| trouble(cut.failure()))?);
        if !look.is_hp_ux() {
            return Err(trouble(said::not_hp_ux(&self.node, &look.system.0)));
        }
        if let Some(listing) = look.unlisted() {
            return Err(trouble(said::not_listed(&self.node, &listing)));
        }
        self.tools.clone_from(&look.tools);
        self.digester = look.digester;
        Ok(self.reading(&look, at))
    }

    async fn request(
        &mut self,
        permission: Intended,
        intent: &Intent,
        actions: &[Action],
        image: Option<Image>,
        _: impl FnMut(Contact) + Send,
    ) -> (Answer, Option<Trouble>) {
        match (intent.verb, image) {
            (Verb::Upload, Some(image)) => self.upload(&permission, intent, &image).await,
            (Verb::Pull, Some(image)) => self.pull(&permission, intent, &image).await,
            (Verb::Activate, _) => self.activate(&permission, intent, actions).await,
            (Verb::ResetHost, _) => self.restart(&permission, intent).await,
            (Verb::RemoveUpload, _) => self.remove(&permission, intent).await,
            (
                Verb::Upload
                | Verb::Pull
                | Verb::SignIn
                | Verb::SignOut
                | Verb::Enqueue
                | Verb::AdoptImage
                | Verb::AdoptWork
                | Verb::ResetManager
                | Verb::ImportAuthority
                | Verb::Subscribe
                | Verb::RemoveQueueEntry
                | Verb::RemoveAuthority
                | Verb::Unsubscribe
                | Verb::Unknown,
                _,
            ) => {
                let words = format!("an HP-UX machine such as {} knows no {:?}", self.node, intent.verb);
                refused(Failure::new(Reason::InternalError, words))
            }
        }
    }

    async fn follow(&mut self, ticket: &Ticket) -> Result<Report, Trouble> {
        self.followed(ticket).await
    }

    fn tries_ways_back(&self) -> bool {
        self.hand_over != Some(HandOver::Push)
    }

    async fn reach(&mut self, places: &[Place]) -> Result<Vec<Dial>, Trouble> {
        if self.tools.is_empty() {
            self.reached = Some(BTreeMap::new());
            return Ok(Vec::new());
        }
        let tools: Vec<Tool> = self.tools.iter().copied().collect();
        let program = programs::reach(&self.id, &tools, places);
        let lines = self.link.run(program, || true).await.map_err(|cut| trouble(cut.failure()))?;
        let tried = reach::read(&lines, places);
        let usable = places.iter().zip(&tried).filter_map(|(place, tried)| Some((place.scheme, tried.by?)));
        self.reached = Some(usable.collect());
        Ok(tried.into_iter().map(|tried| tried.dial).collect())
    }

    async fn close(&mut self) {
        self.link.close().await;
    }

    fn methods(&self, plan: &NodePlan) -> BTreeMap<String, Result<Way, Failure>> {
        let depots =
            plan.items.iter().filter(|item| item.component.installer == InstallerKind::SwinstallDepot);
        depots.map(|item| (item.component.name.clone(), self.way(item))).collect()
    }

    fn schemes(&self) -> Vec<Scheme> {
        let schemes = [Scheme::Https, Scheme::Http].into_iter();
        schemes.filter(|scheme| !self.tools_for(*scheme).is_empty()).collect()
    }
}

impl Device {
    /// Returns how a component is handed over.
    fn way(&self, item: &PlanItem) -> Result<Way, Failure> {
        let component = &item.component;
        if !component.depot_entry().is_some_and(software::is_name) {
            return Err(said::no_name(&component.name));
        }
        if component.reboot == RebootNeed::Always && !self.order.resets_host {
            return Err(said::restart_not_allowed(&self.node, &component.name));
        }
        let wants = |way| self.hand_over.is_none_or(|wanted| wanted == way);
        if wants(HandOver::Pull) && !device::Device::schemes(self).is_empty() {
            return Ok(Method::PullThenActivate.into());
        }
        if wants(HandOver::Push) && self.link.takes_images() {
            return Ok(Method::PushThenActivate.into());
        }
        let node = &self.node;
        let fetches = "cannot fetch its depot (curl, wget or perl, and openssl or Digest::SHA to check it)";
        let words = match self.hand_over {
            Some(HandOver::Pull) => format!("{node} {fetches}; install curl there, or remove spec.handOver"),
            Some(HandOver::Push) => format!(
                "su takes no depot through the session with {node}; sign in as root, set spec.ssh.privilege to Sudo, or remove spec.handOver"
            ),
            None => format!(
                "{node} {fetches}, and su takes none through the session; sign in as root, set spec.ssh.privilege to Sudo, or install curl there"
            ),
        };
        Err(Failure::new(Reason::PrerequisiteMissing, words))
    }

    /// Returns what fetches by this protocol, first what has reached us by it. Without TLS, only a digest tells that the
    /// depot is the right one.
    pub(super) fn tools_for(&self, scheme: Scheme) -> Vec<Tool> {
        let Some(&first) = self.reached.as_ref().and_then(|reached| reached.get(&scheme)) else {
            return Vec::new();
        };
        let others = self.tools.iter().copied().filter(|tool| *tool != first);
        match scheme {
            Scheme::Https => [first].into_iter().chain(others.filter(|tool| *tool != Tool::Perl)).collect(),
            Scheme::Http if self.digester != Digester::None => [first].into_iter().chain(others).collect(),
            Scheme::Http | Scheme::Sftp | Scheme::Scp | Scheme::Ftp => Vec::new(),
        }
    }
}
