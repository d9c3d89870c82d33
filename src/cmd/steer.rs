//! `farrier start`, `pause`, `resume`, `cancel`, `approve` and `retry`: what a person decides about a run.

mod act;
mod decide;

use super::cluster::{self, Connection, Scope};
use super::status;
use act::{DryRun, Outcome};
use anyhow::Context as _;
use decide::{Change, Decision};
use std::io::Write as _;

/// The run, and whether anything is written.
#[derive(Debug, clap::Args)]
struct Target {
    #[command(flatten)]
    scope: Scope,

    /// Name of the UpdateRun.
    run: String,

    /// Say what would be done, and do nothing. With server, the API server checks it.
    #[arg(long, value_enum, default_value = "none", value_name = "WHERE")]
    dry_run: DryRun,
}

/// Start a run with desiredState Plan: what was planned is carried out.
///
/// See what would be changed first: kubectl farrier rehearse RUN. A run that is paused is resumed instead.
///
/// Exit codes: 0 it is started, 1 it cannot be started, 2 the command line is wrong.
/// Needs the rights get and patch on updateruns in the namespace.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Start {
    #[command(flatten)]
    target: Target,
}

/// Pause a run: start nothing new. What is in progress continues.
///
/// Exit codes: 0 it is paused, 1 it cannot be paused, 2 the command line is wrong.
/// Needs the rights get and patch on updateruns in the namespace.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Pause {
    #[command(flatten)]
    target: Target,
}

/// Resume a run that is paused.
///
/// Exit codes: 0 it goes on, 1 it cannot be resumed, 2 the command line is wrong.
/// Needs the rights get and patch on updateruns in the namespace.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Resume {
    #[command(flatten)]
    target: Target,
}

/// Cancel a run, for good: start nothing new, finish the components in progress, clean up and end.
///
/// Exit codes: 0 it is being cancelled, 1 it cannot be cancelled, 2 the command line is wrong.
/// Needs the rights get and patch on updateruns in the namespace.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Cancel {
    #[command(flatten)]
    target: Target,
}

/// Approve a stage that waits for it, for the plan that the run has now. Prints what is approved.
///
/// Exit codes: 0 it is approved, 1 it cannot be approved, for instance because no stage waits, 2 the command line is
/// wrong. Needs the rights get and patch on updateruns and list on nodeupdates in the namespace.
///
/// Example: kubectl farrier approve r12-spring rest -n fleet
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Approve {
    #[command(flatten)]
    target: Target,

    /// Name of the stage. Default: the one that waits for an approval.
    stage: Option<String>,

    /// Approve only if the plan still has this digest, as `farrier status` shows it.
    #[arg(long, value_name = "DIGEST")]
    plan: Option<String>,
}

/// Update the machines of a run once more that did not succeed: makes an UpdateRun with spec.retryOf.
///
/// It has the spec of the run, except that its stages become one. If a stage of the run needs an approval, so does
/// that one. It waits until the earlier run has ended.
///
/// Exit codes: 0 the run was made, 1 it was not, 2 the command line is wrong.
/// Needs the rights get and create on updateruns in the namespace.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Retry {
    #[command(flatten)]
    target: Target,

    /// Name of the new run. Default: the name of the run with -retry, -retry-2 and so on.
    #[arg(long)]
    name: Option<String>,
}

/// Runs `farrier start`.
///
/// # Errors
/// When the run does not exist or cannot be started.
pub async fn start(args: &Start) -> anyhow::Result<()> {
    steered(&args.target, |run| decide::desire(run, decide::Wish::Start)).await
}

/// Runs `farrier pause`.
///
/// # Errors
/// When the run does not exist or cannot be paused.
pub async fn pause(args: &Pause) -> anyhow::Result<()> {
    steered(&args.target, |run| decide::desire(run, decide::Wish::Pause)).await
}

/// Runs `farrier resume`.
///
/// # Errors
/// When the run does not exist or cannot be resumed.
pub async fn resume(args: &Resume) -> anyhow::Result<()> {
    steered(&args.target, |run| decide::desire(run, decide::Wish::Resume)).await
}

/// Runs `farrier cancel`.
///
/// # Errors
/// When the run does not exist or cannot be cancelled.
pub async fn cancel(args: &Cancel) -> anyhow::Result<()> {
    steered(&args.target, |run| decide::desire(run, decide::Wish::Cancel)).await
}

/// Runs `farrier approve`.
///
/// # Errors
/// When the run does not exist, no stage waits, or the plan is another one.
pub async fn approve(args: &Approve) -> anyhow::Result<()> {
    let Approve { target, stage, plan } = args;
    let connection = target.scope.connect().await?;
    let (run, updates) = status::read(&connection, &target.run).await?;
    let chosen =
        decide::stage_to_approve(&run, stage.as_deref(), plan.as_deref()).map_err(anyhow::Error::msg)?;
    print(&decide::approved(&run, &updates, &chosen))?;
    // The plan that was shown is the one that is approved, even if the run has another one by now.
    let (stage, plan) = (Some(chosen.name), Some(chosen.digest));
    write(&connection, target, |run| decide::approve(run, stage.as_deref(), plan.as_deref())).await
}

/// Runs `farrier retry`.
///
/// # Errors
/// When the run does not exist, all its machines succeeded, or there is a run of the new name.
pub async fn retry(args: &Retry) -> anyhow::Result<()> {
    let connection = args.target.scope.connect().await?;
    let run = act::read(&connection, &args.target.run).await?;
    let new = decide::retry(&run, args.name.as_deref()).map_err(anyhow::Error::msg)?;
    let name = new.metadata.name.clone().unwrap_or_default();
    match act::create(&connection, &new, args.target.dry_run).await {
        Ok(()) => {}
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            anyhow::bail!(
                "there is an UpdateRun {name} in the namespace {} already; choose another name with --name",
                connection.namespace
            )
        }
        Err(error) => return Err(cluster::unanswered(error, &connection.server)),
    }
    let prompt = status::prompt(&args.target.scope, &connection);
    print(&format!(
        "updaterun.farrier.dev/{name} created{}\n{}\nNext: {} status {name} {} --watch\n",
        args.target.dry_run.note(),
        decide::retried(&run),
        prompt.program,
        prompt.flags
    ))
}

/// Makes a change of a run and says so.
async fn steered(target: &Target, decide: impl Fn(&crate::api::UpdateRun) -> Decision) -> anyhow::Result<()> {
    let connection = target.scope.connect().await?;
    write(&connection, target, decide).await
}

async fn write(
    connection: &Connection,
    target: &Target,
    decide: impl Fn(&crate::api::UpdateRun) -> Decision,
) -> anyhow::Result<()> {
    let (change, outcome) = act::change(connection, &target.run, target.dry_run, decide).await?;
    let Change { done, .. } = change;
    let note = target.dry_run.note();
    let run = &target.run;
    match outcome {
        Outcome::Changed => print(&format!("updaterun.farrier.dev/{run} {done}{note}\n")),
        Outcome::Unchanged => print(&format!("updaterun.farrier.dev/{run} {done} already{note}\n")),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("failed to print")
}
