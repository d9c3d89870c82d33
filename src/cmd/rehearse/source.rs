//! Reads the run and its machines from the cluster or from files.

use crate::api::{Baseline, LABEL_RUN, ManagedNode, NodeUpdate, UpdateRun};
use crate::cmd::cluster;
use crate::cmd::ports::files;
use anyhow::Context as _;
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::sync::Arc;

/// A run, and the other objects of its namespace.
#[derive(Debug)]
pub(super) struct Objects {
    pub(super) run: UpdateRun,
    pub(super) nodes: Vec<Arc<ManagedNode>>,
    pub(super) updates: Vec<Arc<NodeUpdate>>,
    pub(super) runs: Vec<Arc<UpdateRun>>,
    /// The baseline of the run; `None` if it does not exist or is not known.
    pub(super) baseline: Option<Baseline>,
}

impl Objects {
    /// Reads the objects from the cluster.
    pub(super) async fn from_cluster(
        cluster: &cluster::Options,
        namespace: Option<&str>,
        name: &str,
    ) -> anyhow::Result<Self> {
        let cluster::Connection { client, namespace, server } = cluster.connect(namespace).await?;
        let asking = |error| cluster::unanswered(error, &server);
        let runs: Api<UpdateRun> = Api::namespaced(client.clone(), &namespace);
        let run = runs.get_opt(name).await.map_err(asking)?;
        let run = run.with_context(|| cluster::missing("UpdateRun", name, &namespace))?;
        let everything = ListParams::default();
        // Only a run that repeats another one depends on other runs.
        let (others, updates) = if run.spec.retry_of.is_some() {
            let others = all(&client, &namespace, &everything).await.map_err(asking)?;
            (others, all(&client, &namespace, &everything).await.map_err(asking)?)
        } else {
            let own = ListParams::default().labels(&format!("{LABEL_RUN}={name}"));
            (Vec::new(), all(&client, &namespace, &own).await.map_err(asking)?)
        };
        let baseline = match &run.spec.baseline_ref {
            Some(named) => {
                Api::namespaced(client.clone(), &namespace).get_opt(&named.name).await.map_err(asking)?
            }
            None => None,
        };
        let nodes = all(&client, &namespace, &everything).await.map_err(asking)?;
        Ok(Self { run, nodes, updates, runs: others, baseline })
    }

    /// Reads the objects from files.
    pub(super) fn from_files(files: &[PathBuf], namespace: Option<&str>, name: &str) -> anyhow::Result<Self> {
        let found = files::read(files, namespace)?;
        let mut named = found.runs.into_iter().filter(|run| run.metadata.name.as_deref() == Some(name));
        let run = named.next().with_context(|| format!("the files have no UpdateRun {name}"))?;
        anyhow::ensure!(
            named.next().is_none(),
            "the files have several UpdateRuns {name}; name one with --namespace"
        );
        anyhow::ensure!(
            run.spec.retry_of.is_none(),
            "UpdateRun {name} has spec.retryOf, and which machines that means is known in the cluster only; leave out --file"
        );
        let here = |node: &ManagedNode| node.metadata.namespace == run.metadata.namespace;
        let nodes = found.nodes.into_iter().filter(here).map(Arc::new).collect();
        Ok(Self { run, nodes, updates: Vec::new(), runs: Vec::new(), baseline: None })
    }
}

/// Returns the selected objects of a kind in a namespace.
async fn all<K>(client: &Client, namespace: &str, selected: &ListParams) -> Result<Vec<Arc<K>>, kube::Error>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    Ok(api.list(selected).await?.items.into_iter().map(Arc::new).collect())
}
