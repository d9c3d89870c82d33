//! The simulated machines as a program.
//!
//! Prints `ready` when it serves. For each line on standard input it prints the sums of all machines, as `name value`
//! lines and a last line `end`; it ends with standard input.

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use farrier_machine_double::fleet::{Settings, address, host_key, name};
use farrier_machine_double::{Fleet, server};
use russh::keys::PublicKey;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Simulated machines with SSH.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves machines 1 to COUNT.
    Serve(Serve),
    /// Prints a line `NAME ADDRESS HOST-KEY` for each machine from FIRST to LAST.
    List {
        /// The first machine.
        first: u32,
        /// The last machine.
        last: u32,
    },
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Number of machines.
    count: u32,
    /// Port of SSH, at the address of each machine.
    #[arg(long, default_value_t = 22)]
    port: u16,
    /// File with the public key with which root may sign in.
    #[arg(long)]
    authorized: PathBuf,
    /// Version of farrier-agent that is installed.
    #[arg(long, default_value = "1.0")]
    version: String,
    /// How long an installer takes, in milliseconds.
    #[arg(long, default_value_t = 500)]
    install_ms: u64,
    /// Directory with `bin`, in which the commands of other tools are run.
    #[arg(long)]
    foreign: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Serve(serve) => self::serve(serve).await,
        Command::List { first, last } => list(first, last),
    }
}

async fn serve(arguments: Serve) -> anyhow::Result<()> {
    let file = &arguments.authorized;
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let settings = Settings {
        authorized: PublicKey::from_openssh(&text)?,
        install: Duration::from_millis(arguments.install_ms),
        foreign: arguments.foreign,
    };
    let fleet = Arc::new(Fleet::new(arguments.count, &arguments.version, settings));
    let listener =
        server::bind(arguments.port).with_context(|| format!("cannot bind port {}", arguments.port))?;
    println!("ready");
    let server = tokio::spawn(server::serve(Arc::clone(&fleet), listener));
    tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() {
                break;
            }
            println!("{}\nend", fleet.report());
        }
    })
    .await?;
    server.abort();
    Ok(())
}

fn list(first: u32, last: u32) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    for number in first..=last {
        let key = host_key(number)?;
        let key = key.public_key().to_openssh()?;
        // Algorithm and key, without the comment.
        let key: Vec<&str> = key.split(' ').take(2).collect();
        writeln!(output, "{} {} {}", name(number), address(number), key.join(" "))?;
    }
    Ok(())
}
