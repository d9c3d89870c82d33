//! Installs RPM packages with plain rpm: only the payload is installed, nothing is fetched.
//!
//! `rpm -U` removes every other package of the payload's name, and the packages that it obsoletes; `rpm -i`
//! removes nothing. This module decides which one is used, because rpm does not ask before it removes a
//! package.

use super::Preparation;
use super::identity::{self, Identity};
use super::package_lock::{Locks, PackageLock};
use super::side_by_side;
use crate::apply_error::ApplyError;
use crate::command::{self, Errors, Output, TOOL};
use crate::engine::Engine;
use crate::step::Plan;
use crate::survey::booted;
use crate::survey::packages::{self, Found, Wanted};
use farrier_protocol::{FailureCode, Refusal, Step, StepExit};
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LOCKS: Locks =
    Locks { front_end: "", own: &["/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock"] };

/// What is queried of the payload: itself, what it provides, what it obsoletes. The empty first field
/// distinguishes these lines from warnings.
const PAYLOAD_FORMAT: &str = "\\t%{NAME}\\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\\t%{ARCH}\\n\
    [\\tprovides\\t%{PROVIDENAME}\\n][\\tobsoletes\\t%{OBSOLETENAME}\\n]";

pub(super) fn prepare(
    engine: &Engine,
    step: &Step,
    wait: Duration,
    dir: PathBuf,
    file: &Path,
) -> Result<Preparation, ApplyError> {
    let lock = PackageLock::wait(engine, step, wait, &LOCKS)?;
    let mut arguments = match arguments(step, file) {
        Ok(arguments) => arguments,
        Err(exit) => return Ok(Preparation::Ended { exit, output: String::new() }),
    };
    let trial = |more: &[&str]| -> Result<Output, ApplyError> {
        let more = more.iter().map(OsString::from);
        let all: Vec<OsString> = arguments.iter().cloned().chain(more).chain([file.into()]).collect();
        command::capture("rpm", &all, Errors::Merge, TOOL)
            .map_err(|message| ApplyError::other(&step.component, message))
    };
    let tested = trial(&["--test"])?;
    if !tested.status.success() {
        // If it succeeds without dependency checks, the dependencies are the only problem.
        let exit = if trial(&["--test", "--nodeps"])?.status.success() {
            StepExit::DependencyMissing
        } else {
            match (tested.status.code(), tested.status.signal()) {
                (Some(code), _) => StepExit::Exited { code },
                (None, signal) => StepExit::Signalled { signal: signal.unwrap_or_default() },
            }
        };
        return Ok(Preparation::Ended { exit, output: tested.text });
    }
    arguments.push(file.into());
    let program = command::find("rpm")
        .ok_or_else(|| ApplyError::other(&step.component, "rpm is no longer installed".into()))?;
    Ok(Preparation::Ready { plan: Plan { program, arguments, dir, environment: Vec::new() }, lock })
}

/// Returns rpm's arguments, so that it removes only what the payload is meant to replace. The error says
/// why rpm is not started at all.
fn arguments(step: &Step, file: &Path) -> Result<Vec<OsString>, StepExit> {
    let text = ask(&["-qp".as_ref(), "--qf".as_ref(), PAYLOAD_FORMAT.as_ref(), file.as_os_str()])?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix('\t'));
    let first: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let [name, version, arch] = first[..] else { return Err(trouble(format!("the payload: {text}"))) };
    identity::check(step, &Identity { name, version, arch })?;
    let listed = |kind: &str| -> Vec<&str> {
        lines.clone().filter_map(|line| line.strip_prefix(kind)?.strip_prefix('\t')).collect()
    };
    let installed = packages::rpm(Wanted::Named(&[name])).map_err(trouble)?;
    let (own, others): (Vec<&Found>, Vec<&Found>) = installed
        .iter()
        .filter(|found| found.name == name)
        .partition(|found| identity::is_same(step, arch, &found.arch));
    let booted = booted::rpm().map_err(trouble)?;
    let is_added = own.len() > 1
        || own.iter().any(|found| booted.contains(found))
        || (own.is_empty() && !others.is_empty())
        || side_by_side::is_configured(name, &listed("provides"));
    if !is_added {
        check_upgrade(file, &others, &booted, &listed("obsoletes"))?;
    }
    let mut arguments: Vec<OsString> = vec![if is_added { "-i" } else { "-U" }.into()];
    // rpm treats a package for another architecture as another version of the same package.
    if step.downgrade || (is_added && own.is_empty()) {
        arguments.push("--oldpackage".into());
    }
    if step.rewrite {
        arguments.push("--replacepkgs".into());
    }
    Ok(arguments)
}

/// Checks that an upgrade keeps other packages, and the packages that the machine was booted from.
fn check_upgrade(
    file: &Path,
    others: &[&Found],
    booted: &[Found],
    obsoletes: &[&str],
) -> Result<(), StepExit> {
    // Only rpm itself can tell: it compares the versions of obsoleted packages, and distinguishes packages
    // for two architectures by the libraries in them.
    let candidates = || booted.iter().filter(|found| obsoletes.contains(&found.name.as_str()));
    if others.is_empty() && candidates().next().is_none() {
        return Ok(());
    }
    let trial = ["-U", "--test", "--nodeps", "--oldpackage", "--replacepkgs", "-vv"];
    let trial: Vec<&OsStr> = trial.iter().map(OsStr::new).chain([file.as_os_str()]).collect();
    let removed = removals(&ask(&trial)?);
    let is_removed = |found: &Found| {
        let label = format!("{}-{}.{}", found.name, found.version, found.arch);
        removed.as_ref().is_none_or(|removed| removed.contains(&label))
    };
    if let Some(Found { name, version, .. }) = candidates().find(|found| is_removed(found)) {
        let detail = format!("rpm would replace {name} {version}, which this machine was booted from");
        return Err(StepExit::refused(Refusal::RemovesBooted, detail));
    }
    if let Some(Found { name, version, arch, .. }) = others.iter().find(|found| is_removed(found)) {
        let detail = format!("rpm would replace {name} {version} for {arch}, which is another package");
        return Err(StepExit::refused(Refusal::ArchitectureConflict, detail));
    }
    Ok(())
}

/// Returns what a transaction removes, as `name-version-release.architecture`, from rpm's debugging output:
/// `D:`, some numbers, and `+` or `-` before each package. `None` if there are no such lines.
fn removals(text: &str) -> Option<Vec<String>> {
    let element = |line: &str| {
        let words: Vec<&str> = line.strip_prefix("D:")?.split_whitespace().collect();
        let (last, numbers) = words.split_last()?;
        let is_element = numbers.len() > 1 && numbers.iter().all(|word| word.parse::<u32>().is_ok());
        is_element.then(|| (*last).to_owned())
    };
    let elements: Vec<String> = text.lines().filter_map(element).collect();
    if !elements.iter().any(|element| element.starts_with('+')) {
        return None;
    }
    Some(elements.iter().filter_map(|element| element.strip_prefix('-')).map(Into::into).collect())
}

fn ask(arguments: &[&OsStr]) -> Result<String, StepExit> {
    command::capture("rpm", arguments, Errors::Merge, TOOL).map(|output| output.text).map_err(trouble)
}

fn trouble(message: String) -> StepExit {
    StepExit::not_started(FailureCode::Other, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A removal that is overlooked here would be carried out by rpm.
    #[test]
    fn removals_are_read_from_what_rpm_prints() {
        let text = "D: found 0 source and 1 binary packages\n\
                    D: ========== tsorting packages (order, #predecessors, #succesors, depth)\n\
                    D:     0    0    0    1   +fx-3-1.x86_64\n\
                    D:     1    0    0    2     -fx-1:2-1.i686\n\
                    D: 0x0000fe00     4096      8975326     16143573 rotational:-1 /\n";
        assert_eq!(removals(text), Some(vec!["fx-1:2-1.i686".to_owned()]));
        assert_eq!(removals("D: installing binary packages\n"), None);
    }
}
