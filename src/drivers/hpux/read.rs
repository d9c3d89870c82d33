//! From what was read of an HP-UX machine to what decisions and users need.

use super::device::Device;
use super::look::{Activation, Look, State};
use super::programs::Directories;
use super::said;
use super::software::entry;
use crate::attempt::{Firmware, Survey};
use crate::drivers::device::{Other, Reading};
use farrier_protocol::{Facts, Package};
use farrier_update::device::{
    ActionId, Artifact, ArtifactKind, BootMarks, Inventory, Obstacle, Progress, Task, Ticket,
};
use farrier_update::{Millis, Reason};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long our own directories tell what was done: until somebody removes them.
const KEPT: Duration = Duration::from_hours(24 * 365);

/// Maximum number of filesets that a note names.
const MAX_NAMED: usize = 8;

/// Longest command line of another's process in a message.
const LONGEST: usize = 80;

impl Device {
    /// Returns what was read.
    pub(super) fn reading(&self, look: &Look, at: Millis) -> Reading {
        let others = others(look);
        let mut tasks = own_tasks(look, &self.directories);
        tasks.extend(look.installers.iter().filter(|_| !others.is_empty()).map(|process| Task {
            ticket: Ticket(format!("process {process}")),
            action: None,
            progress: Progress::Running,
        }));
        let obstacles = self.obstacles(look);
        let names = self.components.iter().filter_map(|component| component.depot_entry());
        let inventory = Inventory {
            at,
            entries: names.map(|name| (name.to_owned(), entry(look, name))).collect(),
            // There is no other controller than the host.
            boot: BootMarks { manager: look.boot.clone(), host: look.boot.clone() },
            tasks,
            artifacts: artifacts(look, &self.directories),
            earlier: Vec::new(),
            keeps_tasks: Some(KEPT),
            lists_sessions: false,
            obstacles: obstacles.keys().copied().collect(),
        };
        Reading { inventory, survey: survey(look), others, obstacles, parts: BTreeMap::new() }
    }

    fn obstacles(&self, look: &Look) -> BTreeMap<Obstacle, String> {
        let node = look.packages_of_running_node();
        node.map(|packages| (Obstacle::ClusterNode, said::cluster_node(&self.node, &packages)))
            .into_iter()
            .collect()
    }
}

/// Returns the work of others: processes, unless they may belong to an installation of ours.
fn others(look: &Look) -> Vec<Other> {
    if is_ours(look) {
        return Vec::new();
    }
    let words = |process: &String| {
        let process: String = process.chars().take(LONGEST).collect();
        format!("process {process}")
    };
    let others = look.installers.iter();
    others.map(|process| Other { words: words(process), reason: Reason::PackageManagerBusy }).collect()
}

/// Reports whether the processes that work on software may be ours: an agent goes on when its `swinstall` is gone.
fn is_ours(look: &Look) -> bool {
    look.is_installing() || look.activations.iter().any(|(_, _, state)| *state == State::Gone)
}

fn own_tasks(look: &Look, directories: &Directories) -> Vec<Task> {
    let fetches = look.fetches.iter().filter_map(|&(action, state)| {
        let action = ActionId(action);
        let progress = fetch_progress(state)?;
        Some(Task { ticket: Ticket(directories.fetch(action)), action: Some(action), progress })
    });
    let activations = look.activations.iter().filter_map(|&(image, action, state): &Activation| {
        let (image, action) = (ActionId(image), ActionId(action));
        let progress = install_progress(state, !look.installers.is_empty())?;
        let ticket = Ticket(directories.activation(image, action));
        Some(Task { ticket, action: Some(action), progress })
    });
    fetches.chain(activations).collect()
}

/// Returns how far a fetch is; `None` if nothing was begun.
pub(super) const fn fetch_progress(state: State) -> Option<Progress> {
    match state {
        State::Ended(0) => Some(Progress::Done),
        State::Ended(_) => Some(Progress::Failed),
        State::Running => Some(Progress::Running),
        State::Unstarted => None,
        State::Gone => Some(Progress::Gone),
    }
}

/// Returns how far an installation is; `None` if nothing was begun. `has_agent`: something works on software.
pub(super) fn install_progress(state: State, has_agent: bool) -> Option<Progress> {
    match state {
        State::Ended(code) if farrier_update::InstallerKind::SwinstallDepot.exit(code).is_done() => {
            Some(Progress::Done)
        }
        State::Ended(_) => Some(Progress::Failed),
        State::Running => Some(Progress::Running),
        State::Unstarted => None,
        State::Gone if has_agent => Some(Progress::Running),
        State::Gone => Some(Progress::Gone),
    }
}

fn artifacts(look: &Look, directories: &Directories) -> Vec<Artifact> {
    let images = look.images.iter().map(|&(action, whole)| {
        let action = ActionId(action);
        let ticket = Ticket(directories.image(action));
        Artifact { kind: ArtifactKind::Upload, ticket, action, whole }
    });
    images.collect()
}

/// Returns what users see of a reading.
fn survey(look: &Look) -> Survey {
    let (_, release, processor) = look.system.clone();
    let facts = Facts {
        os: "hp-ux".into(),
        os_name: format!("HP-UX {release}"),
        os_version: release.clone(),
        arch: processor.clone(),
        kernel: release,
        hostname: look.host.clone(),
        vendor: "HP".into(),
        model: look.model.clone(),
        serial: look.serial.clone(),
        ..Facts::default()
    };
    let packages = look.software.iter().map(|software| Package {
        name: software.name.clone(),
        version: software.revision.clone(),
        arch: processor.clone(),
        kind: format!("sd-{}", software.level),
    });
    let firmware = look.firmware.iter().map(|(name, version)| Firmware {
        id: name.clone(),
        name: format!("{name} firmware"),
        source: "machinfo".into(),
        version: version.clone(),
        ..Firmware::default()
    });
    Survey {
        facts,
        packages: packages.collect(),
        firmware: firmware.collect(),
        notes: notes(look),
        ..Survey::default()
    }
}

/// Describes what is not configured.
fn notes(look: &Look) -> Vec<String> {
    let first = look.unfinished.iter().take(MAX_NAMED);
    let names: Vec<String> = first.map(|(name, state)| format!("{name} is {state}")).collect();
    match look.unfinished.len() {
        0 => Vec::new(),
        count if count > MAX_NAMED => vec![format!("{} and {} more", names.join(", "), count - MAX_NAMED)],
        _ => vec![names.join(", ")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str) -> Look {
        Look::read(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    /// Otherwise our own agent counts as another's and is waited for in vain, or another's installation as ours.
    #[test]
    fn an_agent_is_ours_while_an_installation_of_ours_is_open() {
        let agent = "process 77 swagent -r";
        let other = Other { words: "process 77 swagent -r".to_owned(), reason: Reason::PackageManagerBusy };
        assert_eq!(others(&look(agent)), [other]);
        for state in ["running", "gone"] {
            assert_eq!(others(&look(&format!("{agent}\nactivate 2 3 {state}"))), [], "{state}");
        }
        assert_eq!(others(&look(&format!("{agent}\nactivate 2 3 ended 0"))).len(), 1);
        let directories = Directories::new("a1");
        let tasks = own_tasks(&look(&format!("{agent}\nactivate 2 3 gone\nfetch 2 ended 0")), &directories);
        let shown: Vec<_> = tasks.iter().map(|task| (task.ticket.0.as_str(), task.progress)).collect();
        assert_eq!(
            shown,
            [
                ("/var/tmp/farrier-a1/2/fetch", Progress::Done),
                ("/var/tmp/farrier-a1/2/activate-3", Progress::Running)
            ]
        );
    }

    /// A directory without a process proves that nothing began, so that it may be requested again.
    #[test]
    fn a_directory_alone_is_no_work() {
        assert_eq!(
            own_tasks(&look("activate 2 3 unstarted\nfetch 2 unstarted"), &Directories::new("a1")),
            []
        );
    }
}
