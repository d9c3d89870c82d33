//! `farrier logs`: what the engine and the installers print on a machine.
//!
//! The runner that has the NodeUpdate keeps its log and answers through the API server, by a LogRequest
//! (docs/adr/0038). Nobody signs in on the machine, and nobody connects to the operator.

mod reader;
mod words;

use super::cluster;
use crate::api::{NodeUpdate, condition};
use crate::runner::is_finished;
use anyhow::{Context as _, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use reader::{Answer, Reader};
use std::time::Duration;

/// Pause between two requests where there is no log yet, or no answer.
const PAUSE: Duration = Duration::from_secs(2);

/// Maximum number of NodeUpdates that a message names.
const MAX_NAMED: usize = 10;

/// Print the log of a NodeUpdate: what the engine and the installers print on its machine.
///
/// Each line is: time by the machine's clock, component (- for the engine itself), text. The operator
/// answers through the API server; nobody signs in on the machine. Needs the rights get on nodeupdates,
/// and create, watch and delete on logrequests, in the namespace.
///
/// Example: farrier logs r12-spring-db-01 -n fleet --follow
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    scope: cluster::Scope,

    /// Name of the NodeUpdate, or the beginning of its name if no other begins like that.
    node_update: String,

    /// Go on until the NodeUpdate has ended.
    #[arg(short, long)]
    follow: bool,

    /// Only the output of this component's installer.
    #[arg(short, long)]
    component: Option<String>,

    /// Only lines of this last span of time, for instance 10m or 2h.
    #[arg(long, value_parser = span)]
    since: Option<SignedDuration>,
}

fn span(text: &str) -> Result<SignedDuration, String> {
    let span: SignedDuration =
        text.parse().map_err(|_| "write a span of time, for instance 90s, 10m or 2h")?;
    if span.is_negative() { Err("write a span without a sign".into()) } else { Ok(span) }
}

/// Runs the command.
///
/// # Errors
/// When there is no such NodeUpdate or no log of it, or the cluster cannot be asked.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let cluster::Connection { client, namespace, server } = args.scope.connect().await?;
    let updates: Api<NodeUpdate> = Api::namespaced(client.clone(), &namespace);
    let asking = |error| cluster::unanswered(error, &server);
    let update = find(&updates, &args.node_update, &namespace).await?.map_err(asking)?;
    let since = args.since.map(|span| Timestamp::now().checked_sub(span).map(Time)).transpose();
    let since = since.context("--since goes back before all clocks")?;
    let reader = Reader::new(&client, &namespace, args.component.clone(), since, args.follow);
    let mut reading = Reading { updates, reader, follow: args.follow };
    tokio::select! {
        read = reading.read(update) => return read,
        _ = tokio::signal::ctrl_c() => {}
    }
    reading.reader.leave().await;
    bail!("interrupted; the work on the machine goes on")
}

/// Returns the NodeUpdate with this name, or the only one whose name begins with it.
async fn find(
    updates: &Api<NodeUpdate>,
    name: &str,
    namespace: &str,
) -> anyhow::Result<Result<NodeUpdate, kube::Error>> {
    match updates.get_opt(name).await {
        Ok(Some(update)) => return Ok(Ok(update)),
        Ok(None) => {}
        Err(error) => return Ok(Err(error)),
    }
    let all = match updates.list(&ListParams::default()).await {
        Ok(all) => all.items,
        // Who may get one NodeUpdate need not be allowed to list them.
        Err(kube::Error::Api(status)) if status.code == 403 => Vec::new(),
        Err(error) => return Ok(Err(error)),
    };
    let mut found: Vec<NodeUpdate> = all.into_iter().filter(|u| u.name_any().starts_with(name)).collect();
    ensure!(!found.is_empty(), cluster::missing("NodeUpdate", name, namespace));
    if found.len() > 1 {
        let names: Vec<String> = found.iter().take(MAX_NAMED).map(NodeUpdate::name_any).collect();
        let more = found.len() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        bail!(
            "{} NodeUpdates in the namespace {namespace} begin with {name}: {}{more}; write one of these names",
            found.len(),
            names.join(", ")
        );
    }
    Ok(Ok(found.remove(0)))
}

/// The log that is being read.
struct Reading {
    updates: Api<NodeUpdate>,
    reader: Reader,
    follow: bool,
}

impl Reading {
    /// Reads until the end: of the log, or, for a user who follows it, of the work.
    async fn read(&mut self, first: NodeUpdate) -> anyhow::Result<()> {
        let (name, uid) = (first.name_any(), first.uid());
        let mut update = first;
        loop {
            let answer = self.reader.ask(&update).await?;
            let has_ended = is_finished(&update);
            match answer {
                Answer::Closed => return Ok(()),
                Answer::Complete { kept: true } => return self.ended(&name).await,
                Answer::Complete { kept: false } => bail!(words::not_kept(&update)),
                Answer::AtEnd { kept: true } if !self.follow => return Ok(()),
                Answer::AtEnd { kept: false } if !self.follow => bail!(words::not_yet(&update)),
                Answer::Silent if !self.follow || has_ended => bail!(words::silent(&update)),
                Answer::Silent => self.reader.tell(&words::silent(&update)),
                Answer::AtEnd { kept: false } | Answer::Again { kept: false } => {
                    self.reader.tell(&words::not_yet(&update));
                }
                Answer::AtEnd { kept: true } | Answer::Again { kept: true } => {}
            }
            if !matches!(answer, Answer::Again { kept: true }) {
                // sleep: bounds the number of requests where there is nothing to read yet.
                tokio::time::sleep(PAUSE).await;
            }
            let now = self.updates.get_opt(&name).await.context("failed to read the NodeUpdate")?;
            update = now
                .filter(|now| now.uid() == uid)
                .with_context(|| format!("NodeUpdate {name} was deleted; its log is at an end"))?;
        }
    }

    /// Says how the work ended.
    async fn ended(&self, name: &str) -> anyhow::Result<()> {
        if self.follow
            && let Ok(Some(update)) = self.updates.get_opt(name).await
            && let Some(status) = &update.status
            && let Some(succeeded) = condition::find(&status.conditions, "Succeeded")
        {
            words::say(&format!("NodeUpdate {name} has ended, {}: {}", succeeded.reason, succeeded.message));
        }
        Ok(())
    }
}
