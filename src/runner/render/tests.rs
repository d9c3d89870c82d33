//! Tests of waits in statuses.

use super::*;
use crate::api::condition;
use crate::attempt::{Step, Waiting};
use crate::drivers::{Class as _, CleansUp, linux};
use farrier_protocol::Holder;
use farrier_update::{
    Action, AppliesTo, Component, Force, InstallerKind, Millis, Needs, NodePlan, PayloadRef, PlanItem,
    Reason, RebootNeed,
};
use std::sync::Arc;

const NOON: u64 = 1_764_417_600_000;

fn waits(reason: Reason, what: &str, short: &str) -> Waiting {
    Waiting {
        reason,
        what: what.into(),
        short: short.into(),
        holder: Some(Holder { pid: 714, name: "apt-get".into() }),
        since: Millis(NOON),
        until: Some(Millis(NOON + 60_000)),
    }
}

fn rendered(view: &View, phase: &Phase) -> NodeUpdateStatus {
    let (old, now) = (NodeUpdateStatus::default(), condition::now());
    let abilities = Some(linux::Linux.abilities());
    status(&RenderInput {
        old: &old,
        view,
        phase,
        attempt: 1,
        run: "r1",
        abilities,
        generation: None,
        drain: None,
        now: &now,
    })
}

fn words(status: &NodeUpdateStatus, type_: &str) -> String {
    let condition = condition::find(&status.conditions, type_).unwrap();
    format!("{} {}: {}", condition.status, condition.reason, condition.message)
}

/// Otherwise the status of a BMC promises that an engine cleans it, and waits for an engine for ever.
#[test]
fn a_machine_without_an_engine_has_no_words_about_one() {
    static DEVICE: Abilities = Abilities {
        installers: &[],
        takes_engine: false,
        cleans_up: CleansUp::OnlyFarrier,
        has_products: false,
    };
    let (mut old, now, abilities) = (NodeUpdateStatus::default(), condition::now(), Some(&DEVICE));
    let lost = Phase::Ended(End::Failed(Failure::new(Reason::ConnectionLost, "the BMC is gone")));
    for (deploying, phase) in [(true, &Phase::Working), (true, &lost), (false, &lost)] {
        let view = View { deploying, ..View::default() };
        let input = RenderInput {
            old: &old,
            view: &view,
            phase,
            attempt: 1,
            run: "r1",
            abilities,
            generation: None,
            drain: None,
            now: &now,
        };
        let shown = status(&input);
        assert!(condition::find(&shown.conditions, "EngineDeployed").is_none());
        let told = words(&shown, "TornDown");
        assert!(!told.contains("engine") && told.contains("CleanupPending"), "{told}");
        old = shown;
    }
}

/// NetworkPolicies are made from the phase: a step without the right one would close a port.
#[test]
fn the_phase_follows_the_step_while_an_attempt_is_under_way() {
    use crate::api::node_update::Phase::{Deployment, Inventory};
    let applying = Step::Applying { component: "slow".into() };
    for (step, expected) in [
        (Step::Connecting, Inventory),
        (Step::Surveying, Inventory),
        (Step::Fetching, Deployment),
        (applying.clone(), Deployment),
        (Step::Verifying, Deployment),
        (Step::CleaningUp, Inventory),
    ] {
        let view = View { step, ..View::default() };
        assert_eq!(rendered(&view, &Phase::Working).phase, Some(expected), "{:?}", view.step);
    }
    let view = View { step: applying, ..View::default() };
    assert_eq!(rendered(&view, &Phase::Ended(End::Cancelled)).phase, None);
}

/// Otherwise the status would say "Applying, waiting for: the installers to run" while apt-get holds the
/// lock.
#[test]
fn a_wait_is_shown_in_the_step_and_in_the_first_pending_condition() {
    let lock = waits(Reason::PackageManagerBusy, "the lock /var/lib/dpkg/lock", "apt-get");
    let mut view = View {
        step: Step::Applying { component: String::new() },
        engine: Some("/var/lib/farrier-1".into()),
        engine_waiting: Some(lock),
        payloads_verified: 1,
        ..View::default()
    };
    let told = "waiting for the lock /var/lib/dpkg/lock (apt-get, process 714) since 2025-11-29T12:00:00Z, until 2025-11-29T12:01:00Z at most";
    let shown = rendered(&view, &Phase::Working);
    assert_eq!(shown.step.as_deref(), Some("Applying (waits for apt-get)"));
    assert_eq!(words(&shown, "Applied"), format!("Unknown PackageManagerBusy: {told}"));
    assert_eq!(words(&shown, "Succeeded"), format!("Unknown InProgress: Applying: {told}"));
    assert!(words(&shown, "Verified").contains("the second inventory"));
    let waiting = shown.waiting.unwrap();
    assert_eq!(
        (waiting.reason.as_str(), waiting.what.as_str()),
        ("PackageManagerBusy", "the lock /var/lib/dpkg/lock")
    );
    assert_eq!(waiting.holder, Some(crate::api::node_update::Holder { pid: 714, name: "apt-get".into() }));
    assert_eq!(waiting.until.unwrap().0.duration_since(waiting.since.0).as_secs(), 60);

    // While the engine is unreachable, what it waits for is unknown.
    view.waits = vec![waits(Reason::ConnectionLost, "db to answer again", "the machine")];
    let shown = rendered(&view, &Phase::Working);
    assert_eq!(shown.step.as_deref(), Some("Applying (waits for the machine)"));
    assert_eq!(shown.waiting.unwrap().reason, "ConnectionLost");

    for phase in [Phase::Planned, Phase::Ended(End::Cancelled)] {
        assert_eq!(rendered(&view, &phase).waiting, None);
    }
}

/// Otherwise a transfer over a slow link would look like an attempt that does nothing.
#[test]
fn the_transfer_of_the_payloads_is_shown_with_its_deadline() {
    let transfer = Some(waits(Reason::InProgress, "the payloads to arrive on db", "the payloads"));
    let component = Component {
        name: "tool".into(),
        version: "1".into(),
        applies_to: AppliesTo::default(),
        installer: InstallerKind::Script,
        detect: None,
        firmware: None,
        payload: Some(PayloadRef {
            url: "file:///tool".into(),
            digest: String::new(),
            size: None,
            unpack: false,
            signatures: Vec::new(),
        }),
        requires: Vec::new(),
        needs: Needs::default(),
        reboot: RebootNeed::Never,
        interruptible: true,
        timeout: std::time::Duration::from_mins(1),
    };
    let item = PlanItem {
        component,
        package: None,
        action: Action::Install { from: None, to: "1".into() },
        before: None,
        after: Vec::new(),
        force: Force::default(),
    };
    let plan = Some(Arc::new(NodePlan { items: vec![item] }));
    let applying = |component: &str| Step::Applying { component: component.into() };
    let view = View { step: applying(""), transfer, plan, ..View::default() };
    let shown = rendered(&view, &Phase::Working).waiting.expect("a wait");
    assert!(shown.until.is_some() && shown.what.contains("payloads"));
    let (other, arrived) = (applying("tool"), View { payloads_verified: 1, ..view.clone() });
    for view in [View { step: other, ..view.clone() }, arrived.clone()] {
        assert_eq!(rendered(&view, &Phase::Working).waiting, None);
    }

    // What comes from the repositories of the machine has no payload to wait for.
    let [with] = view.plan.as_ref().unwrap().items.as_slice() else { panic!("one item") };
    let mut without = with.clone();
    without.component.payload = None;
    let plan = |items: &[&PlanItem]| {
        Some(Arc::new(NodePlan { items: items.iter().map(|&item| item.clone()).collect() }))
    };
    let mixed = View { plan: plan(&[with, &without]), payloads_staged: 1, ..arrived };
    let shown = rendered(&mixed, &Phase::Working);
    assert_eq!(shown.waiting, None);
    let told = words(&shown, "PayloadVerified");
    assert!(told.starts_with("True PayloadVerified") && told.contains("all payloads were staged"), "{told}");
    let shown = rendered(&View { plan: plan(&[&without]), ..view }, &Phase::Working);
    assert_eq!(words(&shown, "PayloadVerified"), "True NotRequired: no payload is needed");
}

/// Waits for disk space for the payloads and for another engine occur before an installer is due.
#[test]
fn a_wait_before_the_installers_is_shown_in_the_condition_that_it_blocks() {
    let waits_for = vec![waits(Reason::MachineBusy, "another engine to leave db", "another engine")];
    let view = View { step: Step::Deploying, waits: waits_for, ..View::default() };
    let shown = rendered(&view, &Phase::Working);
    assert!(words(&shown, "EngineDeployed").starts_with("Unknown MachineBusy: waiting for another engine"));
    assert!(words(&shown, "Applied").starts_with("Unknown InProgress: waiting for: the installers"));
    let engine_waiting = Some(waits(Reason::DiskFull, "room", "room"));
    let engine = Some("/var/lib/farrier-1".into());
    let shown = rendered(&View { engine_waiting, engine, ..View::default() }, &Phase::Working);
    assert!(words(&shown, "PayloadVerified").starts_with("Unknown DiskFull: waiting for room"));
    assert!(words(&shown, "Applied").starts_with("Unknown InProgress: waiting for: the installers"));
}

/// Otherwise a machine that could not be cleaned counts as clean because the next attempt waited in vain for its Lease:
/// nobody looks at it, and other tools are let onto it.
#[test]
fn what_an_earlier_attempt_left_counts_until_a_look_proves_otherwise() {
    let now = condition::now();
    let render = |old: &NodeUpdateStatus, view: &View, phase: &Phase| {
        status(&RenderInput {
            old,
            view,
            phase,
            attempt: 2,
            run: "r1",
            abilities: Some(linux::Linux.abilities()),
            generation: None,
            drain: None,
            now: &now,
        })
    };
    let fails = |reason| Phase::Ended(End::Failed(Failure::new(reason, "x")));
    for reason in [Reason::Leftovers, Reason::CleanupFailed, Reason::CleanupPending] {
        let failure = Failure::new(reason, "/var/lib/farrier is left");
        let left = vec!["/var/lib/farrier".to_owned()];
        let first = View { clean: Some(Err(failure)), leftovers: left.clone(), ..View::default() };
        let retrying = Phase::Retrying { failure: Failure::new(reason, "x"), at: now.clone() };
        let old = render(&NodeUpdateStatus::default(), &first, &retrying);
        let working = render(&old, &View::default(), &Phase::Working);
        assert!(words(&working, "TornDown").starts_with(&format!("Unknown {reason}: ")), "{reason}");
        let ended = render(&working, &View::default(), &fails(Reason::NodeInUse));
        assert!(words(&ended, "TornDown").starts_with(&format!("False {reason}: ")), "{reason}");
        assert_eq!((working.leftovers, ended.leftovers), (left.clone(), left));
        let looked = View { clean: Some(Ok(())), ..View::default() };
        let clean = render(&old, &looked, &fails(Reason::InstallerFailed));
        assert!(words(&clean, "TornDown").starts_with("True NothingLeftBehind: "), "{reason}");
        assert!(clean.leftovers.is_empty());
    }
    let untouched = render(&NodeUpdateStatus::default(), &View::default(), &Phase::Working);
    let ended = render(&untouched, &View::default(), &fails(Reason::NodeInUse));
    assert_eq!(words(&ended, "TornDown"), "True NothingLeftBehind: nothing was put on the machine");
}

/// Otherwise a machine that waits for the night looks as if its work had begun, or as if something were on it, and a
/// cancelled run cleans a machine that it has never reached.
#[test]
fn a_machine_outside_of_its_window_waits_with_nothing_on_it() {
    let (old, view, now) = (NodeUpdateStatus::default(), View::default(), condition::now());
    let phase = Phase::OutsideWindow { words: "it opens at noon".into(), opens: now.clone() };
    let input = |attempt| RenderInput {
        old: &old,
        view: &view,
        phase: &phase,
        attempt,
        run: "r1",
        abilities: Some(linux::Linux.abilities()),
        generation: None,
        drain: None,
        now: &now,
    };
    let shown = status(&input(0));
    assert_eq!(words(&shown, "Succeeded"), "Unknown OutsideWindow: it opens at noon");
    assert_eq!(words(&shown, "Reachable"), "Unknown OutsideWindow: it opens at noon");
    assert!(words(&shown, "TornDown").starts_with("True NothingLeftBehind"));
    assert_eq!((shown.next_attempt_at, shown.started_at), (Some(now.clone()), None));
    assert_eq!(shown.step.as_deref(), Some("WaitingForWindow"));
    assert_eq!(status(&input(1)).started_at, Some(now.clone()), "after a failed attempt");
}
