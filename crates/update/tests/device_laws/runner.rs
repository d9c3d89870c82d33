//! A simulated runner: it does what `next` says, and may die or freeze at any point.

use crate::device::{MINUTE, Reply, Request, SECOND};
use crate::law;
use crate::reading::{NAMES, number};
use crate::world::{Frozen, World};
use farrier_update::device::{
    Action, ActionId, Answer, Change, Conclusion, Followed, Goal, Intent, Inventory, Next, Observed, Silence,
    Ticket, Verb, next,
};
use farrier_update::model::{Millis, RunnerName};
use farrier_update::reason::Reason;
use std::collections::BTreeSet;
use std::time::Duration;

/// How an attempt of a runner ended.
#[derive(Debug)]
pub(crate) enum End {
    Concluded(Conclusion),
    /// The process is gone.
    Killed,
    /// The process does nothing until it wakes.
    Frozen,
    /// The NodeUpdate belongs to another runner.
    Superseded,
    /// It did not end within the bound.
    Endless,
}

/// Bound for the number of decisions in one attempt.
const BOUND: u32 = 2000;

/// One process that makes one attempt.
#[derive(Debug)]
pub(crate) struct Runner {
    number: u32,
    goal: Goal,
    since: u64,
    actions: Vec<Action>,
    version: u64,
    cancelled: bool,
    session: Option<ActionId>,
    readings: Vec<Inventory>,
    obstructed_since: Option<Millis>,
    followed: Option<Followed>,
    silence: Option<Silence>,
    has_plan: bool,
    unfetched: BTreeSet<ActionId>,
    withdrawn: BTreeSet<ActionId>,
    not_before: Option<Millis>,
    /// Where this attempt was killed at the latest, counted in points where that matters.
    kill_at: Option<u32>,
    points: u32,
}

/// The process dies or freezes here.
type Survives = Result<(), End>;

impl Runner {
    /// Starts a process, which reads the NodeUpdate from a cache.
    pub(crate) fn start(world: &mut World, number: u32, goal: Goal, kill_at: Option<u32>) -> Self {
        world.api.assign(number);
        let is_stale = world.dice.percent(world.faults.stale);
        let api = &world.api;
        let (actions, version) = if is_stale {
            (api.earlier.clone(), api.earlier_version)
        } else {
            (api.actions.clone(), api.version)
        };
        let (since, cancelled) = (world.device.now, api.cancelled);
        world.note(|| format!("runner {number} starts, {goal:?}, stale: {is_stale}"));
        Self {
            number,
            goal,
            since,
            actions,
            version,
            cancelled,
            session: None,
            readings: Vec::new(),
            obstructed_since: None,
            followed: None,
            silence: None,
            has_plan: false,
            unfetched: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
            not_before: None,
            kill_at,
            points: 0,
        }
    }

    /// Returns how many points there were at which this process could have been killed.
    pub(crate) const fn points(&self) -> u32 {
        self.points
    }

    /// Works until the attempt is over.
    pub(crate) fn run(&mut self, world: &mut World, cancel_at: Option<u32>) -> End {
        for step in 0..BOUND {
            if cancel_at == Some(step) && !world.api.cancelled {
                world.note(|| "the run is cancelled".to_owned());
                world.api.cancel();
            }
            let pause = 1 + world.dice.below(2 * SECOND);
            world.pass(world.device.now + pause);
            match self.step(world) {
                Ok(None) => {}
                Ok(Some(conclusion)) => return End::Concluded(conclusion),
                Err(end) => return end,
            }
            if world.broken.is_some() {
                return End::Endless;
            }
        }
        End::Endless
    }

    fn step(&mut self, world: &mut World) -> Result<Option<Conclusion>, End> {
        let decision = self.decide(world);
        if world.trace.is_some() && !matches!(decision, Next::Wait { .. }) {
            world.note(|| format!("runner {}: {decision:?}", self.number));
        }
        match decision {
            Next::Read => self.read(world),
            Next::Plan => self.has_plan = true,
            Next::Intend(intent) => self.intend(world, intent)?,
            Next::Record(id, change) => self.record(world, id, &change)?,
            Next::Follow(id, ticket) => self.follow(world, id, &ticket),
            Next::Withdraw(id) => {
                self.withdrawn.insert(id);
            }
            Next::Wait { until, on } => {
                if until.0 <= world.device.now {
                    world.breaks(|| format!("waits for the past: {on:?}"));
                }
                // Something else may wake the runner early.
                let early = world.dice.percent(5);
                let to = if early { world.device.now.midpoint(until.0) } else { until.0 };
                world.pass(to);
                self.dies(world)?;
            }
            // The conclusion is written as well, so that it is based on the present list.
            Next::Conclude(_) if self.version != world.api.version => self.refresh(world)?,
            Next::Conclude(conclusion) => return Ok(Some(conclusion)),
        }
        Ok(None)
    }

    fn decide(&mut self, world: &mut World) -> Next {
        if world.device.traits.posts && world.dice.percent(50) {
            self.followed = None;
        }
        self.unfetched.retain(|id| !world.device.fetched.contains(id));
        let order = &world.order;
        let observed = Observed {
            now: Millis(world.device.now),
            since: Millis(self.since),
            goal: self.goal,
            scope: order.scope,
            cancelled: self.cancelled,
            plan: Some(&order.plan).filter(|_| self.has_plan),
            methods: &order.methods,
            holds: &order.holds,
            actions: &self.actions,
            session: self.session,
            readings: &self.readings,
            obstructed_since: self.obstructed_since,
            followed: self.followed,
            silence: self.silence,
            unfetched: &self.unfetched,
            withdrawn: &self.withdrawn,
            preparations: &order.preparations,
            not_before: self.not_before,
            resets: order.resets,
            limits: &order.limits,
        };
        let decision = next(&observed);
        // Asked again for some decisions only, because it would take half of the time.
        let broken =
            world.device.now.is_multiple_of(16).then(|| law::decision(&observed, &decision)).flatten();
        if let Some(law) = broken {
            world.breaks(|| law);
        }
        decision
    }

    /// Dies here, perhaps.
    fn dies(&mut self, world: &mut World) -> Survives {
        let point = self.points;
        self.points += 1;
        if self.kill_at == Some(point) || world.dice.percent(world.faults.kill) {
            world.note(|| format!("runner {} is killed", self.number));
            return Err(End::Killed);
        }
        Ok(())
    }

    /// Reads the NodeUpdate again after a conflict.
    fn refresh(&mut self, world: &mut World) -> Survives {
        if world.api.owner != self.number {
            return Err(End::Superseded);
        }
        self.actions.clone_from(&world.api.actions);
        self.version = world.api.version;
        self.cancelled = world.api.cancelled;
        Ok(())
    }

    fn intend(&mut self, world: &mut World, intent: Intent) -> Survives {
        self.dies(world)?;
        let action = intent.into_action(RunnerName(String::new()), Millis(world.device.now));
        let (id, verb) = (action.id, action.verb);
        let request = self.request(&action);
        if world.api.intend(self.number, self.version, action.clone()).is_err() {
            world.note(|| "conflict".to_owned());
            return self.refresh(world);
        }
        law::intent(world, &action, &self.actions, self.goal);
        self.refresh(world)?;
        self.dies(world)?;
        let expires = world.device.now + u64::try_from(world.order.limits.proof.as_millis()).unwrap_or(0);
        self.freezes(world, &request, expires)?;
        let pause = if world.faults.freeze > 0 { world.dice.below(3 * SECOND) } else { 1 };
        world.pass(world.device.now + pause);
        let (answer, reply) = world.send(&request);
        world.note(|| format!("the device answers {answer:?}"));
        if verb == Verb::Pull && !world.device.fetched.contains(&id) {
            self.unfetched.insert(id);
        }
        self.dies(world)?;
        self.note_contact(world, &request, reply, &answer);
        let Some(action) = self.actions.iter().find(|action| action.id == id) else { return Ok(()) };
        if let Some(change) = action.answered(&answer) {
            self.record(world, id, &change)?;
        }
        if verb == Verb::SignIn && matches!(answer, Answer::Began(_)) {
            self.session = Some(id);
        }
        Ok(())
    }

    fn request(&self, action: &Action) -> Request {
        let of = action.of.and_then(|of| self.actions.iter().find(|other| other.id == of));
        Request {
            action: action.id,
            verb: action.verb,
            component: NAMES.iter().position(|name| *name == action.component).unwrap_or(0),
            to: number(&action.to),
            installs: action.is_install(),
            of: of.map(|of| (of.id, of.verb)),
            session: self.session,
        }
    }

    /// Freezes here, perhaps: before or after the check that the record has not expired.
    fn freezes(&self, world: &mut World, request: &Request, expires: u64) -> Survives {
        if !world.dice.percent(world.faults.freeze) {
            return Ok(());
        }
        let since = world.device.now;
        let longest = if world.dice.percent(60) { 12 * MINUTE } else { 90 * MINUTE };
        let wakes = since + world.dice.below(longest);
        let expires = world.dice.percent(30).then_some(expires);
        world.note(|| format!("runner {} is frozen until {} s later", self.number, (wakes - since) / SECOND));
        world.frozen.push(Frozen { wakes, since, request: *request, expires });
        Err(End::Frozen)
    }

    /// Notes whether the device could be reached.
    fn note_contact(&mut self, world: &World, request: &Request, reply: Reply, answer: &Answer) {
        let verb = request.verb;
        let is_refused = reply == Reply::Unauthorized;
        let ends_own = verb == Verb::SignOut && request.of.map(|(of, _)| of) == self.session;
        if is_refused || (ends_own && *answer == Answer::Done) {
            self.session = None;
        }
        let is_contact = matches!(answer, Answer::Began(_) | Answer::Done);
        if !is_contact && (verb == Verb::SignIn || reply == Reply::Silent) {
            self.fails(world, is_refused && verb == Verb::SignIn);
        }
    }

    /// Notes that the device was asked in vain.
    fn fails(&mut self, world: &World, is_refused: bool) {
        let now = Millis(world.device.now);
        self.readings.clear();
        let named = (world.device.now.is_multiple_of(4)).then(|| Duration::from_secs(world.device.now % 900));
        self.not_before = named.map(|named| now.after(named));
        let refused = is_refused.then_some(Reason::PasswordRejected);
        self.silence = Some(match self.silence {
            Some(silence) => Silence { last: now, times: silence.times + 1, refused, ..silence },
            None => Silence { since: now, last: now, times: 1, refused },
        });
    }

    fn record(&mut self, world: &mut World, id: ActionId, change: &Change) -> Survives {
        let now = Millis(world.device.now);
        if world.api.record(self.number, self.version, (id, change), now).is_err() {
            world.note(|| "conflict".to_owned());
            return self.refresh(world);
        }
        law::change(world, &self.actions, id, change);
        self.refresh(world)?;
        self.dies(world)
    }

    fn read(&mut self, world: &mut World) {
        match world.read(self.session, &self.actions) {
            Ok(inventory) => {
                if self.readings.len() >= 3 {
                    self.readings.remove(0);
                }
                self.obstructed_since = inventory.obstructed_since(self.obstructed_since);
                self.readings.push(inventory);
                self.silence = None;
            }
            Err(reply) => self.unanswered(world, reply),
        }
    }

    fn follow(&mut self, world: &mut World, action: ActionId, ticket: &Ticket) {
        match world.follow(self.session, ticket) {
            Ok(progress) => {
                let at = Millis(world.device.now);
                world.note(|| format!("{progress:?}"));
                self.followed = Some(Followed { action, at, progress });
                self.silence = None;
            }
            Err(reply) => self.unanswered(world, reply),
        }
    }

    /// Notes that reading failed.
    fn unanswered(&mut self, world: &mut World, reply: Reply) {
        world.note(|| format!("the device does not answer usefully: {reply:?}"));
        if reply == Reply::Unauthorized {
            self.session = None;
        }
        self.fails(world, false);
    }
}
