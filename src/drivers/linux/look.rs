//! The last look: is anything of ours still there?

use super::script::{as_user, between, program};
use super::{Machine, PLACES, directory};
use crate::failure::Failure;
use std::time::Duration;

/// How long the look may take.
const LIMIT: Duration = Duration::from_secs(20);

/// What the last look found: paths and processes that are ours. Empty: nothing.
pub type Look = Vec<String>;

impl Machine {
    /// Looks for our directory in every place and for processes that carry its name.
    ///
    /// # Errors
    /// `ShellUnusable`, `SshCommandReplaced`, and those of running a command: then nothing is known, which is not the same as clean.
    pub async fn look(&self) -> Result<Look, Failure> {
        let program = program(include_str!("look.sh"), &[("NAME", &directory(&self.id))], PLACES);
        let output = self.connection.run(&as_user(), vec![program], LIMIT).await?;
        let lines = between(&output.stdout).ok_or_else(|| self.unusable(&output))?;
        Ok(lines.iter().filter_map(|l| l.strip_prefix("left ")).map(str::to_owned).collect())
    }

    /// Reports whether a process exists. Where `/proc` hides the processes of others, the answer is
    /// always no.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub async fn has_process(&self, pid: u32) -> Result<bool, Failure> {
        let program = program(include_str!("process.sh"), &[("PID", &pid.to_string())], &[]);
        let output = self.connection.run(&as_user(), vec![program], LIMIT).await?;
        let lines = between(&output.stdout).ok_or_else(|| self.unusable(&output))?;
        Ok(lines.iter().any(|line| line == "there"))
    }
}
