//! Whom a change concerns besides the object that has changed.
//!
//! Runs wait for each other in two ways: for a machine that another run works on, and for ports that
//! other runs have. Objects change far more often than either becomes free, and whoever waits is not
//! asked to decide anew each time.

use super::Key;
use super::update_run::facts;
use crate::api::update_run::ListenerState;
use crate::api::{NodeUpdate, UpdateRun};
use std::collections::{BTreeMap, BTreeSet};

/// What others wait for, as it was seen last.
#[derive(Default)]
pub(super) struct Dependents {
    /// By NodeUpdate: whether it keeps its machine from other runs, and whether it is over.
    machines: BTreeMap<Key, (bool, bool)>,
    /// By run: ports that it keeps from other runs, by runner.
    ports: BTreeMap<Key, BTreeSet<(String, u16)>>,
}

impl Dependents {
    /// Whether another run may begin with this machine, or may not any more. `None`: it is gone.
    pub(super) fn machine_changes_hands(&mut self, key: &Key, update: Option<&NodeUpdate>) -> bool {
        let now = update.map(|update| {
            let facts = facts(update);
            (facts.in_flight(), facts.is_done())
        });
        let before = match now {
            Some(now) => self.machines.insert(key.clone(), now),
            None => self.machines.remove(key),
        };
        before != now
    }

    /// Whether ports are free that were not before. `None`: the run is gone.
    pub(super) fn ports_are_freed(&mut self, key: &Key, run: Option<&UpdateRun>) -> bool {
        let now = run.map(ports).unwrap_or_default();
        let freed = self.ports.get(key).is_some_and(|before| !before.is_subset(&now));
        if now.is_empty() {
            self.ports.remove(key);
        } else {
            self.ports.insert(key.clone(), now);
        }
        freed
    }
}

/// Whether a run has asked for ports and some of its runners have none.
pub(super) fn waits_for_ports(run: &UpdateRun, runners: usize) -> bool {
    run.status.as_ref().and_then(|s| s.callback.as_ref()).is_some_and(|c| c.ports.len() < runners)
}

/// Ports that are given to a run's runners, held by them, or were found taken.
fn ports(run: &UpdateRun) -> BTreeSet<(String, u16)> {
    let status = run.status.iter();
    let given = status.clone().filter_map(|s| s.callback.as_ref()).flat_map(|callback| &callback.ports);
    let given = given.flat_map(|p| [(p.runner.clone(), p.http_port), (p.runner.clone(), p.https_port)]);
    let said = status.flat_map(|s| &s.listeners).flat_map(|said| {
        let held = (said.state == ListenerState::Bound).then_some([said.http_port, said.https_port]);
        let all = held.into_iter().flatten().chain(said.taken.iter().copied());
        all.map(|port| (said.runner.clone(), port)).collect::<Vec<_>>()
    });
    given.chain(said).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn run(status: &Value) -> UpdateRun {
        let run = json!({
            "apiVersion": "farrier.dev/v1alpha1", "kind": "UpdateRun",
            "metadata": {"name": "r"}, "spec": {"selector": {}}, "status": status,
        });
        serde_json::from_value(run).unwrap()
    }

    /// Ports that nobody has lie idle while runs wait for them; or each write of any run has all the
    /// others decided anew.
    #[test]
    fn only_what_becomes_free_concerns_others() {
        let key = ("ns".to_owned(), "r".to_owned());
        let mut dependents = Dependents::default();
        let mut freed = |status: Value| dependents.ports_are_freed(&key, Some(&run(&status)));
        let callback = json!({"since": "2026-01-01T00:00:00Z", "ports": [{"runner": "a", "httpPort": 1, "httpsPort": 2}]});
        let said = |state: &str, taken: &[u16]| json!([{"runner": "a", "httpPort": 1, "httpsPort": 2, "state": state, "taken": taken}]);
        assert!(!freed(json!({})));
        assert!(!freed(json!({"callback": callback})));
        assert!(!freed(json!({"callback": callback, "listeners": said("Bound", &[])})));
        assert!(!freed(json!({"listeners": said("Bound", &[])})), "the runner has not let go yet");
        assert!(freed(json!({})));
        assert!(!freed(json!({"callback": callback, "listeners": said("Conflict", &[2])})));
        assert!(freed(json!({"listeners": said("Conflict", &[2])})), "port 1 was not held");
        assert!(freed(json!({})), "nobody says any more that port 2 is taken");
        assert!(!dependents.ports_are_freed(&key, None));
    }
}
