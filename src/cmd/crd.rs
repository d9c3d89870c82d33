//! `farrier crd`: the CustomResourceDefinitions.

use anyhow::Context as _;
use std::io::Write as _;
use std::path::PathBuf;

/// Print the CustomResourceDefinitions, or write them to a directory.
///
/// Example: farrier crd | kubectl apply --server-side -f -
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write one file per kind into this directory instead of printing.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut all = String::new();
    for definition in crate::api::definitions() {
        let name = definition.metadata.name.clone().unwrap_or_default();
        let yaml =
            serde_saphyr::to_string(&definition).with_context(|| format!("failed to render {name}"))?;
        if let Some(dir) = &args.dir {
            std::fs::create_dir_all(dir).with_context(|| format!("failed to make {}", dir.display()))?;
            let path = dir.join(format!("{name}.yaml"));
            std::fs::write(&path, yaml).with_context(|| format!("failed to write {}", path.display()))?;
        } else {
            all.push_str("---\n");
            all.push_str(&yaml);
        }
    }
    std::io::stdout().write_all(all.as_bytes()).context("failed to print")
}
