//! Finds the runs that a change affects besides the changed object.
//!
//! Runs wait for each other for two reasons: another run works on a machine, or other runs have the
//! ports. Objects change far more often than a machine or a port becomes free, and waiting runs are not
//! reconciled on each change.

use super::Key;
use super::update_run::facts;
use crate::api::update_run::ListenerState;
use crate::api::{NodeUpdate, UpdateRun};
use std::collections::{BTreeMap, BTreeSet};

/// The resources that runs wait for, as last seen.
#[derive(Default)]
pub(super) struct Dependents {
    /// By NodeUpdate: whether it keeps its machine from other runs, and whether it has ended.
    machines: BTreeMap<Key, (bool, bool)>,
    /// By run: ports that it keeps from other runs, by runner.
    ports: BTreeMap<Key, BTreeSet<(String, u16)>>,
}

impl Dependents {
    /// Reports whether the machine has become available, or unavailable, to other runs. `None` as the
    /// update means that it was deleted.
    pub(super) fn availability_changes(&mut self, key: &Key, update: Option<&NodeUpdate>) -> bool {
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

    /// Reports whether ports have become free. `None` as the run means that it was deleted.
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

/// Reports whether a run has requested ports and some of its runners have none.
pub(super) fn waits_for_ports(run: &UpdateRun, runners: usize) -> bool {
    run.status.as_ref().and_then(|s| s.callback.as_ref()).is_some_and(|c| c.ports.len() < runners)
}

/// Returns the ports that are assigned to a run's runners, held by them, or were found taken.
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

    /// Free ports would stay idle while runs wait for them; or each write of any run would reconcile
    /// all the others.
    #[test]
    fn only_freed_resources_affect_other_runs() {
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
