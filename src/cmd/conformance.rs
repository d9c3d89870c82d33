//! `farrier conformance`: tries the driver of one real machine.
//!
//! Reads the machine, its Secret and the baseline as the runner does, and writes nothing to the cluster but the
//! machine's Lease, which it holds meanwhile. Without `--apply` nothing on the machine is changed.

use super::{cluster, console, operator};
use crate::api::{Baseline, ManagedNode, NodeUpdate};
use crate::attempt::{Goal, Job, Tools};
use crate::callback::Registry;
use crate::conformance::{Extent, Probe, Verdict, probe};
use crate::convert;
use crate::engines::{Engines, hex};
use crate::inputs::Inputs;
use crate::machine_lease::{self, Held, MachineLease, Taking};
use crate::metrics::Metrics;
use crate::payload::Store;
use crate::runner::is_finished;
use anyhow::Context as _;
use farrier_update::ownership::Owner;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// Try the driver of one machine: reach it, take its inventory, and check that nothing is left there.
///
/// Nothing on the machine is changed without --apply, and nothing in the cluster but the machine's Lease, which is
/// held meanwhile. Each check is one line. Press Ctrl-C once to end early; the machine is still cleaned.
///
/// Examples:
///   farrier conformance --node bmc-7 -n fleet
///   farrier conformance --node bmc-7 -n fleet --baseline spring
///   farrier conformance --node bmc-7 -n fleet --baseline spring --apply
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A ManagedNode of the cluster.
    #[arg(long, value_name = "NAME")]
    node: String,

    /// Namespace of the machine. Default: that of the kubeconfig.
    #[arg(short, long)]
    namespace: Option<String>,

    #[command(flatten)]
    cluster: cluster::Options,

    /// Make the plan for this Baseline as well.
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,

    /// Install the Baseline's components as well, once. The host of a device is not restarted.
    #[arg(long, requires = "baseline")]
    apply: bool,

    /// Directory that file:/// payloads are read from.
    #[arg(long, env = "FARRIER_PAYLOAD_DIR")]
    payload_dir: Option<PathBuf>,

    /// Directory with the engines. Default: engines beside this executable.
    #[arg(long, env = "FARRIER_ENGINES")]
    engines: Option<PathBuf>,

    #[command(flatten)]
    console: console::Options,
}

/// Runs the command.
///
/// # Errors
/// When an object does not exist, a run or another tool is at work on the machine, or a check has not passed.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let config = args.cluster.config().await?;
    let server = config.cluster_url.to_string();
    let namespace = args.namespace.as_ref().unwrap_or(&config.default_namespace).clone();
    let client = Client::try_from(config).context("failed to set up the connection to the cluster")?;
    let cluster = Cluster { client, server, namespace };
    let node: ManagedNode = cluster.find("ManagedNode", &args.node).await?;
    let baseline: Option<Baseline> = match &args.baseline {
        Some(name) => Some(cluster.find("Baseline", name).await?),
        None => None,
    };
    cluster.is_idle(&node).await?;
    let register = args.console.register()?;
    let inputs = Inputs { client: &cluster.client, register: &register };
    let driver = inputs.driver(&node, &cluster.namespace).await?;
    let engines = if driver.abilities.takes_engine {
        operator::engines(args.engines.as_deref())?
    } else {
        Engines::none()
    };
    let store = directory()?;
    let tools = Tools {
        engines,
        store: Store::open(&store.0, args.payload_dir.as_deref())
            .context("failed to prepare for payloads")?,
        metrics: Metrics::new(),
        calls: Registry::new(),
        logs: None,
    };
    let job = job(&node, baseline.as_ref(), &inputs, &cluster.namespace).await?;
    let held = cluster.hold(&node, &job.session).await?;
    let extent = match (&baseline, args.apply) {
        (None, _) => Extent::Inventory,
        (Some(_), false) => Extent::Plan,
        (Some(_), true) => Extent::Update,
    };
    let (interrupt, stop) = watch::channel(false);
    let probed = Probe { driver: &*driver.driver, tools: &tools, job, extent, stop };
    let report = tokio::select! {
        report = probe(&probed, |line| print(&line.to_string())) => report,
        never = interrupted(&interrupt) => match never {},
    };
    let passed = report.lines.iter().filter(|line| matches!(line.verdict, Verdict::Passed(_))).count();
    let all = report.lines.len();
    held.release(passed < all).await;
    anyhow::ensure!(
        passed == all,
        "{} of {all} checks on ManagedNode {} did not pass; do what the first of them says, and run this again",
        all - passed,
        args.node
    );
    print(&format!("all {all} checks passed on ManagedNode {}", args.node));
    Ok(())
}

/// The cluster, for questions.
struct Cluster {
    client: Client,
    server: String,
    namespace: String,
}

impl Cluster {
    async fn find<K>(&self, kind: &str, name: &str) -> anyhow::Result<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = api.get_opt(name).await.map_err(|error| cluster::unanswered(error, &self.server))?;
        found.with_context(|| cluster::missing(kind, name, &self.namespace))
    }

    /// Refuses a machine on which a run is at work: both would install beside each other.
    async fn is_idle(&self, node: &ManagedNode) -> anyhow::Result<()> {
        let api: Api<NodeUpdate> = Api::namespaced(self.client.clone(), &self.namespace);
        let updates = api
            .list(&ListParams::default())
            .await
            .map_err(|error| cluster::unanswered(error, &self.server))?;
        let name = node.name_any();
        let at_work = updates.iter().find(|update| update.spec.node_ref.name == name && !is_finished(update));
        match at_work {
            None => Ok(()),
            Some(update) => anyhow::bail!(
                "the run {run} is at work on ManagedNode {name} (NodeUpdate {}); wait until it has ended, or cancel it: kubectl patch updaterun {run} -n {} --type merge -p '{{\"spec\":{{\"desiredState\":\"Cancel\"}}}}'",
                update.name_any(),
                self.namespace,
                run = update.spec.run_ref.name,
            ),
        }
    }

    /// Takes the machine's Lease, so that nobody else works on the machine meanwhile.
    async fn hold(&self, node: &ManagedNode, session: &str) -> anyhow::Result<Held> {
        let process = machine_lease::process();
        let owner = Owner {
            // No namespace has such a name.
            installation: "(conformance)".to_owned(),
            // Process ids are equal in different containers.
            runner: format!("process-{process}"),
            process,
            update: node.name_any(),
            session: session.to_owned(),
            left: false,
        };
        let lease = MachineLease::new(&self.client, node, owner, LEASE_DURATION);
        let taken =
            lease.attempt(|_| false).await.map_err(|error| cluster::unanswered(error, &self.server))?;
        match taken {
            Taking::Held(held) => Ok(held),
            Taking::Other(occupant) => anyhow::bail!(
                "ManagedNode {name} is in use: {holder} holds Lease {lease}; wait until it is released. If the holder does not exist any more: kubectl delete lease {lease} -n {namespace}",
                name = node.name_any(),
                holder = occupant.holder,
                lease = lease.name(),
                namespace = self.namespace,
            ),
        }
    }
}

/// How long the machine's Lease is valid if this process is killed.
const LEASE_DURATION: Duration = Duration::from_mins(2);

/// Returns the job, as the runner makes it for a run with the defaults.
async fn job(
    node: &ManagedNode,
    baseline: Option<&Baseline>,
    inputs: &Inputs<'_>,
    namespace: &str,
) -> anyhow::Result<Job> {
    let class = inputs.class(node)?;
    Ok(Job {
        installers: class.abilities().installers,
        all_installers: inputs.register.installers().clone(),
        runner: format!("conformance-{}", std::process::id()),
        components: baseline.iter().flat_map(|b| &b.spec.components).map(convert::component).collect(),
        access: inputs.payload_access(baseline, namespace).await,
        ..Job::first(&session(node), "conformance", &node.name_any(), node.spec.type_, Goal::Inventory)
    })
}

/// Returns an id that no other session has: what is on the machine is told apart by it.
fn session(node: &ManagedNode) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let text = format!("{:?} {} {}", node.uid(), std::process::id(), now.as_nanos());
    hex(&Sha256::digest(text)).chars().take(32).collect()
}

/// Tells the driver at the first Ctrl-C to end. At the second one the process ends as usual.
async fn interrupted(interrupt: &watch::Sender<bool>) -> std::convert::Infallible {
    if tokio::signal::ctrl_c().await.is_ok() {
        tracing::warn!("interrupted: the machine is cleaned first; press Ctrl-C again to leave it as it is");
        interrupt.send_replace(true);
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    }
    std::future::pending().await
}

fn print(line: &str) {
    // A reader that has gone away needs no lines.
    writeln!(std::io::stdout(), "{line}").ok();
}

/// A directory that is removed in the end.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Creates a directory for payloads, which no operator uses.
fn directory() -> anyhow::Result<Directory> {
    let path = std::env::temp_dir().join(format!("farrier-conformance-{}", std::process::id()));
    std::fs::create_dir_all(&path)
        .with_context(|| format!("failed to create {}; set TMPDIR to another directory", path.display()))?;
    Ok(Directory(path))
}
