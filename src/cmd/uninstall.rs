//! `farrier uninstall`: the chart's hooks before and after the operator is removed.
//!
//! Before: no run may be in progress, because there would be no operator to clean up after it. After:
//! the hook removes the objects that the operator created for itself, which helm does not know. CRDs,
//! machines, baselines and runs stay: they belong to the users.

mod act;

use crate::api::{FINALIZER, NodeUpdate, UpdateRun, condition};
use crate::failure::chain;
use crate::publish::Kind;
use anyhow::Context as _;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::Instant;

/// Maximum number of objects that a message names; the rest is counted.
const MAX_NAMED: usize = 10;

/// Polling interval.
const PAUSE: Duration = Duration::from_secs(1);

/// Used by the chart: refuse to uninstall while runs are in progress, and clean up afterwards.
///
/// Example: farrier uninstall before --namespace fleet
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    when: When,

    /// The namespaces that the operator watches, separated by commas. Default: all.
    #[arg(long, env = "FARRIER_NAMESPACE", value_delimiter = ',', global = true)]
    namespace: Vec<String>,

    /// Seconds to wait for the API server, and for work that ends by itself.
    #[arg(long, default_value_t = 60, global = true)]
    wait: u64,
}

#[derive(Debug, clap::Subcommand)]
enum When {
    /// Succeed if no run is in progress and no machine waits for clean-up; otherwise name them.
    Before,
    /// Remove the Leases, Services and NetworkPolicies that the operator created for itself and the
    /// Secrets that it created for callbacks, and remove its finalizers from runs, so that the runs can
    /// be deleted without an operator.
    After {
        /// Namespace of the operator.
        #[arg(long, env = "FARRIER_POD_NAMESPACE")]
        operator_namespace: String,

        /// The operator's Deployment in that namespace: while it exists, nothing is removed.
        #[arg(long, env = "FARRIER_DEPLOYMENT")]
        deployment: Option<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// When runs are in progress, or the cluster denies access or clean-up.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let client = Client::try_default().await.context("failed to find a cluster")?;
    let until = Instant::now() + Duration::from_secs(args.wait);
    match &args.when {
        When::Before => before(&client, &args.namespace, until).await,
        When::After { operator_namespace, deployment } => {
            if let Some(name) = deployment {
                let exists =
                    retry_until(until, || act::is_installed(&client, operator_namespace, name)).await?;
                anyhow::ensure!(
                    !exists,
                    "the Deployment {operator_namespace}/{name} exists: the operator is not uninstalled, and nothing was removed. Next: where its objects were made by helm template, make them anew with --no-hooks, and delete this Job"
                );
            }
            retry_until(until, || act::own_objects(&client, operator_namespace)).await?;
            retry_until(until, || act::remove_finalizers(&client, &args.namespace)).await
        }
    }
}

/// Retries an attempt until the deadline. A pod has no network until its policies are in place, so the
/// first attempts may fail.
async fn retry_until<T, F: Future<Output = Result<T, kube::Error>>>(
    until: Instant,
    mut attempt: impl FnMut() -> F,
) -> anyhow::Result<T> {
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if Instant::now() >= until || matches!(error, kube::Error::Api(_)) => {
                return Err(error).context("failed to ask the API server");
            }
            Err(error) => tracing::info!(error = %chain(&error), "the API server cannot be asked yet"),
        }
        // sleep: backoff between two requests to an API server that does not respond.
        tokio::time::sleep(PAUSE).await;
    }
}

async fn before(client: &Client, namespaces: &[String], until: Instant) -> anyhow::Result<()> {
    loop {
        let runs: Vec<UpdateRun> = retry_until(until, || all(client, namespaces)).await?;
        let open: Vec<String> = runs.iter().filter(|run| is_open(run)).map(describe).collect();
        anyhow::ensure!(
            open.is_empty(),
            "runs are under way: {}. Nothing was uninstalled. Next: wait until they have ended (kubectl wait --for=jsonpath='{{.status.finishedAt}}'), or cancel them (kubectl patch updaterun NAME --type=merge --patch '{{\"spec\":{{\"desiredState\":\"Cancel\"}}}}'), and uninstall again. To leave their machines to the engines' own clean-up: helm upgrade --reset-then-reuse-values --set uninstall.force=true, then uninstall",
            listed(&open)
        );
        let updates: Vec<NodeUpdate> = retry_until(until, || all(client, namespaces)).await?;
        let held: Vec<String> = updates.iter().filter_map(held).collect();
        if held.is_empty() {
            tracing::info!("no run is under way and no machine waits to be cleaned");
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < until,
            "machines wait to be cleaned: {}. Nothing was uninstalled. Next: see the condition TornDown of these NodeUpdates and uninstall again; to leave the machines to the engines' own clean-up: helm upgrade --reset-then-reuse-values --set uninstall.force=true, then uninstall",
            listed(&held)
        );
        // sleep: polling interval; a hook that runs once needs no watch.
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns all objects of a kind in the namespaces.
async fn all<K: Kind>(client: &Client, namespaces: &[String]) -> Result<Vec<K>, kube::Error> {
    let everything = ListParams::default();
    if namespaces.is_empty() {
        return Ok(Api::all(client.clone()).list(&everything).await?.items);
    }
    let mut found = Vec::new();
    for namespace in namespaces {
        found.extend(Api::namespaced(client.clone(), namespace).list(&everything).await?.items);
    }
    Ok(found)
}

fn is_open(run: &UpdateRun) -> bool {
    let ended = run.status.as_ref().is_some_and(|status| {
        condition::is(&status.conditions, "Succeeded", "True")
            || condition::is(&status.conditions, "Succeeded", "False")
    });
    !ended
}

fn describe(run: &UpdateRun) -> String {
    let mut text = place(run);
    if let Some(counts) = run.status.as_ref().map(|status| &status.counts) {
        // Writing into a string does not fail.
        write!(text, " ({} of {} machines at work)", counts.in_progress, counts.total).ok();
    }
    text
}

/// Returns the name of a `NodeUpdate` whose machine is not clean yet.
fn held(update: &NodeUpdate) -> Option<String> {
    update.finalizers().iter().any(|finalizer| finalizer == FINALIZER).then(|| place(update))
}

fn place<K: Kind>(object: &K) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

fn listed(names: &[String]) -> String {
    let mut text = names.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if let Some(more) = names.len().checked_sub(MAX_NAMED).filter(|more| *more > 0) {
        // Writing into a string does not fail.
        write!(text, " and {more} more").ok();
    }
    text
}
