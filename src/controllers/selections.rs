//! The last change of the set of nodes that a run selects.
//!
//! This is kept in memory only. It matters only in the first seconds of a run, and a new leader waits for
//! these seconds again.

use super::Key;
use farrier_update::Millis;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The nodes selected by runs whose list of nodes is not recorded yet.
#[derive(Default)]
pub(crate) struct Selections {
    seen: Mutex<BTreeMap<Key, Selection>>,
}

struct Selection {
    /// UID of the run. A different run of the same name starts over.
    uid: String,
    nodes: BTreeSet<String>,
    changed: Millis,
}

impl Selections {
    /// Records the nodes that a run selects now. Returns the time of the last change, which is `now` at the
    /// first call.
    pub(super) fn see(&self, run: &Key, uid: &str, nodes: BTreeSet<String>, now: Millis) -> Millis {
        let mut seen = self.lock();
        match seen.get(run) {
            Some(known) if known.uid == uid && known.nodes == nodes => known.changed,
            Some(_) | None => {
                let uid = uid.to_owned();
                seen.insert(run.clone(), Selection { uid, nodes, changed: now });
                now
            }
        }
    }

    /// Forgets a run, because its list is recorded or the run was deleted.
    pub(super) fn forget(&self, run: &Key) {
        self.lock().remove(run);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Selection>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise a run would wait for ever although all its nodes exist, or would start with half of them.
    #[test]
    fn the_time_of_the_last_change_is_kept_for_each_run() {
        let selections = Selections::default();
        let run = ("fleet".to_owned(), "r".to_owned());
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        let see = |uid: &str, names: &[&str], now| selections.see(&run, uid, set(names), Millis(now)).0;
        assert_eq!(see("1", &["a"], 10), 10);
        assert_eq!(see("1", &["a"], 20), 10);
        assert_eq!(see("1", &["a", "b"], 30), 30);
        assert_eq!(see("1", &["b"], 40), 40);
        assert_eq!(see("2", &["b"], 50), 50);
        selections.forget(&run);
        assert_eq!(see("2", &["b"], 60), 60);
    }
}
