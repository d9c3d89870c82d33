//! Tests of the results of components and nodes: the reading decides, the exit code
//! explains.

use super::*;
use crate::installer::InstallerKind;
use crate::model::{AppliesTo, Component, Force, Needs, PayloadRef, RebootNeed};
use farrier_protocol::FailureCode;
use proptest::prelude::*;
use std::time::Duration;

mod pending;
mod staged;

fn item(from: Option<&str>) -> PlanItem {
    let component = Component {
        name: "ethtool".to_owned(),
        version: "1.1".to_owned(),
        applies_to: AppliesTo::default(),
        installer: InstallerKind::Deb,
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
        reboot: RebootNeed::IfRequested,
        interruptible: true,
        timeout: Duration::from_mins(1),
    };
    PlanItem {
        component,
        action: Action::Install { from: from.map(str::to_owned), to: "1.1".to_owned() },
        package: None,
        before: Some(from.map_or(Reading::Absent, Reading::present)),
        after: Vec::new(),
        force: Force::default(),
    }
}

fn exited(code: i32) -> StepRecord {
    StepRecord {
        started_at: Some(Millis(5)),
        finished_at: Some(Millis(9)),
        exit: Some(StepExit::Exited { code }),
        output: "Setting up\ndpkg: error: no such thing\n\n".to_owned(),
        rebooted: false,
    }
}

fn ended(exit: StepExit) -> StepRecord {
    StepRecord { exit: Some(exit), ..StepRecord::default() }
}

fn present(version: &str) -> Reading {
    Reading::present(version)
}

#[expect(clippy::needless_pass_by_value, reason = "the tests read better without references")]
fn check(item: &PlanItem, step: Option<&StepRecord>, after: Option<Reading>) -> ComponentResult {
    conclude(item, step, after.as_ref())
}

/// The basic case: an error here affects every machine.
#[test]
fn an_installed_component_is_updated() {
    let expected = ComponentResult {
        name: "ethtool".to_owned(),
        outcome: Outcome::Updated,
        reason: Reason::Verified,
        before: "1.0".to_owned(),
        after: "1.1".to_owned(),
        exit_code: Some(0),
        started_at: Some(Millis(5)),
        finished_at: Some(Millis(9)),
        message: String::new(),
        parts: Vec::new(),
    };
    assert_eq!(check(&item(Some("1.0")), Some(&exited(0)), Some(present("1.1"))), expected);
    let newer = check(&item(None), Some(&exited(0)), Some(present("1.2")));
    assert_eq!((newer.outcome, newer.before.as_str(), newer.after.as_str()), (Outcome::Updated, "", "1.2"));
}

/// An installer that exits with 0 and does nothing has failed; other tools report success.
#[test]
fn exit_code_zero_without_the_version_is_a_failure() {
    let result = check(&item(Some("1.0")), Some(&exited(0)), Some(present("1.0")));
    assert_eq!((result.outcome, result.reason), (Outcome::Failed, Reason::VersionNotReached));
    assert_eq!(
        result.message,
        "the installer of ethtool exited with 0 (installed), but ethtool is still 1.0, not 1.1; \
         its last output: Setting up / dpkg: error: no such thing; the full log is on the machine, see status.logs"
    );
    let absent = check(&item(None), Some(&exited(0)), Some(Reading::Absent));
    assert_eq!((absent.outcome, absent.reason), (Outcome::Failed, Reason::VersionNotReached));
    let broken = Reading::broken("1.1", "half-configured");
    let broken = check(&item(None), Some(&exited(0)), Some(broken));
    assert_eq!((broken.outcome, broken.after.as_str()), (Outcome::Failed, "1.1 (half-configured)"));
    assert!(broken.message.contains("is half-configured"), "{}", broken.message);
}

/// A package that is installed and works counts as installed, regardless of the installer's
/// output.
#[test]
fn a_failing_installer_that_reached_the_version_has_updated() {
    let result = check(&item(Some("1.0")), Some(&exited(1)), Some(present("1.1")));
    assert_eq!((result.outcome, result.exit_code), (Outcome::Updated, Some(1)));
    assert!(
        result.message.contains("exited with 1") && result.message.contains("no such thing"),
        "{result:?}"
    );
    let result = check(&item(Some("1.0")), Some(&ended(StepExit::Skipped)), Some(present("1.1")));
    assert_eq!(result.outcome, Outcome::Updated);
}

/// Each kind of failure has its own reason, because each requires a different next step.
#[test]
fn failures_have_distinct_reasons() {
    let cases = [
        (StepExit::Exited { code: 1 }, Outcome::Failed, Reason::InstallerFailed),
        (StepExit::Signalled { signal: 11 }, Outcome::Failed, Reason::InstallerFailed),
        (StepExit::TimedOut, Outcome::Failed, Reason::InstallerTimedOut),
        (StepExit::Interrupted, Outcome::Failed, Reason::InstallerInterrupted),
        (not_started(FailureCode::Other), Outcome::Failed, Reason::InstallerFailed),
        (not_started(FailureCode::DiskFull), Outcome::Failed, Reason::DiskFull),
        (not_started(FailureCode::PackageManagerBusy), Outcome::Failed, Reason::PackageManagerBusy),
        (StepExit::DependencyMissing, Outcome::DependencyMissing, Reason::DependencyMissing),
        (StepExit::Skipped, Outcome::Skipped, Reason::DependencyFailed),
        (StepExit::Cancelled, Outcome::Cancelled, Reason::Cancelled),
    ];
    for (exit, outcome, reason) in cases {
        let result = check(&item(Some("1.0")), Some(&ended(exit.clone())), Some(present("1.0")));
        assert_eq!((result.outcome, result.reason), (outcome, reason), "{exit:?}");
        assert!(result.message.contains("ethtool"), "{}", result.message);
    }
    let lost = StepRecord { started_at: Some(Millis(1)), ..StepRecord::default() };
    let result = check(&item(Some("1.0")), Some(&lost), Some(present("1.0")));
    assert_eq!((result.outcome, result.reason), (Outcome::Failed, Reason::EngineLost));
    let result = check(&item(Some("1.0")), None, Some(present("1.0")));
    assert_eq!((result.outcome, result.reason), (Outcome::Skipped, Reason::EngineFailed));
}

/// A success that was not verified does not count as success.
#[test]
fn without_a_second_reading_nothing_is_proven() {
    for after in [None, Some(Reading::Unreadable { detail: "timeout".to_owned() })] {
        for step in [exited(0), exited(1), ended(StepExit::TimedOut)] {
            let result = check(&item(Some("1.0")), Some(&step), after.clone());
            assert_eq!((result.outcome, result.reason), (Outcome::Unverified, Reason::NotVerified));
            assert!(result.after.is_empty());
        }
        // An installer that was never started needs no proof that it changed nothing.
        let result = check(&item(Some("1.0")), Some(&ended(StepExit::Cancelled)), after.clone());
        assert_eq!(result.outcome, Outcome::Cancelled);
        assert_eq!(check(&item(Some("1.0")), None, after).outcome, Outcome::Skipped);
    }
}

/// If the version was installed before, only the exit code shows the result.
#[test]
fn a_rewrite_is_judged_by_its_exit_code() {
    let mut again = item(Some("1.1"));
    again.force.rewrite = true;
    assert_eq!(check(&again, Some(&exited(0)), Some(present("1.1"))).outcome, Outcome::Updated);
    let failed = check(&again, Some(&exited(1)), Some(present("1.1")));
    assert_eq!((failed.outcome, failed.reason), (Outcome::Failed, Reason::InstallerFailed));
    assert_eq!(check(&again, None, Some(present("1.1"))).outcome, Outcome::Skipped);
    // The reading proves a repair, because the version was broken before.
    let mut repair = item(Some("1.1"));
    repair.before = Some(Reading::broken("1.1", "half-configured"));
    assert_eq!(check(&repair, Some(&exited(1)), Some(present("1.1"))).outcome, Outcome::Updated);
}

/// A check for "at least this version" would report a downgrade that did nothing as done.
#[test]
fn a_downgrade_must_reach_the_exact_version() {
    let mut down = item(Some("2.0"));
    down.force.downgrade = true;
    assert_eq!(check(&down, Some(&exited(0)), Some(present("2.0"))).outcome, Outcome::Failed);
    assert_eq!(check(&down, Some(&exited(0)), Some(present("1.1"))).outcome, Outcome::Updated);
    assert_eq!(check(&down, Some(&exited(0)), Some(present("1.0"))).outcome, Outcome::Failed);
}

/// A pending reboot must be reported, and must not hide that nothing was installed.
#[test]
fn reboots_are_reported_as_pending() {
    let with = |installer, reboot| {
        let mut item = item(Some("1.0"));
        item.component.installer = installer;
        item.component.reboot = reboot;
        item
    };
    let outcome =
        |item: &PlanItem, code, now: &str| check(item, Some(&exited(code)), Some(present(now))).outcome;
    let always = with(InstallerKind::Script, RebootNeed::Always);
    assert_eq!(outcome(&always, 0, "1.1"), Outcome::RebootPending);
    assert_eq!(outcome(&always, 1, "1.1"), Outcome::RebootPending);
    assert_eq!(outcome(&always, 0, "1.0"), Outcome::Unverified);
    assert_eq!(outcome(&always, 1, "1.0"), Outcome::Failed);
    let asked = with(InstallerKind::HpeSmartComponent, RebootNeed::IfRequested);
    assert_eq!(outcome(&asked, 1, "1.1"), Outcome::RebootPending);
    assert_eq!(outcome(&asked, 0, "1.1"), Outcome::Updated);
    assert_eq!(outcome(&asked, 1, "1.0"), Outcome::Unverified);
    assert_eq!(outcome(&asked, 0, "1.0"), Outcome::Failed);
    let never = with(InstallerKind::HpeSmartComponent, RebootNeed::Never);
    assert_eq!(outcome(&never, 1, "1.1"), Outcome::Updated);
    assert_eq!(outcome(&never, 1, "1.0"), Outcome::Failed);
}

/// What should show after the reboot and does not would be excused with the reboot that it needs.
#[test]
fn after_the_reboot_nothing_waits_for_it_any_more() {
    let mut item = item(Some("1.0"));
    item.component.installer = InstallerKind::Script;
    item.component.reboot = RebootNeed::Always;
    let after = |now: &str| {
        let step = StepRecord { rebooted: true, ..exited(0) };
        let result = check(&item, Some(&step), Some(present(now)));
        (result.outcome, result.reason, result.message)
    };
    assert_eq!(after("1.1").0, Outcome::Updated);
    let (outcome, reason, message) = after("1.0");
    assert_eq!((outcome, reason), (Outcome::Failed, Reason::VersionNotReached));
    assert!(message.contains("is still 1.0, not 1.1 after the reboot"), "{message}");
}

/// A component that was left alone keeps its version, and is read again nevertheless.
#[test]
fn components_that_were_not_installed_report_the_cause() {
    let with = |action| PlanItem { action, ..item(Some("1.1")) };
    let current = with(Action::UpToDate { at: "1.1".to_owned(), newer: false });
    let result = check(&current, None, None);
    assert_eq!(
        (result.outcome, result.after.as_str(), result.message.as_str()),
        (Outcome::UpToDate, "1.1", "")
    );
    for after in [Reading::Absent, present("1.0")] {
        assert_eq!(check(&current, None, Some(after)).outcome, Outcome::Failed);
    }
    let unreadable = Reading::Unreadable { detail: String::new() };
    assert_eq!(check(&current, None, Some(unreadable)).outcome, Outcome::Unverified);
    let newer = with(Action::UpToDate { at: "2.0".to_owned(), newer: true });
    assert!(check(&newer, None, None).message.contains("2.0 is newer than the baseline's 1.1"));
    let why = || "why".to_owned();
    for (action, outcome, reason) in [
        (Action::NotApplicable { why: why() }, Outcome::NotApplicable, Reason::NotRequired),
        (
            Action::DependencyMissing { missing: vec![why()] },
            Outcome::DependencyMissing,
            Reason::DependencyMissing,
        ),
        (Action::NotSupported { what: why() }, Outcome::Skipped, Reason::NotYetSupported),
        (
            Action::Blocked { why: why(), reason: Reason::NotVerified },
            Outcome::Unverified,
            Reason::NotVerified,
        ),
        (
            Action::Blocked { why: why(), reason: Reason::DependencyMissing },
            Outcome::Skipped,
            Reason::DependencyMissing,
        ),
    ] {
        let result = check(&with(action), None, None);
        assert_eq!((result.outcome, result.reason), (outcome, reason));
        assert!(result.message.contains("why"));
    }
}

fn result(outcome: Outcome, reason: Reason) -> ComponentResult {
    ComponentResult { outcome, reason, message: format!("{outcome}"), ..check(&item(None), None, None) }
}

/// Users act on the reason of a node first.
#[test]
fn the_most_severe_reason_is_the_reason_of_the_node() {
    let good = result(Outcome::Updated, Reason::Verified);
    let failed = |reason| result(Outcome::Failed, reason);
    let reason = |results: &[ComponentResult]| match summarize(results) {
        NodeVerdict::Succeeded { reason, .. } => format!("+{reason}"),
        NodeVerdict::Failed { reason, .. } => format!("-{reason}"),
        NodeVerdict::Cancelled { .. } => "cancelled".to_owned(),
    };
    let skipped = result(Outcome::Skipped, Reason::DependencyFailed);
    let cancelled = result(Outcome::Cancelled, Reason::Cancelled);
    let unverified = result(Outcome::Unverified, Reason::NotVerified);
    let current = result(Outcome::UpToDate, Reason::AlreadyCurrent);
    let other = result(Outcome::NotApplicable, Reason::NotRequired);
    let pending = result(Outcome::RebootPending, Reason::RebootPending);
    assert_eq!(reason(&[]), "+NothingToDo");
    assert_eq!(reason(std::slice::from_ref(&other)), "+NothingToDo");
    assert_eq!(reason(&[current.clone(), other]), "+AlreadyCurrent");
    assert_eq!(reason(&[current, good.clone()]), "+Succeeded");
    let power_cycle = result(Outcome::RebootPending, Reason::PowerCyclePending);
    assert_eq!(reason(&[good.clone(), power_cycle.clone()]), "+PowerCyclePending");
    assert_eq!(reason(&[power_cycle, pending.clone()]), "+RebootPending");
    assert_eq!(reason(&[good.clone(), pending]), "+RebootPending");
    assert_eq!(reason(&[skipped.clone(), failed(Reason::InstallerFailed)]), "-InstallerFailed");
    assert_eq!(
        reason(&[failed(Reason::InstallerFailed), failed(Reason::VersionNotReached)]),
        "-VersionNotReached"
    );
    assert_eq!(reason(&[cancelled.clone(), failed(Reason::InstallerFailed)]), "-InstallerFailed");
    assert_eq!(reason(&[good, cancelled]), "cancelled");
    assert_eq!(reason(&[skipped, unverified]), "-NotVerified");
}

/// A status that says "failed" without a cause makes users look for it on the machine.
#[test]
fn the_message_of_a_node_names_one_failure_and_counts_the_others() {
    let results =
        [result(Outcome::Failed, Reason::InstallerFailed), result(Outcome::Unverified, Reason::NotVerified)];
    let NodeVerdict::Failed { message, .. } = summarize(&results) else { panic!() };
    assert_eq!(message, "Failed (and 1 more, see status.components)");
}

fn not_started(code: FailureCode) -> StepExit {
    StepExit::not_started(code, "noexec".to_owned())
}

fn any_exit() -> impl Strategy<Value = Option<StepExit>> {
    prop_oneof![
        (-3..10_i32).prop_map(|code| Some(StepExit::Exited { code })),
        Just(Some(StepExit::Signalled { signal: 9 })),
        Just(Some(StepExit::TimedOut)),
        Just(Some(StepExit::DependencyMissing)),
        Just(Some(StepExit::Interrupted)),
        Just(Some(StepExit::Cancelled)),
        Just(Some(StepExit::Skipped)),
        Just(Some(not_started(FailureCode::DiskFull))),
        Just(None),
    ]
}

fn any_reading() -> impl Strategy<Value = Option<Reading>> {
    prop_oneof![
        Just(None),
        Just(Some(Reading::Absent)),
        "[0-2]\\.[0-2]".prop_map(|version| Some(Reading::present(version))),
        Just(Some(Reading::broken("1.1", "broken"))),
        Just(Some(Reading::Unreadable { detail: "unreadable".to_owned() })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// No exit code and no output turns a version that is not installed into a success.
    #[test]
    fn only_a_version_that_was_read_is_a_success(
        kind in 0..12_usize,
        reboot in 0..3_usize,
        (downgrade, rewrite) in any::<(bool, bool)>(),
        from in proptest::option::of("[0-2]\\.[0-2]"),
        exit in any_exit(),
        output in any::<String>(),
        after in any_reading(),
    ) {
        let mut item = item(from.as_deref());
        item.component.installer = InstallerKind::ALL[kind];
        item.component.reboot = [RebootNeed::Never, RebootNeed::IfRequested, RebootNeed::Always][reboot];
        item.force = Force { downgrade, rewrite, ..Force::default() };
        let step = StepRecord { exit, output, ..StepRecord::default() };
        let result = check(&item, Some(&step), after.clone());
        if matches!(result.outcome, Outcome::Updated | Outcome::RebootPending | Outcome::UpToDate) {
            let version = match after {
                Some(Reading::Present { version, .. }) => version,
                other @ (None | Some(Reading::Absent | Reading::Broken { .. } | Reading::Unreadable { .. } | Reading::Unknown)) =>
                    return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            prop_assert!(is_enough(&item, &version));
        } else {
            prop_assert!(!result.message.is_empty());
            prop_assert!(result.message.len() < 2000);
        }
    }
}
