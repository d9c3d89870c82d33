//! This replica: its name, its Leases, and its view of the other replicas.

use crate::lease::{Hold, LeaseConfig, LeaseDurations, LeaseManager, LeaseState};
use crate::machine_lease;
use crate::membership::{
    self, HostPorts, Membership, MembershipWatcher, RunnerInfo, RunnerLocation, this_host,
};
use crate::metrics::Metrics;
use anyhow::Context as _;
use farrier_update::ownership::Owner;
use kube::Client;
use std::collections::BTreeMap;
use std::net::IpAddr;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Options that distinguish this process from other replicas of the installation. In a pod they come
/// from the environment that the chart sets.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Name of this runner in spec.runner of NodeUpdates. Each operator process of an installation
    /// needs its own name.
    #[arg(long, env = "FARRIER_RUNNER", default_value = "farrier-0")]
    runner_name: String,

    /// Namespace of the operator itself, for its Leases and the objects that it creates for its own
    /// pods. Default: the one of --namespace, or the one of the kubeconfig's context or of the pod.
    #[arg(long, env = "FARRIER_POD_NAMESPACE")]
    operator_namespace: Option<String>,

    /// Seconds without a heartbeat after which a replica counts as dead and others take over its work.
    #[arg(long, env = "FARRIER_REPLICA_LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(5..=300))]
    replica_lease_seconds: u16,

    /// Addresses of this pod.
    #[arg(long, env = "FARRIER_POD_IPS", value_delimiter = ',', hide = true)]
    pod_ips: Vec<IpAddr>,

    /// Addresses of the host that this process runs on.
    #[arg(long, env = "FARRIER_HOST_IPS", value_delimiter = ',', hide = true)]
    host_ips: Vec<IpAddr>,

    /// Name of the node that this pod runs on.
    #[arg(long, env = "FARRIER_NODE_NAME", default_value = "", hide = true)]
    node_name: String,

    /// Host ports that belong to this pod, for instance 63001+16.
    #[arg(long, env = "FARRIER_HOST_PORTS", hide = true)]
    host_ports: Option<HostPorts>,

    /// Labels of the operator's pods, for instance app=farrier,instance=a.
    #[arg(long, env = "FARRIER_POD_SELECTOR", value_delimiter = ',', value_parser = label, hide = true)]
    pod_selector: Vec<(String, String)>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is no label; write key=value"))?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Options {
    /// Returns the operator's namespace, if configured.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.operator_namespace.as_deref()
    }

    fn info(&self) -> RunnerInfo {
        let location = if self.pod_ips.is_empty() {
            RunnerLocation::Host { id: this_host(), addresses: self.host_ips.clone() }
        } else {
            RunnerLocation::Pod {
                pod_ips: self.pod_ips.clone(),
                host_ips: self.host_ips.clone(),
                node: self.node_name.clone(),
                host_ports: self.host_ports,
                selector: self.pod_selector.iter().cloned().collect::<BTreeMap<_, _>>(),
            }
        };
        RunnerInfo { version: env!("CARGO_PKG_VERSION").to_owned(), location }
    }
}

/// Returns the configuration of the Lease by which the replicas elect their leader.
fn claim_to_lead(namespace: &str, runner: &str) -> LeaseConfig {
    LeaseConfig {
        namespace: namespace.to_owned(),
        name: "farrier-leader".to_owned(),
        runner: runner.to_owned(),
        labels: BTreeMap::from([("farrier.dev/part".to_owned(), "leader".to_owned())]),
        annotations: BTreeMap::new(),
    }
}

/// Competes for leadership as soon as this replica holds its own Lease. A replica whose name is taken
/// does not compete.
async fn stand_for_lead(runner: Hold, manager: LeaseManager, stop: CancellationToken) {
    tokio::select! {
        () = runner.gained() => manager.run(stop).await,
        () = stop.cancelled() => {}
    }
}

async fn count(mut members: Membership, metrics: Metrics) {
    loop {
        metrics.runners_live.set(i64::try_from(members.live().len()).unwrap_or(i64::MAX));
        members.changed().await;
    }
}

/// This process as one of the replicas.
pub(super) struct Replica {
    /// Name of the runner.
    pub(super) name: String,
    /// Held while this process may work: its own Lease.
    pub(super) runner: Hold,
    /// Held while this process is the leader.
    pub(super) leader: Hold,
    /// The operator's namespace.
    pub(super) namespace: String,
    /// What this runner publishes about itself.
    pub(super) info: RunnerInfo,
    /// The live runners.
    pub(super) members: Membership,
    stop: CancellationToken,
    managers: JoinSet<()>,
    lookout: JoinSet<()>,
}

impl Replica {
    /// Joins the other replicas. Does not wait until the name is free.
    ///
    /// # Errors
    /// When the Leases in the operator's namespace cannot be read or written.
    pub(super) async fn join(
        client: &Client,
        namespace: &str,
        args: &Options,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let terms = LeaseDurations::new(args.replica_lease_seconds);
        let name = args.runner_name.clone();
        let info = args.info();
        let claim = membership::claim(namespace, &name, &info);
        let (mut manager, runner) = LeaseManager::new(client, claim, terms);
        let (mut lookout, members) = MembershipWatcher::new(client, namespace, terms);
        let failed = || {
            format!(
                "failed to use Leases in namespace {namespace}, the operator's own; name an existing one with --operator-namespace, and let the operator get, list, create, update and delete leases.coordination.k8s.io there"
            )
        };
        if let LeaseState::Other { holder } = manager.attempt().await.with_context(failed)? {
            tracing::warn!(
                runner = %name, %holder,
                "another process is runner {name} in namespace {namespace}; waiting until it ends. To work beside it, start with another --runner-name"
            );
        }
        lookout.look().await.with_context(failed)?;
        let stop = CancellationToken::new();
        let mut managers = JoinSet::new();
        managers.spawn(manager.run(stop.clone()));
        let (manager, leader) = LeaseManager::new(client, claim_to_lead(namespace, &name), terms);
        managers.spawn(stand_for_lead(runner.clone(), manager, stop.clone()));
        let mut lookouts = JoinSet::new();
        lookouts.spawn(lookout.run(leader.clone()));
        lookouts.spawn(count(members.clone(), metrics.clone()));
        Ok(Self {
            name,
            runner,
            leader,
            namespace: namespace.to_owned(),
            info,
            members,
            stop,
            managers,
            lookout: lookouts,
        })
    }

    /// Describes the workers of this process in the Leases of machines. The NodeUpdate is still missing.
    pub(super) fn owner(&self) -> Owner {
        Owner {
            installation: self.namespace.clone(),
            runner: self.name.clone(),
            process: machine_lease::process(),
            update: String::new(),
            session: String::new(),
            left: false,
        }
    }

    /// Releases the Leases, so that other replicas take over at once.
    pub(super) async fn leave(mut self) {
        self.lookout.abort_all();
        self.stop.cancel();
        while self.managers.join_next().await.is_some() {}
    }
}
