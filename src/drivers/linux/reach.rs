//! Tests with the engine whether a connection from the machine gets an answer.
//!
//! For machines that have no tool for the test: the engine does it after its deployment.

use super::Machine;
use crate::drivers::shell::reach::LIMIT;
use crate::drivers::shell::script::program;
use crate::failure::Failure;
use bytes::Bytes;
use farrier_protocol::Dial;

impl Machine {
    /// Tests the addresses with the engine in this directory. Empty: the engine could not be run.
    ///
    /// # Errors
    /// `ShellUnusable`, `SshCommandReplaced`, and those of running a command.
    pub async fn reach_by_engine(&self, dir: &str, addresses: &[String]) -> Result<Vec<Dial>, Failure> {
        let lines = self.session.lines(engine_program(dir, addresses), LIMIT).await?;
        Ok(lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }
}

/// Returns the program that does the test with the engine.
pub(super) fn engine_program(dir: &str, addresses: &[String]) -> Bytes {
    let engine = format!("{dir}/engine");
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    program(include_str!("reach-engine.sh"), &[("ENGINE", &engine)], &addresses)
}
