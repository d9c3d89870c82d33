//! A process, told apart from every other one that its host has had.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where the chart says which pod this is.
const POD_UID: &str = "FARRIER_POD_UID";

/// A process of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    /// Which start of which host.
    boot: String,
    /// Which room of process numbers of that host.
    room: String,
    /// Its number there.
    pid: u32,
    /// When it began, in ticks since the host did: numbers are used again.
    began: u64,
    /// UID of its pod, if it is in one. Of a pod's operators only one runs at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
}

impl Process {
    /// This one; `None` where the system does not tell.
    pub(super) fn this() -> Option<Self> {
        let pid = std::process::id();
        let (boot, room) = here()?;
        let pod = std::env::var(POD_UID).ok().filter(|uid| !uid.is_empty());
        Some(Self { boot, room, pid, began: began(pid)?, pod })
    }

    /// Reads what [`fmt::Display`] wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Whether it has ended for certain. One of another host has not, as far as we know, nor one of
    /// another container, unless that was our own pod's: it ended before this one was started.
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

/// This start of this host, and the room of process numbers that we are in.
fn here() -> Option<(String, String)> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let room = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some((boot.trim().to_owned(), room.to_string_lossy().into_owned()))
}

/// When a process began; `None` if there is none, or only what its parent has not asked for yet.
fn began(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything; behind it the fields are counted from the third.
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
    fn a_process_has_ended_when_it_was_killed_even_if_its_parent_does_not_know() {
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

    /// A container that is started again waits for itself.
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
