//! Tests of the decision about a reboot.

use super::RebootPolicy::{Always, IfRequired, Never};
use super::*;
use farrier_protocol::Holder;

fn result(outcome: Outcome, reason: Reason) -> ComponentResult {
    ComponentResult {
        name: "bios".into(),
        outcome,
        reason,
        before: "1.0".into(),
        after: "2.0".into(),
        exit_code: Some(0),
        started_at: None,
        finished_at: None,
        message: "bios 2.0 takes effect after the next reboot of the machine".into(),
        parts: Vec::new(),
    }
}

/// A machine would be rebooted for nothing, or not although a component waits for it.
#[test]
fn one_reboot_serves_all_components_that_need_it() {
    let pending = result(Outcome::RebootPending, Reason::RebootPending);
    let power_cycle = result(Outcome::RebootPending, Reason::PowerCyclePending);
    let unread = result(Outcome::Unverified, Reason::RebootPending);
    let updated = result(Outcome::Updated, Reason::Verified);
    let failed = result(Outcome::Failed, Reason::InstallerFailed);
    let current = result(Outcome::UpToDate, Reason::AlreadyCurrent);
    for (policy, results, needed) in [
        (Never, vec![&pending, &unread], false),
        (IfRequired, vec![&pending], true),
        (IfRequired, vec![&unread], true),
        (IfRequired, vec![&failed, &pending, &pending], true),
        (IfRequired, vec![&updated, &current], false),
        (Always, vec![&updated], true),
        (Always, vec![&current], false),
        (Always, vec![&failed], false),
        (IfRequired, vec![&power_cycle], false),
        (IfRequired, vec![&power_cycle, &pending], true),
        (Always, vec![&power_cycle], false),
        (Always, vec![], false),
    ] {
        let results: Vec<_> = results.into_iter().cloned().collect();
        assert_eq!(is_needed(policy, &results), needed, "{policy:?} {results:?}");
    }
}

/// A machine would be rebooted by every run for firmware that a reboot does not put into effect; and firmware that a
/// reboot has not harmed would count as failed.
#[test]
fn after_a_reboot_only_what_needs_a_power_cycle_still_waits() {
    let pending = result(Outcome::RebootPending, Reason::RebootPending);
    let power_cycle = ComponentResult {
        name: "nic".into(),
        message: "nic waits for a power cycle".into(),
        ..result(Outcome::RebootPending, Reason::PowerCyclePending)
    };
    let before = [pending.clone(), power_cycle.clone()];
    let after = |bios: &ComponentResult, outcome, reason| {
        let nic = ComponentResult { outcome, reason, message: "other".into(), ..power_cycle.clone() };
        let mut results = [bios.clone(), nic];
        check_pending(&mut results, &before);
        results
    };
    // fwupd calls firmware failed that is not in effect after a reboot.
    let [bios, nic] = after(&pending, Outcome::Failed, Reason::VersionNotReached);
    assert_eq!((bios.outcome, bios.reason), (Outcome::Failed, Reason::VersionNotReached));
    assert!(bios.message.starts_with("bios is still 2.0 after the reboot"), "{}", bios.message);
    assert_eq!(nic, power_cycle);
    let unread = ComponentResult { after: String::new(), ..pending.clone() };
    let [bios, nic] = after(&unread, Outcome::Updated, Reason::Verified);
    assert_eq!((bios.outcome, bios.reason), (Outcome::Unverified, Reason::NotVerified));
    assert_eq!(nic.outcome, Outcome::Updated);
    let updated = result(Outcome::Updated, Reason::Verified);
    assert_eq!(after(&updated, Outcome::Updated, Reason::Verified)[0], updated);
}

/// A pending reboot would count as a success although the run asks for the reboot.
#[test]
fn a_reboot_that_did_not_come_is_no_success_and_says_why() {
    let holder = Some(Holder { pid: 714, name: "borg".into() });
    let why = NoReboot::Inhibited { who: "backup".into(), why: "writes to tape".into(), holder };
    let (reason, message) = why_not(&NodeName("db".into()), &why);
    assert_eq!(reason, Reason::RebootInhibited);
    assert!(
        message.contains("backup inhibits its shutdown (writes to tape, borg, process 714)"),
        "{message}"
    );
    for outcome in [Outcome::RebootPending, Outcome::Unverified] {
        let results =
            vec![result(outcome, Reason::RebootPending), result(Outcome::Updated, Reason::Verified)];
        let (results, verdict) = conclude_without(results, reason, &message);
        assert_eq!(verdict, NodeVerdict::Failed { reason, message: message.clone() });
        assert_eq!(results[0].outcome, outcome);
        assert!(results[0].message.ends_with(&message), "{}", results[0].message);
        assert!(!results[1].message.contains(&message));
    }
    let pending = || vec![result(Outcome::RebootPending, Reason::RebootPending)];
    let (reason, message) = why_not(&NodeName("db".into()), &NoReboot::Cancelled);
    let (_, verdict) = conclude_without(pending(), reason, &message);
    assert_eq!(verdict, NodeVerdict::Cancelled { message });
    let failed = [pending(), vec![result(Outcome::Failed, Reason::InstallerFailed)]].concat();
    let (_, verdict) = conclude_without(failed, Reason::RebootFailed, "x");
    assert!(matches!(verdict, NodeVerdict::Failed { reason: Reason::InstallerFailed, .. }), "{verdict:?}");
}
