//! The changes of runs that a person makes in the cluster.

use super::decide::{Change, Decision};
use crate::api::UpdateRun;
use crate::cmd::cluster::{self, Connection};
use anyhow::Context as _;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};

/// How often a change is decided again because the run has changed meanwhile. The operator writes the status of a run
/// a few times a second at most.
const ATTEMPTS: u32 = 10;

/// Name of this program in the list of who has set which field.
const MANAGER: &str = "kubectl-farrier";

/// Where a change is only tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum DryRun {
    /// It is made.
    None,
    /// Nothing is sent.
    Client,
    /// The API server checks it and keeps nothing of it.
    Server,
}

impl DryRun {
    /// Returns what is added to messages, as kubectl does.
    pub(super) fn note(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Changed,
    Unchanged,
}

/// Reads a run.
pub(super) async fn read(connection: &Connection, name: &str) -> anyhow::Result<UpdateRun> {
    let Connection { client, namespace, server } = connection;
    let runs: Api<UpdateRun> = Api::namespaced(client.clone(), namespace);
    let run = runs.get_opt(name).await.map_err(|error| cluster::unanswered(error, server))?;
    run.with_context(|| cluster::missing("UpdateRun", name, namespace))
}

/// Changes a run as it was decided on what it shows, and on nothing older.
pub(super) async fn change(
    connection: &Connection,
    name: &str,
    dry_run: DryRun,
    decide: impl Fn(&UpdateRun) -> Decision,
) -> anyhow::Result<(Change, Outcome)> {
    let runs: Api<UpdateRun> = Api::namespaced(connection.client.clone(), &connection.namespace);
    let parameters = PatchParams {
        dry_run: dry_run == DryRun::Server,
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    for _ in 0..ATTEMPTS {
        let run = read(connection, name).await?;
        let change = decide(&run).map_err(anyhow::Error::msg)?;
        let Some(mut patch) = change.patch.clone() else { return Ok((change, Outcome::Unchanged)) };
        if dry_run == DryRun::Client {
            return Ok((change, Outcome::Changed));
        }
        let versioned = serde_json::json!({"metadata": {"resourceVersion": run.metadata.resource_version}});
        merge(&mut patch, versioned);
        match runs.patch(name, &parameters, &Patch::Merge(patch)).await {
            Ok(_) => return Ok((change, Outcome::Changed)),
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(error) => return Err(cluster::unanswered(error, &connection.server)),
        }
    }
    anyhow::bail!("UpdateRun {name} was changed by others at every attempt; try again")
}

/// Adds the fields of one object to another one.
fn merge(object: &mut serde_json::Value, more: serde_json::Value) {
    match (object, more) {
        (serde_json::Value::Object(fields), serde_json::Value::Object(more)) => {
            for (name, value) in more {
                merge(fields.entry(name).or_insert(serde_json::Value::Null), value);
            }
        }
        (object, more) => *object = more,
    }
}

/// Makes a run.
pub(super) async fn create(
    connection: &Connection,
    run: &UpdateRun,
    dry_run: DryRun,
) -> Result<(), kube::Error> {
    if dry_run == DryRun::Client {
        return Ok(());
    }
    let runs: Api<UpdateRun> = Api::namespaced(connection.client.clone(), &connection.namespace);
    let parameters =
        PostParams { dry_run: dry_run == DryRun::Server, field_manager: Some(MANAGER.to_owned()) };
    runs.create(&parameters, run).await.map(|_| ())
}
