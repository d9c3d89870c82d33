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
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = telemetry::init(cli.log) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    // rustls of the engine stands on another library. Where both are built at once it would not
    // choose between them; an error means that the choice was made already.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let result = match cli.command {
        Command::Crd(args) => cmd::crd::run(&args),
        Command::Operator(args) => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(anyhow::Error::from)
            .and_then(|runtime| runtime.block_on(cmd::operator::run(*args))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The chain of causes in one line, without repetitions.
fn chain(error: &anyhow::Error) -> String {
    farrier::failure::chain(error.as_ref())
}
