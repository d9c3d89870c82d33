//! `farrier console`, and the product files of users for the operator and for `farrier conformance`.

use crate::drivers::Register;
use crate::drivers::console::products::{Names, Refused};
use crate::drivers::console::{Catalogue, Console, lint};
use anyhow::Context as _;
use std::path::{Path, PathBuf};

/// How the files of a directory end that are read.
const ENDING: &str = "yaml";

/// Product files of devices with a command line: docs/console-devices.md.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check product files, and print all findings. The exit code is 1 if there are any.
    ///
    /// Two files for products with the same name are a finding. Example: farrier console lint my-products/*.yaml
    Lint {
        /// Print what is assumed in each file, and why, too.
        #[arg(long)]
        assumptions: bool,
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// Where product files of users are.
#[derive(Debug, clap::Args)]
#[group(id = "console")]
pub struct Options {
    /// Directory with product files for devices with a command line: those that end with .yaml. One with the name of a
    /// product that Farrier has replaces it.
    #[arg(long, env = "FARRIER_CONSOLE_DIR", value_name = "DIR")]
    console_dir: Option<PathBuf>,
}

impl Options {
    /// Returns the products that Farrier has, with these.
    ///
    /// # Errors
    /// As [`Self::register`].
    pub fn products(&self) -> anyhow::Result<Catalogue> {
        self.console_dir.as_deref().map_or_else(|| Ok(Catalogue::read([]).0), products_in)
    }

    /// Returns the classes of machines, with these products.
    ///
    /// # Errors
    /// When the directory cannot be read, or a file in it has findings: a device whose file is left out would be worked
    /// by another file, or not at all, and its user would learn that from a run that has failed.
    pub fn register(&self) -> anyhow::Result<Register> {
        let Some(dir) = &self.console_dir else { return Ok(Register::default()) };
        let products = products_in(dir)?;
        // It lives as long as the process.
        Ok(Register::default().with_products(Box::leak(Box::new(Console::new(products)))))
    }
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read, or has findings.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let Command::Lint { files, assumptions } = &args.command;
    let mut findings = 0;
    let mut names = Names::default();
    for file in files {
        let name = file.display().to_string();
        let read = lint::read(&text_of(file)?).and_then(|product| match names.taken(&name, &product.name) {
            Some(finding) => Err(vec![finding]),
            None => Ok(product),
        });
        match read {
            Ok(product) => {
                names.note(&name, &product.name);
                let assumed = product.assumptions.len();
                println!("{name}: {} is well; {assumed} things are assumed", product.name);
                for assumption in product.assumptions.iter().filter(|_| *assumptions) {
                    println!("{name}: {assumption}");
                }
            }
            Err(found) => {
                findings += found.len();
                for finding in found {
                    println!("{name}: {finding}");
                }
            }
        }
    }
    anyhow::ensure!(
        findings == 0,
        "{findings} findings; correct the files as docs/console-devices.md says, and check them again"
    );
    Ok(())
}

fn products_in(dir: &Path) -> anyhow::Result<Catalogue> {
    let read = || format!("failed to read {}; check --console-dir", dir.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(read)? {
        let path = entry.with_context(read)?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) && path.is_file() {
            files.push((path.display().to_string(), text_of(&path)?));
        }
    }
    files.sort_unstable();
    let texts = files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
    let (products, refused) = Catalogue::read(texts);
    let findings: Vec<String> = refused.iter().flat_map(in_words).collect();
    anyhow::ensure!(
        findings.is_empty(),
        "{} has product files with findings; correct them, or take the files away (`farrier console lint` checks them):\n{}",
        dir.display(),
        findings.join("\n")
    );
    Ok(products)
}

fn in_words(refused: &Refused) -> Vec<String> {
    refused.findings.iter().map(|finding| format!("{}: {finding}", refused.file)).collect()
}

fn text_of(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::console::products::FILES;

    /// Otherwise an operator would start without the file that its user has written, and work the device by another.
    #[test]
    fn a_directory_is_read_whole_or_refused_with_file_and_place() {
        let dir = tempfile::tempdir().unwrap();
        let text = FILES[0].1.replacen("product: brocade-fos", "product: own-fos", 1);
        std::fs::write(dir.path().join("own.yaml"), &text).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "no product").unwrap();
        let options = |dir: &Path| Options { console_dir: Some(dir.to_owned()) };
        assert!(options(dir.path()).register().is_ok());
        std::fs::write(dir.path().join("bad.yaml"), text.replacen("format: 1", "format: 9", 1)).unwrap();
        let error = format!("{:#}", options(dir.path()).register().unwrap_err());
        assert!(error.contains("bad.yaml: format: ") && !error.contains("own.yaml"), "{error}");
        assert!(options(&dir.path().join("missing")).register().is_err());
    }

    /// The device would be worked by whichever file is read last, and nobody would know by which.
    #[test]
    fn two_files_for_the_same_product_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["a.yaml", "b.yaml"].map(|name| dir.path().join(name));
        for file in &files {
            std::fs::write(file, FILES[0].1).unwrap();
        }
        let options = Options { console_dir: Some(dir.path().to_owned()) };
        let error = format!("{:#}", options.register().unwrap_err());
        assert!(error.contains("b.yaml: product: ") && error.contains("a.yaml has the name"), "{error}");
        let lint = |files: &[PathBuf]| {
            run(&Args { command: Command::Lint { assumptions: false, files: files.to_vec() } })
        };
        assert!(lint(&files).is_err());
        assert!(lint(&files[..1]).is_ok(), "one that Farrier has is replaced");
        std::fs::remove_file(&files[1]).unwrap();
        assert!(options.register().is_ok());
    }
}
