//! What is known of DKMS, and how an installation that was killed is taken back.

use crate::command::{self, Bounds, Errors};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The program.
pub(crate) const PROGRAM: &str = "dkms";

/// What it keeps.
pub(crate) const TREE: &str = "/var/lib/dkms";

/// Name of the shell program in a step's directory that installs by DKMS.
pub(crate) const SCRIPT: &str = "dkms.sh";

/// Name of the directory in which that program records what it has changed.
pub(crate) const STATE: &str = "dkms-state";

/// Limits for taking back what a killed installation did: the lists of modules of all kernels are made again.
const UNDO: Bounds = Bounds { time: Duration::from_mins(10), bytes: 64 * 1024 };

/// Takes back what an installation in this step's directory has changed, if it was killed before it could do that
/// itself. Returns what was printed meanwhile; empty if there was nothing to do.
pub(crate) fn undo(dir: &Path) -> Result<String, String> {
    let (script, state) = (dir.join(SCRIPT), dir.join(STATE));
    if !state.join("begun").exists() {
        return Ok(String::new());
    }
    let arguments = [script.as_os_str(), "undo".as_ref(), state.as_os_str()];
    let output = command::capture("sh", &arguments, Errors::Merge, UNDO)?;
    if output.status.success() { Ok(output.text) } else { Err(output.text) }
}

/// Reports whether an installation below the working directory is neither done nor taken back.
pub(crate) fn is_unfinished(work: &Path) -> bool {
    let entries = fs::read_dir(work).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().join(STATE).join("begun").exists())
}

/// Does that for all steps below the working directory.
pub(crate) fn undo_all(work: &Path) -> Result<String, String> {
    let entries = match fs::read_dir(work) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        entries => entries.map_err(|error| error.to_string())?,
    };
    entries.flatten().map(|entry| undo(&entry.path())).collect()
}
