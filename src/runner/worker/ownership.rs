//! Holds the machine's Lease from before the first packet of an attempt until nothing of Farrier's is on the
//! machine, and waits for others who hold it.

mod obstacle;

use super::UpdateWorker;
use super::arrive::pause;
use crate::api::{ManagedNode, UpdateRun, condition};
use crate::attempt::{End, Goal, Waiting};
use crate::failure::{Failure, chain};
use crate::inputs::answer;
use crate::machine_lease::{Held, Lost, MachineLease, Taking};
use crate::publish::Action;
use crate::runner::clean_up::is_missing;
use crate::runner::load::Attempt;
use crate::runner::render::Phase;
use farrier_update::ownership::Owner;
use farrier_update::{NodeVerdict, Reason};
use kube::{Resource as _, ResourceExt};
use obstacle::{Obstacle, Patience, in_vain, is_for_lease, shown_name, waiting};
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Minimum time for which the worker's predecessor is waited for: several times the duration of a runner's Lease,
/// which decides whether that runner is dead.
const SUCCESSION_LIMIT: Duration = Duration::from_mins(1);

/// How many attempts may fail because the Lease was lost without counting as failures: two tools that take a machine
/// from each other must come to an end.
const MAX_YIELDS: u32 = 3;

/// The machine's Lease, as far as the worker has to do with it.
#[derive(Default)]
pub(super) struct Ownership {
    lease: Option<MachineLease>,
    held: Option<Held>,
    /// How many attempts have failed because the Lease was lost, and do not count.
    yielded: u32,
}

impl Ownership {
    /// Whether an attempt that has failed for this reason is followed by another one, which waits for the Lease,
    /// although the run may ask for no retries: that another tool has taken the machine is no failure of the machine.
    pub(super) fn yields(&mut self, reason: Reason) -> bool {
        let yields = yields(reason, self.lost().as_ref(), self.yielded);
        self.yielded += u32::from(yields);
        yields
    }

    /// Returns how many attempts at the current goal do not count as failed.
    pub(super) fn yielded(&self) -> u32 {
        self.yielded
    }

    /// Begins to count for another goal.
    pub(super) fn forget_yields(&mut self) {
        self.yielded = 0;
    }

    /// Why the Lease that was held is lost.
    fn lost(&self) -> Option<Lost> {
        self.held.as_ref().and_then(Held::lost)
    }
}

impl UpdateWorker<'_> {
    /// Loads the input of an attempt, and takes the machine's Lease. What was loaded before a wait for the Lease is
    /// loaded again.
    pub(super) async fn load_and_own(
        &mut self,
        run: Option<&UpdateRun>,
        goal: Goal,
        number: u32,
        touched: bool,
    ) -> Result<Attempt, Failure> {
        let loaded = self.load(run, goal, number, touched).await?;
        if self.own(number, goal, touched).await? {
            return self.load(run, goal, number, touched).await;
        }
        Ok(loaded)
    }

    /// Takes the machine's Lease, if it is not held yet, and waits a limited time for others who hold it. Returns
    /// whether it had to wait. A clean-up for which the API server refuses the Lease goes on without it.
    ///
    /// # Errors
    /// `NodeInUse`, `LeaseRefused`, `InternalError`, `Cancelled`, `CleanupPending`.
    pub(super) async fn own(&mut self, number: u32, goal: Goal, touched: bool) -> Result<bool, Failure> {
        if self.ownership.held.is_some() && self.ownership.lost().is_none() {
            return Ok(false);
        }
        self.ownership.held = None;
        let node = match self.context.node(&self.update, &self.namespace()).await {
            Ok(node) => node,
            // A Lease is gone with its ManagedNode.
            Err(failure) if is_missing(&failure) => return Ok(false),
            Err(failure) => return Err(failure),
        };
        let lease = self.ownership.lease.take().filter(|lease| lease.is_of(&node));
        let lease = lease.unwrap_or_else(|| self.lease_of(&node));
        let taken = self.take(&lease, &node.name_any(), number, goal, touched).await;
        let waited = self.view.waits.iter().any(is_for_lease);
        self.view.waits.retain(|waiting| !is_for_lease(waiting));
        self.view.awaited = None;
        self.ownership.lease = Some(lease);
        self.ownership.held = taken?;
        Ok(waited)
    }

    fn namespace(&self) -> String {
        self.update.namespace().unwrap_or_default()
    }

    fn lease_of(&self, node: &ManagedNode) -> MachineLease {
        let owner = Owner {
            update: self.update.name_any(),
            session: self.update.uid().unwrap_or_default(),
            ..self.context.owner.clone()
        };
        // As long as an engine stays on a machine without contact.
        let duration = Duration::from_secs(self.context.lease_seconds);
        MachineLease::new(&self.context.client, node, owner, duration)
    }

    /// Takes the Lease, and waits for it. Returns `None` if a clean-up goes on without a Lease.
    async fn take(
        &mut self,
        lease: &MachineLease,
        node: &str,
        number: u32,
        goal: Goal,
        touched: bool,
    ) -> Result<Option<Held>, Failure> {
        let context = self.context;
        let succession = Duration::from_secs(context.lease_seconds).max(SUCCESSION_LIMIT);
        let mut patience = Patience::new(Duration::from_secs(context.wait_seconds), succession);
        let (mut shown, mut checks) = (None::<(Obstacle, Waiting)>, 0);
        loop {
            let asked = Instant::now();
            let obstacle = match self.obstacle(lease).await {
                Ok(held) => return Ok(Some(held)),
                Err(obstacle) => obstacle,
            };
            if let Obstacle::Refused(message) = &obstacle
                && touched
                && (goal == Goal::CleanUp || self.is_cancelled())
            {
                tracing::warn!(
                    lease = lease.name(),
                    error = message,
                    "the API server refuses the Lease of the machine, which is cleaned without it"
                );
                return Ok(None);
            }
            let rest = patience.rest(obstacle.is_predecessor());
            if rest.is_zero() {
                return Err(in_vain(lease, node, &obstacle, patience.limit(obstacle.is_predecessor())));
            }
            // A holder that renews every few seconds does not make the status change as often.
            if !shown.as_ref().is_some_and(|(before, _)| before.still_says(&obstacle)) {
                let since = shown.as_ref().map(|(_, waiting)| waiting.since);
                let waiting = waiting(lease, &obstacle, rest);
                let waiting = Waiting { since: since.unwrap_or(waiting.since), ..waiting };
                tracing::info!(lease = lease.name(), what = %waiting.what, "the Lease of the machine is waited for");
                self.show(&waiting, number).await;
                shown = Some((obstacle.clone(), waiting));
            }
            checks += 1;
            let pause = pause(checks, self.seed()).min(rest);
            tokio::select! {
                // sleep: the interval between checks; a Lease is not watched.
                () = tokio::time::sleep(pause) => {}
                () = self.cancelled_untouched(touched) => {
                    let words = format!("cancelled while {node} was in use; nothing was put on it");
                    return Err(Failure::new(Reason::Cancelled, words));
                }
                end = self.abandoned() => if let End::Failed(failure) = end { return Err(failure) },
            }
            patience.spend(obstacle.is_predecessor(), asked.elapsed());
        }
    }

    /// Tries once to take the Lease. Repeats the requests while the API server is unavailable.
    async fn obstacle(&self, lease: &MachineLease) -> Result<Held, Obstacle> {
        let is_dead = |runner: &str| self.context.membership.is_gone(runner);
        let object = format!("Lease {}", lease.name());
        match answer(&object, || lease.attempt(is_dead)).await {
            Ok(Taking::Held(held)) => Ok(held),
            Ok(Taking::Other(occupant)) => Err(Obstacle::Occupant(occupant)),
            // The error itself has the whole answer in it, beside its words.
            Err(kube::Error::Api(status)) => Err(Obstacle::Refused(status.message)),
            Err(error) => Err(Obstacle::Refused(chain(&error))),
        }
    }

    /// Writes a status that shows the wait.
    async fn show(&mut self, waiting: &Waiting, number: u32) {
        self.view.waits.retain(|waiting| !is_for_lease(waiting));
        self.view.waits.push(waiting.clone());
        self.view.awaited = Some(Failure::new(waiting.reason, waiting.as_text()));
        self.publish(&Phase::Working, number).await;
    }

    /// Returns what tells an attempt to end, and a future that must run meanwhile: the attempt ends if the run is
    /// cancelled, or if the Lease is lost, which is announced.
    pub(super) fn ending(&self) -> (watch::Receiver<bool>, impl Future<Output = Infallible> + use<>) {
        let (send, ending) = watch::channel(*self.stop.borrow());
        let mut stop = self.stop.clone();
        let losing = self.ownership.held.as_ref().map(Held::losing);
        let name = self.ownership.lease.as_ref().map(|lease| lease.name().to_owned()).unwrap_or_default();
        let (events, about) = (self.context.events.clone(), self.update.object_ref(&()));
        let running = async move {
            let cancelled = async {
                if stop.wait_for(|stop| *stop).await.is_err() {
                    pending::<()>().await;
                }
            };
            tokio::select! {
                () = cancelled => { send.send_replace(true); }
                lost = loss(losing) => {
                    send.send_replace(true);
                    if let Some(words) = lost_words(&name, &lost) {
                        tracing::warn!(lease = %name, "{words}");
                        events.warning(&about, Reason::NodeInUse, Action::Yield, &words).await;
                    }
                }
            }
            pending().await
        };
        (ending, running)
    }

    /// Returns the end of an attempt that was told to end because the Lease is lost: it has failed. A result that
    /// was reached nevertheless is a result.
    pub(super) fn after_loss(&self, end: End) -> End {
        let Some(lost) = self.ownership.lost().filter(|_| !self.is_cancelled()) else { return end };
        match end {
            End::Cancelled | End::Finished(NodeVerdict::Cancelled { .. }) => {
                let name = self.ownership.lease.as_ref().map_or("", |lease| lease.name());
                let words = lost_words(name, &lost).unwrap_or_default();
                End::Failed(Failure::new(Reason::NodeInUse, words))
            }
            End::Finished(_) | End::Planned | End::Inventoried | End::Failed(_) => end,
        }
    }

    /// Releases the Lease, if the status of this phase says that nothing of Farrier's is on the machine. If
    /// something may be, the Lease is kept for the next attempt; at the end it is left to expire.
    pub(super) async fn release_machine(&mut self, phase: &Phase, number: u32) {
        if self.ownership.held.is_none() {
            return;
        }
        let status = self.render(&self.shown, &self.view, phase, number);
        let is_clean = condition::is(&status.conditions, "TornDown", "True");
        match phase {
            Phase::Working | Phase::Retrying { .. } if !is_clean => {}
            Phase::Working
            | Phase::Retrying { .. }
            | Phase::OutsideWindow { .. }
            | Phase::Planned
            | Phase::Ended(_) => {
                if let Some(held) = self.ownership.held.take() {
                    held.release(!is_clean).await;
                }
            }
        }
    }
}

/// Whether an attempt that has failed for this reason does not count, after `yielded` others that did not: it has
/// ended because the Lease was lost. A wrong password is one also while the Lease is lost.
fn yields(reason: Reason, lost: Option<&Lost>, yielded: u32) -> bool {
    reason == Reason::NodeInUse && lost.is_some() && yielded < MAX_YIELDS
}

/// Returns the loss of a Lease when it happens.
async fn loss(losing: Option<watch::Receiver<Option<Lost>>>) -> Lost {
    if let Some(mut losing) = losing
        && let Ok(lost) = losing.wait_for(Option::is_some).await
        && let Some(lost) = lost.clone()
    {
        return lost;
    }
    pending().await
}

/// Describes a loss for users; `None`: a successor has taken over, which is as it should be.
fn lost_words(lease: &str, lost: &Lost) -> Option<String> {
    let next = "the component in progress finishes, the machine is cleaned, and the next attempt waits for the Lease";
    match lost {
        Lost::Taken { by_successor: true, .. } => None,
        Lost::Taken { holder, by_successor: false } => Some(format!(
            "{} has taken Lease {lease} while Farrier worked on the machine: {next}",
            shown_name(holder)
        )),
        Lost::NotRenewed => {
            Some(format!("Lease {lease} could not be renewed, so that others may soon take it: {next}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise a wrong password is offered again until the account is locked, because the Lease was lost meanwhile.
    #[test]
    fn only_an_end_because_of_the_lost_lease_is_repeated_without_counting() {
        let lost = Some(&Lost::NotRenewed);
        assert!(yields(Reason::NodeInUse, lost, 0) && yields(Reason::NodeInUse, lost, MAX_YIELDS - 1));
        assert!(!yields(Reason::NodeInUse, lost, MAX_YIELDS), "two tools that take it from each other");
        assert!(!yields(Reason::NodeInUse, None, 0), "it was never held");
        assert!(!yields(Reason::PasswordRejected, lost, 0) && !yields(Reason::InstallerFailed, lost, 0));
    }

    /// Otherwise each takeover by another runner would look like a theft.
    #[test]
    fn a_loss_is_announced_unless_a_successor_has_taken_over() {
        let taken = |by_successor| Lost::Taken { holder: "thief".into(), by_successor };
        let words = lost_words("managednode-db", &taken(false)).unwrap();
        assert!(words.starts_with("thief has taken Lease managednode-db"), "{words}");
        assert!(lost_words("managednode-db", &Lost::NotRenewed).unwrap().contains("could not be renewed"));
        assert_eq!(lost_words("managednode-db", &taken(true)), None);
    }
}
