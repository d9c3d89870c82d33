//! Processes and what they have started, from `/proc`.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;

/// A process. Another one that has got the same id meanwhile is not mistaken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its id.
    pub(crate) pid: u32,
    parent: u32,
    /// Its process group.
    pub(crate) group: u32,
    /// When it was started, in ticks since the machine was booted.
    pub(crate) started: u64,
}

impl Process {
    /// Returns the process with this id, if it has not ended.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        parse(pid, &String::from_utf8_lossy(&stat))
    }

    /// Reports whether it has not ended.
    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid).is_some_and(|found| found.started == self.started)
    }

    /// Sends a signal, unless the process has ended.
    pub(crate) fn signal(self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid.cast_signed()).filter(|_| self.is_alive()) {
            kill_process(pid, signal).ok();
        }
    }
}

/// Returns the processes that these have started, directly or indirectly, without themselves. A process whose
/// parent has ended belongs to nobody.
pub(crate) fn descendants(of: &[u32]) -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    below(of, &pids.filter_map(Process::of).collect::<Vec<_>>())
}

fn below(roots: &[u32], all: &[Process]) -> Vec<Process> {
    let (mut found, mut parents) = (Vec::<Process>::new(), roots.to_vec());
    while !parents.is_empty() {
        let is_new = |child: &&Process| {
            parents.contains(&child.parent) && !roots.contains(&child.pid) && !found.contains(child)
        };
        let children: Vec<Process> = all.iter().filter(is_new).copied().collect();
        parents = children.iter().map(|child| child.pid).collect();
        found.extend(children);
    }
    found
}

fn parse(pid: u32, stat: &str) -> Option<Process> {
    // The name is in parentheses, and may contain any bytes. The state is the first word after it, the start
    // time the 20th.
    let mut words = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(words.next()?, "Z" | "X") {
        return None;
    }
    let (parent, group) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Process { pid, parent, group, started: words.nth(16)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_has_started_is_found() {
        let stat = "7 (a) b) S 3 5 5 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 9 9";
        assert_eq!(parse(7, stat), Some(Process { pid: 7, parent: 3, group: 5, started: 4711 }));
        assert_eq!(parse(7, &stat.replace(" S ", " Z ")), None);
        let process = |pid, parent| Process { pid, parent, group: 1, started: 1 };
        let all = [process(2, 1), process(5, 4), process(4, 3), process(3, 1), process(1, 5)];
        let ids = |roots: &[u32]| below(roots, &all).iter().map(|found| found.pid).collect::<Vec<_>>();
        assert_eq!(ids(&[3]), [4, 5, 1, 2]);
        assert_eq!(ids(&[2]), [0_u32; 0]);
    }

    #[test]
    fn the_own_process_is_there() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        assert!(!Process { started: own.started + 1, ..own }.is_alive());
    }
}
