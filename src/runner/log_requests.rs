//! Answers LogRequests: users read the log of a NodeUpdate through the API server.
//!
//! The request carries the name of the runner that has the log, in a label, and only that runner answers.
//! Nothing listens for this, and the API server has checked the user's rights (docs/adr/0038).

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
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// How long one request is answered. A user who follows a log makes the next request then, so that a request
/// whose user is gone costs little.
const LIFETIME: Duration = Duration::from_mins(1);

/// How long a request may exist after that, for its user to read the last part.
const REMOVED_AFTER: Duration = Duration::from_mins(2);

/// Maximum number of requests that are answered at once; others wait.
const AT_ONCE: usize = 16;

/// Maximum number of bytes of one part: well below the limit of an object, which is 1.5 MiB.
const PART: usize = 128 * 1024;

/// Interval between two parts of a log that is being written, and of one that is being read from its start.
/// Each part is a write to the cluster's database.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);
const CATCH_UP_INTERVAL: Duration = Duration::from_millis(100);

/// Interval between two looks at whether the NodeUpdate has ended.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The requests to this runner that exist.
#[derive(Default)]
struct Requests {
    /// By UID.
    answered: HashMap<String, Answered>,
}

struct Answered {
    request: ObjectRef<LogRequest>,
    since: Instant,
    /// Aborts the answer when the request is gone.
    _work: AbortOnDropHandle<()>,
}

/// Answers requests, in these namespaces or in all, for as long as the runner works.
pub async fn answer(context: Arc<Context>, namespaces: &[String]) {
    let Some(logs) = context.tools.logs.clone() else { return std::future::pending().await };
    let mut events = watch(&context.client, &context.name, namespaces);
    let mut requests = Requests::default();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut sweep = tokio::time::interval(REMOVED_AFTER / 4);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(Event::Apply(request) | Event::InitApply(request))) => {
                    requests.begin(&context, &logs, &places, &request.metadata);
                }
                Some(Ok(Event::Delete(request))) => {
                    requests.answered.remove(&request.uid().unwrap_or_default());
                }
                Some(Ok(Event::Init | Event::InitDone)) => {}
                Some(Err(error)) => {
                    tracing::warn!(error = %chain(&error), "the watch of LogRequests was interrupted and is being restarted");
                }
                None => return,
            },
            _ = sweep.tick() => {
                logs.remove_old();
                requests.remove_old(&context.client).await;
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
    fn begin(
        &mut self,
        context: &Arc<Context>,
        logs: &LogStore,
        places: &Arc<Semaphore>,
        request: &ObjectMeta,
    ) {
        let (Some(uid), Some(name)) = (request.uid.clone(), request.name.clone()) else { return };
        if self.answered.contains_key(&uid) {
            return;
        }
        let namespace = request.namespace.clone().unwrap_or_default();
        let request = ObjectRef::new(&name).within(&namespace);
        let (context, logs, places, asked) = (context.clone(), logs.clone(), places.clone(), request.clone());
        let work = async move {
            // The semaphore is never closed.
            let Ok(_place) = places.acquire().await else { return };
            if let Err(error) = serve(&context, &logs, &asked).await
                && !publish::is_gone(&error)
            {
                tracing::warn!(request = %asked, error = %chain(&error), "a LogRequest could not be answered");
            }
        };
        let work = AbortOnDropHandle::new(tokio::spawn(work));
        self.answered.insert(uid, Answered { request, since: Instant::now(), _work: work });
    }

    /// Removes requests that are over and that their users have left.
    async fn remove_old(&mut self, client: &Client) {
        let old = self.answered.iter().filter(|(_, answered)| answered.since.elapsed() > REMOVED_AFTER);
        let old: Vec<_> = old.map(|(uid, answered)| (uid.clone(), answered.request.clone())).collect();
        for (uid, request) in old {
            let namespace = request.namespace.clone().unwrap_or_default();
            match publish::delete_log_request(client, &namespace, &request.name).await {
                Ok(()) => {
                    self.answered.remove(&uid);
                }
                // The next sweep tries again.
                Err(error) => {
                    tracing::warn!(%request, error = %chain(&error), "an old LogRequest could not be removed");
                }
            }
        }
    }
}

/// Answers one request until it is over, or everything is said.
async fn serve(context: &Context, logs: &LogStore, request: &ObjectRef<LogRequest>) -> kube::Result<()> {
    let namespace = request.namespace.clone().unwrap_or_default();
    let api: Api<LogRequest> = Api::namespaced(context.client.clone(), &namespace);
    let Some(request) = api.get_opt(&request.name).await? else { return Ok(()) };
    // A log is found by its UID alone, and the user's rights end with the namespace.
    let LogRequestSpec { node_update_ref, node_update_uid, offset, .. } = &request.spec;
    let (name, uid) = (&node_update_ref.name, node_update_uid);
    if !context.caches.has_update(&context.client, &namespace, name, uid).await? {
        let message = format!("the namespace {namespace} has no NodeUpdate {name} with the UID {uid}");
        return publish::log_part(&context.client, &request, &refused(*offset, message)).await;
    }
    let mut grown = logs.grown();
    let end = Instant::now() + LIFETIME;
    // A runner that was restarted continues where its predecessor stopped.
    let mut said = request.status.clone();
    let mut offset = said.as_ref().map_or(request.spec.offset, |said| said.offset);
    while said.as_ref().is_none_or(|said| !said.complete && !said.closed) {
        grown.borrow_and_update();
        let from = said.as_ref().map_or(request.spec.offset, |said| said.offset);
        let part = next(context, logs, &request, offset);
        let part = LogRequestStatus { from, closed: Instant::now() >= end, ..part };
        offset = part.offset;
        let is_behind = !part.at_end;
        if is_news(said.as_ref(), &part) {
            publish::log_part(&context.client, &request, &part).await?;
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

/// Returns the only part of a request that gets no answer.
fn refused(offset: i64, message: String) -> LogRequestStatus {
    let (from, closed, message) = (offset, true, Some(message));
    LogRequestStatus { from, offset, closed, message, ..LogRequestStatus::default() }
}

/// Reports whether a part is worth a write. Lines that were left out are not.
fn is_news(said: Option<&LogRequestStatus>, part: &LogRequestStatus) -> bool {
    let facts = |part: &LogRequestStatus| (part.kept, part.at_end, part.complete, part.closed);
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
