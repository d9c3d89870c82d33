//! Converts maintenance windows, and what is known about how long updates take.

use crate::api::ManagedNode;
use crate::api::update_run::{MaintenanceWindow, Operation, UpdateRunSpec};
use farrier_update::Window;
use std::time::Duration;

/// Returns the maintenance window of a run, which bounds when machines are changed; `None` if the run has none, or
/// changes no machine.
///
/// # Errors
/// The window cannot be used: a message that names the field and says why.
pub fn window(spec: &UpdateRunSpec) -> Result<Option<Window>, String> {
    let Some(MaintenanceWindow { schedule, duration, time_zone }) = &spec.strategy.window else {
        return Ok(None);
    };
    let window =
        Window::new(schedule, duration.duration().unwrap_or_default(), Some(time_zone)).map_err(|error| {
            format!("spec.strategy.window.{error}; start a new UpdateRun with a corrected window")
        })?;
    Ok(Some(window).filter(|_| spec.operation == Operation::Update))
}

/// Returns how long an update of this machine is expected to take; `None` if no update of it is recorded.
///
/// It is the longest of those that are recorded, and not the last one: how long an update takes depends on its
/// components more than on the machine, a driver takes a minute and the firmware of a host half an hour. If more is
/// expected than it takes, a machine waits for the next window; if less, it reboots after the window has closed.
/// As five updates are recorded, one that took unusually long is forgotten after a while.
pub fn expected(node: &ManagedNode) -> Option<Duration> {
    let recent = node.status.iter().flat_map(|status| &status.recent_updates);
    recent.filter_map(|update| update.duration.duration()).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_update::Millis;
    use serde_json::json;

    /// Otherwise machines are changed at any time, or in a window of another zone; or an inventory waits for the night.
    #[test]
    fn the_window_of_a_run_bounds_its_changes() {
        let spec = |operation: &str, window: serde_json::Value| -> UpdateRunSpec {
            let strategy = json!({"window": window});
            serde_json::from_value(json!({"operation": operation, "selector": {}, "strategy": strategy}))
                .unwrap()
        };
        let night = || json!({"schedule": "0 22 * * 6", "duration": "4h", "timeZone": "Europe/Berlin"});
        let next = |window: &Window| window.next_after(Millis(1_796_000_000_000)).unwrap().to_string();
        let window = |spec: &UpdateRunSpec| window(spec);
        let berlin = window(&spec("Update", night())).unwrap().unwrap();
        assert_eq!((next(&berlin), berlin.duration().as_secs()), ("2026-12-05T21:00:00Z".into(), 14_400));
        let utc =
            window(&spec("Update", json!({"schedule": "0 22 * * 6", "duration": "4h"}))).unwrap().unwrap();
        assert_eq!(next(&utc), "2026-12-05T22:00:00Z");
        assert!(window(&spec("Inventory", night())).unwrap().is_none());
        assert!(window(&spec("Update", serde_json::Value::Null)).unwrap().is_none());
        for (field, value, said) in [
            ("schedule", "0 22 30 2 *", "spec.strategy.window.schedule \"0 22 30 2 *\" matches no day;"),
            ("schedule", "0 25 * * *", "spec.strategy.window.schedule \"0 25 * * *\" is not a cron schedule"),
            ("timeZone", "Mars/Olympus", "spec.strategy.window.timeZone \"Mars/Olympus\" is not in the IANA"),
            ("duration", "30s", "spec.strategy.window.duration is shorter than one minute;"),
        ] {
            let mut wrong = night();
            wrong[field] = json!(value);
            for operation in ["Update", "Inventory"] {
                let error = window(&spec(operation, wrong.clone())).unwrap_err();
                assert!(error.starts_with(said), "{error}");
                assert!(error.ends_with("; start a new UpdateRun with a corrected window"), "{error}");
            }
        }
    }

    /// Otherwise the driver of last week makes the firmware of this week begin too late.
    #[test]
    fn an_update_is_expected_to_take_as_long_as_the_longest_recent_one() {
        let node = |durations: &[&str]| -> ManagedNode {
            let recent = durations.iter().map(
                |duration| json!({"run": "r", "startedAt": "2026-11-30T10:00:00Z", "duration": duration}),
            );
            let status = json!({"recentUpdates": recent.collect::<Vec<_>>()});
            let spec = json!({"type": "Linux", "addresses": ["192.0.2.7"], "credentialsRef": {"name": "s"}});
            serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec, "status": status}))
                .unwrap()
        };
        assert_eq!(expected(&node(&[])), None);
        assert_eq!(expected(&node(&["90s", "40m", "2m"])), Some(Duration::from_mins(40)));
    }
}
