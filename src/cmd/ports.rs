//! `farrier ports`: which ports must be open, in which direction, in which phase.
//!
//! The output is meant for a network team: it lists all of Farrier's network traffic and nothing else.
//! The rules come from `farrier_network::table`.

mod demand;
pub(super) mod files;
mod live;
mod network_policy;
mod nftables;
pub(super) mod subject;
mod text;

use super::{cluster, console};
use anyhow::Context as _;
use demand::{PortRequirements, Scope};
use farrier_network::table::{API_PORT, ListenPorts};
use farrier_network::{Channel, MachineType, Phase};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::str::FromStr;
use subject::{Endpoint, Ports, Subject};

/// Help of `--generation`. A doc comment would need its names in backticks, which `--help` prints.
const GENERATION_HELP: &str = "\
Print the ports that the manual of HP SUM or SUM lists, instead of those that Farrier needs. A \
generation is a range of versions of these older tools, with one table of ports in its manual:

- psp_soap: HP SUM of the Support Packs
- hpsum_le_7_2_1: HP SUM 7.2.1 and earlier
- hpsum_ge_7_3_0: HP SUM 7.3.0 and later
- sum_ge_7_3_0: SUM, the later name of the tool, 7.3.0 and later

Use it to compare a firewall that was set up for one of these tools, or when a note says that the manuals \
differ. To open a firewall for Farrier, leave it out. Machines that the manual does not list are an error, \
which names the generations that list them.

Example: farrier ports --type SuperdomeX --generation hpsum_ge_7_3_0";

/// Print which ports must be open, in which direction, in which phase.
///
/// With --type or YAML files no cluster is needed.
///
/// Examples:
///   farrier ports --type ILO --address 10.0.12.7 --from 10.0.9.4
///   farrier ports -f machines.yaml -f run.yaml -o nftables | nft -c -f -
///   farrier ports --run r12-spring -n fleet -o networkpolicy
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["types", "files", "node", "selector", "run"]))]
pub struct Args {
    /// A type of machine, such as Linux or ILO; may be given several times.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,

    /// An address or a name of that machine; may be given several times.
    #[arg(long = "address", value_name = "ADDRESS", conflicts_with_all = ["files", "node", "selector", "run"])]
    addresses: Vec<String>,

    /// A YAML file with ManagedNodes, and UpdateRuns if wanted; - is standard input.
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// A ManagedNode of the cluster.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,

    /// ManagedNodes of the cluster by their labels, such as rack=r12.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,

    /// An UpdateRun of the cluster. If ports are assigned to the run, they are used.
    #[arg(long, value_name = "NAME")]
    run: Option<String>,

    /// Namespace. Default: that of the kubeconfig; with --file: all namespaces in the files.
    #[arg(short, long)]
    namespace: Option<String>,

    #[command(flatten)]
    cluster: cluster::Options,

    #[command(flatten)]
    console: console::Options,

    /// How the engines communicate: Session, Callback or Listen. Default: as the machine or its run
    /// specifies.
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,

    #[arg(
        long,
        value_name = "GENERATION",
        conflicts_with = "channel",
        help = "Print the ports that the manual of HP SUM or SUM lists, instead of those that Farrier needs",
        long_help = GENERATION_HELP
    )]
    generation: Option<String>,

    /// Inventory or Deployment. Default: both.
    #[arg(long, value_name = "PHASE")]
    phase: Option<String>,

    /// IPv4 or IPv6. Default: both.
    #[arg(long, value_name = "FAMILY")]
    family: Option<String>,

    /// An address of Farrier, as the machines see it; may be given several times.
    #[arg(long, value_name = "ADDRESS")]
    from: Vec<String>,

    /// Port of the callback server for machines without TLS, instead of the run's.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    http_port: Option<u16>,

    /// Port of the callback server with TLS, instead of the run's.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    https_port: Option<u16>,

    /// Port of the SFTP and SCP service, instead of the run's. Without a run that names one it is off.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    sftp_port: Option<u16>,

    /// First of the 5 ports of the FTP service, instead of the run's. Without a run that names one it is off.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65531))]
    ftp_port: Option<u16>,

    /// Resolve names and use their current addresses.
    #[arg(long)]
    resolve: bool,

    /// Include ports that only devices without HTTPS need in rules. The table always shows them.
    #[arg(long)]
    optional: bool,

    /// Labels of the operator's pods, for -o networkpolicy.
    #[arg(
        long,
        env = "FARRIER_POD_SELECTOR",
        value_name = "LABELS",
        default_value = "app.kubernetes.io/name=farrier"
    )]
    pod_selector: String,

    /// Namespace of the operator, for -o networkpolicy.
    #[arg(long, env = "FARRIER_POD_NAMESPACE", value_name = "NAME")]
    operator_namespace: Option<String>,

    /// Output format: table, json, nftables or networkpolicy.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: String,
}

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Table,
    Json,
    Nftables,
    NetworkPolicy,
}

impl FromStr for Format {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> anyhow::Result<Self> {
        Ok(match word.to_ascii_lowercase().as_str() {
            "table" => Self::Table,
            "json" => Self::Json,
            "nftables" => Self::Nftables,
            "networkpolicy" => Self::NetworkPolicy,
            _ => anyhow::bail!("`{word}` is no format; known are: table, json, nftables, networkpolicy"),
        })
    }
}

/// Runs the command.
///
/// # Errors
/// When an option is invalid, a file or an object does not exist, or a name has no address.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let text = answer(args).await?;
    std::io::stdout().write_all(text.as_bytes()).context("failed to print")
}

async fn answer(args: &Args) -> anyhow::Result<String> {
    let format: Format = args.output.parse().context("--output")?;
    let scope = Scope {
        generation: read(args.generation.as_deref(), "--generation")?,
        phase: read(args.phase.as_deref(), "--phase")?,
        family: read(args.family.as_deref(), "--family")?,
        from: args
            .from
            .iter()
            .map(|text| Endpoint::parse(text).context("--from"))
            .collect::<Result<_, _>>()?,
    };
    let channel: Option<Channel> = read(args.channel.as_deref(), "--channel")?;
    let (mut subjects, mut notes) = subjects(args, channel).await?;
    for subject in &mut subjects {
        subject.use_ports(args.http_port, args.https_port)?;
        subject.use_services(args.sftp_port, args.ftp_port);
        if args.resolve {
            subject.resolve().await?;
        }
    }
    if format == Format::NetworkPolicy {
        // Policies apply after the translation of Services, so they need the ports of the pods.
        for subject in &mut subjects {
            subject.called.clone_from(&subject.pods);
            subject.called_services.clone_from(&subject.pod_services);
        }
    }
    let mut demand = PortRequirements::of(&subjects, &scope, &args.console.products()?)?;
    notes.append(&mut demand.notes);
    demand.notes = notes;
    match format {
        Format::Table => Ok(text::render(&demand)),
        Format::Json => demand.json(),
        Format::Nftables => nftables::render(&demand, args.optional),
        Format::NetworkPolicy => {
            let pods = network_policy::Pods::parse(&args.pod_selector, args.operator_namespace.as_deref())?;
            network_policy::render(&demand, args.optional, &pods)
        }
    }
}

fn read<T: FromStr>(word: Option<&str>, option: &'static str) -> anyhow::Result<Option<T>>
where
    T::Err: Into<anyhow::Error>,
{
    word.map(str::parse).transpose().map_err(|error: T::Err| error.into().context(option))
}

/// Returns the machines of the query, and notes about them.
async fn subjects(args: &Args, channel: Option<Channel>) -> anyhow::Result<(Vec<Subject>, Vec<String>)> {
    if !args.types.is_empty() {
        return Ok((by_type(args, channel)?, Vec::new()));
    }
    let found = if args.files.is_empty() {
        let query = match (&args.node, &args.selector, &args.run) {
            (Some(node), _, _) => live::Query::Node(node),
            (_, Some(selector), _) => live::Query::Selector(selector),
            (_, _, Some(run)) => live::Query::Run(run),
            (None, None, None) => anyhow::bail!("name --type, --file, --node, --selector or --run"),
        };
        live::find(&args.cluster, args.namespace.as_deref(), &query).await?
    } else {
        files::read(&args.files, args.namespace.as_deref())?
    };
    found.subjects(channel)
}

fn by_type(args: &Args, channel: Option<Channel>) -> anyhow::Result<Vec<Subject>> {
    let places = args.addresses.iter().map(|text| Endpoint::parse(text).context("--address"));
    let places = places.collect::<anyhow::Result<Vec<_>>>()?;
    args.types
        .iter()
        .map(|word| {
            let kind: MachineType = word.parse().context("--type")?;
            Ok(Subject {
                node: kind.to_string(),
                run: None,
                kind,
                described: None,
                channel: channel.unwrap_or(Channel::Session),
                places: (!places.is_empty()).then(|| places.clone()),
                ssh_port: 22,
                api_port: API_PORT,
                listen: ListenPorts::USUAL,
                phases: Phase::ALL.to_vec(),
                callback: Vec::new(),
                is_forwarded: false,
                called: vec![Ports::USUAL],
                pods: vec![Ports::USUAL],
                called_services: BTreeSet::new(),
                pod_services: BTreeSet::new(),
            })
        })
        .collect()
}
