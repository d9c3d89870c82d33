//! The ways back to Farrier, tried by the machine itself before anything depends on them.

use super::super::Device;
use super::Walk;
use crate::attempt::{End, Goal, Place, ReturnPath, Scheme, WaysBack};
use crate::drivers::diagnosis::{self, FailedDials};
use crate::failure::Failure;
use farrier_protocol::{Dial, DialOutcome};
use farrier_update::device::Action;
use std::time::{Duration, Instant};

/// How long a way that does not respond is tried again: rules of a cluster take effect some time after they were
/// written, on each node separately.
const LIMIT: Duration = Duration::from_secs(6);

/// Time between two tries.
const PAUSE: Duration = Duration::from_secs(1);

impl<D: Device> Walk<'_, D> {
    /// Has the machine try the ways back, once in an attempt, after it was read for the first time. Work that an
    /// earlier process has begun is followed whatever the network is like.
    ///
    /// # Errors
    /// The port that is shut.
    pub(super) async fn try_ways_back(&mut self) -> Result<(), Failure> {
        let is_due = self.device.tries_ways_back() && self.latest.is_some() && self.job.goal != Goal::CleanUp;
        let is_at_work = self.actions.iter().any(Action::is_open);
        if self.has_ways_back || !is_due || is_at_work || *self.desk.stop.borrow() {
            return Ok(());
        }
        let since = Instant::now();
        let Some(ways) = self.ways_back().await? else { return Ok(()) };
        let dials = loop {
            let dials = match self.device.reach(&ways.places).await {
                Ok(dials) => dials,
                Err(trouble) => {
                    self.troubled(trouble);
                    return Ok(());
                }
            };
            if !may_yet_open(&dials) || since.elapsed() >= LIMIT || *self.desk.stop.borrow() {
                break dials;
            }
            // sleep: no event signals that rules take effect somewhere in the cluster.
            tokio::time::sleep(PAUSE).await;
        };
        self.has_ways_back = true;
        if let Some(mut failure) = failure(&self.job.node, &dials, &ways, since) {
            if self.actions.is_empty() {
                failure.message.push_str("; nothing was changed on it");
            }
            return Err(failure);
        }
        // A machine without a tool for it is given what it needs in another way.
        let places: Vec<String> = dials.into_iter().map(|dial| dial.address).collect();
        let path = if places.is_empty() { ReturnPath::NotNeeded } else { ReturnPath::Tried { places } };
        self.desk.view.send_modify(|v| v.return_path = path);
        Ok(())
    }

    /// Waits until the ports are open. `None` if the run is cancelled meanwhile, or there are none.
    async fn ways_back(&self) -> Result<Option<WaysBack>, Failure> {
        let waiting = self.desk.offers.wait();
        self.desk.view.send_modify(|v| {
            v.fetches_by = Some(Scheme::Https);
            v.return_path = ReturnPath::Pending { waiting: waiting.clone() };
            v.waits = vec![waiting];
        });
        let mut stop = self.desk.stop.clone();
        let ways = tokio::select! {
            ways = self.desk.offers.ways_back(self.reached()) => ways,
            Ok(_) = stop.wait_for(|stop| *stop) => Ok(WaysBack::default()),
        };
        self.desk.view.send_modify(|v| {
            v.waits.clear();
            v.return_path = ReturnPath::Untried;
        });
        ways.map(|ways| Some(ways).filter(|ways| !ways.places.is_empty()))
    }

    /// Ends an attempt because a way back is shut. What earlier attempts have left is removed by a clean-up, which
    /// needs no way back.
    pub(super) async fn shut(mut self, failure: Failure) -> End {
        tracing::warn!(reason = %failure.reason, "{}", failure.message);
        self.device.close().await;
        self.desk.view.send_modify(|v| {
            v.fetches_by = None;
            v.return_path = ReturnPath::Unseen { failure: failure.clone() };
            v.clean = self.actions.is_empty().then_some(Ok(()));
            v.deploying |= !self.actions.is_empty();
        });
        End::Failed(failure)
    }
}

/// Describes the ways that are shut, each with its obstacle; `None` if all are open.
fn failure(node: &str, dials: &[Dial], ways: &WaysBack, since: Instant) -> Option<Failure> {
    let unknown_sources = ways.refusals.unknown_sources_since(since);
    let shut = dials.iter().filter(|dial| dial.result != DialOutcome::Connected);
    let failures: Vec<Failure> = shut
        .map(|dial| {
            let dials = std::slice::from_ref(dial);
            diagnosis::of(&FailedDials { node, dials, own: &ways.own, unknown_sources: &unknown_sources })
        })
        .collect();
    let [first, ..] = failures.as_slice() else { return None };
    let words: Vec<&str> = failures.iter().map(|failure| failure.message.as_str()).collect();
    let needed: Vec<String> =
        ways.places.iter().map(|Place { scheme, port, .. }| format!("{port} ({scheme})")).collect();
    let message = format!(
        "{}. Such a machine needs {} in inventory and in deployment",
        words.join("; "),
        needed.join(" and ")
    );
    Some(Failure::new(first.reason, message))
}

/// Reports whether another try may have another result: something is closed by a component that may be about to open
/// it.
fn may_yet_open(dials: &[Dial]) -> bool {
    dials.iter().any(|dial| match dial.result {
        DialOutcome::TimedOut | DialOutcome::Refused | DialOutcome::Prohibited => true,
        DialOutcome::Connected
        | DialOutcome::NoRoute
        | DialOutcome::Closed
        | DialOutcome::Silent
        | DialOutcome::Untrusted
        | DialOutcome::Failed => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_update::Reason;

    fn dial(port: u16, result: DialOutcome) -> Dial {
        Dial { address: format!("192.0.2.9:{port}"), result, message: String::new(), from: None }
    }

    /// Row N3: without the port's number nobody can correct a firewall; and one open port hides no shut one.
    #[test]
    fn the_port_that_is_shut_is_named_with_its_direction() {
        use DialOutcome::{Connected, TimedOut};
        let place = |scheme, port| Place { scheme, host: "192.0.2.9".into(), port, authority: String::new() };
        let places = vec![place(Scheme::Https, 63002), place(Scheme::Http, 63001)];
        let ways = WaysBack { places, ..WaysBack::default() };
        let of =
            |secure, plain| failure("hp1", &[dial(63002, secure), dial(63001, plain)], &ways, Instant::now());
        assert_eq!(of(Connected, Connected), None);
        for (secure, plain, named, other) in [
            (TimedOut, Connected, "TCP 192.0.2.9:63002: no answer", "TCP 192.0.2.9:63001"),
            (Connected, TimedOut, "TCP 192.0.2.9:63001: no answer", "TCP 192.0.2.9:63002"),
        ] {
            let failure = of(secure, plain).unwrap();
            assert_eq!(failure.reason, Reason::CallbackTimedOut);
            for words in ["hp1", named, "from the machine to the runner", "a firewall"] {
                assert!(failure.message.contains(words), "{failure}");
            }
            assert!(!failure.message.contains(other), "{failure}");
        }
        assert_eq!(of(TimedOut, TimedOut).unwrap().message.matches("no answer").count(), 2);
    }

    #[test]
    fn only_what_may_open_is_tried_again() {
        use DialOutcome::{Closed, Connected, NoRoute, Prohibited, Refused, TimedOut};
        for shut in [TimedOut, Refused, Prohibited] {
            assert!(may_yet_open(&[dial(1, Connected), dial(2, shut)]), "{shut:?}");
        }
        assert!(!may_yet_open(&[dial(1, NoRoute), dial(2, Closed), dial(3, Connected)]));
    }
}
