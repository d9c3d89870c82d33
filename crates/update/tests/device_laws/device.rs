//! A simulated device: firmware, sessions, images, tasks and a queue.
//!
//! It takes each request that arrives as a new one, and decides nothing for its clients.

use crate::dice::Dice;
pub(crate) use crate::parts::{EARLIER, Effect, Firmware, Job, Outage, Reply, Request, Traits, Upload};
use farrier_update::device::{ActionId, Progress, ResetTarget, Verb};

pub(crate) const SECOND: u64 = 1000;
pub(crate) const MINUTE: u64 = 60 * SECOND;

/// When every history begins.
pub(crate) const START: u64 = 1_000_000_000;

/// The device.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) traits: Traits,
    pub(crate) now: u64,
    pub(crate) firmware: Vec<Firmware>,
    pub(crate) manager_boot: u32,
    pub(crate) host_boot: u32,
    /// Sessions: who opened them, and when they were last used.
    pub(crate) sessions: Vec<(ActionId, u64)>,
    pub(crate) uploads: Vec<Upload>,
    /// Authorities and subscriptions.
    pub(crate) prepared: Vec<(ActionId, Verb)>,
    /// Until when the host is in its power-on self-test.
    pub(crate) post_until: u64,
    pub(crate) jobs: Vec<Job>,
    /// Requests that were accepted and are still being read: they arrive at this time.
    pub(crate) arriving: Vec<(u64, Request)>,
    /// Resets that were accepted.
    pub(crate) resetting: Option<(u64, ResetTarget)>,
    pub(crate) outages: Vec<Outage>,
    /// How many readings will still be wrong.
    pub(crate) wrong_readings: u64,
    /// Actions of which something began.
    pub(crate) begun: Vec<ActionId>,
    /// Pull requests whose image was fetched.
    pub(crate) fetched: Vec<ActionId>,
    /// Components whose installation by an earlier run was taken over.
    adopted: Vec<usize>,
    tickets: u32,
}

impl Device {
    pub(crate) const fn new(traits: Traits, firmware: Vec<Firmware>) -> Self {
        Self {
            traits,
            now: START,
            firmware,
            manager_boot: 1,
            host_boot: 1,
            sessions: Vec::new(),
            uploads: Vec::new(),
            prepared: Vec::new(),
            post_until: 0,
            jobs: Vec::new(),
            arriving: Vec::new(),
            resetting: None,
            outages: Vec::new(),
            wrong_readings: 0,
            begun: Vec::new(),
            fetched: Vec::new(),
            adopted: Vec::new(),
            tickets: 0,
        }
    }

    /// Leaves an image of an earlier run.
    pub(crate) fn leave_image(&mut self, component: usize) {
        self.uploads.push(Upload { action: earlier(component), component, whole: true });
    }

    /// Leaves an installation of an earlier run that waits for a reset.
    pub(crate) fn leave_work(&mut self, component: usize, is_entry: bool) {
        let request = Request {
            action: earlier(component),
            verb: if is_entry { Verb::Enqueue } else { Verb::Upload },
            component,
            to: 2,
            installs: true,
            of: None,
            session: None,
        };
        let (ticket, progress) = (self.ticket(), Progress::WaitsForReset);
        self.jobs.push(Job { ticket, request: Some(request), progress, ends: 0, listed: 0, is_entry });
        self.firmware[component].pending = Some(2);
        self.firmware[component].installs += 1;
        self.firmware[component].is_earlier = true;
    }

    /// Removes the installations of earlier runs.
    pub(crate) fn forget_earlier_work(&mut self) {
        let is_earlier = |job: &Job| job.request.is_some_and(|request| request.action.0 >= EARLIER);
        for job in self.jobs.iter().filter(|job| is_earlier(job)) {
            let component = job.request.map_or(0, |request| request.component);
            self.firmware[component].pending = None;
            self.firmware[component].installs = 0;
        }
        self.jobs.retain(|job| !is_earlier(job));
    }

    /// Adds a task of another manager.
    pub(crate) fn add_foreign_job(&mut self, ends: u64) {
        let ticket = self.ticket();
        let progress = Progress::Running;
        self.jobs.push(Job { ticket, request: None, progress, ends, listed: 0, is_entry: false });
    }

    const fn ticket(&mut self) -> u32 {
        self.tickets += 1;
        self.tickets
    }

    /// Lets time pass, with everything that happens in it.
    pub(crate) fn advance(&mut self, to: u64, dice: &mut Dice) {
        while let Some(at) = self.next_event().filter(|at| *at <= to) {
            self.now = self.now.max(at);
            self.happen(dice);
        }
        self.now = self.now.max(to);
        let (now, timeout) = (self.now, self.traits.session_timeout);
        if let Some(timeout) = timeout {
            self.sessions.retain(|(_, used)| now < used + timeout);
        }
        self.outages.retain(|outage| outage.until > now);
        let keep = self.traits.forgets_after;
        self.jobs.retain(|job| job.progress.is_open() || job.is_entry || now < job.ends + keep);
    }

    /// Returns when something happens next.
    fn next_event(&self) -> Option<u64> {
        let jobs = self.jobs.iter().filter(|job| job.progress == Progress::Running).map(|job| job.ends);
        let arriving = self.arriving.iter().map(|(at, _)| *at);
        jobs.chain(arriving).chain(self.resetting.map(|(at, _)| at)).min()
    }

    fn happen(&mut self, dice: &mut Dice) {
        let now = self.now;
        if let Some(index) = self.arriving.iter().position(|(at, _)| *at <= now) {
            let (_, request) = self.arriving.remove(index);
            self.execute(&request, dice);
        } else if let Some((_, target)) = self.resetting.filter(|(at, _)| *at <= now) {
            self.resetting = None;
            self.reset(target, dice);
        } else if let Some(index) =
            self.jobs.iter().position(|job| job.progress == Progress::Running && job.ends <= now)
        {
            self.finish(index, dice);
        }
    }

    /// Restarts a part of the machine.
    pub(crate) fn reset(&mut self, target: ResetTarget, dice: &mut Dice) {
        let now = self.now;
        for (index, firmware) in self.firmware.iter_mut().enumerate() {
            if firmware.takes != Effect::After(target) {
                continue;
            }
            if let Some(version) = firmware.pending.take() {
                firmware.version = version;
            }
            let is_earlier = |job: &Job| {
                let of = |request: Request| request.action.0 >= EARLIER && request.component == index;
                job.progress == Progress::WaitsForReset && job.request.is_some_and(of)
            };
            // Nobody had taken it over: what comes next is the first one.
            if self.jobs.iter().any(is_earlier) && !self.adopted.contains(&index) {
                firmware.installs = 0;
            }
            let waits = |job: &&mut Job| {
                job.progress == Progress::WaitsForReset
                    && job.request.is_some_and(|job| job.component == index)
            };
            for job in self.jobs.iter_mut().filter(waits) {
                (job.progress, job.ends) = (Progress::Done, now);
            }
        }
        if target == ResetTarget::Host {
            self.host_boot += 1;
            self.post_until = self.now + dice.below(self.traits.post);
            return;
        }
        self.manager_boot += 1;
        self.sessions.clear();
        self.arriving.clear();
        self.wrong_readings = dice.below(self.traits.flaps + 1);
        if self.traits.drops_uploads_at_reset {
            self.uploads.clear();
            self.prepared.retain(|(_, verb)| *verb != Verb::Subscribe);
        }
        for index in 0..self.jobs.len() {
            // What the controller was working on is lost, or was done already.
            if self.jobs[index].progress == Progress::Running {
                let taken = dice.percent(50);
                self.end(index, taken, taken, dice);
            }
        }
        if self.traits.forgets_at_reset {
            self.jobs.retain(|job| job.progress.is_open() || job.is_entry);
        }
        self.start_next();
        // A start takes longer than the interval of readings.
        let silent = self.now + 65 * SECOND + dice.below(5 * MINUTE);
        let reply = Reply::AFTER_START[usize::try_from(dice.below(5)).unwrap_or(0)];
        self.outages.push(Outage { until: silent, reply: Reply::Silent });
        self.outages.push(Outage { until: silent + dice.below(3 * MINUTE), reply });
    }

    /// Ends a job in its time.
    fn finish(&mut self, index: usize, dice: &mut Dice) {
        let roll = dice.below(100);
        let (taken, said) = match roll {
            _ if roll < self.traits.lies => (dice.percent(50), dice.percent(50)),
            _ if roll < self.traits.lies + self.traits.fails => (false, false),
            _ => (true, true),
        };
        self.end(index, taken, said, dice);
        self.start_next();
    }

    fn end(&mut self, index: usize, taken: bool, said: bool, dice: &mut Dice) {
        let job = &mut self.jobs[index];
        job.progress = if said { Progress::Done } else { Progress::Failed };
        job.ends = self.now;
        job.is_entry &= self.traits.keeps_entries;
        if job.request.is_none() {
            // Another manager restarts the host for what it has installed.
            self.post_until = self.post_until.max(self.now + dice.below(self.traits.post));
        }
        let is_interrupted = !taken && !said && dice.percent(self.traits.interrupts);
        if let Some(request) = job.request.filter(|job| is_interrupted && job.verb == Verb::Pull) {
            job.progress = Progress::Interrupted;
            if request.installs {
                self.begun.retain(|id| *id != request.action);
                self.firmware[request.component].installs -= 1;
            }
        }
        let Some(request) = job.request.filter(|_| taken) else { return };
        let is_short = self.firmware[request.component].duration < MINUTE;
        if self.traits.drops_short_tasks && is_short && !job.is_entry {
            // Forgotten when time passes.
            job.ends = 0;
        }
        if !request.installs {
            self.uploads.push(Upload { action: request.action, component: request.component, whole: true });
            return;
        }
        let firmware = &mut self.firmware[request.component];
        match firmware.takes {
            Effect::AtOnce => firmware.version = request.to,
            Effect::ByItself => {
                firmware.version = request.to;
                self.resetting = Some((self.now + dice.below(90 * SECOND), ResetTarget::Manager));
            }
            Effect::After(_) => {
                firmware.pending = Some(request.to);
                if self.traits.tasks_wait && said {
                    self.jobs[index].progress = Progress::WaitsForReset;
                }
            }
        }
    }

    /// Starts the next entry of the queue if nothing else runs.
    fn start_next(&mut self) {
        if self.jobs.iter().any(|job| job.progress == Progress::Running) {
            return;
        }
        let now = self.now;
        if let Some(job) = self.jobs.iter_mut().find(|job| job.progress == Progress::Queued) {
            job.progress = Progress::Running;
            let Some(request) = job.request else { return };
            let firmware = &mut self.firmware[request.component];
            job.ends = now + firmware.duration;
            firmware.installs += 1;
            self.begun.push(request.action);
        }
    }

    /// Answers a request that is read completely at once.
    pub(crate) fn answer(&mut self, request: &Request, dice: &mut Dice) -> Reply {
        match self.admit(request.session, request.verb == Verb::SignIn) {
            Some(Reply::Broken) if dice.percent(50) && self.knows(request) => {
                self.execute(request, dice);
                Reply::Broken
            }
            Some(reply) => reply,
            None => self.execute(request, dice),
        }
    }

    /// Checks a session; `None` if the request is let in.
    pub(crate) fn admit(&mut self, session: Option<ActionId>, signs_in: bool) -> Option<Reply> {
        if let Some(outage) = self.outages.first() {
            return Some(outage.reply);
        }
        if !self.traits.has_sessions || signs_in {
            return None;
        }
        let now = self.now;
        let Some(open) = self.sessions.iter_mut().find(|(id, _)| Some(*id) == session) else {
            return Some(Reply::Unauthorized);
        };
        open.1 = now;
        None
    }

    fn knows(&self, request: &Request) -> bool {
        let is_open = self.sessions.iter().any(|(id, _)| Some(*id) == request.session);
        !self.traits.has_sessions || request.verb == Verb::SignIn || is_open
    }

    fn execute(&mut self, request: &Request, dice: &mut Dice) -> Reply {
        match request.verb {
            Verb::SignIn => {
                self.sessions.push((request.action, self.now));
                Reply::Began(request.action.0)
            }
            Verb::Upload | Verb::Pull | Verb::Enqueue | Verb::Activate => self.accept(request, dice),
            Verb::ResetManager | Verb::ResetHost => {
                let target =
                    if request.verb == Verb::ResetHost { ResetTarget::Host } else { ResetTarget::Manager };
                self.begun.push(request.action);
                self.firmware[request.component].resets += 1;
                self.resetting = Some((self.now + dice.below(10 * MINUTE), target));
                Reply::Done
            }
            Verb::ImportAuthority | Verb::Subscribe if dice.percent(10) => Reply::Rejected,
            Verb::ImportAuthority | Verb::Subscribe => {
                self.prepared.push((request.action, request.verb));
                if self.traits.gives_tickets { Reply::Began(request.action.0) } else { Reply::Done }
            }
            Verb::AdoptImage | Verb::AdoptWork => self.adopt(request),
            Verb::SignOut
            | Verb::RemoveUpload
            | Verb::RemoveQueueEntry
            | Verb::RemoveAuthority
            | Verb::Unsubscribe => self.remove(request),
            Verb::Unknown => Reply::Rejected,
        }
    }

    /// Looks for what an earlier run has left.
    fn adopt(&mut self, request: &Request) -> Reply {
        let (is_it, component) = (earlier(request.component), request.component);
        if request.verb == Verb::AdoptImage {
            let is_there = self.uploads.iter().any(|upload| upload.action == is_it);
            return if is_there { Reply::Done } else { Reply::Refused };
        }
        let is_work = |job: &&Job| job.request.is_some_and(|of| of.action == is_it) && job.progress.is_open();
        match self.jobs.iter().find(is_work) {
            Some(job) => {
                self.adopted.push(component);
                Reply::Began(job.ticket)
            }
            None => Reply::Refused,
        }
    }

    /// Takes an image, or work with a staged image.
    fn accept(&mut self, request: &Request, dice: &mut Dice) -> Reply {
        let staged = self.uploads.iter().any(|upload| upload.component == request.component && upload.whole);
        let busy = self.jobs.iter().any(|job| job.progress.is_active());
        let needs_image = matches!(request.verb, Verb::Enqueue | Verb::Activate);
        let can_wait = self.traits.queues || request.verb == Verb::Enqueue;
        if needs_image && !staged {
            return Reply::Rejected;
        }
        if request.installs && busy && !can_wait {
            return Reply::Refused;
        }
        let is_there = self.firmware[request.component].version == request.to;
        if request.installs && is_there && self.traits.knows_versions {
            return Reply::AlreadyInstalled;
        }
        if request.verb == Verb::Pull {
            self.fetched.push(request.action);
        }
        if !request.installs {
            let again = self.uploads.iter().any(|upload| upload.component == request.component);
            self.firmware[request.component].double_uploads += u32::from(again);
            if request.verb == Verb::Upload {
                // A connection that breaks leaves half an image.
                let whole = dice.percent(95);
                let (action, component) = (request.action, request.component);
                self.uploads.push(Upload { action, component, whole });
                return if whole { Reply::Done } else { Reply::Silent };
            }
            return self.begin(request, Progress::Running);
        }
        if busy {
            return self.begin(request, Progress::Queued);
        }
        self.firmware[request.component].installs += 1;
        self.begun.push(request.action);
        self.begin(request, Progress::Running)
    }

    fn begin(&mut self, request: &Request, progress: Progress) -> Reply {
        let ticket = self.ticket();
        let ends = self.now + self.firmware[request.component].duration;
        let is_entry = request.verb == Verb::Enqueue;
        let is_hidden = self.traits.hides_fetching && request.verb == Verb::Pull;
        let listed = if is_hidden { self.now + 10 * MINUTE } else { 0 };
        self.jobs.push(Job { ticket, request: Some(*request), progress, ends, listed, is_entry });
        if self.traits.gives_tickets { Reply::Began(ticket) } else { Reply::Done }
    }

    fn remove(&mut self, request: &Request) -> Reply {
        let Some((of, verb)) = request.of else { return Reply::Rejected };
        let of = if verb.is_adoption() { earlier(request.component) } else { of };
        let runs = |job: &Job| {
            job.progress == Progress::Running
                && job.request.is_some_and(|job| job.component == request.component)
        };
        match request.verb {
            Verb::SignOut if self.traits.locks_sessions => return Reply::Rejected,
            Verb::SignOut => self.sessions.retain(|(id, _)| *id != of),
            Verb::RemoveAuthority | Verb::Unsubscribe => self.prepared.retain(|(id, _)| *id != of),
            // The device locks what it works with.
            _ if self.jobs.iter().any(runs) => return Reply::Refused,
            Verb::RemoveUpload => self.uploads.retain(|upload| upload.action != of),
            _ => {
                let is_it = |job: &Job| job.request.is_some_and(|job| job.action == of);
                self.jobs.retain(|job| !(job.progress == Progress::Queued && is_it(job)));
                self.jobs.iter_mut().filter(|job| is_it(job)).for_each(|job| job.is_entry = false);
            }
        }
        Reply::Done
    }
}

/// Returns the action of an earlier run for a component.
fn earlier(component: usize) -> ActionId {
    ActionId(EARLIER + u32::try_from(component).unwrap_or(0))
}
