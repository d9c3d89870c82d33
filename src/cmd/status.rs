//! `farrier status`: how far a run is, what it waits for, and what to type next.

mod follow;
pub mod summary;
pub mod text;

use super::cluster::{self, Connection, Scope};
use super::format::Format;
use super::invocation;
use crate::api::{LABEL_RUN, NodeUpdate, UpdateRun};
use anyhow::Context as _;
use jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use std::io::{IsTerminal as _, Write as _};
use summary::{Prompt, State, Summary};
use text::Look;

/// Show how far a run is: stages, machines in progress, what waits for what, who failed and why, what to type next.
///
/// Exit codes: 0 the status was shown, and with --watch the run succeeded or is planned; 1 it could not be shown, or
/// with --watch the run failed; 2 the command line is wrong. Needs the rights get on updateruns and list on
/// nodeupdates in the namespace, and with --watch list and watch on both.
///
/// Examples:
///   kubectl farrier status r12-spring -n fleet --watch
///   kubectl farrier status r12-spring -n fleet -o json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    scope: Scope,

    /// Name of the UpdateRun.
    run: String,

    /// Go on until the run has ended: a terminal is redrawn, anything else gets a line for each change. With json and
    /// yaml a document is printed at each change.
    #[arg(short, long)]
    watch: bool,

    /// Output format. Wide has a line for every machine that waits.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

/// Runs the command.
///
/// # Errors
/// When the run does not exist, the cluster cannot be asked, or a run that is watched fails.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let connection = args.scope.connect().await?;
    let prompt = prompt(&args.scope, &connection);
    if args.watch && args.output != Format::Name {
        let screen = Screen { output: args.output, last: None };
        return follow::follow(&connection, &args.run, &prompt, screen).await;
    }
    let (run, updates) = read(&connection, &args.run).await?;
    let now = Timestamp::now();
    let summary = Summary::new(&run, &updates, now, &prompt);
    print(&shown(&summary, now, args.output)?)
}

/// Returns how the user continues in the same place.
pub(super) fn prompt(scope: &Scope, connection: &Connection) -> Prompt {
    Prompt { program: invocation::name(), flags: scope.flags(&connection.namespace) }
}

/// Reads a run and its NodeUpdates.
pub(super) async fn read(
    connection: &Connection,
    name: &str,
) -> anyhow::Result<(UpdateRun, Vec<NodeUpdate>)> {
    let Connection { client, namespace, server } = connection;
    let asking = |error| cluster::unanswered(error, server);
    let runs: Api<UpdateRun> = Api::namespaced(client.clone(), namespace);
    let run = runs.get_opt(name).await.map_err(asking)?;
    let run = run.with_context(|| cluster::missing("UpdateRun", name, namespace))?;
    let updates: Api<NodeUpdate> = Api::namespaced(client.clone(), namespace);
    let own = ListParams::default().labels(&format!("{LABEL_RUN}={name}"));
    Ok((run, updates.list(&own).await.map_err(asking)?.items))
}

fn shown(summary: &Summary, now: Timestamp, output: Format) -> anyhow::Result<String> {
    let colours = invocation::has_colours();
    Ok(match output {
        Format::Text => text::render(summary, now, Look { wide: false, colours }),
        Format::Wide => text::render(summary, now, Look { wide: true, colours }),
        Format::Json => serde_json::to_string_pretty(summary).context("failed to render the status")? + "\n",
        Format::Yaml => serde_saphyr::to_string(summary).context("failed to render the status")?,
        Format::Name => format!("updaterun.farrier.dev/{}\n", summary.run),
    })
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("failed to print")
}

/// Where a run that is watched is shown.
#[derive(Debug)]
struct Screen {
    output: Format,
    /// What was shown last.
    last: Option<Summary>,
}

impl follow::Shows for Screen {
    fn show(&mut self, summary: &Summary, now: Timestamp) -> anyhow::Result<()> {
        let is_text = matches!(self.output, Format::Text | Format::Wide);
        let same = self.last.as_ref().is_some_and(|last| {
            // The estimate changes with the clock alone.
            let estimated = Summary { time_left_seconds: last.time_left_seconds, ..summary.clone() };
            *last == estimated
        });
        if is_text && std::io::stdout().is_terminal() {
            // To the upper left corner, and each line and the rest cleared: nothing flickers.
            let text = shown(summary, now, self.output)?.replace('\n', "\x1b[K\n");
            print(&format!("\x1b[H{}{text}\x1b[J", if self.last.is_none() { "\x1b[2J" } else { "" }))?;
        } else if is_text {
            for line in text::changes(self.last.as_ref(), summary) {
                print(&format!("{} {line}\n", now.strftime("%FT%TZ")))?;
            }
        } else if !same {
            let separator = if self.output == Format::Yaml { "---\n" } else { "" };
            print(&format!("{separator}{}", shown(summary, now, self.output)?))?;
        }
        self.last = Some(summary.clone());
        Ok(())
    }

    fn end(&self) -> Option<anyhow::Result<()>> {
        let last = self.last.as_ref().filter(|last| last.state.is_final())?;
        Some(if last.state == State::Failed {
            let Summary { run, reason, .. } = last;
            Err(anyhow::anyhow!("UpdateRun {run} has failed ({reason}); see above"))
        } else {
            Ok(())
        })
    }
}
