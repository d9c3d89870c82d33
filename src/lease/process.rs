//! Identifies a process uniquely among all processes that its host has had.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The environment variable in which the chart passes the pod's UID.
const POD_UID: &str = "FARRIER_POD_UID";

/// A process of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    /// The boot ID of the host.
    boot: String,
    /// The PID namespace on that host.
    room: String,
    /// The process ID in that namespace.
    pid: u32,
    /// When the process started, in ticks since boot: process IDs are reused.
    began: u64,
    /// UID of the pod, if the process is in one. Only one operator process of a pod runs at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
}

impl Process {
    /// Returns this process; `None` if the system does not provide the data.
    pub(super) fn this() -> Option<Self> {
        let pid = std::process::id();
        let (boot, room) = here()?;
        let pod = std::env::var(POD_UID).ok().filter(|uid| !uid.is_empty());
        Some(Self { boot, room, pid, began: began(pid)?, pod })
    }

    /// Parses the output of [`fmt::Display`].
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Reports whether the process has certainly ended. For a process of another host or another
    /// container this is unknown, unless the container is of our own pod: it ended before this one
    /// was started.
    pub(super) fn has_ended(&self) -> bool {
        Self::this().is_some_and(|this| self.has_ended_before(&this))
    }

    fn has_ended_before(&self, this: &Self) -> bool {
        if self.boot == this.boot && self.room == this.room {
            began(self.pid) != Some(self.began)
        } else {
            self.pod.is_some() && self.pod == this.pod
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// Returns the boot ID of this host and our PID namespace.
fn here() -> Option<(String, String)> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let room = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some((boot.trim().to_owned(), room.to_string_lossy().into_owned()))
}

/// Returns when a process started; `None` if it does not exist or is a zombie.
fn began(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything; the fields after it are counted from the third.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Process;
    use std::process::{Command, Stdio};

    fn of(pid: u32) -> Process {
        let began = super::began(pid).expect("it runs");
        Process { pid, began, ..Process::this().expect("Linux") }
    }

    #[test]
    fn a_killed_process_has_ended_even_before_its_parent_reaps_it() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = Process::parse(&of(child.id()).to_string()).unwrap();
        assert!(!process.has_ended());
        child.kill().unwrap();
        while !process.has_ended() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(process.has_ended());
    }

    #[test]
    fn nothing_is_known_of_processes_elsewhere() {
        let this = Process::this().unwrap();
        assert!(!this.has_ended());
        assert!(Process { began: 1, ..this.clone() }.has_ended(), "another process with our number");
        assert!(!Process { began: 1, boot: "other".into(), ..this.clone() }.has_ended());
        assert!(!Process { began: 1, room: "pid:[1]".into(), ..this }.has_ended());
    }

    /// A restarted container would wait for its own predecessor.
    #[test]
    fn an_earlier_container_of_the_same_pod_has_ended() {
        let this = Process { pod: Some("a".into()), ..Process::this().unwrap() };
        let earlier = Process { room: "pid:[1]".into(), ..this.clone() };
        assert!(Process::parse(&earlier.to_string()).unwrap().has_ended_before(&this));
        assert!(
            Process { boot: "before the node was started again".into(), ..this.clone() }
                .has_ended_before(&this)
        );
        assert!(!Process { pod: Some("b".into()), ..earlier.clone() }.has_ended_before(&this));
        assert!(
            !Process { pod: None, ..earlier.clone() }
                .has_ended_before(&Process { pod: None, ..this.clone() })
        );
        assert!(!this.has_ended_before(&this), "it is running");
    }
}
