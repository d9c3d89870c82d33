//! Everything outside of a runner: the device, the network to it, the API server, frozen runners,
//! and the record of what happened.

use crate::api::Api;
use crate::device::{Device, MINUTE, Outage, Reply, Request, SECOND, START};
use crate::dice::Dice;
use crate::reading;
use farrier_update::device::{
    Action, ActionId, Answer, Goal, Inventory, Limits, Method, Preparation, Progress, ResetPolicy,
    ResetTarget, Scope, Ticket, Verb,
};
use farrier_update::plan::NodePlan;
use std::collections::{BTreeMap, BTreeSet};

/// How often something goes wrong, in percent of the occasions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Faults {
    /// A request or its answer is lost.
    pub(crate) network: u64,
    /// The device restarts by itself, or stops answering.
    pub(crate) device: u64,
    /// A runner is killed at a point where that matters.
    pub(crate) kill: u64,
    /// A runner is frozen between the check of its record and its request.
    pub(crate) freeze: u64,
    /// A runner begins with a stale list of actions.
    pub(crate) stale: u64,
}

impl Faults {
    pub(crate) const NONE: Self = Self { network: 0, device: 0, kill: 0, freeze: 0, stale: 0 };

    /// Reports whether nothing goes wrong.
    pub(crate) const fn are_none(self) -> bool {
        matches!(self, Self::NONE)
    }
}

/// What the user asked for.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) goal: Goal,
    pub(crate) scope: Scope,
    pub(crate) resets: ResetPolicy,
    pub(crate) methods: BTreeMap<String, Method>,
    pub(crate) preparations: Vec<Preparation>,
    pub(crate) holds: BTreeSet<String>,
    pub(crate) plan: NodePlan,
    pub(crate) limits: Limits,
}

/// A runner that was frozen with a request in its hand.
#[derive(Debug, Clone)]
pub(crate) struct Frozen {
    pub(crate) wakes: u64,
    pub(crate) since: u64,
    pub(crate) request: Request,
    /// When its record expires; `None` if it was frozen after it had checked that.
    pub(crate) expires: Option<u64>,
}

/// The world outside of runners.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) device: Device,
    pub(crate) api: Api,
    pub(crate) order: Order,
    pub(crate) faults: Faults,
    pub(crate) frozen: Vec<Frozen>,
    /// When the device was last read.
    pub(crate) last_read: u64,
    /// Actions that were judged never to have begun.
    pub(crate) void: Vec<ActionId>,
    /// The first law that was broken.
    pub(crate) broken: Option<String>,
    /// What happened, if anybody wants to know.
    pub(crate) trace: Option<Vec<String>>,
}

impl World {
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let passed = self.device.now - START;
            trace.push(format!("{:>6}.{} s  {}", passed / 1000, passed % 1000 / 100, line()));
        }
    }

    /// Records that a law is broken.
    pub(crate) fn breaks(&mut self, law: impl FnOnce() -> String) {
        if self.broken.is_none() {
            let law = law();
            self.note(|| format!("BROKEN: {law}"));
            self.broken = Some(law);
        }
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, to: u64) {
        while let Some(index) = self.frozen.iter().position(|frozen| frozen.wakes <= to) {
            let frozen = self.frozen.swap_remove(index);
            self.device.advance(frozen.wakes, &mut self.dice);
            self.wake(&frozen);
        }
        self.device.advance(to, &mut self.dice);
        if self.dice.percent(self.faults.device) {
            self.misbehave();
        }
    }

    /// A frozen runner goes on as if nothing had happened.
    fn wake(&mut self, frozen: &Frozen) {
        let now = self.device.now;
        let is_expired = frozen.expires.is_some_and(|expires| now >= expires);
        // Without sessions, it is the connection that is closed after some time.
        let is_closed = !self.device.traits.has_sessions && now >= frozen.since + self.device.traits.idle;
        if is_expired || is_closed {
            self.note(|| format!("a frozen runner wakes too late for {:?}", frozen.request));
            return;
        }
        let reply = self.device.answer(&frozen.request, &mut self.dice);
        self.note(|| format!("a frozen runner wakes and sends {:?}: {reply:?}", frozen.request));
        // It cannot record the session, and ends it at once.
        self.device
            .sessions
            .retain(|(id, _)| frozen.request.verb != Verb::SignIn || *id != frozen.request.action);
    }

    fn misbehave(&mut self) {
        let now = self.device.now;
        // Nobody could tell what happened if the device kept no task of it either.
        if self.dice.percent(5) && !self.device.traits.drops_short_tasks {
            self.replace();
            return;
        }
        if self.dice.percent(30) {
            self.note(|| "the device restarts by itself".to_owned());
            self.device.reset(ResetTarget::Manager, &mut self.dice);
            return;
        }
        let reply = Reply::AFTER_START[usize::try_from(self.dice.below(5)).unwrap_or(0)];
        let long = if self.dice.percent(10) { 60 * MINUTE } else { 0 };
        let until = now + long + self.dice.below(6 * MINUTE);
        self.note(|| format!("the device answers {reply:?} for {} s", (until - now) / SECOND));
        self.device.outages.push(Outage { until, reply });
    }

    /// Another manager installs the first version again.
    fn replace(&mut self) {
        let now = self.device.now;
        for firmware in self.device.firmware.iter_mut().filter(|firmware| firmware.version == 2) {
            firmware.version = 1;
            firmware.replaced = Some(now);
            // What comes next is the first one of this NodeUpdate.
            if firmware.installs == 1 && std::mem::take(&mut firmware.is_earlier) {
                firmware.installs = 0;
            }
        }
        self.note(|| "another manager installs earlier versions".to_owned());
    }

    /// Sends a request through the network.
    pub(crate) fn send(&mut self, request: &Request) -> (Answer, Reply) {
        if !self.dice.percent(self.faults.network) {
            let reply = self.device.answer(request, &mut self.dice);
            return (answer(reply, request), reply);
        }
        match self.dice.below(4) {
            0 => (Answer::NotBegun, Reply::Silent),
            1 => (Answer::Unknown, Reply::Silent),
            2 => {
                let reply = self.device.answer(request, &mut self.dice);
                self.note(|| format!("the answer {reply:?} is lost"));
                (Answer::Unknown, Reply::Silent)
            }
            _ => {
                // The device has accepted the connection and still reads the request.
                if self.device.admit(request.session, request.verb == Verb::SignIn).is_none() {
                    let at = self.device.now + self.dice.below(self.device.traits.idle);
                    self.device.arriving.push((at, *request));
                }
                (Answer::Unknown, Reply::Silent)
            }
        }
    }

    /// Reads the device; the error says why that failed.
    pub(crate) fn read(&mut self, session: Option<ActionId>, actions: &[Action]) -> Result<Inventory, Reply> {
        self.reach(session)?;
        self.last_read = self.device.now;
        Ok(reading::read(&mut self.device, &mut self.dice, actions))
    }

    /// Asks the device about a task.
    pub(crate) fn follow(&mut self, session: Option<ActionId>, ticket: &Ticket) -> Result<Progress, Reply> {
        match self.reach(session) {
            Ok(()) => Ok(reading::follow(&self.device, ticket)),
            // As if the task did not exist.
            Err(Reply::Missing) => Ok(Progress::Gone),
            Err(reply) => Err(reply),
        }
    }

    fn reach(&mut self, session: Option<ActionId>) -> Result<(), Reply> {
        if self.dice.percent(self.faults.network) {
            return Err(Reply::Silent);
        }
        self.device.admit(session, false).map_or(Ok(()), Err)
    }
}

/// What a driver makes of a reply.
fn answer(reply: Reply, request: &Request) -> Answer {
    match reply {
        Reply::Began(ticket) => Answer::Began(Ticket(ticket.to_string())),
        Reply::Done => Answer::Done,
        Reply::Rejected => Answer::Rejected,
        Reply::AlreadyInstalled => Answer::AlreadyInstalled,
        Reply::Broken => Answer::Unknown,
        // An image that was sent in part has no answer; a device that is silent took no connection.
        Reply::Silent if request.verb == Verb::Upload => Answer::Unknown,
        Reply::Refused | Reply::Unauthorized | Reply::Missing | Reply::Silent => Answer::NotBegun,
    }
}
