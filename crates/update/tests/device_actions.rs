//! The form of a device's actions in the status of a NodeUpdate, and single decisions that the
//! laws do not pin down.

use farrier_update::InstallerKind;
use farrier_update::device::{
    Action, ActionId, Answer, Artifact, ArtifactKind, BootMarks, Change, Ending, Entry, Followed, Goal,
    Inventory, Limits, Method, Next, Observed, Obstacle, Part, Progress, ResetPolicy, Scope, State, Ticket,
    Verb, Waiting, next,
};
use farrier_update::model::{AppliesTo, Component, Force, Millis, Needs, PayloadRef, RebootNeed, RunnerName};
use farrier_update::plan::{self, NodePlan, PlanItem};
use farrier_update::reason::Reason;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

fn install() -> Action {
    Action {
        id: ActionId(3),
        verb: Verb::Activate,
        component: "bmc".into(),
        state: State::Begun,
        of: None,
        follows: "1.4".into(),
        to: "1.5".into(),
        boot: "b7".into(),
        members: Vec::new(),
        ticket: Some(Ticket("/redfish/v1/TaskService/Tasks/9".into())),
        until: Some(Millis(5000)),
        by: RunnerName::from("r0"),
        at: Millis(2000),
        ending: None,
    }
}

/// The status of a NodeUpdate outlives versions of the operator.
#[test]
fn an_action_keeps_its_form() {
    let written = json!({
        "id": 3,
        "verb": "Activate",
        "component": "bmc",
        "state": "Begun",
        "follows": "1.4",
        "to": "1.5",
        "boot": "b7",
        "ticket": "/redfish/v1/TaskService/Tasks/9",
        "until": 5000,
        "by": "r0",
        "at": 2000,
    });
    assert_eq!(serde_json::to_value(install()).unwrap(), written);
    assert_eq!(serde_json::from_value::<Action>(written).unwrap(), install());
    let session = json!({"id": 1, "verb": "SignIn", "state": "Intended", "by": "r0", "at": 1});
    let read: Action = serde_json::from_value(session.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), session);
}

/// After a downgrade of the operator, a list that cannot be read stops the work on a device in the
/// middle; a word that is taken for another one repeats it.
#[test]
fn words_of_a_later_version_are_read_and_may_have_begun() {
    let read = |verb: &str, state: &str, ending: &str| {
        let action = json!({"id": 1, "verb": verb, "state": state, "by": "r0", "at": 1, "ending": ending});
        serde_json::from_value::<Action>(action).unwrap()
    };
    let action = read("Defragment", "Paused", "Postponed");
    assert_eq!(
        (action.verb, action.state, action.ending),
        (Verb::Unknown, State::Unknown, Some(Ending::Unknown))
    );
    assert!(action.is_unresolved() && !action.is_void());
    assert!(read("Activate", "Paused", "NotBegun").is_unresolved());
    assert!(read("Activate", "Ended", "Postponed").is_unresolved());
    assert!(!read("SignIn", "Ended", "Unverified").is_unresolved());
}

/// A device that answers without a name for the work may only have begun it.
#[test]
fn an_answer_without_a_ticket_ends_nothing_that_goes_on() {
    let action = |verb, to: &str| Action { verb, to: to.into(), ..install() };
    let done = |action: Action| action.answered(&Answer::Done);
    assert_eq!(done(action(Verb::Upload, "")), Some(Change::Ended(Ending::Done)));
    assert_eq!(done(action(Verb::SignOut, "")), Some(Change::Ended(Ending::Done)));
    assert_eq!(done(action(Verb::Upload, "1.5")), Some(Change::Begun(None)));
    assert_eq!(done(action(Verb::Pull, "")), Some(Change::Begun(None)));
    assert_eq!(done(action(Verb::ResetManager, "1.5")), Some(Change::Begun(None)));
    assert_eq!(install().answered(&Answer::Unknown), None);
    assert_eq!(install().answered(&Answer::NotBegun), Some(Change::Ended(Ending::NotBegun)));
}

/// Decides with a list of actions and without readings.
fn decide(goal: Goal, cancelled: bool, actions: &[Action], readings: &[Inventory]) -> Next {
    next(&Observed { cancelled, actions, readings, limits: &Limits::default(), ..observed(goal) })
}

/// Returns facts of which nothing is known yet.
fn observed(goal: Goal) -> Observed<'static> {
    static METHODS: BTreeMap<String, Method> = BTreeMap::new();
    static NAMES: BTreeSet<String> = BTreeSet::new();
    static IDS: BTreeSet<ActionId> = BTreeSet::new();
    static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::default);
    Observed {
        now: Millis(10_000),
        since: Millis(9000),
        goal,
        scope: Scope::Install,
        cancelled: false,
        plan: None,
        methods: &METHODS,
        holds: &NAMES,
        actions: &[],
        session: None,
        readings: &[],
        obstructed_since: None,
        followed: None,
        silence: None,
        unfetched: &IDS,
        withdrawn: &IDS,
        preparations: &[],
        not_before: None,
        resets: ResetPolicy { manager: true, host: false },
        limits: &LIMITS,
    }
}

/// Returns the reading of a device that shows nothing.
const fn nothing() -> Inventory {
    Inventory {
        at: Millis(0),
        entries: BTreeMap::new(),
        boot: BootMarks { manager: String::new(), host: String::new() },
        tasks: Vec::new(),
        artifacts: Vec::new(),
        earlier: Vec::new(),
        keeps_tasks: None,
        lists_sessions: false,
        obstacles: Vec::new(),
    }
}

/// Returns a component of the host that takes effect when it is restarted.
fn component(name: &str) -> Component {
    Component {
        name: name.to_owned(),
        version: "1.5".into(),
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
        needs: Needs::default(),
        requires: Vec::new(),
        reboot: RebootNeed::IfRequested,
        interruptible: true,
        timeout: Duration::from_mins(10),
    }
}

/// A device that nobody has signed in to is not contacted only to find that nothing is there.
#[test]
fn a_cancelled_update_that_never_began_ends_without_contact() {
    assert!(matches!(decide(Goal::Update, true, &[], &[]), Next::Conclude(_)));
    assert!(matches!(decide(Goal::CleanUp, false, &[], &[]), Next::Conclude(_)));
    assert!(
        matches!(decide(Goal::Update, false, &[], &[]), Next::Intend(intent) if intent.verb == Verb::SignIn)
    );
    assert!(matches!(decide(Goal::CleanUp, false, &[install()], &[]), Next::Intend(_)));
}

/// An entry that an earlier run has queued is left behind another manager's task for an hour otherwise.
#[test]
fn an_entry_that_was_taken_over_leaves_the_queue_after_a_cancellation() {
    let adopted = Action { verb: Verb::AdoptWork, until: Some(Millis(u64::MAX)), ..install() };
    let ticket = Ticket("1".into());
    let decide = |artifacts: Vec<Artifact>| {
        let reading = Inventory { at: Millis(9500), artifacts, ..nothing() };
        let limits = Limits { has_sessions: false, ..Limits::default() };
        next(&Observed {
            cancelled: true,
            actions: std::slice::from_ref(&adopted),
            readings: &[reading],
            followed: Some(Followed { action: adopted.id, at: Millis(9900), progress: Progress::Queued }),
            limits: &limits,
            ..observed(Goal::Update)
        })
    };
    let entry = Artifact { kind: ArtifactKind::QueueEntry, ticket, action: adopted.id, whole: true };
    assert!(matches!(decide(vec![entry]), Next::Intend(intent) if intent.verb == Verb::RemoveQueueEntry));
    // What is not in a queue cannot leave it.
    assert!(matches!(decide(Vec::new()), Next::Wait { on: Waiting::Task(..), .. }));
}

/// A plan that installs this component.
fn to_install(name: &str) -> NodePlan {
    let component = component(name);
    let item = PlanItem {
        action: plan::Action::Install { from: Some("1.4".into()), to: component.version.clone() },
        component,
        package: None,
        before: None,
        after: Vec::new(),
        force: Force::default(),
    };
    NodePlan { items: vec![item] }
}

/// A runner that takes over after a command that nobody answered would believe a pair to be updated of which one module
/// is away: what was there is known only if it was recorded before.
#[test]
fn an_intent_names_all_that_must_have_the_version() {
    let limits = Limits { has_sessions: false, ..Limits::default() };
    let plan = to_install("oa");
    let methods = BTreeMap::from([("oa".to_owned(), Method::Pull)]);
    let members = vec!["bay 1".to_owned(), "bay 2".to_owned()];
    let entry = Entry { version: "1.4".into(), part: Part::Manager, pending: None, members: members.clone() };
    let reading = Inventory { entries: BTreeMap::from([("oa".to_owned(), entry)]), ..nothing() };
    let decided = next(&Observed {
        plan: Some(&plan),
        methods: &methods,
        readings: &[reading.clone(), reading.clone(), reading],
        limits: &limits,
        ..observed(Goal::Update)
    });
    let Next::Intend(intent) = decided else { panic!("{decided:?}") };
    let action = intent.into_action("r0".into(), Millis(9000));
    assert_eq!((action.verb, &action.members), (Verb::Pull, &members));
    let stored = serde_json::to_string(&action).unwrap();
    assert_eq!(serde_json::from_str::<Action>(&stored).unwrap(), action);
}

/// A host that somebody else has restarted after half an hour of work is waited for as well, and a host that never
/// leaves its self-test is not.
#[test]
fn a_self_test_is_waited_for_from_its_first_reading() {
    let limits = Limits { has_sessions: false, ..Limits::default() };
    let minute = 60_000;
    let entry = Entry { version: "1.4".into(), part: Part::Host, pending: None, members: Vec::new() };
    let plan = to_install("bios");
    let methods = BTreeMap::from([("bios".to_owned(), Method::Push)]);
    let reading = |at| Inventory {
        at: Millis(at),
        entries: BTreeMap::from([("bios".to_owned(), entry.clone())]),
        obstacles: vec![Obstacle::HostInPost],
        ..nothing()
    };
    let decide = |now: u64, obstructed_since: u64| {
        let readings = [reading(now), reading(now), reading(now)];
        next(&Observed {
            now: Millis(now),
            since: Millis(0),
            plan: Some(&plan),
            methods: &methods,
            readings: &readings,
            obstructed_since: readings[0].obstructed_since(Some(Millis(obstructed_since))),
            limits: &limits,
            ..observed(Goal::Update)
        })
    };
    let until = |minutes: u64| Waiting::Post(Millis(minutes * minute));
    assert!(matches!(decide(31 * minute, 30 * minute), Next::Wait { on, .. } if on == until(45)));
    assert!(matches!(decide(46 * minute, 30 * minute), Next::Conclude(_)));
    // Neither is one that alternates between its self-test and others' work.
    assert!(matches!(decide(74 * minute, 73 * minute), Next::Wait { on, .. } if on == until(75)));
    assert!(matches!(decide(76 * minute, 73 * minute), Next::Conclude(_)));
    assert_eq!(nothing().obstructed_since(Some(Millis(1))), None);
    assert_eq!(reading(5).obstructed_since(None), Some(Millis(5)));
}

/// A wait is shown to users.
#[test]
fn a_wait_has_a_reason_and_says_until_when() {
    let wait = Waiting::Device(Millis(1_796_040_900_000));
    assert_eq!(wait.to_string(), "an answer of the device, which is asked again until 2026-11-30T12:15:00Z");
    assert_eq!(wait.reason(), Reason::ConnectionLost);
    assert_eq!(Waiting::Reading.reason(), Reason::InProgress);
    assert_eq!(Waiting::Other(Millis(0)).reason(), Reason::MachineBusy);
}
