//! Reads machines and runs from a cluster.

use super::subject::Input;
use crate::api::{ManagedNode, UpdateRun};
use crate::cmd::cluster;
use anyhow::Context as _;
use kube::Api;
use kube::api::ListParams;

/// The objects to look up.
#[derive(Debug, Clone, Copy)]
pub(super) enum Query<'a> {
    /// One machine.
    Node(&'a str),
    /// Machines by their labels.
    Selector(&'a str),
    /// A run and its machines.
    Run(&'a str),
}

/// Reads the objects from the cluster.
pub(super) async fn find(
    cluster: &cluster::Options,
    namespace: Option<&str>,
    query: &Query<'_>,
) -> anyhow::Result<Input> {
    let cluster::Connection { client, namespace, server } = cluster.connect(namespace).await?;
    let nodes: Api<ManagedNode> = Api::namespaced(client.clone(), &namespace);
    let asking = |error| cluster::unanswered(error, &server);
    match query {
        Query::Node(name) => {
            let node = nodes.get_opt(name).await.map_err(asking)?;
            let node = node.with_context(|| cluster::missing("ManagedNode", name, &namespace))?;
            Ok(Input { nodes: vec![node], ..Input::default() })
        }
        Query::Selector(labels) => {
            let params = ListParams::default().labels(labels);
            let nodes = nodes.list(&params).await.map_err(asking)?.items;
            anyhow::ensure!(
                !nodes.is_empty(),
                "no ManagedNode in the namespace {namespace} has the labels {labels}; see kubectl get managednodes -n {namespace} --show-labels"
            );
            Ok(Input { nodes, ..Input::default() })
        }
        Query::Run(name) => {
            let runs: Api<UpdateRun> = Api::namespaced(client, &namespace);
            let run = runs.get_opt(name).await.map_err(asking)?;
            let run = run.with_context(|| cluster::missing("UpdateRun", name, &namespace))?;
            let nodes = nodes.list(&ListParams::default()).await.map_err(asking)?.items;
            Ok(Input { nodes, runs: vec![run], of_runs_only: true })
        }
    }
}
