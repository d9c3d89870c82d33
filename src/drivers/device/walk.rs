//! The walk: does what `update::device::next` decides.

mod contact;
mod drain;
mod end;
mod fits;
mod image;
mod posts;
mod prepare;
mod pull;
mod show;
mod ways_back;

use super::{Device, Reading, Report, Way, outcome};
use crate::attempt::logbook::{Entry, Halt, apply};
use crate::attempt::{self, Desk, End, Goal, Job, Step, Survey, Waiting};
use crate::drivers::Driver;
use crate::failure::Failure;
use farrier_update::device::{
    self, Action, ActionId, Change, Followed, Intent, Inventory, Next, Observed, Silence, Ticket, Verb,
};
use farrier_update::{Installers, Millis, NodePlan, PlanInput, plan_node};
use futures::future::BoxFuture;
use posts::Posts;
use show::show_contact;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many readings a decision needs at most.
const MAX_READINGS: usize = 3;

/// How old a decision may be when its request is recorded.
const FRESH: Duration = Duration::from_secs(30);

/// The driver of devices that flash themselves.
pub struct DeviceDriver<D: Device> {
    settings: D::Settings,
}

impl<D: Device> DeviceDriver<D> {
    /// Creates the driver of one device.
    pub fn new(settings: D::Settings) -> Self {
        Self { settings }
    }
}

impl<D: Device> Driver for DeviceDriver<D> {
    fn attempt<'a>(&'a self, job: &'a Job, desk: Desk<'a>) -> BoxFuture<'a, End> {
        Box::pin(async move {
            match D::new(&self.settings, job, desk.tools) {
                Ok(device) => Walk::new(device, job, desk).run().await,
                Err(failure) => End::Failed(failure),
            }
        })
    }
}

/// The state of one attempt.
struct Walk<'a, D: Device> {
    device: D,
    job: &'a Job,
    desk: Desk<'a>,
    since: Millis,
    actions: Vec<Action>,
    /// The session of this attempt.
    session: Option<ActionId>,
    /// The last readings, with the components' entries.
    readings: Vec<Inventory>,
    /// Since when every reading has shown an obstacle that goes away by itself.
    obstructed_since: Option<Millis>,
    /// The firmware of the first reading of this attempt.
    before: Option<Arc<Survey>>,
    /// The latest reading, as the device gave it.
    latest: Option<Reading>,
    plan: Option<Arc<NodePlan>>,
    methods: BTreeMap<String, device::Method>,
    /// Components whose image waits for a reset.
    holds: BTreeSet<String>,
    followed: Option<Followed>,
    silence: Option<Silence>,
    /// The last trouble with the device, for messages.
    trouble: Option<Failure>,
    /// Why an action was refused, by component.
    refusals: BTreeMap<String, Failure>,
    /// What the device last said about the work for a component.
    reports: BTreeMap<String, Report>,
    unfetched: BTreeSet<ActionId>,
    withdrawn: BTreeSet<ActionId>,
    /// What is to be done before the device is told to fetch an image.
    preparations: Vec<device::Preparation>,
    /// Why the device could not be drained.
    undrained: Option<Failure>,
    /// Whether ports stay open for an image that is fetched as soon as the device is prepared.
    is_preparing: bool,
    /// It could not be read once in this attempt what a fetch has to be prepared by.
    was_not_prepared: bool,
    /// Pulls of earlier attempts that are watched again.
    resumed: BTreeSet<ActionId>,
    /// Whether the ways back need not be tried any more in this attempt.
    has_ways_back: bool,
    /// Before this time the device does not want to be asked.
    not_before: Option<Millis>,
    posts: Posts,
    /// How many sessions the device has ended since its last reading.
    ended_sessions: u32,
}

impl<'a, D: Device> Walk<'a, D> {
    fn new(device: D, job: &'a Job, mut desk: Desk<'a>) -> Self {
        let posts = Posts::new(desk.offers.posts());
        Self {
            device,
            job,
            since: attempt::now(),
            actions: std::mem::take(&mut desk.actions),
            desk,
            session: None,
            readings: Vec::new(),
            obstructed_since: None,
            before: None,
            latest: None,
            plan: None,
            methods: BTreeMap::new(),
            holds: BTreeSet::new(),
            followed: None,
            silence: None,
            trouble: None,
            refusals: BTreeMap::new(),
            reports: BTreeMap::new(),
            unfetched: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
            preparations: Vec::new(),
            undrained: None,
            is_preparing: false,
            was_not_prepared: false,
            resumed: BTreeSet::new(),
            has_ways_back: false,
            not_before: None,
            posts,
            ended_sessions: 0,
        }
    }

    async fn run(mut self) -> End {
        loop {
            // Whether a device has sessions is known only after the first sign-in.
            let limits = self.at_pace(self.device.limits());
            self.resume_offers().await;
            self.note_fetches();
            self.note_posts();
            let next = device::next(&self.observed(&limits));
            let done = match next {
                Next::Read => {
                    self.read().await;
                    if let Err(failure) = self.try_ways_back().await {
                        return self.shut(failure).await;
                    }
                    Ok(())
                }
                Next::Plan => {
                    self.make_plan();
                    Ok(())
                }
                Next::Intend(intent) => self.request(intent).await,
                Next::Record(id, change) => self.record(id, change).await,
                Next::Follow(id, ticket) => {
                    self.follow(id, &ticket).await;
                    Ok(())
                }
                Next::Withdraw(id) => {
                    self.withdraw(id);
                    Ok(())
                }
                Next::Wait { until, on } => {
                    self.wait(until, on).await;
                    Ok(())
                }
                Next::Conclude(conclusion) => {
                    // No action is recorded for a session that is only a connection.
                    if !limits.has_sessions {
                        self.device.close().await;
                    }
                    return self.conclude(&conclusion);
                }
            };
            if let Err(halt) = done {
                // A successor does not know of a session that could not be recorded.
                self.device.close().await;
                return self.halted(halt);
            }
        }
    }

    fn observed<'o>(&'o self, limits: &'o device::Limits) -> Observed<'o> {
        Observed {
            now: attempt::now(),
            since: self.since,
            goal: match self.job.goal {
                Goal::Inventory => device::Goal::Inventory,
                Goal::Plan => device::Goal::Plan,
                Goal::Update => device::Goal::Update,
                Goal::CleanUp => device::Goal::CleanUp,
            },
            scope: self.job.device.scope,
            cancelled: *self.desk.stop.borrow(),
            plan: self.plan.as_deref(),
            methods: &self.methods,
            holds: &self.holds,
            actions: &self.actions,
            session: self.session,
            readings: &self.readings,
            obstructed_since: self.obstructed_since,
            followed: self.followed,
            silence: self.silence,
            unfetched: &self.unfetched,
            withdrawn: &self.withdrawn,
            preparations: &self.preparations,
            not_before: self.not_before,
            resets: self.resets(),
            limits,
        }
    }

    /// Reads the device, and shows what was found.
    async fn read(&mut self) {
        let has_worked = self.actions.iter().any(|action| action.verb.is_work());
        self.show_step(if has_worked { Step::Verifying } else { Step::Surveying });
        let view = self.desk.view;
        let mut stop = self.desk.stop.clone();
        let was_stopped = *stop.borrow_and_update();
        let read = self.device.read(&self.actions, |contact| show_contact(view, contact));
        let read = tokio::select! {
            read = read => read,
            // Nothing is changed by a reading that is cut off.
            Ok(_) = stop.wait_for(|stop| *stop), if !was_stopped => return,
        };
        self.note_rest();
        match read {
            Ok(reading) => {
                self.answered();
                self.ended_sessions = 0;
                self.note_parts(&reading);
                let survey = Arc::new(reading.survey.clone());
                self.before.get_or_insert_with(|| survey.clone());
                self.desk.view.send_modify(|v| v.survey = Some(survey));
                let entries = outcome::entries(&self.job.components, &reading.inventory);
                self.obstructed_since = reading.inventory.obstructed_since(self.obstructed_since);
                self.readings.push(Inventory { entries, ..reading.inventory.clone() });
                if self.readings.len() > MAX_READINGS {
                    self.readings.remove(0);
                }
                self.latest = Some(reading);
            }
            Err(trouble) => self.troubled(trouble),
        }
    }

    fn make_plan(&mut self) {
        let Some(reading) = &self.latest else { return };
        let mut plan = plan_node(&PlanInput {
            components: &self.job.components,
            node_type: &self.job.node_type.to_string(),
            installers: Installers { machine: self.job.installers, any: &self.job.all_installers },
            facts: &reading.survey.facts,
            programs: &[],
            readings: &outcome::readings(&self.job.components, reading),
            force: self.job.force,
            on_failed_dependency: self.job.on_failed_dependency,
        });
        for (component, method) in self.device.methods(&plan) {
            let way = method.as_ref().ok().filter(|_| fits::is_to_install(&plan, &component));
            let unfit = way.and_then(|way| self.fits(&component, *way).err());
            if let Some(failure) = unfit {
                fits::block(&mut plan, &component, &failure);
                self.refusals.insert(component, failure);
                continue;
            }
            match method {
                Ok(Way { method, holds }) => {
                    if holds {
                        self.holds.insert(component.clone());
                    }
                    self.methods.insert(component, method);
                }
                Err(failure) => drop(self.refusals.insert(component, failure)),
            }
        }
        self.doubt(&mut plan);
        let approved =
            self.job.approved.as_ref().filter(|_| self.plan.is_none() && self.job.goal == Goal::Update);
        if let Some(failure) = approved.and_then(|approved| approved.refuses(&plan, &self.job.node)) {
            let installs: Vec<String> = plan.installs().map(|item| item.component.name.clone()).collect();
            for component in installs {
                fits::block(&mut plan, &component, &failure);
                self.refusals.insert(component, failure.clone());
            }
        }
        let plan = Arc::new(plan);
        let is_disrupted = self.is_disrupted_by(&plan);
        self.desk.view.send_modify(|v| (v.plan, v.is_disrupted) = (Some(plan.clone()), is_disrupted));
        self.plan = Some(plan);
    }

    /// Records an action, sends its request, and records what is known of it.
    async fn request(&mut self, intent: Intent) -> Result<(), Halt> {
        self.show_verb(&intent);
        let decided = Instant::now();
        let image = match self.image(&intent).await {
            Ok(image) => image,
            // Nothing was recorded and nothing was sent.
            Err(_) if *self.desk.stop.borrow() => return Ok(()),
            Err(failure) => {
                self.refusals.insert(intent.component.clone(), failure);
                self.methods.remove(&intent.component);
                self.is_preparing = false;
                self.end_offers();
                return Ok(());
            }
        };
        // What was decided from may have changed while the image was fetched, or ports were waited for.
        if decided.elapsed() > FRESH {
            self.readings.clear();
            return Ok(());
        }
        if let Some(offer) = image.as_ref().and_then(|image| image.offer.as_ref())
            && self.is_to_prepare(offer).await
        {
            return Ok(());
        }
        if !self.may_disrupt(&intent).await {
            return Ok(());
        }
        if intent.verb == Verb::Subscribe {
            self.offer_posts(intent.id);
        }
        let permission = self.desk.logbook.intend(intent.clone()).await?;
        self.apply(&Entry::Intent(intent.clone()));
        let view = self.desk.view;
        view.send_modify(|v| v.deploying = true);
        let report = |contact| show_contact(view, contact);
        let (answer, trouble) = self.device.request(permission, &intent, &self.actions, image, report).await;
        self.note_rest();
        match trouble.map(|trouble| self.explained_refusal(&intent, trouble)) {
            Some(trouble) => {
                self.note_refusal(&intent, &trouble);
                if trouble.is_answer { self.answered() } else { self.troubled(trouble) }
            }
            // A device that ends each session at once answers sign-ins too.
            None if self.ended_sessions > 0 => {}
            None => self.answered(),
        }
        let action = self.actions.iter().find(|action| action.id == intent.id);
        let Some(change) = action.and_then(|action| action.answered(&answer)) else { return Ok(()) };
        if intent.verb == Verb::SignIn && matches!(change, Change::Begun(_)) {
            self.session = Some(intent.id);
        }
        self.record(intent.id, change).await
    }

    async fn record(&mut self, id: ActionId, change: Change) -> Result<(), Halt> {
        self.desk.logbook.change(id, change.clone()).await?;
        self.apply(&Entry::Change(id, change));
        Ok(())
    }

    fn apply(&mut self, entry: &Entry) {
        apply(&mut self.actions, entry, &self.job.runner, attempt::now());
        let left = outcome::traces(&self.actions);
        self.desk.view.send_modify(|v| v.leases = u32::try_from(left).unwrap_or(u32::MAX));
        self.end_offers();
    }

    async fn follow(&mut self, action: ActionId, ticket: &Ticket) {
        self.device.note_actions(&self.actions);
        let followed = self.device.follow(ticket).await;
        self.note_rest();
        match followed {
            Ok(report) => {
                self.answered();
                let report = self.explained(action, report);
                self.followed = Some(Followed { action, at: attempt::now(), progress: report.progress });
                if let Some(component) = self.component_of(action) {
                    self.reports.insert(component, report);
                }
            }
            Err(trouble) => self.troubled(trouble),
        }
    }

    /// Waits, and ends the wait when the run is cancelled.
    async fn wait(&mut self, until: Millis, on: device::Waiting) {
        let left = until.since(attempt::now());
        let (reason, said) = self.why(on);
        let what = if said.is_empty() { on.to_string() } else { format!("{on} ({said})") };
        self.show_wait(self.with_fetch(Waiting::new(reason, what, "the machine", left)));
        let mut stop = self.desk.stop.clone();
        let was_stopped = *stop.borrow_and_update();
        tokio::select! {
            // sleep: a device does not report when it is ready.
            () = tokio::time::sleep(left.max(Duration::from_millis(1))) => {}
            Ok(_) = stop.wait_for(|stop| *stop), if !was_stopped => {}
            () = self.posts.next() => self.is_posted(),
        }
        self.desk.view.send_modify(|v| v.waits.clear());
    }

    /// Returns the component of an action.
    fn component_of(&self, id: ActionId) -> Option<String> {
        self.actions.iter().find(|action| action.id == id).map(|action| action.component.clone())
    }
}
