//! Reads a log by one LogRequest after the other.

use super::words;
use crate::api::{
    LABEL_RUNNER, LocalRef, LogRequest, LogRequestSpec, LogRequestStatus, NodeUpdate, label_value,
};
use crate::publish::{self, is_gone};
use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{WatchEvent, WatchParams};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::time::Duration;
use tokio::time::Instant;

/// How long the runner may take for its first answer: it may be starting.
const FIRST_ANSWER: Duration = Duration::from_secs(15);

/// How long a request is answered at most, with a margin: the runner closes it after a minute.
const LIFETIME: Duration = Duration::from_secs(75);

/// How long a request may wait for its turn: the leader removes it after five minutes, if there is one.
const TURN: Duration = Duration::from_mins(6);

/// Interval between two looks at who has the NodeUpdate.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The NodeUpdate has ended, and everything was read. `kept`: there was a log.
    Complete { kept: bool },
    /// Everything that there is was read.
    AtEnd { kept: bool },
    /// There may be more; another request continues.
    Again { kept: bool },
    /// The runner does not answer.
    Silent,
    /// Standard output is closed.
    Closed,
}

/// What the runner has said to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// Nothing.
    Nothing,
    /// The request waits for its turn.
    Queued,
    /// A part of the log.
    Part,
}

impl Heard {
    /// Returns how long the rest may take.
    fn limit(self) -> Duration {
        match self {
            Self::Nothing => FIRST_ANSWER,
            Self::Queued => TURN,
            Self::Part => LIFETIME,
        }
    }
}

/// A log that is being read.
pub(super) struct Reader {
    client: Client,
    namespace: String,
    component: Option<String>,
    since: Option<Time>,
    follow: bool,
    /// Where to continue.
    offset: i64,
    /// The request that exists.
    current: Option<String>,
    /// What the user was told last.
    told: String,
}

impl Reader {
    /// Begins at the start of a log.
    pub(super) fn new(
        client: &Client,
        namespace: &str,
        component: Option<String>,
        since: Option<Time>,
        follow: bool,
    ) -> Self {
        let (client, namespace) = (client.clone(), namespace.to_owned());
        Self { client, namespace, component, since, follow, offset: 0, current: None, told: String::new() }
    }

    /// Makes one request and prints its answer.
    ///
    /// # Errors
    /// When the user may not read logs, or the cluster cannot be asked.
    pub(super) async fn ask(&mut self, update: &NodeUpdate) -> anyhow::Result<Answer> {
        let request = self.request(update);
        let request = match publish::create_log_request(&self.client, &self.namespace, &request).await {
            Ok(request) => request,
            Err(error) => return Err(self.refused(error)),
        };
        self.current = Some(request.name_any());
        let answer = self.listen(&request, update).await;
        self.leave().await;
        answer
    }

    /// Removes the request that exists.
    pub(super) async fn leave(&mut self) {
        if let Some(name) = self.current.take() {
            // The runner removes what stays here.
            publish::delete_log_request(&self.client, &self.namespace, &name).await.ok();
        }
    }

    /// Tells the user why there is nothing to read, once.
    pub(super) fn tell(&mut self, words: &str) {
        if self.told != words {
            words::say(words);
            words.clone_into(&mut self.told);
        }
    }

    fn request(&self, update: &NodeUpdate) -> LogRequest {
        let spec = LogRequestSpec {
            node_update_ref: LocalRef { name: update.name_any() },
            node_update_uid: update.uid().unwrap_or_default(),
            offset: self.offset,
            component: self.component.clone(),
            since: self.since.clone(),
        };
        let mut request = LogRequest::new("", spec);
        request.metadata.name = None;
        request.metadata.generate_name = Some("logs-".into());
        let runner = label_value(&update.spec.runner);
        request.metadata.labels = Some(BTreeMap::from([(LABEL_RUNNER.to_owned(), runner)]));
        // Goes with the NodeUpdate where nobody removes it.
        request.metadata.owner_references = update.owner_ref(&()).map(|owner| vec![owner]);
        request
    }

    fn refused(&self, error: kube::Error) -> anyhow::Error {
        let namespace = &self.namespace;
        if let kube::Error::Api(status) = &error
            && status.code == 403
        {
            return anyhow::anyhow!(
                "you may not read logs in the namespace {namespace}: {}; ask for create, watch and delete on logrequests.farrier.dev there",
                status.message
            );
        }
        if is_gone(&error) {
            return anyhow::anyhow!(
                "the cluster does not know LogRequests; install the definitions of this version: farrier crd | kubectl apply --server-side -f -"
            );
        }
        anyhow::Error::new(error).context("failed to ask for the log")
    }

    /// Prints what the runner answers.
    async fn listen(&mut self, request: &LogRequest, update: &NodeUpdate) -> anyhow::Result<Answer> {
        let api: Api<LogRequest> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = WatchParams::default().fields(&format!("metadata.name={}", request.name_any()));
        let version = request.resource_version().unwrap_or_default();
        let mut events = match api.watch(&params, &version).await {
            Ok(events) => events.boxed(),
            Err(error) => return Err(self.refused(error)),
        };
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        let (mut heard, mut since, mut kept) = (Heard::Nothing, Instant::now(), false);
        loop {
            let event = tokio::select! {
                event = events.try_next() => event,
                () = tokio::time::sleep_until(since + heard.limit()) => {
                    return Ok(if heard == Heard::Nothing { Answer::Silent } else { Answer::Again { kept } });
                }
                _ = look.tick() => {
                    if !self.is_current(update, heard == Heard::Part && !kept).await {
                        return Ok(Answer::Again { kept });
                    }
                    continue;
                }
            };
            let part = match event {
                Ok(Some(WatchEvent::Added(request) | WatchEvent::Modified(request))) => request.status,
                Ok(Some(WatchEvent::Bookmark(_))) => None,
                // The watch or the request has ended; another request continues.
                Ok(None | Some(WatchEvent::Deleted(_) | WatchEvent::Error(_))) | Err(_) => {
                    return Ok(Answer::Again { kept });
                }
            };
            let Some(part) = part else { continue };
            let now = if part.queued { Heard::Queued } else { Heard::Part };
            if heard != now {
                (heard, since) = (now, Instant::now());
            }
            // A request that waits for its turn tells nothing about the log.
            kept = part.kept || part.queued;
            if let Some(answer) = self.take(&part)? {
                return Ok(answer);
            }
        }
    }

    /// Prints a part. Returns how the request ended, if it has.
    fn take(&mut self, part: &LogRequestStatus) -> anyhow::Result<Option<Answer>> {
        let kept = part.kept;
        if let Some(message) = &part.message {
            self.tell(message);
        }
        if part.from != self.offset {
            // A part was missed.
            return Ok(Some(Answer::Again { kept }));
        }
        let mut out = std::io::stdout().lock();
        match out.write_all(part.text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Some(Answer::Closed)),
            Err(error) => return Err(error).context("failed to print the log"),
        }
        self.offset = part.offset;
        Ok(match part {
            LogRequestStatus { complete: true, .. } => Some(Answer::Complete { kept }),
            LogRequestStatus { at_end: true, .. } if !self.follow => Some(Answer::AtEnd { kept }),
            LogRequestStatus { closed: true, .. } => Some(Answer::Again { kept }),
            LogRequestStatus { .. } => None,
        })
    }

    /// Reports whether the same runner has the NodeUpdate. Tells the user what a log that does not exist yet
    /// `waits` for.
    async fn is_current(&mut self, update: &NodeUpdate, waits: bool) -> bool {
        let updates: Api<NodeUpdate> = Api::namespaced(self.client.clone(), &self.namespace);
        match updates.get_opt(&update.name_any()).await {
            Ok(Some(now)) => {
                if waits {
                    self.tell(&words::not_yet(&now));
                }
                now.uid() == update.uid() && now.spec.runner == update.spec.runner
            }
            Ok(None) => false,
            // The next look tries again.
            Err(_) => true,
        }
    }
}
