//! Holds the machine's Lease from before the first packet of an attempt until nothing of Farrier's is on the
//! machine, and waits for others who hold it.

use super::UpdateWorker;
use super::arrive::pause;
use super::retry::now;
use crate::api::{ManagedNode, UpdateRun, condition};
use crate::attempt::{End, Goal, Waiting};
use crate::failure::Failure;
use crate::inputs::ask;
use crate::machine_lease::{Held, Lost, MachineLease, Occupant, Taking};
use crate::publish::Action;
use crate::runner::clean_up::is_missing;
use crate::runner::load::Attempt;
use crate::runner::render::Phase;
use farrier_update::ownership::Owner;
use farrier_update::{NodeVerdict, Reason};
use kube::{Resource as _, ResourceExt};
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Minimum time for which a runner of the same installation is waited for that may be dead: several times the
/// duration of a runner's Lease, which decides it.
const SUCCESSION_LIMIT: Duration = Duration::from_mins(1);

/// How many attempts may fail because the Lease was lost without counting as failures: two tools that take a machine
/// from each other must come to an end.
const MAX_YIELDS: u32 = 3;

/// Maximum number of characters of a holder's name that are shown: others choose it.
const MAX_HOLDER_LEN: usize = 100;

/// The machine's Lease, as far as the worker has to do with it.
#[derive(Default)]
pub(super) struct Ownership {
    lease: Option<MachineLease>,
    held: Option<Held>,
    /// How many attempts have failed because the Lease was lost.
    yielded: u32,
}

impl Ownership {
    /// Whether the attempt that has failed is followed by another one, which waits for the Lease, although the run
    /// may ask for no retries: that another tool has taken the machine is no failure of the machine.
    pub(super) fn yields(&mut self) -> bool {
        let is_lost = self.lost().is_some();
        self.yielded += u32::from(is_lost);
        is_lost && self.yielded <= MAX_YIELDS
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
        if self.own(number, touched).await? {
            return self.load(run, goal, number, touched).await;
        }
        Ok(loaded)
    }

    /// Takes the machine's Lease, if it is not held yet, and waits a limited time for others who hold it. Returns
    /// whether it had to wait.
    ///
    /// # Errors
    /// `NodeInUse`, `InternalError`, `Cancelled`, `CleanupPending`.
    pub(super) async fn own(&mut self, number: u32, touched: bool) -> Result<bool, Failure> {
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
        let taken = self.take(&lease, &node.name_any(), number, touched).await;
        let waited = self.view.waits.iter().any(|waiting| waiting.reason == Reason::NodeInUse);
        self.view.waits.retain(|waiting| waiting.reason != Reason::NodeInUse);
        self.view.awaited = None;
        self.ownership.lease = Some(lease);
        self.ownership.held = Some(taken?);
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

    async fn take(
        &mut self,
        lease: &MachineLease,
        node: &str,
        number: u32,
        touched: bool,
    ) -> Result<Held, Failure> {
        let (context, object) = (self.context, format!("Lease {}", lease.name()));
        let (begun, mut shown, mut checks) = (Instant::now(), None::<(Occupant, Waiting)>, 0);
        loop {
            let is_dead = |runner: &str| context.membership.is_gone(runner);
            let occupant = match ask(&object, || lease.attempt(is_dead)).await? {
                Taking::Held(held) => return Ok(held),
                Taking::Other(occupant) => occupant,
            };
            let limit = Duration::from_secs(context.wait_seconds);
            let limit = if occupant.soon { limit.max(SUCCESSION_LIMIT) } else { limit };
            let rest = limit.saturating_sub(begun.elapsed());
            if rest.is_zero() {
                return Err(in_use(lease.name(), node, &occupant, limit));
            }
            // A holder that renews every few seconds does not make the status change as often.
            let is_shown = shown.as_ref().is_some_and(|(before, _)| {
                before.holder == occupant.holder && before.until.is_none_or(|until| until > now())
            });
            if !is_shown {
                let since = shown.as_ref().map(|(_, waiting)| waiting.since);
                let waiting = waiting(lease.name(), &occupant, rest);
                let waiting = Waiting { since: since.unwrap_or(waiting.since), ..waiting };
                tracing::info!(lease = lease.name(), holder = %occupant.holder, "another holds the Lease of the machine; it is waited for");
                self.show(&waiting, number).await;
                shown = Some((occupant, waiting));
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
        }
    }

    /// Writes a status that shows the wait.
    async fn show(&mut self, waiting: &Waiting, number: u32) {
        self.view.waits.retain(|waiting| waiting.reason != Reason::NodeInUse);
        self.view.waits.push(waiting.clone());
        self.view.awaited = Some(Failure::new(Reason::NodeInUse, waiting.as_text()));
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

/// Describes the wait for the holder of a Lease.
fn waiting(lease: &str, occupant: &Occupant, rest: Duration) -> Waiting {
    let holder = shown_name(&occupant.holder);
    let what = format!("{holder} to release Lease {lease} ({})", terms(occupant));
    Waiting::new(Reason::NodeInUse, what, &holder, rest)
}

/// Describes since when and until when a Lease is held.
fn terms(occupant: &Occupant) -> String {
    let since = occupant.since.map(|since| format!("held since {since}, ")).unwrap_or_default();
    match occupant.until {
        Some(until) => format!("{since}valid until {until} unless it is renewed"),
        None => format!("{since}valid until it is deleted"),
    }
}

/// Returns the failure after a wait that was in vain.
fn in_use(lease: &str, node: &str, occupant: &Occupant, limit: Duration) -> Failure {
    let words = format!(
        "{node} is in use: {} holds Lease {lease} ({}). It was waited for {} s; --wait-seconds of the operator sets how long. If the holder does not exist any more, delete the Lease",
        shown_name(&occupant.holder),
        terms(occupant),
        limit.as_secs()
    );
    Failure::new(Reason::NodeInUse, words)
}

/// Returns a holder's name without what could spoil a line.
fn shown_name(holder: &str) -> String {
    holder.chars().filter(|c| !c.is_control()).take(MAX_HOLDER_LEN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_update::Millis;

    fn occupant(until: Option<Millis>) -> Occupant {
        let since = Some(Millis(1_764_500_000_000));
        Occupant { holder: "node-\nmaintenance".into(), since, until, soon: false }
    }

    /// Otherwise nobody would know whom to ask to leave a machine, or how long that may take.
    #[test]
    fn the_holder_is_named_with_its_terms_and_the_next_step() {
        let until = Some(Millis(1_764_503_600_000));
        let shown = waiting("managednode-db", &occupant(until), Duration::from_mins(1));
        assert_eq!((shown.reason, shown.short.as_str()), (Reason::NodeInUse, "node-maintenance"));
        let terms = "held since 2025-11-30T10:53:20Z, valid until 2025-11-30T11:53:20Z unless it is renewed";
        assert_eq!(shown.what, format!("node-maintenance to release Lease managednode-db ({terms})"));
        let failure = in_use("managednode-db", "db", &occupant(until), Duration::from_mins(1));
        for words in
            ["db is in use: node-maintenance holds", terms, "60 s", "--wait-seconds", "delete the Lease"]
        {
            assert!(failure.message.contains(words), "{words}: {}", failure.message);
        }
        let endless = waiting("managednode-db", &occupant(None), Duration::from_mins(1));
        assert!(endless.what.ends_with("valid until it is deleted)"), "{}", endless.what);
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
