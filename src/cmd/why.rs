//! `farrier why`: one paragraph about what an object waits for, or why it ended, and what to do.

pub mod answer;
mod node;
mod node_update;
mod run;

pub use node::node;
pub use node_update::node_update;
pub use run::run as update_run;

use super::cluster::{self, Connection, Scope};
use super::status;
use crate::api::{ManagedNode, NodeUpdate};
use answer::Answer;
use anyhow::Context as _;
use jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use std::io::Write as _;
use std::str::FromStr;

/// Say in one paragraph what an UpdateRun, a NodeUpdate or a ManagedNode waits for or why it ended, since when, until
/// when, and what to do.
///
/// Exit codes: 0 it was said, whatever the state of the object is; 1 it could not be said; 2 the command line is wrong.
/// Needs the right get on the object, of a run and a machine also list on nodeupdates, in the namespace.
///
/// Examples:
///   kubectl farrier why ur/r12-spring -n fleet
///   kubectl farrier why nodeupdate/r12-spring-db-01 -n fleet
///   kubectl farrier why mn/db-01 -n fleet
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    scope: Scope,

    /// The object: updaterun/NAME, nodeupdate/NAME or managednode/NAME, in short ur, nu and mn.
    #[arg(value_name = "KIND/NAME")]
    object: Object,
}

/// Kind and name of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    kind: Kind,
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    UpdateRun,
    NodeUpdate,
    ManagedNode,
}

impl FromStr for Object {
    type Err = String;

    /// Parses what kubectl accepts, and what it prints with -o name.
    fn from_str(text: &str) -> Result<Self, String> {
        let usage = "write updaterun/NAME, nodeupdate/NAME or managednode/NAME, in short ur, nu and mn";
        let (kind, name) = text.split_once('/').ok_or(usage)?;
        let kind = kind.to_lowercase();
        let kind = match kind.strip_suffix(".farrier.dev").unwrap_or(&kind) {
            "updaterun" | "updateruns" | "ur" => Kind::UpdateRun,
            "nodeupdate" | "nodeupdates" | "nu" => Kind::NodeUpdate,
            "managednode" | "managednodes" | "mn" => Kind::ManagedNode,
            _ => return Err(usage.to_owned()),
        };
        if name.is_empty() || name.contains('/') {
            return Err(usage.to_owned());
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

/// Runs the command.
///
/// # Errors
/// When the object does not exist or the cluster cannot be asked.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let connection = args.scope.connect().await?;
    let prompt = status::prompt(&args.scope, &connection);
    let Object { kind, name } = &args.object;
    let answer: Answer = match kind {
        Kind::UpdateRun => {
            let (run, updates) = status::read(&connection, name).await?;
            update_run(&run, &updates, Timestamp::now(), &prompt)
        }
        Kind::NodeUpdate => {
            let updates: Api<NodeUpdate> = Api::namespaced(connection.client.clone(), &connection.namespace);
            let update = found(&connection, &updates, "NodeUpdate", name).await?;
            node_update(&update, Timestamp::now(), &prompt)
        }
        Kind::ManagedNode => {
            let Connection { client, namespace, server } = &connection;
            let nodes: Api<ManagedNode> = Api::namespaced(client.clone(), namespace);
            let machine = found(&connection, &nodes, "ManagedNode", name).await?;
            let updates: Api<NodeUpdate> = Api::namespaced(client.clone(), namespace);
            let own = ListParams::default().fields(&format!("spec.nodeRef.name={name}"));
            let updates = updates.list(&own).await.map_err(|error| cluster::unanswered(error, server))?;
            node(&machine, &updates.items, Timestamp::now(), &prompt)
        }
    };
    std::io::stdout().write_all(answer.text().as_bytes()).context("failed to print")
}

/// Reads an object that must exist.
async fn found<K>(connection: &Connection, api: &Api<K>, kind: &str, name: &str) -> anyhow::Result<K>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let Connection { namespace, server, .. } = connection;
    let object = api.get_opt(name).await.map_err(|error| cluster::unanswered(error, server))?;
    object.with_context(|| cluster::missing(kind, name, namespace))
}

#[cfg(test)]
mod tests {
    use super::{Kind, Object};

    /// What kubectl and this program print as a name could not be pasted.
    #[test]
    fn objects_are_named_as_kubectl_names_them() {
        for (text, kind) in [
            ("ur/a", Kind::UpdateRun),
            ("updaterun.farrier.dev/a", Kind::UpdateRun),
            ("NodeUpdate/a", Kind::NodeUpdate),
            ("nu/a", Kind::NodeUpdate),
            ("managednodes/a", Kind::ManagedNode),
            ("mn/a", Kind::ManagedNode),
        ] {
            assert_eq!(text.parse(), Ok(Object { kind, name: "a".to_owned() }), "{text}");
        }
        for text in ["a", "ur/", "pod/a", "ur/a/b", "/a", ""] {
            assert!(text.parse::<Object>().is_err(), "{text}");
        }
    }
}
