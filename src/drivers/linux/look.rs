//! The final check: is anything of Farrier's left on the machine?

use super::script::{as_user, between, program};
use super::{Machine, PLACES, directory};
use crate::failure::Failure;
use bytes::Bytes;
use farrier_update::Reason;
use std::time::Duration;

/// How long the check may take.
const LIMIT: Duration = Duration::from_secs(20);

impl Machine {
    /// Looks for Farrier's directory in every place and for processes that carry its name.
    ///
    /// # Errors
    /// `ShellUnusable`, `SshCommandReplaced`, and those of running a command. An error means that nothing is
    /// known, not that the machine is clean.
    pub async fn look(&self) -> Result<Vec<String>, Failure> {
        let program = program(include_str!("look.sh"), &[("NAME", &directory(&self.id))], PLACES);
        let output = self.connection.run(&as_user(), vec![program], LIMIT).await?;
        let lines = between(&output.stdout).ok_or_else(|| self.unusable(&output))?;
        Ok(lines.iter().filter_map(|l| l.strip_prefix("left ")).map(str::to_owned).collect())
    }

    /// Looks for rules of this session in the machine's firewall.
    ///
    /// # Errors
    /// As [`Self::look`], and those of becoming root.
    pub async fn look_in_firewall(&self, session: &str) -> Result<Vec<String>, Failure> {
        let uid = self.probe().await?.uid;
        let mark = format!("farrier {session} ");
        let look = async {
            let mut shell = self.root_shell(uid).await?;
            shell.send(program(include_str!("look-firewall.sh"), &[("MARK", &mark)], &[])).await?;
            shell.end_input().await;
            shell.finish().await
        };
        let output = tokio::time::timeout(LIMIT, look).await.unwrap_or_else(|_| {
            let words =
                format!("{} did not list its firewall within {} s", self.connection.node, LIMIT.as_secs());
            Err(Failure::new(Reason::CommandTimedOut, words))
        })?;
        let lines = between(&output.stdout).ok_or_else(|| self.unusable(&output))?;
        Ok(lines.iter().filter_map(|l| l.strip_prefix("left ")).map(str::to_owned).collect())
    }

    /// Reports whether a process exists. `dir` is its directory if the process is an engine of this session:
    /// where `/proc` hides the processes of other users, an engine counts as ended when its file is gone, and
    /// any other process counts as ended at once.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub async fn has_process(&self, pid: u32, dir: Option<&str>) -> Result<bool, Failure> {
        let program = process_program("/proc", pid, dir);
        let output = self.connection.run(&as_user(), vec![program], LIMIT).await?;
        let lines = between(&output.stdout).ok_or_else(|| self.unusable(&output))?;
        Ok(lines.iter().any(|line| line == "there"))
    }
}

/// Returns the program that looks for a process.
pub(super) fn process_program(proc: &str, pid: u32, dir: Option<&str>) -> Bytes {
    let (pid, engine) = (pid.to_string(), dir.map(|dir| format!("{dir}/engine")).unwrap_or_default());
    program(include_str!("process.sh"), &[("PID", &pid), ("ENGINE", &engine), ("PROC", proc)], &[])
}
