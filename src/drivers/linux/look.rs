//! The final check: is anything of Farrier's left on the machine?

use super::{Machine, PLACES, directory};
use crate::drivers::shell::script::{between, program};
use crate::failure::Failure;
use bytes::Bytes;
use farrier_update::Reason;
use std::time::Duration;

/// Where programs of the system are, whatever the search path of the account.
const TOOLS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long the check may take.
const LIMIT: Duration = Duration::from_secs(20);

impl Machine {
    /// Looks for Farrier's directory in every place and for processes that carry its name.
    ///
    /// # Errors
    /// `ShellUnusable`, `SshCommandReplaced`, and those of running a command. An error means that nothing is
    /// known, not that the machine is clean.
    pub async fn look(&self) -> Result<Vec<String>, Failure> {
        let program = program(include_str!("look.sh"), &[("NAME", &directory(&self.session.id))], PLACES);
        let lines = self.session.lines(program, LIMIT).await?;
        Ok(lines.iter().filter_map(|l| l.strip_prefix("left ")).map(str::to_owned).collect())
    }

    /// Looks for rules of this session in the machine's firewall.
    ///
    /// # Errors
    /// As [`Self::look`], those of becoming root, and `CleanupFailed` if a program of the firewall could not list
    /// its rules.
    pub async fn look_in_firewall(&self, session: &str) -> Result<Vec<String>, Failure> {
        let uid = self.probe().await?.uid;
        let look = async {
            let mut shell = self.session.root_shell(uid).await?;
            shell.send(firewall_program(session, TOOLS, "/proc")).await?;
            shell.end_input().await;
            shell.finish().await
        };
        let output = tokio::time::timeout(LIMIT, look).await.unwrap_or_else(|_| {
            let words = format!(
                "{} did not list its firewall within {} s",
                self.session.connection.node,
                LIMIT.as_secs()
            );
            Err(Failure::new(Reason::CommandTimedOut, words))
        })?;
        let lines = between(&output.stdout).ok_or_else(|| self.session.unusable(&output))?;
        let of_kind = |kind| lines.iter().filter_map(move |line| line.strip_prefix(kind)).map(str::to_owned);
        let unlisted: Vec<String> = of_kind("unlisted ").collect();
        let left: Vec<String> = of_kind("left ").collect();
        if unlisted.is_empty() || !left.is_empty() {
            return Ok(left);
        }
        let (node, programs) = (&self.session.connection.node, unlisted.join(" and "));
        let words = format!(
            "{programs} on {node} cannot list the rules of the firewall; run it there as root, and look for rules with the comment \"farrier {session}\""
        );
        Err(Failure::new(Reason::CleanupFailed, words))
    }

    /// Reports whether a process exists. `dir` is its directory if the process is an engine of this session:
    /// where `/proc` hides the processes of other users, an engine counts as ended when its file is gone, and
    /// any other process counts as ended at once.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub async fn has_process(&self, pid: u32, dir: Option<&str>) -> Result<bool, Failure> {
        let program = process_program("/proc", pid, dir);
        let lines = self.session.lines(program, LIMIT).await?;
        Ok(lines.iter().any(|line| line == "there"))
    }
}

/// Returns the program that looks for rules of a session. `tools` are the directories of the firewall's programs.
pub(super) fn firewall_program(session: &str, tools: &str, proc: &str) -> Bytes {
    let mark = format!("farrier {session} ");
    program(include_str!("look-firewall.sh"), &[("MARK", &mark), ("TOOLS", tools), ("PROC", proc)], &[])
}

/// Returns the program that looks for a process.
pub(super) fn process_program(proc: &str, pid: u32, dir: Option<&str>) -> Bytes {
    let (pid, engine) = (pid.to_string(), dir.map(|dir| format!("{dir}/engine")).unwrap_or_default());
    program(include_str!("process.sh"), &[("PID", &pid), ("ENGINE", &engine), ("PROC", proc)], &[])
}
