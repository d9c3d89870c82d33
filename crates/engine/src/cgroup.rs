//! Leaves the login session's control group.
//!
//! On machines with `KillUserProcesses=yes`, logind ends every process of a login session when the
//! session ends, detached or not. The engine moves to the group of process 1, which exists on every
//! machine with systemd, so that nothing is left behind.

use std::fs;

/// Moves this process out of `user.slice`, if it is in there. Failure is not reported: most machines
/// end no processes at log-out, and the journal covers the others.
pub(crate) fn leave_login_session() {
    let (Ok(own), Ok(init)) = (fs::read_to_string("/proc/self/cgroup"), fs::read_to_string("/proc/1/cgroup"))
    else {
        return;
    };
    if let Some(procs) = target(&own, &init) {
        fs::write(procs, std::process::id().to_string()).ok();
    }
}

/// Returns the file to which the process ID must be written, if the move is needed.
fn target(own: &str, init: &str) -> Option<String> {
    // Version 2 has one hierarchy, `0::`; version 1 has several, one of them for systemd.
    for (tag, mount) in [("0::", "/sys/fs/cgroup"), ("name=systemd:", "/sys/fs/cgroup/systemd")] {
        let path = |text: &str| {
            text.lines().find_map(|line| line.split_once(tag).map(|(_, path)| path.trim_end().to_owned()))
        };
        match (path(own), path(init)) {
            (Some(own), Some(init)) if own.starts_with("/user.slice/") => {
                return Some(format!("{mount}{}/cgroup.procs", init.trim_end_matches('/')));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_a_login_session_is_moved() {
        let own = "0::/user.slice/user-1000.slice/session-3.scope\n";
        let expected = Some("/sys/fs/cgroup/init.scope/cgroup.procs".to_owned());
        assert_eq!(target(own, "0::/init.scope\n"), expected);
        assert_eq!(target("0::/system.slice/ssh.service\n", "0::/init.scope\n"), None);
        let own = "4:memory:/user.slice\n1:name=systemd:/user.slice/user-0.slice/session-1.scope\n";
        let expected = Some("/sys/fs/cgroup/systemd/cgroup.procs".to_owned());
        assert_eq!(target(own, "4:memory:/\n1:name=systemd:/\n"), expected);
    }
}
