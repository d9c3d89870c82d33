//! Machines with a Unix shell that are reached over SSH, whatever their system.
//!
//! A [`Session`] signs in, runs programs as the sign-in user or as root, and tests whether the machine reaches
//! the runner. What a class does with it is in the class. The shell programs require a POSIX `/bin/sh` and
//! assume nothing about the user's login shell, which may be fish or csh, or may print a banner.

mod privilege;
pub(super) mod reach;
mod refusal;
pub(super) mod script;
mod settings;
#[cfg(test)]
pub(super) mod shells;

pub use settings::Settings;

use crate::failure::Failure;
use crate::ssh::connect::{Milestone, connect};
use crate::ssh::{Connection, HostKeys};
use bytes::Bytes;
use script::{as_user, between};
use std::sync::Arc;
use std::time::Duration;

/// An authenticated connection to a machine, for one session.
pub struct Session {
    /// The connection.
    pub connection: Connection,
    /// Short id of the session; part of the path of everything that Farrier puts on the machine.
    pub id: String,
    /// How it was connected to, and how commands become root.
    pub settings: Arc<Settings>,
}

impl Session {
    /// Connects and authenticates. `recorded` is the host key that was recorded on first use, if it is not among
    /// those of the settings yet.
    ///
    /// # Errors
    /// Those of [`connect`]; `HostKeyUnknown` also if a line is no host key.
    pub async fn connect(
        settings: &Arc<Settings>,
        id: String,
        recorded: Option<&str>,
        report: impl FnMut(Milestone),
    ) -> Result<Self, Failure> {
        let lines = settings.host_keys.iter().map(String::as_str).chain(recorded);
        let keys = HostKeys::parse(&settings.target.node, lines, settings.trust_first)?;
        let Settings { target, credentials, algorithms, .. } = &**settings;
        let connection = connect(target, &keys, credentials, *algorithms, report).await?;
        Ok(Self { connection, id, settings: settings.clone() })
    }

    /// Runs a program as the sign-in user, and returns the lines that it prints.
    ///
    /// # Errors
    /// `ShellUnusable`, `SshCommandReplaced`, and those of running a command.
    pub(super) async fn lines(&self, program: Bytes, limit: Duration) -> Result<Vec<String>, Failure> {
        let output = self.connection.run(&as_user(), vec![program], limit).await?;
        between(&output.stdout).ok_or_else(|| self.unusable(&output))
    }
}
