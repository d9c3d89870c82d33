//! A machine that can take an engine: what the walk needs of it.

use crate::attempt::{Job, LogRetention};
use crate::engine_api::EngineApi;
use crate::engines::Engine;
use crate::failure::Failure;
use crate::metrics::Metrics;
use farrier_protocol::{CallbackConfig, Dial, Holder, Listening};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

pub use crate::ssh::connect::Milestone;

/// An authenticated connection to a machine, for one session.
pub trait Host: Send + Sync + Sized {
    /// What is needed to connect: addresses, credentials, and what the machine is trusted by.
    type Settings: Send + Sync;

    /// Connects and authenticates. `recorded` is the key of the machine that this attempt has accepted on
    /// first use.
    ///
    /// # Errors
    /// The reason why the machine cannot be reached, is not trusted, or rejects the credentials.
    fn connect(
        settings: &Self::Settings,
        job: &Job,
        recorded: Option<&str>,
        metrics: &Metrics,
        report: impl FnMut(Milestone) + Send,
    ) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Reads the facts that are needed before the deployment.
    ///
    /// # Errors
    /// The reason why the machine does not run the probe.
    fn probe(&self) -> impl Future<Output = Result<Probe, Failure>> + Send;

    /// Deploys and launches the engine; an engine of this session that already runs is not touched.
    ///
    /// # Errors
    /// [`NotDeployed`].
    fn deploy(
        &self,
        launch: &Launch<'_>,
        probe: &Probe,
        report: impl FnMut(DeployProgress) + Send,
    ) -> impl Future<Output = Result<Deployed, NotDeployed>> + Send;

    /// Serves the engine over this connection until the stream ends.
    ///
    /// # Errors
    /// `EngineLost` if no engine answers. The loss of an established stream is not an error: the caller learns
    /// from `engine_api` whether everything was exchanged.
    fn talk(
        &self,
        deployed: &Deployed,
        engine_api: &Arc<EngineApi>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Tries to get an answer over TCP from each target, with the tools of the machine. Empty: the machine has
    /// no tool for that.
    ///
    /// # Errors
    /// The reason why the machine does not run the test.
    fn reach(&self, targets: &[(String, u16)]) -> impl Future<Output = Result<Vec<Dial>, Failure>> + Send;

    /// Does the same test with the engine in this directory. Empty: the engine could not be run.
    ///
    /// # Errors
    /// The reason why the machine does not run the test.
    fn reach_by_engine(
        &self,
        dir: &str,
        addresses: &[String],
    ) -> impl Future<Output = Result<Vec<Dial>, Failure>> + Send;

    /// Opens a TCP connection to a port of the machine, at the address at which it answered; returns that
    /// address as well.
    ///
    /// # Errors
    /// `ConnectionRefused`, `ConnectionTimedOut`, `NoRoute`.
    fn dial(&self, port: u16) -> impl Future<Output = Result<(TcpStream, String), Failure>> + Send;

    /// Looks for everything of this session that is on the machine. Empty: nothing is left.
    ///
    /// # Errors
    /// An error means that nothing is known, not that the machine is clean.
    fn look(&self) -> impl Future<Output = Result<Vec<String>, Failure>> + Send;

    /// Looks for rules of this session in the machine's own firewall. Empty: nothing is left.
    ///
    /// # Errors
    /// As [`Self::look`].
    fn look_in_firewall(&self, session: &str) -> impl Future<Output = Result<Vec<String>, Failure>> + Send;

    /// Reports whether a process exists. `dir` is its directory if the process is an engine of this session.
    ///
    /// # Errors
    /// As [`Self::look`].
    fn has_process(&self, pid: u32, dir: Option<&str>) -> impl Future<Output = Result<bool, Failure>> + Send;

    /// Looks for staged payloads with these digests. The digest of each one that is there is computed; one that has
    /// changed is removed.
    ///
    /// # Errors
    /// Those of becoming root, `CommandTimedOut`, and those of running a command.
    fn staged(&self, digests: &[String]) -> impl Future<Output = Result<StagedPayloads, Failure>> + Send;

    /// Stages payloads: carries what is missing of them, and verifies each. Reports the bytes that were sent.
    ///
    /// # Errors
    /// `NoWritableDirectory`, `DiskFull`, `StagingUnsupported`, `PayloadDigestMismatch`, `PayloadUnavailable`, those
    /// of becoming root, and those of running a command.
    fn stage(
        &self,
        order: &StageOrder<'_>,
        sent: impl FnMut(u64) + Send,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Takes back the leases of this session on staged payloads.
    ///
    /// # Errors
    /// As [`Self::staged`].
    fn release_staged(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Removes staged payloads, whoever has staged them.
    ///
    /// # Errors
    /// As [`Self::staged`].
    fn remove_staged(&self, digests: &[String]) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Reports whether the connection is closed.
    fn is_closed(&self) -> bool;

    /// Closes the connection. A machine that does not respond any more is not an error.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// Result of the probe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probe {
    /// The operating system, as `uname -s` prints it.
    pub system: String,
    /// The architecture, as `uname -m` prints it.
    pub arch: String,
    /// Numeric user id.
    pub uid: u32,
    /// Whether the machine can decompress gzip.
    pub gzip: bool,
    /// The source address of the connection as the machine sees it, with the zone if the address is link-local.
    pub seen_from: Option<String>,
    /// The machine's own address of the connection, in the same form.
    pub seen_at: Option<String>,
    /// Existing directories of this session.
    pub existing: Vec<String>,
    /// Whether there is a directory for staged payloads.
    pub has_staged: bool,
}

/// A payload that is staged on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedPayload {
    /// `sha256:` and 64 digits.
    pub digest: String,
    /// Length in bytes.
    pub size: u64,
    /// The parent directory of the directory in which it is.
    pub place: String,
}

/// What was found where payloads are staged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StagedPayloads {
    /// The payloads whose digests are right.
    pub right: Vec<StagedPayload>,
    /// Digests of those that were other files by now, and were removed.
    pub changed: Vec<String>,
}

/// Payloads to stage.
pub struct StageOrder<'a> {
    /// Parent directory of the directory in which they are staged.
    pub place: &'a str,
    /// How long they are kept.
    pub lease: Duration,
    /// The payloads.
    pub files: &'a [StageFile],
}

/// A payload to stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageFile {
    /// `sha256:` and 64 digits.
    pub digest: String,
    /// Length in bytes.
    pub size: u64,
    /// The operator's copy.
    pub path: PathBuf,
}

/// Options for the launch of the engine.
pub struct Launch<'a> {
    /// The engine binary for this machine.
    pub engine: &'a Engine,
    /// UID of the NodeUpdate.
    pub session: &'a str,
    /// Name of the run, for the log directory.
    pub run: &'a str,
    /// The engine's initial lease: how long it may run without contact, in seconds.
    pub lease_seconds: u64,
    /// How long logs stay on the machine, if it is not for the engine to say.
    pub retention: Option<LogRetention>,
    /// Where the engine connects back or listens, if it does.
    pub callback: Option<&'a CallbackConfig>,
}

/// The progress of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeployProgress {
    /// From now on something of ours may be on the machine.
    Begins,
    /// The deployment waits for an earlier one of this session to end.
    Waits {
        /// The process of the earlier deployment.
        holder: Holder,
        /// How long it is waited for.
        limit: Duration,
    },
    /// The wait has ended.
    Continues,
}

/// A running engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// Its directory on the machine.
    pub dir: String,
    /// Its process id.
    pub pid: u32,
    /// Whether the engine was configured to connect back.
    pub calls_back: bool,
    /// Where the engine listens, if it was configured to.
    pub listening: Option<Listening>,
}

/// Why no engine was deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotDeployed {
    /// Another session's engine is at work on the machine.
    Busy {
        /// The failure to report.
        failure: Failure,
        /// Process of the other engine, if it is visible.
        holder: Option<Holder>,
    },
    /// Any other failure.
    Failed(Failure),
}

impl NotDeployed {
    /// Converts the error into a failure.
    pub fn failure(self) -> Failure {
        match self {
            Self::Busy { failure, holder: _ } | Self::Failed(failure) => failure,
        }
    }
}

impl From<Failure> for NotDeployed {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
