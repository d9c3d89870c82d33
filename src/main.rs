//! Parses the command line, dispatches, prints the chain of an error.

use clap::{Parser, Subcommand};
use farrier::{cmd, telemetry};
use std::process::ExitCode;

/// Updates firmware, drivers and software on bare-metal machines that are not nodes of the cluster.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    log: telemetry::Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    Operator(Box<cmd::operator::Args>),
    Crd(cmd::crd::Args),
    Ports(Box<cmd::ports::Args>),
    Uninstall(cmd::uninstall::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Dropped at the end: what is left of traces is sent then.
    let _telemetry = match telemetry::init(cli.log) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("{}", chain(&error));
            return ExitCode::FAILURE;
        }
    };
    // rustls of the engine stands on another library. Where both are built at once it would not
    // choose between them; an error means that the choice was made already.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    match cli.command {
        Command::Crd(args) => said(cmd::crd::run(&args)),
        Command::Ports(args) => said(block_on(cmd::ports::run(&args))),
        Command::Operator(args) => logged(block_on(cmd::operator::run(*args))),
        Command::Uninstall(args) => logged(block_on(cmd::uninstall::run(&args))),
    }
}

/// For commands that a person types.
fn said(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// For those whose last words belong to a log.
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

/// The chain of causes in one line, without repetitions.
fn chain(error: &anyhow::Error) -> String {
    farrier::failure::chain(error.as_ref())
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory as _;

    /// A command line that contradicts itself ends every command before it begins.
    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }
}
