//! Follows a run with watches, as `kubectl get --watch` does.

use super::summary::{Prompt, Summary};
use crate::api::{LABEL_RUN, NodeUpdate, UpdateRun};
use crate::caches::WATCH_LIMIT;
use crate::cmd::cluster::{self, Connection};
use anyhow::{Context as _, bail};
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use kube::Api;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use std::time::Duration;

/// How often what depends on the clock is shown anew.
const TICK: Duration = Duration::from_secs(1);

/// What a run is shown on.
pub(super) trait Shows {
    /// Shows a summary.
    fn show(&mut self, summary: &Summary, now: Timestamp) -> anyhow::Result<()>;
    /// Returns the result once nothing more will happen.
    fn end(&self) -> Option<anyhow::Result<()>>;
}

/// Shows a run until it has ended.
pub(super) async fn follow(
    connection: &Connection,
    name: &str,
    prompt: &Prompt,
    mut screen: impl Shows,
) -> anyhow::Result<()> {
    let Connection { client, namespace, server } = connection;
    let runs: Api<UpdateRun> = Api::namespaced(client.clone(), namespace);
    let exists = runs.get_opt(name).await.map_err(|error| cluster::unanswered(error, server))?;
    exists.with_context(|| cluster::missing("UpdateRun", name, namespace))?;
    let updates: Api<NodeUpdate> = Api::namespaced(client.clone(), namespace);
    let config = watcher::Config::default().timeout(WATCH_LIMIT);
    let (runs, run_events) = stored(runs, config.clone().fields(&format!("metadata.name={name}")));
    let (updates, update_events) = stored(updates, config.labels(&format!("{LABEL_RUN}={name}")));
    let mut events = futures::stream::select(run_events.boxed(), update_events.boxed());
    let mut ready =
        std::pin::pin!(async { tokio::try_join!(runs.wait_until_ready(), updates.wait_until_ready()) });
    let mut is_ready = false;
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            result = &mut ready, if !is_ready => {
                result.context("the watch has ended")?;
                is_ready = true;
            }
            event = events.next() => {
                let event = event.context("the watch has ended")?;
                event.map_err(|error| refused(error, server)).or_else(passing)?;
                continue;
            }
            _ = tick.tick() => {}
        }
        if !is_ready {
            continue;
        }
        let Some(run) = runs.state().into_iter().next() else { bail!("UpdateRun {name} was deleted") };
        let updates: Vec<NodeUpdate> = updates.state().iter().map(|update| (**update).clone()).collect();
        let now = Timestamp::now();
        screen.show(&Summary::new(&run, &updates, now, prompt), now)?;
        if let Some(end) = screen.end() {
            return end;
        }
    }
}

/// Returns the objects of a watch, and its events.
fn stored<K>(
    api: Api<K>,
    config: watcher::Config,
) -> (Store<K>, impl Stream<Item = Result<(), watcher::Error>> + Send)
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let events = reflector::reflector(writer, watcher(api, config)).default_backoff();
    (store, events.map(|event| event.map(|_| ())))
}

/// A failure of a watch.
enum Failure {
    /// It will not get better.
    Final(anyhow::Error),
    /// The next attempt may succeed.
    Passing,
}

fn refused(error: watcher::Error, server: &str) -> Failure {
    match error {
        watcher::Error::InitialListFailed(error @ kube::Error::Api(_))
        | watcher::Error::WatchStartFailed(error @ kube::Error::Api(_)) => {
            let is_final =
                matches!(&error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404));
            if is_final { Failure::Final(cluster::unanswered(error, server)) } else { Failure::Passing }
        }
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchError(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => Failure::Passing,
    }
}

fn passing(failure: Failure) -> anyhow::Result<()> {
    match failure {
        Failure::Final(error) => Err(error),
        Failure::Passing => Ok(()),
    }
}
