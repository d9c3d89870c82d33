//! `farrier completion` and `farrier man`: what shells and man know of the commands.

use anyhow::Context as _;
use std::io::Write as _;
use std::path::PathBuf;

/// Print a script that completes the commands in a shell.
///
/// Exit codes: 0 it was printed, 1 it was not, 2 the command line is wrong.
///
/// Examples:
///   source <(farrier completion bash)
///   farrier completion zsh > /usr/local/share/zsh/site-functions/_farrier
///   farrier completion fish > ~/.config/fish/completions/farrier.fish
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Completion {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// A shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Write a man page for each command into a directory, which must exist.
///
/// Exit codes: 0 they were written, 1 they were not, 2 the command line is wrong.
///
/// Example: farrier man /usr/local/share/man/man1
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Man {
    /// The directory.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Prints the script for a shell.
///
/// # Errors
/// When standard output is closed.
pub fn completion(args: &Completion, mut command: clap::Command) -> anyhow::Result<()> {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "farrier", &mut script);
    std::io::stdout().write_all(&script).context("failed to print")
}

/// Writes the man pages.
///
/// # Errors
/// When the directory does not exist or cannot be written to.
pub fn man(args: &Man, command: clap::Command) -> anyhow::Result<()> {
    let directory = &args.directory;
    clap_mangen::generate_to(command, directory).with_context(|| {
        format!("failed to write man pages to {}; the directory must exist", directory.display())
    })
}
