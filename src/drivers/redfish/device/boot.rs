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
    /// Returns the marks of a reading.
    pub(super) fn read(&mut self, everything: &Everything) -> BootMarks {
        let manager = manager(everything).and_then(|manager| manager.last_reset.as_deref());
        let host = host(everything).and_then(|host| host.last_reset.as_deref());
        keep(&mut self.marks.manager, manager.unwrap_or_default());
        keep(&mut self.marks.host, host.unwrap_or_default());
        self.marks.clone()
    }
}

/// Takes a new mark, unless it is of the same start.
fn keep(mark: &mut String, new: &str) {
    let time = |text: &str| text.parse::<Timestamp>().ok();
    let is_same = match (time(mark), time(new)) {
        (Some(old), Some(new)) => old.duration_since(new).abs() <= JITTER,
        _ => false,
    };
    if !is_same {
        new.clone_into(mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the readings of a device whose clock jitters would never agree.
    #[test]
    fn a_second_is_no_restart() {
        let mut mark = String::new();
        keep(&mut mark, "2026-11-29T10:00:00Z");
        keep(&mut mark, "2026-11-29T10:00:01Z");
        assert_eq!(mark, "2026-11-29T10:00:00Z");
        keep(&mut mark, "2026-11-29T10:05:00Z");
        assert_eq!(mark, "2026-11-29T10:05:00Z");
        keep(&mut mark, "");
        assert_eq!(mark, "");
    }
}
