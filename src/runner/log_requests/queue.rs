//! Which requests are answered at once, and in which order the others follow.

use std::collections::{HashMap, VecDeque};

/// Maximum number of requests that are answered at once; others wait for their turn.
pub(super) const AT_ONCE: usize = 16;

/// Maximum number of these that are of one namespace, so that those of another one need not wait.
pub(super) const OF_ONE_NAMESPACE: usize = 12;

/// The requests that are not over. `T` is what a request gets when its turn has come.
pub(super) struct Queue<T> {
    /// Namespaces of the requests that are answered, by UID.
    answered: HashMap<String, String>,
    /// In the order in which they were made.
    waiting: VecDeque<Waiting<T>>,
}

struct Waiting<T> {
    uid: String,
    namespace: String,
    turn: T,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { answered: HashMap::new(), waiting: VecDeque::new() }
    }
}

impl<T> Queue<T> {
    /// Adds a request.
    pub(super) fn add(&mut self, uid: String, namespace: String, turn: T) {
        self.waiting.push_back(Waiting { uid, namespace, turn });
    }

    /// Removes a request, whether or not it is answered already.
    pub(super) fn remove(&mut self, uid: &str) {
        if self.answered.remove(uid).is_none() {
            self.waiting.retain(|waiting| waiting.uid != uid);
        }
    }

    /// Returns the turn of the request that is answered next, if one can be: the first one of the namespace of
    /// which the fewest are answered.
    pub(super) fn next(&mut self) -> Option<T> {
        if self.answered.len() >= AT_ONCE {
            return None;
        }
        let of = |namespace: &str| self.answered.values().filter(|other| *other == namespace).count();
        let waiting = self.waiting.iter().enumerate().map(|(at, waiting)| (of(&waiting.namespace), at));
        let (_, at) = waiting.filter(|(answered, _)| *answered < OF_ONE_NAMESPACE).min()?;
        let Waiting { uid, namespace, turn } = self.waiting.remove(at)?;
        self.answered.insert(uid, namespace);
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds requests of a namespace, and returns those that are answered.
    fn add(queue: &mut Queue<String>, namespace: &str, count: usize) -> Vec<String> {
        for number in 0..count {
            let uid = format!("{namespace}{number}");
            queue.add(uid.clone(), namespace.to_owned(), uid);
        }
        std::iter::from_fn(|| queue.next()).collect()
    }

    /// Users of one namespace could keep those of all others from reading logs.
    #[test]
    fn one_namespace_leaves_room_for_others() {
        let mut queue = Queue::default();
        assert_eq!(add(&mut queue, "a", 100).len(), OF_ONE_NAMESPACE);
        assert_eq!(add(&mut queue, "b", 1), ["b0"]);
        assert_eq!(add(&mut queue, "c", 100), ["c0", "c1", "c2"]);
        assert_eq!(add(&mut queue, "d", 1), [""; 0]);
        // The next one is of the namespace that has none, although others have waited for longer.
        queue.remove("a5");
        assert_eq!(queue.next().as_deref(), Some("d0"));
        queue.remove("a6");
        assert_eq!(queue.next().as_deref(), Some("c3"));
    }

    /// A user could wait for ever, or an abandoned request could keep its place.
    #[test]
    fn the_first_of_a_namespace_is_the_next_and_those_that_are_gone_are_left_out() {
        let mut queue = Queue::default();
        add(&mut queue, "a", OF_ONE_NAMESPACE + 3);
        queue.remove("a12");
        assert_eq!(queue.next(), None);
        queue.remove("a0");
        queue.remove("no-such");
        assert_eq!(queue.next().as_deref(), Some("a13"));
        queue.remove("a13");
        assert_eq!(queue.next().as_deref(), Some("a14"));
        queue.remove("a1");
        assert_eq!(queue.next(), None);
    }
}
