//! When the parts of a machine were last started.

use super::super::inventory::{Inventory as Everything, Manager, System};
use farrier_update::device::BootMarks;
use jiff::{SignedDuration, Timestamp};

/// Two times that are no further apart are of the same start: some devices compute the time of their start from how
/// long they run.
const JITTER: SignedDuration = SignedDuration::from_secs(30);

/// When the parts of a machine were started, as they were read before.
#[derive(Debug, Default)]
pub(super) struct Boot {
    marks: BootMarks,
}

/// Returns the management processor of a machine: the one that can be reset, if there are several.
pub(super) fn manager(everything: &Everything) -> Option<&Manager> {
    let managers = &everything.managers;
    managers.iter().find(|manager| manager.reset.is_some()).or(managers.first())
}

/// Returns the host of a machine. The partitions of a large machine are several hosts, and which of them a component
/// belongs to is not known.
pub(super) fn host(everything: &Everything) -> Option<&System> {
    match &everything.systems[..] {
        [only] => Some(only),
        _ => None,
    }
}

impl Boot {
    /// Returns the marks of a reading. `known` are marks that were recorded before: the same start has the same mark
    /// again.
    pub(super) fn read(&mut self, everything: &Everything, known: &[&str]) -> BootMarks {
        let manager = manager(everything).and_then(|manager| manager.last_reset.as_deref());
        let host = host(everything).and_then(|host| host.last_reset.as_deref());
        keep(&mut self.marks.manager, manager.unwrap_or_default(), known);
        keep(&mut self.marks.host, host.unwrap_or_default(), known);
        self.marks.clone()
    }
}

/// Takes a new mark, unless it is of the same start.
fn keep(mark: &mut String, new: &str, known: &[&str]) {
    if !is_same_start(mark, new) {
        let known = known.iter().find(|known| is_same_start(known, new));
        known.copied().unwrap_or(new).clone_into(mark);
    }
}

fn is_same_start(one: &str, other: &str) -> bool {
    let time = |text: &str| text.parse::<Timestamp>().ok();
    match (time(one), time(other)) {
        (Some(one), Some(other)) => one.duration_since(other).abs() <= JITTER,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the readings of a device whose clock jitters would never agree.
    #[test]
    fn a_second_is_no_restart() {
        let mut mark = String::new();
        keep(&mut mark, "2026-11-29T10:00:00Z", &[]);
        keep(&mut mark, "2026-11-29T10:00:01Z", &[]);
        assert_eq!(mark, "2026-11-29T10:00:00Z");
        keep(&mut mark, "2026-11-29T10:05:00Z", &[]);
        assert_eq!(mark, "2026-11-29T10:05:00Z");
        keep(&mut mark, "", &["2026-11-29T10:05:00Z"]);
        assert_eq!(mark, "");
    }

    /// Otherwise work that an earlier run has left would not be known again, and handed over twice.
    #[test]
    fn a_start_that_was_recorded_before_has_the_same_mark() {
        let recorded = ["", "2026-11-29T09:00:00Z", "2026-11-29T10:00:00Z"];
        let mut mark = String::new();
        keep(&mut mark, "2026-11-29T10:00:02Z", &recorded);
        assert_eq!(mark, "2026-11-29T10:00:00Z");
        keep(&mut mark, "2026-11-29T11:00:00Z", &recorded);
        assert_eq!(mark, "2026-11-29T11:00:00Z");
    }
}
