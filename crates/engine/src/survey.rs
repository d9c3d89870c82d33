//! Executes `Work::Survey`: reads the machine and changes nothing.

pub(crate) mod booted;
mod detect;
mod entries;
mod facts;
mod firmware;
mod modules;
pub(crate) mod packages;

use crate::command;
use crate::engine::failed;
use entries::Entries;
use farrier_protocol::{Detect, EventBody, FailureCode, Package, Reading};
use packages::{Found, Managers, Status, Wanted};

/// Reads the machine. The result is the only event of the task.
pub(crate) fn survey(
    task: &str,
    all: bool,
    detect: &[(String, Detect)],
    fwupd: bool,
    programs: &[String],
) -> EventBody {
    let managers = Managers::present();
    let mut names: Vec<&str> = detect.iter().filter_map(|(_, how)| package_name(how)).collect();
    if !names.is_empty() {
        names.extend(facts::MANAGERS);
    }
    let wanted = if all { Wanted::All } else { Wanted::Named(&names) };
    let found = managers.list(wanted);
    if let (true, Err(message)) = (all, &found) {
        // An empty list would mean that nothing is installed.
        return failed(task, FailureCode::Other, "", message.clone());
    }
    let entries: Vec<&str> = detect.iter().filter_map(|(_, how)| entry(how)).collect();
    let firmware = Entries::read(all, &entries, fwupd);
    let read = |how: &Detect| match how {
        Detect::Package(name) => detect::package(name, managers, found.as_deref()),
        Detect::Command(line) => detect::command(line),
        Detect::File(path) => detect::file(path.as_ref()),
        Detect::Firmware(entry) => firmware.reading(entry),
        Detect::Module(name) => modules::reading(name),
    };
    let readings: Vec<(String, Reading)> =
        detect.iter().map(|(component, how)| (component.clone(), read(how))).collect();
    let mut packages: Vec<Package> =
        if all { found.iter().flatten().filter_map(listed).collect() } else { Vec::new() };
    packages.sort_by(|one, other| {
        (&one.name, &one.arch, &one.version).cmp(&(&other.name, &other.arch, &other.version))
    });
    let facts = Box::new(facts::read(managers, found.as_deref().unwrap_or_default()));
    let firmware = if all { firmware.into_list() } else { Vec::new() };
    let is_there = |program: &&String| is_program_name(program) && command::find(program).is_some();
    let programs = programs.iter().filter(is_there).cloned().collect();
    EventBody::SurveyDone { task: task.into(), facts, packages, firmware, readings, programs }
}

/// Reports whether the text is a name and not a path.
fn is_program_name(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
}

/// Returns the entry of the firmware list that is to be read.
fn entry(how: &Detect) -> Option<&str> {
    match how {
        Detect::Firmware(entry) => Some(entry),
        Detect::Package(_) | Detect::Command(_) | Detect::File(_) | Detect::Module(_) => None,
    }
}

/// Returns the name of the package without its architecture: packages of the same name for other
/// architectures are needed too.
fn package_name(how: &Detect) -> Option<&str> {
    match how {
        Detect::Package(name) if packages::is_name(name) => Some(packages::split(name).0),
        Detect::Package(_)
        | Detect::Command(_)
        | Detect::File(_)
        | Detect::Firmware(_)
        | Detect::Module(_) => None,
    }
}

/// Returns the package as it is reported; `None` if it is not installed in a good state.
fn listed(found: &Found) -> Option<Package> {
    (found.status == Status::Installed).then(|| Package {
        name: found.name.clone(),
        version: found.version.clone(),
        arch: found.arch.clone(),
        kind: found.kind.into(),
    })
}
