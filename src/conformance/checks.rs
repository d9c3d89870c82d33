//! The table of checks.

mod cuts;
mod faults;
mod whole;

use super::fault::Fault;
use super::kit::{Kit, Tried};
use futures::future::LocalBoxFuture;

/// One check: what every driver must do.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) run: for<'k> fn(&'k Kit<'k>) -> LocalBoxFuture<'k, Tried>,
}

/// Every check, in the order of the report.
pub(super) const CHECKS: &[Check] = &[
    Check { name: "inventory", run: |kit| Box::pin(whole::inventory(kit)) },
    Check { name: "plan", run: |kit| Box::pin(whole::plan(kit)) },
    Check { name: "update", run: |kit| Box::pin(whole::update(kit)) },
    Check { name: "second update", run: |kit| Box::pin(whole::second_update(kit)) },
    Check { name: "cancelled before", run: |kit| Box::pin(whole::cancelled_before(kit)) },
    Check { name: "cancelled", run: |kit| Box::pin(cuts::cancelled(kit)) },
    Check { name: "killed", run: |kit| Box::pin(cuts::killed(kit)) },
    Check { name: "killed and cleaned", run: |kit| Box::pin(cuts::killed_and_cleaned(kit)) },
    Check { name: "frozen", run: |kit| Box::pin(cuts::frozen(kit)) },
    Check { name: "frozen, wakes early", run: |kit| Box::pin(cuts::frozen_and_woken_early(kit)) },
    Check { name: "session lost", run: |kit| Box::pin(faults::with(kit, Fault::SessionLost)) },
    Check { name: "resets itself", run: |kit| Box::pin(faults::with(kit, Fault::ResetsItself)) },
    Check { name: "work vanishes", run: |kit| Box::pin(faults::with(kit, Fault::WorkVanishes)) },
    Check { name: "success that is none", run: |kit| Box::pin(faults::with(kit, Fault::SuccessThatIsNone)) },
    Check { name: "failure that is none", run: |kit| Box::pin(faults::with(kit, Fault::FailureThatIsNone)) },
    Check { name: "answer lost", run: |kit| Box::pin(faults::with(kit, Fault::AnswerLost)) },
    Check { name: "unavailable", run: |kit| Box::pin(faults::with(kit, Fault::Unavailable)) },
    Check { name: "busy", run: |kit| Box::pin(faults::with(kit, Fault::Busy)) },
    Check { name: "image refused", run: |kit| Box::pin(faults::with(kit, Fault::ImageRefused)) },
    Check { name: "another identity", run: |kit| Box::pin(faults::with(kit, Fault::AnotherIdentity)) },
    Check { name: "way back shut", run: |kit| Box::pin(faults::with(kit, Fault::WayBackShut)) },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A fault without a check would be one that no driver is tried with.
    #[test]
    fn every_fault_has_its_check() {
        for fault in Fault::ALL {
            let name = fault.to_string();
            assert_eq!(CHECKS.iter().filter(|check| check.name == name).count(), 1, "{name}");
        }
    }
}
