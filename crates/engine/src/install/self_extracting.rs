//! Installs firmware by the vendors' own programs: Dell update packages, and HPE smart components.
//!
//! Both are programs that unpack themselves. They run in the step's own directory, which is also their directory
//! for temporary files and is removed with the task. None of them is ever told to reboot the machine.

use super::{Preparation, is_program};
use crate::command::{self, Errors, TOOL};
use crate::step::Plan;
use farrier_protocol::{FailureCode, Refusal, Step, StepExit};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// First bytes of an RPM package.
const RPM_MAGIC: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];

/// The shell program that unpacks an RPM package.
const UNPACK: &str = include_str!("unpack-rpm.sh");

/// Programs in an RPM package of HPE that install its firmware, in the order in which they are looked for.
const SETUPS: [&str; 2] = ["setup", "hpsetup"];

/// Maximum depth at which they are looked for, which is three in the packages that we know
/// (`usr/lib/x86_64-linux-gnu/firmware-…`).
const MAX_DEPTH: usize = 8;

/// Prepares a Dell update package: `-q` asks nothing, and `-f` installs an older or the same version (Dell Update
/// Packages User's Guide, "CLI options"). The signature is always verified: no `-n`.
pub(super) fn dell_dup(step: &Step, dir: &Path, file: PathBuf) -> io::Result<Preparation> {
    if !is_program(&file)? {
        return Ok(refused("the payload is no Dell update package for Linux (.BIN): it is not a program"));
    }
    fs::set_permissions(&file, Permissions::from_mode(0o700))?;
    Ok(Preparation::ready(plan(step, file, dir, dir, "-q")))
}

/// Prepares an HPE smart component: `-s` asks nothing, and `-f` installs an older or the same version (HP Online ROM
/// Flash User Guide, "Command line arguments").
pub(super) fn hpe(step: &Step, dir: &Path, file: PathBuf) -> io::Result<Preparation> {
    if is_program(&file)? {
        fs::set_permissions(&file, Permissions::from_mode(0o700))?;
        return Ok(Preparation::ready(plan(step, file, dir, dir, "-s")));
    }
    if !is_rpm(&file)? {
        return Ok(refused("the payload is neither a program (.scexe) nor an RPM package"));
    }
    for tool in ["rpm2cpio", "cpio"] {
        if command::find(tool).is_none() {
            let package = if tool == "cpio" { "cpio" } else { "rpm" };
            let detail = format!(
                "this machine has no {tool}, which unpacks the payload; install its package {package}"
            );
            return Ok(Preparation::ended(StepExit::not_started(FailureCode::InstallerMissing, detail)));
        }
    }
    let unpacked = dir.join("unpacked");
    DirBuilder::new().mode(0o700).create(&unpacked)?;
    let arguments =
        [OsString::from("-c"), UNPACK.into(), "unpack-rpm".into(), file.into(), unpacked.clone().into()];
    match command::capture("sh", &arguments, Errors::Merge, TOOL) {
        Ok(output) if output.status.success() => {}
        Ok(output) => return Ok(refused(&format!("the payload cannot be unpacked: {}", output.text.trim()))),
        Err(text) => return Err(io::Error::other(text)),
    }
    match SETUPS.into_iter().map(|name| named(&unpacked, name)).find(|found| !found.is_empty()).as_deref() {
        Some([setup]) if is_program(setup)? => {
            let place = setup.parent().unwrap_or(&unpacked);
            Ok(Preparation::ready(plan(step, setup.clone(), place, dir, "-s")))
        }
        Some([_, _, ..]) => Ok(refused("the payload has several programs that install firmware (setup)")),
        _ => Ok(refused(
            "the payload is an RPM package without a program that installs firmware (setup, hpsetup)",
        )),
    }
}

fn plan(step: &Step, program: PathBuf, dir: &Path, temporary: &Path, silent: &str) -> Plan {
    let mut arguments: Vec<OsString> = vec![silent.into()];
    if step.downgrade || step.rewrite {
        arguments.push("-f".into());
    }
    let environment = vec![("TMPDIR", temporary.to_string_lossy().into_owned())];
    Plan { program, arguments, dir: dir.to_owned(), environment }
}

fn refused(detail: &str) -> Preparation {
    Preparation::ended(StepExit::refused(Refusal::ImageRefused, detail.to_owned()))
}

fn is_rpm(file: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(file)?.take(RPM_MAGIC.len() as u64).read_to_end(&mut start)?;
    Ok(start == RPM_MAGIC)
}

/// Finds the files with this name below a directory; links are not followed.
fn named(dir: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut rest = vec![(dir.to_owned(), 0)];
    while let Some((dir, depth)) = rest.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => rest.push((entry.path(), depth + 1)),
                Ok(kind) if kind.is_file() && entry.file_name() == name => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}
