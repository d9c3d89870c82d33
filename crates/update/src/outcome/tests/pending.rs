//! Tests of firmware that is on a device and not in effect.

use super::*;
use farrier_protocol::{Pending, PendingUntil};

fn waiting(version: &str, to: &str, until: PendingUntil) -> Reading {
    let pending = Some(Pending { version: to.to_owned(), until });
    Reading::Present { version: version.to_owned(), instances: Vec::new(), pending }
}

/// Firmware that waits for a reboot has neither failed nor is it in effect.
#[test]
fn a_version_that_the_machine_lists_as_waiting_is_pending() {
    let mut firmware = item(Some("1.0"));
    firmware.component.installer = InstallerKind::Fwupd;
    for (until, reason, words) in [
        (PendingUntil::Reboot, Reason::RebootPending, "after the next reboot"),
        (PendingUntil::PowerCycle, Reason::PowerCyclePending, "switched off and on"),
        (PendingUntil::Activation, Reason::RebootPending, "fwupdmgr activate"),
        (PendingUntil::Unknown, Reason::RebootPending, "after the next reboot"),
    ] {
        let result = check(&firmware, Some(&exited(0)), Some(waiting("1.0", "1.1", until)));
        assert_eq!((result.outcome, result.reason), (Outcome::RebootPending, reason));
        assert!(result.message.contains(words) && result.message.contains("until then 1.0"), "{result:?}");
        assert_eq!((result.before.as_str(), result.after.as_str()), ("1.0", "1.0"));
    }
    // What waited before the run may have taken effect meanwhile.
    for reason in [Reason::RebootPending, Reason::PowerCyclePending] {
        let action = Action::Blocked { why: "x 1.1 waits".to_owned(), reason };
        let before = waiting("1.0", "1.1", PendingUntil::Reboot);
        let waited = PlanItem { action, before: Some(before.clone()), ..firmware.clone() };
        assert_eq!(check(&waited, None, Some(present("1.1"))).outcome, Outcome::Updated);
        for after in [None, Some(before), Some(present("1.0"))] {
            let result = check(&waited, None, after);
            assert_eq!((result.outcome, result.reason), (Outcome::RebootPending, reason));
            assert_eq!(result.message, "x 1.1 waits");
        }
    }
    // Another version waits: the required one was not installed.
    let other = waiting("1.0", "1.0.5", PendingUntil::Reboot);
    assert_eq!(check(&firmware, Some(&exited(0)), Some(other)).outcome, Outcome::Failed);
    // An installer that failed has not undone what it had staged.
    let result = check(&firmware, Some(&exited(1)), Some(waiting("1.0", "1.1", PendingUntil::Reboot)));
    assert_eq!(result.outcome, Outcome::RebootPending);
    assert!(result.message.contains("exited with 1"), "{}", result.message);
}
