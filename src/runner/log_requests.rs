//! Answers LogRequests: users read the log of a NodeUpdate through the API server.
//!
//! The request carries the name of the runner that has the log, in a label, and only that runner answers.
//! Nothing listens for this, and the API server has checked the user's rights (docs/adr/0038). The leader removes
//! requests that their users have left.

mod queue;

use super::{Context, is_finished};
use crate::api::{LABEL_RUNNER, LogRequest, LogRequestSpec, LogRequestStatus, label_value};
use crate::failure::chain;
use crate::log_store::{Filter, LogStore};
use crate::publish;
use futures::StreamExt as _;
use futures::stream::SelectAll;
use kube::api::{ObjectMeta, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use queue::Queue;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// How long one request is answered. A user who follows a log makes the next request then, so that a request
/// whose user is gone costs little.
const LIFETIME: Duration = Duration::from_mins(1);

/// How long a request that is over is remembered. One that exists for longer is looked at again, in vain.
const REMEMBERED: Duration = Duration::from_mins(10);

/// Interval of the search for what is old.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// Maximum number of bytes of one part: well below the limit of an object, which is 1.5 MiB.
const PART: usize = 128 * 1024;

/// Interval between two parts of a log that is being written, and of one that is being read from its start.
/// Each part is a write to the cluster's database.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);
const CATCH_UP_INTERVAL: Duration = Duration::from_millis(100);

/// Interval between two looks at whether the NodeUpdate has ended.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The requests to this runner, by UID.
struct Requests {
    context: Arc<Context>,
    logs: LogStore,
    /// Those that are not over.
    queue: Queue<oneshot::Sender<()>>,
    /// The work on each of these, which is aborted when the request is gone.
    works: HashMap<String, AbortOnDropHandle<()>>,
    /// Those that are over, and since when.
    over: HashMap<String, Instant>,
    /// Takes the UIDs of requests whose work has ended.
    ended: mpsc::UnboundedSender<String>,
}

/// Answers requests, in these namespaces or in all, for as long as the runner works.
pub async fn answer(context: Arc<Context>, namespaces: &[String]) {
    let Some(logs) = context.tools.logs.clone() else { return std::future::pending().await };
    let mut events = watch(&context.client, &context.name, namespaces);
    let (send, mut ended) = mpsc::unbounded_channel();
    let mut requests = Requests::new(context, logs.clone(), send);
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(Event::Apply(request) | Event::InitApply(request))) => {
                    requests.begin(&request.metadata);
                }
                Some(Ok(Event::Delete(request))) => {
                    requests.forget(&request.uid().unwrap_or_default());
                }
                Some(Ok(Event::Init | Event::InitDone)) => {}
                Some(Err(error)) => {
                    tracing::warn!(error = %chain(&error), "the watch of LogRequests was interrupted and is being restarted");
                }
                None => return,
            },
            Some(uid) = ended.recv() => requests.end(uid),
            _ = sweep.tick() => {
                logs.remove_old();
                requests.over.retain(|_, since| since.elapsed() < REMEMBERED);
            }
        }
    }
}

type Stream = futures::stream::BoxStream<'static, watcher::Result<Event<PartialObjectMeta<LogRequest>>>>;

/// Watches the requests to this runner, without what other runners answer and without the texts.
fn watch(client: &Client, runner: &str, namespaces: &[String]) -> SelectAll<Stream> {
    let label = format!("{LABEL_RUNNER}={}", label_value(runner));
    let config = watcher::Config::default().labels(&label).timeout(crate::caches::WATCH_LIMIT);
    let one =
        |api: Api<PartialObjectMeta<LogRequest>>| watcher(api, config.clone()).default_backoff().boxed();
    let apis: Vec<Api<PartialObjectMeta<LogRequest>>> = match namespaces {
        [] => vec![Api::all(client.clone())],
        some => some.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect(),
    };
    futures::stream::select_all(apis.into_iter().map(one))
}

impl Requests {
    fn new(context: Arc<Context>, logs: LogStore, ended: mpsc::UnboundedSender<String>) -> Self {
        Self { context, logs, queue: Queue::default(), works: HashMap::new(), over: HashMap::new(), ended }
    }

    /// Begins to work on a request, unless that was done before.
    fn begin(&mut self, request: &ObjectMeta) {
        let (Some(uid), Some(name)) = (request.uid.clone(), request.name.clone()) else { return };
        if self.works.contains_key(&uid) || self.over.contains_key(&uid) {
            return;
        }
        let namespace = request.namespace.clone().unwrap_or_default();
        let request = ObjectRef::new(&name).within(&namespace);
        let (send, turn) = oneshot::channel();
        self.queue.add(uid.clone(), namespace, send);
        self.give_turns();
        let (context, logs, ended, key) =
            (self.context.clone(), self.logs.clone(), self.ended.clone(), uid.clone());
        let work = async move {
            if let Err(error) = serve(&context, &logs, &request, turn).await
                && !publish::is_gone(&error)
            {
                tracing::warn!(%request, error = %chain(&error), "a LogRequest could not be answered");
            }
            // The receiver is dropped when the operator ends.
            ended.send(uid).ok();
        };
        self.works.insert(key, AbortOnDropHandle::new(tokio::spawn(work)));
    }

    /// Remembers that a request needs no more work.
    fn end(&mut self, uid: String) {
        if self.works.contains_key(&uid) {
            self.forget(&uid);
            self.over.insert(uid, Instant::now());
        }
    }

    /// Ends the work on a request that is gone.
    fn forget(&mut self, uid: &str) {
        self.works.remove(uid);
        self.over.remove(uid);
        self.queue.remove(uid);
        self.give_turns();
    }

    fn give_turns(&mut self) {
        while let Some(turn) = self.queue.next() {
            // The work has ended before its turn: `end` removes it.
            turn.send(()).ok();
        }
    }
}

/// Answers one request, when its `turn` has come, until it is over or everything is said.
async fn serve(
    context: &Context,
    logs: &LogStore,
    request: &ObjectRef<LogRequest>,
    mut turn: oneshot::Receiver<()>,
) -> kube::Result<()> {
    let namespace = request.namespace.clone().unwrap_or_default();
    let api: Api<LogRequest> = Api::namespaced(context.client.clone(), &namespace);
    let Some(request) = api.get_opt(&request.name).await? else { return Ok(()) };
    // A runner that was restarted continues where its predecessor stopped.
    let mut said = request.status.clone();
    if said.as_ref().is_some_and(is_over) {
        return Ok(());
    }
    if turn.try_recv().is_err() {
        let waits = queued(context, &request);
        publish::log_part(&context.client, &request, &waits).await?;
        said = Some(waits);
        // An error means that the runner ends.
        turn.await.ok();
    }
    // A log is found by its UID alone, and the user's rights end with the namespace.
    let LogRequestSpec { node_update_ref, node_update_uid, .. } = &request.spec;
    let (name, uid) = (&node_update_ref.name, node_update_uid);
    if !context.caches.has_update(&context.client, &namespace, name, uid).await? {
        let message = format!("the namespace {namespace} has no NodeUpdate {name} with the UID {uid}");
        return publish::log_part(&context.client, &request, &refused(&request, message)).await;
    }
    speak(context, logs, &request, said).await
}

/// Writes one part of the log after the other. `said` is the last one.
async fn speak(
    context: &Context,
    logs: &LogStore,
    request: &LogRequest,
    mut said: Option<LogRequestStatus>,
) -> kube::Result<()> {
    let mut grown = logs.grown();
    let end = Instant::now() + LIFETIME;
    let mut offset = next_offset(request);
    while said.as_ref().is_none_or(|said| !is_over(said)) {
        grown.borrow_and_update();
        let from = said.as_ref().map_or(request.spec.offset, |said| said.offset);
        let part = next(context, logs, request, offset);
        let part = LogRequestStatus { from, closed: Instant::now() >= end, ..part };
        offset = part.offset;
        let is_behind = !part.at_end;
        if is_news(said.as_ref(), &part) {
            publish::log_part(&context.client, request, &part).await?;
            said = Some(part);
        }
        // sleep: bounds the number of writes to the API server; each carries what came meanwhile.
        tokio::time::sleep(if is_behind { CATCH_UP_INTERVAL } else { FOLLOW_INTERVAL }).await;
        if !is_behind {
            // An error means that the store is gone, which lives as long as the runner.
            tokio::time::timeout(LOOK_INTERVAL, grown.changed()).await.ok();
        }
    }
    Ok(())
}

fn is_over(said: &LogRequestStatus) -> bool {
    said.complete || said.closed
}

/// Returns where the next part of the log begins.
fn next_offset(request: &LogRequest) -> i64 {
    request.status.as_ref().map_or(request.spec.offset, |said| said.offset)
}

/// Returns what a request is told that is not answered yet.
fn queued(context: &Context, request: &LogRequest) -> LogRequestStatus {
    let message = format!(
        "runner {} answers {} requests at once, and {} of one namespace; this one waits for its turn",
        context.name,
        queue::AT_ONCE,
        queue::OF_ONE_NAMESPACE
    );
    let offset = next_offset(request);
    let (from, queued, message) = (offset, true, Some(message));
    LogRequestStatus { from, offset, queued, message, ..LogRequestStatus::default() }
}

/// Returns the only part of a request that gets no answer.
fn refused(request: &LogRequest, message: String) -> LogRequestStatus {
    let offset = next_offset(request);
    let (from, closed, message) = (offset, true, Some(message));
    LogRequestStatus { from, offset, closed, message, ..LogRequestStatus::default() }
}

/// Reports whether a part is worth a write. Lines that were left out are not.
fn is_news(said: Option<&LogRequestStatus>, part: &LogRequestStatus) -> bool {
    let facts = |part: &LogRequestStatus| (part.queued, part.kept, part.at_end, part.complete, part.closed);
    !part.text.is_empty() || said.is_none_or(|said| facts(said) != facts(part))
}

/// Returns the part of the log that begins at `from`.
fn next(context: &Context, logs: &LogStore, request: &LogRequest, from: i64) -> LogRequestStatus {
    let LogRequestSpec { node_update_ref, node_update_uid, offset: _, component, since } = &request.spec;
    // Before the log is read: a NodeUpdate that has ended gets no more lines.
    let update = ObjectRef::new(&node_update_ref.name).within(&request.namespace().unwrap_or_default());
    let update = context.caches.updates.get(&update);
    let update = update.filter(|update| update.uid().as_ref() == Some(node_update_uid));
    // One that the cache does not show yet has not ended; the request of one that is gone goes with it.
    let has_ended = update.is_some_and(|update| is_finished(&update));
    // The form of the times in a log.
    let since = since.as_ref().map(|since| since.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let filter = Filter { component: component.clone(), since };
    let start = u64::try_from(from).unwrap_or_default();
    match logs.read(node_update_uid, start, PART, &filter) {
        Ok(Some(piece)) => LogRequestStatus {
            from,
            offset: i64::try_from(piece.next.max(start)).unwrap_or(i64::MAX),
            text: piece.text,
            kept: true,
            at_end: piece.at_end,
            complete: piece.at_end && has_ended,
            closed: false,
            queued: false,
            message: None,
        },
        // A log that cannot be read is none.
        Ok(None) | Err(_) => LogRequestStatus {
            from,
            offset: from,
            at_end: true,
            complete: has_ended,
            ..LogRequestStatus::default()
        },
    }
}
