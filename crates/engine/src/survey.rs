//! Executes `Work::Survey`: looks at the machine and changes nothing.

pub(crate) mod booted;
mod detect;
mod facts;
pub(crate) mod packages;

use crate::engine::failed;
use farrier_protocol::{Detect, EventBody, FailureCode, Package, Reading};
use packages::{Found, Managers, Status, Wanted};

/// Looks at the machine. The answer is the task's one event.
pub(crate) fn survey(task: &str, all: bool, detect: &[(String, Detect)]) -> EventBody {
    let managers = Managers::present();
    let mut names: Vec<&str> = detect.iter().filter_map(|(_, how)| package_name(how)).collect();
    if !names.is_empty() {
        names.push(facts::DPKG);
    }
    let wanted = if all { Wanted::All } else { Wanted::Named(&names) };
    let found = managers.list(wanted);
    if let (true, Err(message)) = (all, &found) {
        // An empty list would say that nothing is installed.
        return failed(task, FailureCode::Other, "", message.clone());
    }
    let read = |how: &Detect| match how {
        Detect::Package(name) => detect::package(name, managers, found.as_deref()),
        Detect::Command(line) => detect::command(line),
        Detect::File(path) => detect::file(path.as_ref()),
    };
    let readings: Vec<(String, Reading)> =
        detect.iter().map(|(component, how)| (component.clone(), read(how))).collect();
    let mut packages: Vec<Package> =
        if all { found.iter().flatten().filter_map(listed).collect() } else { Vec::new() };
    packages.sort_by(|one, other| {
        (&one.name, &one.arch, &one.version).cmp(&(&other.name, &other.arch, &other.version))
    });
    let facts = Box::new(facts::read(managers, found.as_deref().unwrap_or_default()));
    EventBody::SurveyDone { task: task.into(), facts, packages, readings }
}

/// The name of the package without its architecture: the others of that name are of interest too.
fn package_name(how: &Detect) -> Option<&str> {
    match how {
        Detect::Package(name) if packages::is_name(name) => Some(packages::split(name).0),
        Detect::Package(_) | Detect::Command(_) | Detect::File(_) => None,
    }
}

/// The package as it is reported; `None` if it is not there in a good state.
fn listed(found: &Found) -> Option<Package> {
    (found.status == Status::Installed).then(|| Package {
        name: found.name.clone(),
        version: found.version.clone(),
        arch: found.arch.clone(),
        kind: found.kind.into(),
    })
}
