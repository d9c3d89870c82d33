//! Installs the source tree of a kernel module by DKMS.
//!
//! The tree is unpacked and its `dkms.conf` is read without being executed, before anything changes. All changes are
//! made by a shell program, whose output goes to the component's log. It takes back what it did when it fails or is
//! terminated; if it was killed, [`crate::dkms`] has it taken back.

use super::Preparation;
use super::unpack::{self, CONF, Unpack};
use crate::apply_error::ApplyError;
use crate::command::{self, Errors, TOOL};
use crate::dkms::{PROGRAM, SCRIPT, STATE, TREE};
use crate::engine::Engine;
use crate::lock_holder;
use crate::space;
use crate::step::Plan;
use crate::wait::{self, Ended, Obstacle};
use farrier_protocol::{FailureCode, Holder, Refusal, Step, StepExit, WaitFor};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Directory of the sources of modules.
const SOURCES: &str = "/usr/src";

/// The shell program.
const PROGRAM_TEXT: &str = include_str!("dkms.sh");

pub(super) fn prepare(
    engine: &Engine,
    step: &Step,
    wait: Duration,
    dir: PathBuf,
    file: &Path,
) -> Result<Preparation, ApplyError> {
    wait_for_others(engine, step, wait)?;
    match plan(step, dir, file) {
        Ok(plan) => Ok(Preparation::ready(plan)),
        Err(Unpack::Refused(detail)) => {
            Ok(Preparation::ended(StepExit::refused(Refusal::ImageRefused, detail)))
        }
        Err(Unpack::Missing(program, package)) => {
            let detail = format!(
                "this machine has no {program}, which decompresses the payload; install its package {package}"
            );
            Ok(Preparation::ended(StepExit::not_started(FailureCode::InstallerMissing, detail)))
        }
        Err(Unpack::Other(exit)) => Ok(Preparation::ended(exit)),
        Err(Unpack::Disk(error)) => {
            let detail = format!("the payload cannot be unpacked: {error}");
            Ok(Preparation::ended(StepExit::not_started(space::code(&error), detail)))
        }
    }
}

fn plan(step: &Step, dir: PathBuf, file: &Path) -> Result<Plan, Unpack> {
    let tree = unpack::tree(file, &dir.join("unpacked"))?;
    let conf = fs::read(tree.join(CONF))?;
    let conf = String::from_utf8_lossy(&conf);
    let (name, version) = (value(&conf, "PACKAGE_NAME")?, value(&conf, "PACKAGE_VERSION")?);
    let other = |detail| Err(Unpack::Other(StepExit::refused(Refusal::OtherPackage, detail)));
    if let Some(wanted) = step.package.as_ref().filter(|wanted| wanted.name != name) {
        return other(format!("its {CONF} says that it is {name}, and not {}", wanted.name));
    }
    if version != step.version {
        return other(format!("its {CONF} says that it is {name} {version}, and not {}", step.version));
    }
    let replaces = replaces(step, &tree, &Path::new(SOURCES).join(format!("{name}-{version}")))?;
    let script = dir.join(SCRIPT);
    fs::write(&script, PROGRAM_TEXT)?;
    let program = command::find("sh").ok_or(Unpack::Missing("sh", "dash"))?;
    let mut arguments =
        vec![script.into(), "install".into(), dir.join(STATE).into(), name.into(), version.into()];
    arguments.push(tree.into());
    if replaces {
        arguments.push("replace".into());
    }
    // DKMS does not install what the kernel itself has in a newer version, unless it is forced.
    if step.downgrade || step.rewrite {
        arguments.push("force".into());
    }
    let environment = vec![("TMPDIR", dir.to_string_lossy().into_owned())];
    Ok(Plan { program, arguments, dir, environment })
}

/// Returns whether sources of this version are replaced that the machine has already.
fn replaces(step: &Step, tree: &Path, there: &Path) -> Result<bool, Unpack> {
    if step.rewrite {
        return Ok(true);
    }
    if fs::symlink_metadata(there).is_err() {
        return Ok(false);
    }
    let same = command::capture("diff", &["-r".as_ref(), "-q".as_ref(), tree, there], Errors::Merge, TOOL);
    if same.is_ok_and(|output| output.status.success()) {
        return Ok(false);
    }
    let detail = format!(
        "{} is on the machine and differs from the payload; remove it from DKMS and from there, or allow that it is \
         replaced with spec.force.rewrite of a new run",
        there.display()
    );
    Err(Unpack::Other(StepExit::not_started(FailureCode::Other, detail)))
}

/// Returns the value that `dkms.conf` gives a variable. The file is a shell program, which is not executed here: a
/// value that only a shell can determine is refused.
fn value(conf: &str, name: &str) -> Result<String, Unpack> {
    let mut assigned = conf.lines().filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("export ").unwrap_or(line).trim_start().strip_prefix(name)?.strip_prefix('=')
    });
    let refused = |what: String| Err(Unpack::Refused(format!("{CONF} of the payload {what}")));
    let Some(raw) = assigned.next_back() else { return refused(format!("has no {name}")) };
    let raw = raw.trim();
    let quoted = ['"', '\''].into_iter().find_map(|quote| raw.strip_prefix(quote)?.split_once(quote));
    let value = quoted
        .map_or_else(|| raw.split([' ', '\t', ';', '#']).next().unwrap_or_default(), |(value, _)| value);
    // It becomes a part of paths.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._+~:-".contains(c);
    if value.is_empty() || value.starts_with(['.', '-']) || !value.chars().all(is_plain) {
        return refused(format!("has a {name} that is not a plain name: {raw}"));
    }
    Ok(value.to_owned())
}

/// Waits until no other program uses DKMS, such as the package manager that installs a kernel. DKMS has no lock.
fn wait_for_others(engine: &Engine, step: &Step, limit: Duration) -> Result<(), ApplyError> {
    let other = || {
        let holders = lock_holder::processes().into_iter();
        let mut holders = holders.map(|pid| Holder { pid, name: lock_holder::name(pid) });
        holders.find(|holder| holder.name == PROGRAM)
    };
    let look = || match other() {
        Some(holder) => {
            Err(Obstacle { what: WaitFor::PackageLock { path: TREE.into() }, holder: Some(holder) })
        }
        None => Ok(()),
    };
    wait::wait(&engine.shared, limit, look).map_err(|ended| match ended {
        Ended::Stopped(reason) => ApplyError::Stopped(reason),
        Ended::Expired(Obstacle { holder, .. }) => {
            let pid = holder.map(|holder| format!(", process {},", holder.pid)).unwrap_or_default();
            let message = format!("dkms{pid} was at work for {} s", limit.as_secs());
            let component = step.component.clone();
            ApplyError::Failed { code: FailureCode::PackageManagerBusy, component, message }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(conf: &str) -> Option<String> {
        value(conf, "PACKAGE_VERSION").ok()
    }

    /// The value becomes a path below `/usr/src` that is removed when the installation fails.
    #[test]
    fn only_plain_values_of_dkms_conf_are_taken() {
        for (conf, wanted) in [
            ("PACKAGE_VERSION=\"1.2\"\n", Some("1.2")),
            ("PACKAGE_NAME=x\n  PACKAGE_VERSION='1.2~rc1+git-3' # new", Some("1.2~rc1+git-3")),
            ("PACKAGE_VERSION=1.2 # as in the makefile", Some("1.2")),
            ("PACKAGE_VERSION=1\nPACKAGE_VERSION=2\n", Some("2")),
            ("export PACKAGE_VERSION=3\r\n", Some("3")),
            ("#PACKAGE_VERSION=1\n", None),
            ("PACKAGE_VERSION=\n", None),
            ("PACKAGE_VERSION=\"$(cat VERSION)\"\n", None),
            ("PACKAGE_VERSION=\"#MODULE_VERSION#\"\n", None),
            ("PACKAGE_VERSION=../../etc\n", None),
            ("PACKAGE_VERSION=..\n", None),
            ("PACKAGE_VERSION=-rf\n", None),
        ] {
            assert_eq!(read(conf).as_deref(), wanted, "{conf}");
        }
    }
}
