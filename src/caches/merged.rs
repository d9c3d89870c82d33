//! Merges several watches of one kind, one per namespace, into the events of a single watch.
//!
//! A cache is filled once and replaced as a whole when its watch restarts. Each of several watches
//! restarts on its own, so the objects that a restarted watch lists are reported as changes to the
//! known objects of its namespace.

use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt as _};
use std::collections::HashSet;
use std::hash::Hash;

/// The state of the watches whose events are merged.
pub(super) struct MergedWatches<K: Resource + Clone + 'static>
where
    K::DynamicType: Eq + Hash + Clone,
{
    known: Store<K>,
    parts: Vec<NamespaceWatch<K>>,
    filled: bool,
}

/// The watch of one namespace.
struct NamespaceWatch<K> {
    namespace: String,
    /// Objects of the list that is in progress.
    listing: Vec<K>,
    /// The first complete list with later changes, kept until the lists of all watches are complete.
    first: Option<Vec<K>>,
}

impl<K: Resource + Clone + 'static> MergedWatches<K>
where
    K::DynamicType: Eq + Hash + Clone + Default,
{
    /// Creates the state for watches of these namespaces and an empty cache.
    pub(super) fn new(namespaces: &[String], known: Store<K>) -> Self {
        let part = |namespace: &String| NamespaceWatch {
            namespace: namespace.clone(),
            listing: Vec::new(),
            first: None,
        };
        Self { known, parts: namespaces.iter().map(part).collect(), filled: false }
    }

    /// Converts an event of the watch with this number into events of the merged watch.
    pub(super) fn event(&mut self, number: usize, event: Event<K>) -> Vec<Event<K>> {
        let Some(part) = self.parts.get_mut(number) else { return Vec::new() };
        match event {
            Event::Init => part.listing.clear(),
            Event::InitApply(object) => part.listing.push(object),
            Event::InitDone => return self.complete(number),
            Event::Apply(_) | Event::Delete(_) if self.filled => return vec![event],
            Event::Apply(object) => {
                let first = part.first.get_or_insert_default();
                first.retain(|known| known.name_any() != object.name_any());
                first.push(object);
            }
            Event::Delete(object) => {
                part.first.get_or_insert_default().retain(|known| known.name_any() != object.name_any());
            }
        }
        Vec::new()
    }

    fn complete(&mut self, number: usize) -> Vec<Event<K>> {
        let Some(part) = self.parts.get_mut(number) else { return Vec::new() };
        let listing = std::mem::take(&mut part.listing);
        if self.filled {
            let there: HashSet<_> = listing.iter().map(ObjectRef::from_obj).collect();
            let namespace = Some(part.namespace.clone());
            let gone = self.known.state().into_iter().filter(|known| {
                known.namespace() == namespace && !there.contains(&ObjectRef::from_obj(known.as_ref()))
            });
            return gone
                .map(|known| Event::Delete((*known).clone()))
                .chain(listing.into_iter().map(Event::Apply))
                .collect();
        }
        part.first = Some(listing);
        if self.parts.iter().any(|part| part.first.is_none()) {
            return Vec::new();
        }
        self.filled = true;
        let all = self.parts.iter_mut().filter_map(|part| part.first.take()).flatten();
        let mut events = vec![Event::Init];
        events.extend(all.map(Event::InitApply));
        events.push(Event::InitDone);
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::reflector;

    fn object(namespace: &str, name: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some(namespace.to_owned());
        object.metadata.name = Some(name.to_owned());
        object
    }

    /// Sends events through `MergedWatches` into a cache, and reads the names in the cache.
    struct Cache {
        merged: MergedWatches<ConfigMap>,
        store: Store<ConfigMap>,
        writer: reflector::store::Writer<ConfigMap>,
    }

    impl Cache {
        fn new() -> Self {
            let (store, writer) = reflector::store();
            let merged = MergedWatches::new(&["a".to_owned(), "b".to_owned()], store.clone());
            Self { merged, store, writer }
        }

        fn send(&mut self, number: usize, events: impl IntoIterator<Item = Event<ConfigMap>>) {
            for event in events {
                for event in self.merged.event(number, event) {
                    self.writer.apply_watcher_event(&event);
                }
            }
        }

        fn list(&mut self, number: usize, objects: &[ConfigMap]) {
            self.send(number, [Event::Init]);
            self.send(number, objects.iter().cloned().map(Event::InitApply));
            self.send(number, [Event::InitDone]);
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<String> = self
                .store
                .state()
                .iter()
                .map(|o| format!("{}/{}", o.namespace().unwrap(), o.name_any()))
                .collect();
            names.sort();
            names
        }
    }

    /// A cache that counted as filled after the first watch would start the operator without half of
    /// its machines.
    #[test]
    fn the_cache_is_filled_when_all_watches_are_complete() {
        let mut cache = Cache::new();
        cache.list(0, &[object("a", "x"), object("a", "y")]);
        cache.send(0, [Event::Delete(object("a", "y")), Event::Apply(object("a", "z"))]);
        assert!(cache.names().is_empty());
        cache.list(1, &[object("b", "x")]);
        assert_eq!(cache.names(), ["a/x", "a/z", "b/x"]);
    }

    /// Otherwise an interruption of one watch would drop all other namespaces, or keep objects that
    /// were deleted meanwhile.
    #[test]
    fn a_restarted_watch_affects_only_its_namespace() {
        let mut cache = Cache::new();
        cache.list(0, &[object("a", "x"), object("a", "y")]);
        cache.list(1, &[object("b", "x")]);
        cache.list(0, &[object("a", "y"), object("a", "z")]);
        assert_eq!(cache.names(), ["a/y", "a/z", "b/x"]);
    }
}
