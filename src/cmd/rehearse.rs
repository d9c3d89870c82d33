//! `farrier rehearse`: plays a run over a simulated fleet, with the decisions that the operator would make.

mod machines;
mod rate;
mod report;
mod source;

use super::cluster;
use crate::api::condition;
use crate::api::quantity::Span;
use crate::controllers::rehearsed;
use crate::convert::{self, millis};
use anyhow::Context as _;
use farrier_update::rehearsal::{Model, rehearse};
use machines::Plans;
use rate::Rate;
use report::Report;
use source::Objects;
use std::io::Write as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Rehearse a run: print when each stage would end, and which budget would stop the run.
///
/// The run is played over a simulated fleet, as if it began now. Nothing is written to the cluster, and no machine is
/// reached. Machines fail at the rates that are given; which ones follows from their names and the seed.
///
/// The exit code is 0 if the run ends and no budget or stage stops it, even if machines fail; otherwise 1.
///
/// Examples:
///   farrier rehearse r12-spring -n fleet --failure-rate 2%
///   farrier rehearse r12-spring -f machines.yaml -f run.yaml --failure-rate 5% --unreachable-rate 1% --seed 7
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The UpdateRun. Whether it has begun does not matter.
    #[arg(value_name = "RUN")]
    run: String,

    /// A YAML file with ManagedNodes and the UpdateRun, instead of the cluster; - is standard input. May be given
    /// several times.
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Namespace. Default: that of the kubeconfig; with --file: that of the run.
    #[arg(short, long)]
    namespace: Option<String>,

    #[command(flatten)]
    cluster: cluster::Options,

    /// How many machines fail, after all attempts.
    #[arg(long, value_name = "PERCENT", default_value = "0%")]
    failure_rate: Rate,

    /// How many machines are not reached.
    #[arg(long, value_name = "PERCENT", default_value = "0%")]
    unreachable_rate: Rate,

    /// How long a machine takes of which no update is recorded.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration)]
    duration: Duration,

    /// Another number lets other machines fail.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Stop where a stage needs an approval. Without this, approvals are taken as given.
    #[arg(long)]
    no_approvals: bool,

    /// Output format: table, wide or json. Wide also shows each machine: when it is worked on, whether it restarts, how
    /// it is drained before, and what is changed on it, if the run is planned.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Table,
    Wide,
    Json,
}

impl FromStr for Format {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> anyhow::Result<Self> {
        Ok(match word.to_ascii_lowercase().as_str() {
            "table" => Self::Table,
            "wide" => Self::Wide,
            "json" => Self::Json,
            _ => anyhow::bail!("`{word}` is no format; known are: table, wide, json"),
        })
    }
}

/// Runs the command.
///
/// # Errors
/// When a file or an object does not exist, the window of the run cannot be used, or the run would be stopped.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.failure_rate.permille() + args.unreachable_rate.permille() <= 1000,
        "--failure-rate and --unreachable-rate are more than 100 % together"
    );
    let objects = if args.files.is_empty() {
        Objects::from_cluster(&args.cluster, args.namespace.as_deref(), &args.run).await?
    } else {
        Objects::from_files(&args.files, args.namespace.as_deref(), &args.run)?
    };
    let (text, problem) = answer(args, &objects)?;
    std::io::stdout().write_all(text.as_bytes()).context("failed to print")?;
    problem.map_or(Ok(()), |problem| Err(anyhow::Error::msg(problem)))
}

/// Returns what is printed, and what would stop the run.
fn answer(args: &Args, objects: &Objects) -> anyhow::Result<(String, Option<String>)> {
    let Objects { run, nodes, updates, runs, baseline } = objects;
    let window = convert::window(&run.spec).map_err(anyhow::Error::msg)?;
    let model = Model {
        duration: args.duration,
        failing: args.failure_rate.permille(),
        unreachable: args.unreachable_rate.permille(),
        seed: args.seed,
        approves: !args.no_approvals,
    };
    let observed = rehearsed(run, nodes, updates, runs, millis(&condition::now()));
    let rehearsal = rehearse(observed, window.as_ref(), &model);
    let plans = Plans::new(run, nodes, updates, baseline.as_ref());
    let report = Report {
        run: &args.run,
        rehearsal: &rehearsal,
        model: &model,
        window: window.as_ref(),
        plans: &plans,
    };
    let text = match args.output {
        Format::Table => report.table(),
        Format::Wide => report.table() + "\n" + &report.machines(),
        Format::Json => report.json()?,
    };
    Ok((text, report.problem()))
}

fn duration(text: &str) -> Result<Duration, String> {
    let known = Span::from(text).duration();
    known.ok_or_else(|| format!("{text:?} is no duration; examples: 90s, 15m, 1h30m"))
}
