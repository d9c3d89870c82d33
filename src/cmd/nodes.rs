//! `farrier nodes`: the machines of a fleet, one line each.

pub mod table;

use super::cluster::{self, Connection, Scope};
use super::format::Format;
use crate::api::ManagedNode;
use anyhow::Context as _;
use jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use std::io::Write as _;

/// Show the machines: type, whether they are reachable and in their baseline, what is wrong, their last run.
///
/// Exit codes: 0 they were shown, even if there is none; 1 they could not be shown; 2 the command line is wrong.
/// Needs the right list on managednodes, in the namespace or with -A in all.
///
/// Example: kubectl farrier nodes -n fleet -l rack=r12
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    scope: Scope,

    /// Only machines with these labels, for instance rack=r12,ring!=canary.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,

    /// The machines of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,

    /// Output format. Wide also has address and operating system.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

/// Runs the command.
///
/// # Errors
/// When the cluster cannot be asked.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let Connection { client, namespace, server } = args.scope.connect().await?;
    let api: Api<ManagedNode> =
        if args.all_namespaces { Api::all(client) } else { Api::namespaced(client, &namespace) };
    let mut wanted = ListParams::default();
    if let Some(labels) = &args.selector {
        wanted = wanted.labels(labels);
    }
    let nodes = api.list(&wanted).await.map_err(|error| cluster::unanswered(error, &server))?.items;
    if nodes.is_empty() {
        let place =
            if args.all_namespaces { "any namespace".to_owned() } else { format!("namespace {namespace}") };
        let labels = args.selector.as_ref().map(|labels| format!(" with the labels {labels}"));
        // A standard error that is closed takes no message.
        writeln!(std::io::stderr(), "no ManagedNodes in {place}{}", labels.unwrap_or_default()).ok();
    }
    let rows = table::rows(&nodes);
    let now = Timestamp::now();
    let place = if args.all_namespaces { table::Namespaces::Shown } else { table::Namespaces::Hidden };
    let text = match args.output {
        Format::Text | Format::Wide if nodes.is_empty() => String::new(),
        Format::Text => table::render(&rows, now, place, table::Width::Narrow),
        Format::Wide => table::render(&rows, now, place, table::Width::Wide),
        Format::Json => serde_json::to_string_pretty(&rows).context("failed to render the machines")? + "\n",
        Format::Yaml => serde_saphyr::to_string(&rows).context("failed to render the machines")?,
        Format::Name => table::names(&rows),
    };
    std::io::stdout().write_all(text.as_bytes()).context("failed to print")
}
