//! `farrier operator`: controller and runner in one process.

mod cluster_args;
mod fields;
mod instruments;
mod machine_logs;
mod replica;

use super::{cluster, console};
use crate::attempt::{LEASE_SECONDS, Tools};
use crate::caches::{Caches, Change, Watches};
use crate::callback::Registry;
use crate::controllers;
use crate::drivers::Register;
use crate::engines::Engines;
use crate::exposure::{Exposer, Resolver};
use crate::membership::RunnerLocation;
use crate::metrics::Metrics;
use crate::payload::Store;
use crate::publish::Events;
use crate::runner::{self, Listeners};
use anyhow::Context as _;
use instruments::Instruments;
use kube::Client;
use kube::client::ClientBuilder;
use replica::Replica;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};

/// Timeout for the first response of the API server.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// Run the operator: controller and runner.
///
/// The operator finds the cluster as kubectl does: --kubeconfig, KUBECONFIG, the usual file, or the
/// service account it runs under.
///
/// Example: farrier operator --payload-dir /srv/payloads
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: cluster::Options,

    /// Watch only these namespaces, separated by commas. Default: all.
    #[arg(long, env = "FARRIER_NAMESPACE", value_delimiter = ',')]
    namespace: Vec<String>,

    /// Directory that file:/// payloads are read from.
    #[arg(long, env = "FARRIER_PAYLOAD_DIR")]
    payload_dir: Option<PathBuf>,

    #[command(flatten)]
    console: console::Options,

    /// Directory for fetched payloads. Default: farrier/payloads under the cache directory of the user,
    /// or under /var/cache.
    #[arg(long, env = "FARRIER_CACHE_DIR")]
    cache_dir: Option<PathBuf>,

    /// Directory with the engines. Default: engines beside this executable.
    #[arg(long, env = "FARRIER_ENGINES")]
    engines: Option<PathBuf>,

    #[command(flatten)]
    replica: replica::Options,

    #[command(flatten)]
    site: cluster_args::ClusterArgs,

    /// Seconds that an engine waits for a silent operator before it removes everything from its
    /// machine.
    #[arg(long, env = "FARRIER_LEASE_SECONDS", default_value_t = LEASE_SECONDS, value_parser = clap::value_parser!(u64).range(30..=86400))]
    lease_seconds: u64,

    /// Seconds that are waited, at each point of an attempt, for others who use a machine: for a locked
    /// package manager, for room on a disk, for another engine, for another holder of the machine's Lease.
    /// After that the attempt fails. A machine whose spec.channel is Callback waits for the operator's own
    /// ports for this long, or for the run's arrivalTimeout if that is longer.
    #[arg(long, env = "FARRIER_WAIT_SECONDS", default_value_t = farrier_protocol::DEFAULT_WAIT_SECONDS, value_parser = clap::value_parser!(u64).range(0..=86400))]
    wait_seconds: u64,

    #[command(flatten)]
    machine_logs: machine_logs::Options,

    /// Address for /healthz, /readyz and /metrics. Default: 127.0.0.1:8080, or no endpoint if that is
    /// taken.
    #[arg(long, env = "FARRIER_HTTP_ADDR")]
    http_addr: Option<SocketAddr>,
}

/// Runs the operator until it receives a signal to stop.
///
/// # Errors
/// When the cluster cannot be reached, the CRDs are missing or of an earlier version, there are no engines, or a product
/// file of the user has findings.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let register = args.console.register()?;
    Box::pin(run_with(args, register)).await
}

/// As [`run`], for these classes of machines.
///
/// # Errors
/// As for [`run`].
pub async fn run_with(args: Args, register: Register) -> anyhow::Result<()> {
    let mut told = std::pin::pin!(Shutdown::listen()?.told());
    crate::descriptors::raise();
    let engines = engines(args.engines.as_deref())?;
    let cache = args.cache_dir.clone().unwrap_or_else(default_cache);
    let metrics = Metrics::new();
    let store = Store::open(&cache, args.payload_dir.as_deref()).with_context(|| {
        format!("failed to use {} for payloads; name another directory with --cache-dir", cache.display())
    })?;
    let store = store.counted_by(&metrics);
    let logs = args.machine_logs.store(args.cache_dir.as_deref(), &metrics)?;
    let instruments = Instruments::start(metrics, args.http_addr, &engines, &store).await?;
    let checked = async {
        let (client, server, location) = client(&args, &instruments).await?;
        check_definitions(&client, &server).await?;
        fields::check(&client).await?;
        anyhow::Ok((client, location))
    };
    let (client, location) = tokio::select! {
        checked = checked => checked?,
        () = &mut told => return Ok(()),
    };
    let location =
        args.replica.namespace().or(args.namespace.first().map(String::as_str)).unwrap_or(&location);
    let replica = Replica::join(&client, location, &args.replica, &instruments.metrics).await?;
    let metrics = instruments.metrics.clone();
    let tools = Tools { engines, store, metrics, calls: Registry::new(), logs: Some(logs) };
    let ended = tokio::select! {
        ended = work(&args, client, &replica, &instruments, register, tools) => ended,
        () = told => Ok(()),
    };
    replica.leave().await;
    ended?;
    // Engines continue on their own; the next process resumes their sessions.
    tracing::info!("farrier ends");
    Ok(())
}

/// Runs controller and runner until one of them ends unexpectedly.
async fn work(
    args: &Args,
    client: Client,
    replica: &Replica,
    instruments: &Instruments,
    register: Register,
    tools: Tools,
) -> anyhow::Result<()> {
    replica.runner.gained().await;
    let is_pod = matches!(replica.info.location, RunnerLocation::Pod { .. });
    let own = is_pod.then_some(&*replica.namespace);
    let watches = Watches::start(&client, &args.namespace, own, &instruments.metrics);
    instruments.watching(&client, &watches);
    watches.ready().await.context("failed to fill the caches")?;
    let (caches, made, changes) = watches.into_parts();
    let names = Arc::new(Resolver::default());
    let events = Events::new(client.clone(), "farrier-controller", &instruments.metrics);
    let (site, members) = (args.site.site(replica, made), replica.members.clone());
    let exposer =
        Exposer::new(client.clone(), caches.clone(), site, names.clone(), members.clone(), events.clone());
    let listeners_changed = Arc::new(Notify::new());
    let (to_controller, controller_changes) = mpsc::unbounded_channel();
    let (to_runner, runner_changes) = mpsc::unbounded_channel();
    let runner = Arc::new(runner::Context {
        client: client.clone(),
        evictions: client_without_retries(args, instruments).await?,
        caches: caches.clone(),
        register: register.clone(),
        tools,
        events: Events::new(client.clone(), "farrier-runner", &instruments.metrics),
        name: replica.name.clone(),
        owner: replica.owner(),
        holds: replica.runner.clone(),
        lease_seconds: args.lease_seconds,
        wait_seconds: args.wait_seconds,
        log_retention: args.machine_logs.retention(),
        membership: members.clone(),
        names,
        listeners: Listeners::default(),
        callback_counters: instruments.callback_counters(),
        metrics: instruments.metrics.clone(),
        heartbeat: instruments.runner(),
    });
    let controller = controllers::Context {
        client,
        caches: caches.clone(),
        register,
        events,
        name: replica.name.clone(),
        leads: replica.leader.clone(),
        members,
        metrics: instruments.metrics.clone(),
        heartbeat: instruments.controller(),
        exposer,
        own_writes: controllers::OwnWrites::default(),
        selections: controllers::Selections::default(),
    };
    tracing::info!(runner = %replica.name, version = env!("CARGO_PKG_VERSION"), "farrier is at work");
    tokio::select! {
        () = spread(&caches, changes, to_controller, to_runner, &listeners_changed) => {}
        () = runner::run_listeners(runner.clone(), &listeners_changed) => {}
        () = controllers::lead(controller, controller_changes) => {}
        () = runner::run_log_requests(runner.clone(), &args.namespace) => {}
        () = runner::run(runner, runner_changes) => {}
    }
    Ok(())
}

/// Dispatches each change to the loops that depend on it.
async fn spread(
    caches: &Caches,
    mut changes: mpsc::UnboundedReceiver<Change>,
    controller: mpsc::UnboundedSender<Change>,
    runner: mpsc::UnboundedSender<(String, String)>,
    listeners: &Notify,
) {
    while let Some(change) = changes.recv().await {
        listeners.notify_one();
        let concerned = match &change {
            Change::Update(update) => {
                vec![(update.namespace.clone().unwrap_or_default(), update.name.clone())]
            }
            Change::Run(run) => runner::orphans(caches, run),
            Change::Node(_) | Change::Baseline(_) | Change::RunObject(_) => Vec::new(),
        };
        if concerned.into_iter().any(|key| runner.send(key).is_err()) {
            return;
        }
        if controller.send(change).is_err() {
            return;
        }
    }
}

/// The signals that end the operator. From [`Shutdown::listen`] on none of them kills it.
struct Shutdown {
    terminate: Signal,
    interrupt: Signal,
}

impl Shutdown {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("failed to listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Returns when a signal has come.
    async fn told(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Returns the client, the server's address for messages, and the default namespace.
async fn client(args: &Args, instruments: &Instruments) -> anyhow::Result<(Client, String, String)> {
    let config = args.cluster.config().await?;
    let server = config.cluster_url.to_string();
    let namespace = config.default_namespace.clone();
    let builder =
        ClientBuilder::try_from(config).context("failed to set up the connection to the cluster")?;
    Ok((builder.with_layer(&instruments.api_calls()).build(), server, namespace))
}

/// Returns a client that never repeats a request by itself. The usual one repeats what is answered with 429, up to 15
/// times and without a word: an eviction that a budget does not allow.
async fn client_without_retries(args: &Args, instruments: &Instruments) -> anyhow::Result<Client> {
    let mut config = args.cluster.config().await?;
    config.default_retry = false;
    let builder =
        ClientBuilder::try_from(config).context("failed to set up the connection to the cluster")?;
    Ok(builder.with_layer(&instruments.api_calls()).build())
}

/// Checks that every CRD exists before any watch starts: a watch of an unknown kind would return "not
/// found" forever.
async fn check_definitions(client: &Client, server: &str) -> anyhow::Result<()> {
    let group = crate::api::GROUP;
    let asked = format!("{group}/v1alpha1");
    let known = tokio::time::timeout(ANSWER_LIMIT, client.list_api_group_resources(&asked))
        .await
        .with_context(|| {
            format!(
                "failed to reach the cluster: {server} did not answer within {} s",
                ANSWER_LIMIT.as_secs()
            )
        })?;
    let missing: Vec<String> = match known.map(|list| list.resources) {
        Ok(known) => {
            let known: Vec<String> = known.into_iter().map(|r| r.kind).collect();
            let wanted = crate::api::definitions().into_iter().map(|d| d.spec.names.kind);
            wanted.filter(|kind| !known.contains(kind)).collect()
        }
        Err(error) if crate::publish::is_gone(&error) => vec![format!("every kind of {group}")],
        Err(kube::Error::Api(status)) => {
            anyhow::bail!(
                "the cluster at {server} refused the operator ({}); check the user or token of the kubeconfig",
                status.message
            );
        }
        Err(error) => {
            return Err(error).with_context(|| {
                format!("failed to reach the cluster at {server}; check that its API server runs and that KUBECONFIG points to it")
            });
        }
    };
    anyhow::ensure!(
        missing.is_empty(),
        "the cluster does not know {}; install the definitions first: farrier crd | kubectl apply --server-side -f -",
        missing.join(", ")
    );
    Ok(())
}

/// Reads the engines in this directory, or beside this executable.
pub(super) fn engines(dir: Option<&Path>) -> anyhow::Result<Engines> {
    let dir = match dir {
        Some(dir) => dir.to_owned(),
        None => std::env::current_exe()
            .context("failed to find this executable")?
            .parent()
            .map(|p| p.join("engines"))
            .unwrap_or_default(),
    };
    Engines::load(&dir)
        .with_context(|| format!("failed to load engines from {}; build them with hack/build, or name their directory with --engines", dir.display()))
}

fn default_cache() -> PathBuf {
    cache_base().join("farrier/payloads")
}

/// Returns the user's directory for caches.
fn cache_base() -> PathBuf {
    std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|location| Path::new(&location).join(".cache")))
        .unwrap_or_else(|| PathBuf::from("/var/cache"))
}
