//! Probes the return path before the session relies on it.

use super::{Host, Session};
use crate::failure::Failure;
use farrier_protocol::{Dial, DialOutcome};
use std::time::{Duration, Instant};

/// How long a return path that does not respond is probed. Rules for a new Service, a new address of a load
/// balancer, and policies take effect some time after they were created, on each node of the cluster
/// separately. Up to about 2 s were seen on a busy node.
const REACH_TIMEOUT: Duration = Duration::from_secs(6);

/// Time between two probes.
const REACH_RETRY: Duration = Duration::from_secs(1);

impl<H: Host> Session<'_, H> {
    /// Probes the return path from the machine; repeats the probe for a while if the path may still
    /// open.
    pub(super) async fn reach(&self, machine: &H, targets: &[(String, u16)]) -> Result<Vec<Dial>, Failure> {
        until_open(REACH_TIMEOUT, REACH_RETRY, || machine.reach(targets)).await
    }

    /// Probes the return path with the engine, on a machine that had no tool for it. Returns false if
    /// the path is known to be blocked.
    pub(super) async fn engine_reaches(&self, machine: &H, dir: &str, addresses: &[String]) -> bool {
        let since = Instant::now();
        let attempt = || machine.reach_by_engine(dir, addresses);
        // If the probe itself fails, the session waits for the first connection.
        let tried = until_open(REACH_TIMEOUT, REACH_RETRY, attempt).await.unwrap_or_default();
        let blocked = !tried.is_empty() && !tried.iter().any(is_connected);
        if blocked {
            self.block(self.diagnose(&tried, since));
        }
        !blocked
    }
}

/// Makes attempts until one shows a result that will not change, or the time is over. An attempt that
/// was started is completed.
async fn until_open<F: Future<Output = Result<Vec<Dial>, Failure>>>(
    timeout: Duration,
    pause: Duration,
    attempt: impl Fn() -> F,
) -> Result<Vec<Dial>, Failure> {
    let begun = Instant::now();
    loop {
        let tried = attempt().await?;
        if !may_yet_open(&tried) || begun.elapsed() >= timeout {
            return Ok(tried);
        }
        // sleep: no event signals that rules take effect somewhere in the cluster.
        tokio::time::sleep(pause).await;
    }
}

/// Reports whether this attempt connected.
pub(super) fn is_connected(dial: &Dial) -> bool {
    dial.result == DialOutcome::Connected
}

/// Reports whether another attempt may have another result: no path is open, and at least one is closed
/// by a component that may be about to open it. A machine without a route stays without one.
fn may_yet_open(tried: &[Dial]) -> bool {
    let closed = |dial: &Dial| match dial.result {
        DialOutcome::TimedOut | DialOutcome::Refused | DialOutcome::Prohibited => true,
        DialOutcome::Connected
        | DialOutcome::NoRoute
        | DialOutcome::Closed
        | DialOutcome::Silent
        | DialOutcome::Untrusted
        | DialOutcome::Failed => false,
    };
    !tried.iter().any(is_connected) && tried.iter().any(closed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    async fn tried(timeout: Duration, results: &[DialOutcome]) -> (Vec<DialOutcome>, usize) {
        let left = RefCell::new(results.to_vec());
        let attempt = || {
            let result = left.borrow_mut().remove(0);
            let dial = Dial { address: "10.0.0.1:1".into(), result, message: String::new(), from: None };
            std::future::ready(Ok(vec![dial]))
        };
        let last = until_open(timeout, Duration::ZERO, attempt).await.unwrap();
        let unused = left.borrow().len();
        (last.into_iter().map(|dial| dial.result).collect(), results.len() - unused)
    }

    /// Regression: a policy that took effect late blocked the return path for the whole attempt.
    #[tokio::test]
    async fn only_a_path_that_may_open_is_probed_again() {
        use DialOutcome::{Connected, NoRoute, Prohibited, Refused, TimedOut};
        let long = Duration::from_mins(5);
        assert_eq!(
            tried(long, &[TimedOut, Refused, Prohibited, Connected, Refused]).await,
            (vec![Connected], 4)
        );
        assert_eq!(tried(long, &[NoRoute, Connected]).await, (vec![NoRoute], 1));
        assert_eq!(tried(Duration::ZERO, &[Refused, Connected]).await, (vec![Refused], 1));
    }
}
