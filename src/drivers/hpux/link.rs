//! The SSH session with an HP-UX machine: connects when it is needed, and runs programs as root.

use super::programs::{ASKS_IMAGE, LISTING};
use crate::drivers::device::{Contact, Trouble};
use crate::drivers::shell::script::{END, between, program};
use crate::drivers::shell::{Session, Settings};
use crate::failure::Failure;
use crate::ssh::{Output, Running};
use bytes::{Bytes, BytesMut};
use farrier_update::Reason;
use farrier_update::device::Answer;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

/// How long a program may take that begins something, which lists software three times before.
const LIMIT: Duration = Duration::from_secs(LISTING * 3 + 60);

/// How long the few lines may take that tell who has signed in.
const BRIEF: Duration = Duration::from_secs(20);

/// How long one piece of an image may take, on the slowest network.
const PIECE_LIMIT: Duration = Duration::from_mins(2);

/// How many bytes of an image are sent at once.
const PIECE: usize = 64 * 1024;

/// The session of one attempt.
pub(super) struct Link {
    settings: Arc<Settings>,
    id: String,
    session: Option<Session>,
    /// The key that was trusted on first use, by an earlier connection of this attempt.
    first_key: Option<String>,
    uid: u32,
    /// What became known by a connection that nobody was told of.
    untold: Vec<Contact>,
}

/// Why a program did not come to its end.
pub(super) enum Cut {
    /// It was certainly not begun.
    Before(Failure),
    /// It may have been.
    After(Failure),
}

impl Cut {
    pub(super) fn failure(self) -> Failure {
        match self {
            Self::Before(failure) | Self::After(failure) => failure,
        }
    }
}

impl Link {
    pub(super) fn new(settings: Arc<Settings>, id: String) -> Self {
        Self { settings, id, session: None, first_key: None, uid: u32::MAX, untold: Vec::new() }
    }

    /// Connects, unless that was done, and reports what became known by it, also if that was before: the address at which
    /// the machine answered decides in which family it tries the ways back.
    pub(super) async fn connect(&mut self, mut report: impl FnMut(Contact) + Send) -> Result<(), Failure> {
        self.untold.drain(..).for_each(&mut report);
        if self.session.as_ref().is_some_and(|session| !session.connection.is_closed()) {
            return Ok(());
        }
        self.session = None;
        let first = self.first_key.clone();
        let report = |milestone| report(Contact::from(milestone));
        let session = Session::connect(&self.settings, self.id.clone(), first.as_deref(), report).await?;
        self.first_key = session.connection.first_key.clone().or(first);
        let lines = session.lines(program("echo \"uid $(id -u)\"", &[], &[]), BRIEF).await?;
        let uid = lines.iter().find_map(|line| line.strip_prefix("uid "));
        self.uid = uid.and_then(|uid| uid.parse().ok()).unwrap_or(u32::MAX);
        self.session = Some(session);
        Ok(())
    }

    /// Reports whether standard input of a root shell ends where the image ends: on a terminal, on which `su` insists,
    /// it does not.
    pub(super) fn takes_images(&self) -> bool {
        self.uid == 0 || self.settings.privilege != crate::drivers::Privilege::Su
    }

    /// Runs a program as root, and returns the lines that it has printed. It is not sent unless `may_send`.
    pub(super) async fn run(
        &mut self,
        program: Bytes,
        may_send: impl Fn() -> bool,
    ) -> Result<Vec<String>, Cut> {
        self.run_within(LIMIT, program, may_send).await
    }

    /// Runs a program as [`Self::run`] does, which may take this long.
    pub(super) async fn run_within(
        &mut self,
        limit: Duration,
        program: Bytes,
        may_send: impl Fn() -> bool,
    ) -> Result<Vec<String>, Cut> {
        let mut shell = self.shell(may_send).await?;
        let work = async {
            shell.send(program).await?;
            shell.end_input().await;
            shell.finish().await
        };
        let output = tokio::time::timeout(limit, work).await;
        let output = output.unwrap_or_else(|_| Err(self.too_slow(limit)));
        self.lines(output)
    }

    /// Runs a program as root that asks for an image, and sends it.
    pub(super) async fn send(
        &mut self,
        program: Bytes,
        image: &Path,
        may_send: impl Fn() -> bool,
    ) -> Result<Vec<String>, Cut> {
        let mut shell = self.shell(may_send).await?;
        let output = self.sent(&mut shell, program, image).await;
        self.lines(output)
    }

    async fn sent(&self, shell: &mut Running, program: Bytes, image: &Path) -> Result<Output, Failure> {
        let late = |_| self.too_slow(PIECE_LIMIT);
        let asks = |output: &Output| output.stdout.contains(ASKS_IMAGE) || output.stdout.contains(END);
        shell.send(program).await?;
        tokio::time::timeout(LIMIT, shell.read_until(asks)).await.map_err(|_| self.too_slow(LIMIT))??;
        if shell.output_so_far().stdout.contains(ASKS_IMAGE) {
            let mut file = File::open(image).await.map_err(|error| unreadable(&error))?;
            loop {
                let mut piece = BytesMut::with_capacity(PIECE);
                if file.read_buf(&mut piece).await.map_err(|error| unreadable(&error))? == 0 {
                    break;
                }
                tokio::time::timeout(PIECE_LIMIT, shell.send(piece.freeze())).await.map_err(late)??;
            }
        }
        shell.end_input().await;
        tokio::time::timeout(PIECE_LIMIT, shell.finish()).await.map_err(late)?
    }

    /// Starts a root shell. Nothing has begun if that fails.
    async fn shell(&mut self, may_send: impl Fn() -> bool) -> Result<Running, Cut> {
        let mut untold = std::mem::take(&mut self.untold);
        let connected = self.connect(|contact| untold.push(contact)).await;
        self.untold = untold;
        connected.map_err(Cut::Before)?;
        let Some(session) = &self.session else { return Err(Cut::Before(self.lost())) };
        let shell = session.root_shell(self.uid).await.map_err(Cut::Before)?;
        if may_send() {
            return Ok(shell);
        }
        let words = format!("the permission to change {} has expired", self.settings.target.node);
        Err(Cut::Before(Failure::new(Reason::ConnectionLost, words)))
    }

    fn lines(&mut self, output: Result<Output, Failure>) -> Result<Vec<String>, Cut> {
        let output = output.map_err(|failure| {
            self.session = None;
            Cut::After(failure)
        })?;
        between(&output.stdout).ok_or_else(|| {
            let known = self.session.as_ref().map(|session| session.unusable(&output));
            Cut::After(known.unwrap_or_else(|| self.lost()))
        })
    }

    fn lost(&self) -> Failure {
        let words = format!("the connection to {} was lost", self.settings.target.node);
        Failure::new(Reason::ConnectionLost, words)
    }

    fn too_slow(&self, limit: Duration) -> Failure {
        let words = format!(
            "{} did not do what it was asked within {} s; check its load, and whether swagentd answers (swlist)",
            self.settings.target.node,
            limit.as_secs()
        );
        Failure::new(Reason::CommandTimedOut, words)
    }

    /// Closes the connection.
    pub(super) async fn close(&mut self) {
        if let Some(session) = self.session.take() {
            session.connection.close().await;
        }
    }
}

fn unreadable(error: &std::io::Error) -> Failure {
    Failure::new(Reason::InternalError, format!("the stored payload cannot be read: {error}"))
}

/// What a user has to change ends the attempt at once.
pub(super) fn trouble(failure: Failure) -> Trouble {
    let is_refused = !failure.reason.retryable() && failure.reason != Reason::InternalError;
    Trouble { failure, is_refused, is_answer: false }
}

/// What the driver knows of the answer to a request.
pub(super) type Answered = (Answer, Option<Trouble>);

/// The machine was not asked, or has said no for good.
pub(super) fn refused(failure: Failure) -> Answered {
    (Answer::Rejected, Some(answered(failure)))
}

/// The machine has answered.
pub(super) fn answered(failure: Failure) -> Trouble {
    Trouble { failure, is_refused: false, is_answer: true }
}
