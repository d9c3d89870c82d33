//! Histories: a device, an order and faults from a seed, and the attempts that follow.

use crate::api::Api;
use crate::device::{Device, Effect, Firmware, MINUTE, SECOND, Traits};
use crate::dice::Dice;
use crate::law;
use crate::reading::{NAMES, version};
use crate::runner::{End, Runner};
use crate::world::{Faults, Order, World};
use farrier_update::InstallerKind;
use farrier_update::device::{
    ComponentEnd, Conclusion, Goal, Limits, Method, Obstacle, Part, Preparation, ResetPolicy, ResetTarget,
    Scope, Verb,
};
use farrier_update::model::{AppliesTo, Component, Force, Needs, PayloadRef, RebootNeed};
use farrier_update::plan::{Action, NodePlan, PlanItem};
use std::time::Duration;

/// How many processes may work on one NodeUpdate. The last ones are not disturbed.
const MAX_RUNNERS: u32 = 12;

/// So many of them may be killed or frozen.
const DISTURBED_RUNNERS: u32 = 8;

/// The result of a history.
pub(crate) struct Outcome {
    /// How the last attempt ended, before the cleaning.
    pub(crate) conclusion: Option<Conclusion>,
    /// The law that was broken.
    pub(crate) broken: Option<String>,
    /// What happened.
    pub(crate) trace: Vec<String>,
    /// Points at which the first process could have been killed.
    pub(crate) points: u32,
}

impl Outcome {
    /// Returns the results of the components.
    pub(crate) fn components(&self) -> Option<&Vec<(String, ComponentEnd)>> {
        self.conclusion.as_ref().map(|conclusion| &conclusion.components)
    }
}

/// Plays a random history.
pub(crate) fn play(seed: u64, traced: bool) -> Outcome {
    let mut dice = Dice::new(seed);
    let faults = match dice.below(4) {
        0 => Faults::NONE,
        1 => Faults { network: 5, device: 2, kill: 0, freeze: 0, stale: 0 },
        2 => Faults { network: 5, device: 1, kill: 5, freeze: 3, stale: 30 },
        _ => Faults { network: 15, device: 3, kill: 2, freeze: 8, stale: 30 },
    };
    let mut world = world(dice, faults, traced);
    finish(&mut world, Disturbance::Random)
}

/// Plays a history with an honest device, which is disturbed once.
pub(crate) fn play_honest(seed: u64, disturbance: Disturbance, traced: bool) -> Outcome {
    let mut world = world(Dice::new(seed), Faults::NONE, traced);
    world.device.forget_earlier_work();
    world.device.jobs.clear();
    let traits = &mut world.device.traits;
    (traits.obstacle, traits.post) = (None, 5 * MINUTE);
    (traits.lies, traits.fails) = (0, 0);
    (traits.has_sessions, traits.tells_boot, traits.gives_tickets) = (true, true, true);
    (traits.forgets_at_reset, traits.drops_uploads_at_reset) = (false, false);
    (traits.drops_short_tasks, traits.locks_sessions) = (false, false);
    // The image that such a task needs stays until the reset.
    (traits.tasks_wait, traits.posts) = (false, false);
    traits.keeps_tasks = Some(24 * 60 * MINUTE);
    traits.forgets_after = 24 * 60 * MINUTE;
    world.order.limits = limits(traits);
    world.order.goal = Goal::Update;
    for method in world.order.methods.values_mut() {
        // Who takes over does not know whether an image was fetched.
        *method = match method {
            Method::Push | Method::Pull => Method::Push,
            Method::PushThenActivate | Method::PullThenActivate => Method::PushThenActivate,
            Method::PushThenEnqueue | Method::PullThenEnqueue => Method::PushThenEnqueue,
        };
    }
    for firmware in &mut world.device.firmware {
        firmware.duration %= 6 * MINUTE;
    }
    // Nor can anybody tell whether the same version was installed again.
    for item in world.order.plan.items.iter_mut().filter(|item| item.force.rewrite) {
        item.action = Action::UpToDate { at: version(1), newer: false };
    }
    finish(&mut world, disturbance)
}

/// What disturbs the first attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disturbance {
    /// Faults and a cancellation at random.
    Random,
    Nothing,
    /// The first process is killed at this point.
    KillAt(u32),
    /// The run is cancelled at this decision.
    CancelAt(u32),
}

/// Plays attempts until one concludes, perhaps a second one, and the cleaning of a healthy device.
fn finish(world: &mut World, disturbance: Disturbance) -> Outcome {
    let cancels = disturbance == Disturbance::Random && world.dice.percent(25);
    let random = cancels.then(|| u32::try_from(world.dice.below(60)).unwrap_or(0));
    let (kill_at, cancel) = match disturbance {
        Disturbance::Random => (None, random),
        Disturbance::Nothing => (None, None),
        Disturbance::KillAt(point) => (Some(point), None),
        Disturbance::CancelAt(decision) => (None, Some(decision)),
    };
    let goal = world.order.goal;
    let (mut conclusion, points) = attempt(world, 1, goal, kill_at, cancel);
    if world.broken.is_none() && disturbance == Disturbance::Random && world.dice.percent(20) {
        conclusion = attempt(world, 40, goal, None, None).0;
    }
    heal(world);
    // Where nothing should be left there is little to clean.
    let is_clean = conclusion.as_ref().is_some_and(|conclusion| conclusion.leftovers.is_empty());
    if !is_clean || world.dice.percent(25) {
        attempt(world, 80, Goal::CleanUp, None, None);
        law::cleaned(world);
    }
    if disturbance == Disturbance::Nothing {
        law::one_restart(world);
    }
    law::device(world);
    Outcome { conclusion, broken: world.broken.take(), trace: world.trace.take().unwrap_or_default(), points }
}

/// Lets one process after the other work, until one concludes.
fn attempt(
    world: &mut World,
    first: u32,
    goal: Goal,
    kill_at: Option<u32>,
    cancel: Option<u32>,
) -> (Option<Conclusion>, u32) {
    let (faults, mut points) = (world.faults, 0);
    for number in 0..MAX_RUNNERS {
        if number == DISTURBED_RUNNERS {
            world.faults = Faults { kill: 0, freeze: 0, ..faults };
        }
        let mut runner = Runner::start(world, first + number, goal, kill_at.filter(|_| number == 0));
        let end = runner.run(world, cancel.filter(|_| number == 0));
        points += runner.points();
        // Another runner takes over when the Lease of a frozen one has expired.
        let wait = match end {
            End::Concluded(conclusion) => {
                world.note(|| format!("{conclusion:?}"));
                law::conclusion(world, &conclusion, goal);
                law::earlier(world, &conclusion);
                world.faults = faults;
                return (Some(conclusion), points);
            }
            End::Killed => 1,
            End::Frozen => u64::try_from(world.order.limits.proof.as_millis()).unwrap_or(0),
            End::Superseded | End::Endless => break,
        };
        let pause = world.dice.below(90 * SECOND);
        world.pass(world.device.now + wait + pause);
    }
    world.breaks(|| "an attempt does not end".to_owned());
    world.faults = faults;
    (None, points)
}

/// Ends all faults, and waits until everything has happened that may still happen.
fn heal(world: &mut World) {
    world.faults = Faults::NONE;
    world.pass(world.device.now + 100 * MINUTE);
    world.device.outages.clear();
    world.device.wrong_readings = 0;
}

/// Makes a world from random numbers.
fn world(mut dice: Dice, faults: Faults, traced: bool) -> World {
    let traits = traits(&mut dice);
    let count = 1 + usize::try_from(dice.below(3)).unwrap_or(0);
    let firmware: Vec<Firmware> = (0..count).map(|index| firmware(index, &mut dice)).collect();
    let order = order(&traits, &firmware, &mut dice);
    let mut device = Device::new(traits, firmware);
    leave_earlier(&mut device, &order, &mut dice);
    if dice.percent(12) {
        let ends = device.now + dice.below(3 * 60 * MINUTE);
        device.add_foreign_job(ends);
    }
    World {
        dice,
        device,
        api: Api { keeps_earlier: faults.stale > 0, ..Api::default() },
        order,
        faults,
        frozen: Vec::new(),
        last_read: 0,
        void: Vec::new(),
        broken: None,
        trace: traced.then(Vec::new),
    }
}

/// Leaves an image of an earlier run on the device, or an installation that waits for a reset.
fn leave_earlier(device: &mut Device, order: &Order, dice: &mut Dice) {
    for (index, item) in order.plan.items.iter().enumerate() {
        let is_meant = matches!(&item.action, Action::Install { to, .. } if *to == version(2));
        if !is_meant || !dice.percent(12) {
            continue;
        }
        if dice.percent(60) {
            device.leave_image(index);
        }
        let waits = device.traits.tasks_wait && matches!(device.firmware[index].takes, Effect::After(_));
        if waits && dice.percent(60) {
            let has_queue = matches!(
                order.methods[&item.component.name],
                Method::PushThenEnqueue | Method::PullThenEnqueue
            );
            device.leave_work(index, has_queue);
        }
    }
}

fn traits(dice: &mut Dice) -> Traits {
    let keeps = [5 * MINUTE, 60 * MINUTE, 24 * 60 * MINUTE][usize::try_from(dice.below(3)).unwrap_or(0)];
    let lying = dice.percent(20);
    Traits {
        has_sessions: dice.percent(80),
        lists_sessions: dice.percent(60),
        session_timeout: dice.percent(80).then_some(30 * MINUTE),
        keeps_tasks: dice.percent(75).then_some(keeps),
        forgets_after: keeps,
        forgets_at_reset: dice.percent(60),
        tasks_wait: dice.percent(30),
        knows_versions: dice.percent(30),
        drops_uploads_at_reset: dice.percent(50),
        tells_boot: dice.percent(85),
        gives_tickets: dice.percent(85),
        queues: dice.percent(50),
        lies: if lying { 60 } else { 0 },
        fails: if dice.percent(20) { 40 } else { 0 },
        interrupts: if dice.percent(30) { 70 } else { 0 },
        locks_sessions: dice.percent(8),
        hides_fetching: dice.percent(30),
        drops_short_tasks: dice.percent(20),
        keeps_entries: dice.percent(40),
        posts: dice.percent(3),
        flaps: dice.below(3),
        idle: 5 * MINUTE,
        post: 20 * MINUTE,
        obstacle: [Obstacle::Managed, Obstacle::Locked, Obstacle::HostOff]
            .into_iter()
            .find(|_| dice.percent(3)),
    }
}

fn firmware(index: usize, dice: &mut Dice) -> Firmware {
    let part = if index == 0 { Part::Manager } else { Part::Host };
    let takes = match (part, dice.below(3)) {
        (Part::Manager, 0) => Effect::ByItself,
        (Part::Manager, 1) => Effect::After(ResetTarget::Manager),
        (Part::Host, 0 | 1) => Effect::After(ResetTarget::Host),
        // A wrong claim, which must not restart the host.
        (Part::Manager, _) if dice.percent(10) => Effect::After(ResetTarget::Host),
        (Part::Manager | Part::Host, _) => Effect::AtOnce,
    };
    let long = if dice.percent(10) { 60 * MINUTE } else { 0 };
    let usual = if dice.percent(20) { MINUTE } else { 6 * MINUTE };
    let duration = dice.below(usual) + dice.below(long + 1);
    Firmware {
        version: 1,
        pending: None,
        part,
        takes,
        duration,
        installs: 0,
        is_earlier: false,
        resets: 0,
        replaced: None,
        double_uploads: 0,
    }
}

fn order(traits: &Traits, firmware: &[Firmware], dice: &mut Dice) -> Order {
    let methods = NAMES.iter().take(firmware.len()).map(|name| ((*name).to_owned(), method(dice))).collect();
    let goal = match dice.below(20) {
        0 => Goal::Inventory,
        1 => Goal::Plan,
        2 => Goal::CleanUp,
        _ => Goal::Update,
    };
    let holds = NAMES.iter().zip(firmware).filter(|(_, firmware)| matches!(firmware.takes, Effect::After(_)));
    let holds = holds.map(|(name, _)| (*name).to_owned()).collect();
    Order {
        holds,
        goal,
        scope: if dice.percent(15) { Scope::Stage } else { Scope::Install },
        resets: ResetPolicy { manager: dice.percent(85), host: dice.percent(60) },
        methods,
        preparations: preparations(dice),
        plan: NodePlan { items: firmware.iter().enumerate().map(|(index, _)| item(index, dice)).collect() },
        limits: limits(traits),
    }
}

fn preparations(dice: &mut Dice) -> Vec<Preparation> {
    let verbs = [Verb::ImportAuthority, Verb::Subscribe].into_iter().filter(|_| dice.percent(40));
    verbs.map(|verb| Preparation { verb, mark: "m".to_owned() }).collect()
}

fn method(dice: &mut Dice) -> Method {
    let methods = [
        Method::Push,
        Method::PushThenActivate,
        Method::PushThenEnqueue,
        Method::Pull,
        Method::PullThenActivate,
        Method::PullThenEnqueue,
    ];
    methods[usize::try_from(dice.below(6)).unwrap_or(0)]
}

fn limits(traits: &Traits) -> Limits {
    Limits {
        has_sessions: traits.has_sessions,
        seen: Duration::from_mins(1),
        unseen: Duration::from_mins(5),
        poll: Duration::from_mins(1),
        proof: Duration::from_secs(15),
        idle: Duration::from_millis(traits.idle),
        session_timeout: traits.session_timeout.map(Duration::from_millis),
        away: Duration::from_mins(30),
        refused: Duration::from_mins(30),
        reading: Duration::from_mins(30),
        settle: Duration::from_mins(5),
        settle_failed: Duration::from_mins(1),
        reset: Duration::from_mins(15),
        busy: Duration::from_mins(40),
        post: Duration::from_mins(15),
        overdue: Duration::from_mins(40),
    }
}

/// Plans a component: the last one may require another one, and any may be there already or be
/// installed again.
fn item(index: usize, dice: &mut Dice) -> PlanItem {
    let name = NAMES[index];
    let after = if index == 2 && dice.percent(50) {
        vec![NAMES[usize::from(dice.percent(50))].to_owned()]
    } else {
        Vec::new()
    };
    let rewrite = dice.percent(5);
    let action = match dice.below(10) {
        0 => Action::UpToDate { at: version(1), newer: false },
        _ if rewrite => Action::Install { from: Some(version(1)), to: version(1) },
        _ => Action::Install { from: Some(version(1)), to: version(2) },
    };
    let to = if rewrite || !action.is_install() { version(1) } else { version(2) };
    PlanItem {
        component: part(name, to, dice),
        action,
        package: None,
        before: None,
        after,
        force: Force { rewrite, ..Force::default() },
    }
}

fn part(name: &str, version: String, dice: &mut Dice) -> Component {
    let reboots = [RebootNeed::Never, RebootNeed::IfRequested, RebootNeed::IfRequested, RebootNeed::Always];
    Component {
        name: name.to_owned(),
        version,
        applies_to: AppliesTo::default(),
        installer: InstallerKind::RedfishImage,
        detect: None,
        firmware: None,
        payload: Some(PayloadRef {
            url: String::new(),
            digest: String::new(),
            size: None,
            unpack: false,
            signatures: Vec::new(),
        }),
        requires: Vec::new(),
        needs: Needs::default(),
        reboot: reboots[usize::try_from(dice.below(4)).unwrap_or(0)],
        interruptible: dice.percent(70),
        timeout: Duration::from_mins(10 + dice.below(20)),
    }
}
