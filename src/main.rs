//! Parses the command line, dispatches the command, and prints the error chain on failure.

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use farrier::{cmd, telemetry};
use std::process::ExitCode;

/// Updates firmware, drivers and software on bare-metal machines that are not nodes of the cluster.
#[derive(Debug, Parser)]
#[command(name = "farrier", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    log: telemetry::Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(cmd::status::Args),
    Why(cmd::why::Args),
    Start(cmd::steer::Start),
    Pause(cmd::steer::Pause),
    Resume(cmd::steer::Resume),
    Cancel(cmd::steer::Cancel),
    Approve(cmd::steer::Approve),
    Retry(cmd::steer::Retry),
    Nodes(cmd::nodes::Args),
    Completion(cmd::completion::Completion),
    Man(cmd::completion::Man),
    Operator(Box<cmd::operator::Args>),
    Crd(cmd::crd::Args),
    Ports(Box<cmd::ports::Args>),
    Rehearse(cmd::rehearse::Args),
    Logs(cmd::logs::Args),
    Conformance(cmd::conformance::Args),
    Console(cmd::console::Args),
    Uninstall(cmd::uninstall::Args),
}

fn main() -> ExitCode {
    let cli = parsed();
    // Dropped at the end of main, which sends the spans that are still buffered.
    let _telemetry = match telemetry::init(cli.log) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("{}", chain(&error));
            return ExitCode::FAILURE;
        }
    };
    // The engine's rustls uses another crypto library. If both are built at once, rustls does not
    // choose between them, so the choice is made here. An error means that a provider is already
    // installed.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    match cli.command {
        Command::Status(args) => said(block_on(cmd::status::run(&args))),
        Command::Why(args) => said(block_on(cmd::why::run(&args))),
        Command::Start(args) => said(block_on(cmd::steer::start(&args))),
        Command::Pause(args) => said(block_on(cmd::steer::pause(&args))),
        Command::Resume(args) => said(block_on(cmd::steer::resume(&args))),
        Command::Cancel(args) => said(block_on(cmd::steer::cancel(&args))),
        Command::Approve(args) => said(block_on(cmd::steer::approve(&args))),
        Command::Retry(args) => said(block_on(cmd::steer::retry(&args))),
        Command::Nodes(args) => said(block_on(cmd::nodes::run(&args))),
        Command::Completion(args) => said(cmd::completion::completion(&args, Cli::command())),
        Command::Man(args) => said(cmd::completion::man(&args, Cli::command())),
        Command::Crd(args) => said(cmd::crd::run(&args)),
        Command::Ports(args) => said(block_on(cmd::ports::run(&args))),
        Command::Rehearse(args) => said(block_on(cmd::rehearse::run(&args))),
        Command::Logs(args) => said(block_on(cmd::logs::run(&args))),
        Command::Conformance(args) => said(block_on(cmd::conformance::run(&args))),
        Command::Console(args) => said(cmd::console::run(&args)),
        Command::Operator(args) => logged(block_on(cmd::operator::run(*args))),
        Command::Uninstall(args) => logged(block_on(cmd::uninstall::run(&args))),
    }
}

/// Parses the command line. Usage lines name the program as the user has typed it.
fn parsed() -> Cli {
    let matches = Cli::command().bin_name(cmd::invocation::name()).get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Reports the result of a command that a user runs in a terminal.
fn said(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Reports the result of a command whose final error belongs in the log.
fn logged(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(work)
}

/// Returns the chain of causes in one line, without repetitions.
fn chain(error: &anyhow::Error) -> String {
    farrier::failure::chain(error.as_ref())
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory as _;

    /// An inconsistent definition of the command line would make every command fail at startup.
    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
