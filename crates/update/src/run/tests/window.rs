//! Maintenance windows.

use super::*;
use crate::window::WindowState;

fn windowed(window: WindowState) -> Observed {
    let mut seen = observed(Desired::Run, [free()]);
    seen.run.window = Some(window);
    seen
}

/// Otherwise machines are changed by day, or nobody decides again when the window opens.
#[test]
fn nodes_are_started_when_the_window_opens() {
    let next = Millis(5_000_000);
    let mut seen = windowed(WindowState::Closed { next: Some(next) });
    let decision = decide(&seen);
    assert_eq!((effects(&decision), decision.wake), (String::new(), Wake::At(next)));
    let Cond { reason, message, .. } = &decision.status.progressing;
    assert_eq!(*reason, Reason::OutsideWindow);
    assert!(message.contains(&next.to_string()), "{message}");
    seen.run.window = Some(WindowState::Open { until: next });
    assert_eq!(effects(&decide(&seen)), "+a");
}

/// Otherwise a node reboots after the window has closed.
#[test]
fn a_node_is_not_started_if_it_would_not_be_done_in_the_window() {
    let until = NOW.after(Duration::from_hours(1));
    let mut seen = windowed(WindowState::Open { until });
    for (minutes, started) in [(60, "+a"), (61, "")] {
        for facts in seen.targets.values_mut() {
            facts.expected = Some(Duration::from_mins(minutes));
        }
        assert_eq!(effects(&decide(&seen)), started, "{minutes} min");
    }
    assert_eq!(decide(&seen).wake, Wake::At(until));
}

/// Otherwise nothing can be planned by day, or an inventory waits for the night.
#[test]
fn plans_and_inventories_do_not_wait_for_the_window() {
    let mut seen = windowed(WindowState::Closed { next: None });
    seen.run.operation = Operation::Inventory;
    assert_eq!(effects(&decide(&seen)), "+a");
    let mut seen = windowed(WindowState::Closed { next: None });
    seen.run.desired = Desired::Plan;
    assert_ne!(effects(&decide(&seen)), "");
}

/// Otherwise a run with a typing error in its window waits for ever.
#[test]
fn a_window_that_cannot_be_used_ends_a_run_that_has_not_begun() {
    let mut seen = windowed(WindowState::Closed { next: None });
    seen.run.window_error = Some("spec.strategy.window.schedule matches no day".to_owned());
    seen.run.targets_recorded = false;
    let decision = decide(&seen);
    assert_eq!((end(&decision), effects(&decision)), (Some((false, Reason::WindowInvalid)), String::new()));
    assert!(decision.status.succeeded.message.contains("schedule matches no day"));
    seen.run.targets_recorded = true;
    let decision = decide(&seen);
    assert_eq!((end(&decision), effects(&decision)), (None, String::new()));
    assert_eq!(decision.status.progressing.reason, Reason::OutsideWindow);
}

/// Otherwise a node whose turn came too late seems to have failed.
#[test]
fn a_node_that_waits_for_the_window_at_its_runner_is_reported() {
    let at = Millis(5_000_000);
    let phase = UpdatePhase::WaitingForRetry { at, reason: Reason::OutsideWindow };
    let decision = decide(&observed(Desired::Run, [with(Intent::Run, phase)]));
    assert_eq!((waits(&decision), decision.wake), ("a:OutsideWindow".to_owned(), Wake::At(at)));
    assert_eq!(decision.status.progressing.reason, Reason::OutsideWindow);
    let [(_, WaitingOn { message, .. })] = decision.waiting.as_slice() else { panic!("{decision:?}") };
    assert!(message.contains("opens at") && !message.contains("failed with"), "{message}");
}
