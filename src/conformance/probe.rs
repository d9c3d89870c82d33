//! The part of the kit for a real machine: nothing is killed, nothing is broken, and nothing is changed unless an
//! update is asked for.

use super::NoOffers;
use super::report::{Line, Report, Verdict};
use crate::attempt::logbook::{Halt, Logbook, Request, apply};
use crate::attempt::{Desk, End, Goal, Job, NoDrain, Tools, View, now};
use crate::drivers::Driver;
use crate::failure::Failure;
use farrier_update::device::Action;
use farrier_update::{Outcome, Reason};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a request may be sent after it was recorded. No other runner works on the machine.
const HOLD: Duration = Duration::from_secs(15);

/// What a machine that is reached and not trusted ends an attempt with.
const STRANGERS: &[Reason] = &[
    Reason::HostKeyChanged,
    Reason::HostKeyUnknown,
    Reason::CertificateChanged,
    Reason::CertificateUntrusted,
];

/// What a machine that is trusted and refuses the sign-in ends an attempt with.
const REFUSALS: &[Reason] = &[
    Reason::PasswordRejected,
    Reason::AccountLocked,
    Reason::PasswordChangeRequired,
    Reason::AuthenticationFailed,
    Reason::SessionLimitReached,
];

/// How far a probe goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// Take the inventory.
    Inventory,
    /// Make the plan as well.
    Plan,
    /// Install the components as well.
    Update,
}

/// A real machine, and what is tried on it.
pub struct Probe<'a> {
    /// The driver of the machine.
    pub driver: &'a dyn Driver,
    /// What attempts share.
    pub tools: &'a Tools,
    /// The job. The probe sets its goal.
    pub job: Job,
    /// How far it goes.
    pub extent: Extent,
    /// Becomes true when the user wants it to end.
    pub stop: watch::Receiver<bool>,
}

/// One attempt and what it left.
struct Made {
    end: End,
    view: View,
    actions: Vec<Action>,
}

/// Tries a real machine. `said` is given each line as soon as it is known.
pub async fn probe(probe: &Probe<'_>, mut said: impl FnMut(&Line)) -> Report {
    let begun = Instant::now();
    let mut lines = Vec::new();
    let mut say = |check: &str, verdict: Verdict| {
        let line = Line { check: check.to_owned(), verdict, after: begun.elapsed() };
        said(&line);
        lines.push(line);
    };
    let made = probe.attempt(Goal::Inventory, Vec::new()).await;
    let [reached, trusted, signed_in, inventoried] = contact(&made);
    say("reached", reached);
    say("trusted", trusted);
    say("signed in", signed_in);
    say("inventory", inventoried);
    say("nothing left", nothing_left(&made.view));
    say("second look", probe.second_look(&made).await);
    let good = made.end == End::Inventoried;
    if probe.extent >= Extent::Plan {
        let verdict = if good { probe.plan().await } else { not_inventoried() };
        say("plan", verdict);
    }
    if probe.extent >= Extent::Update {
        if good {
            let made = probe.attempt(Goal::Update, Vec::new()).await;
            say("update", updated(&made));
            say("nothing left after it", nothing_left(&made.view));
            say("second look after it", probe.second_look(&made).await);
        } else {
            say("update", not_inventoried());
        }
    }
    Report { of: probe.job.node.clone(), lines }
}

impl Probe<'_> {
    /// Makes one attempt. A device on which this process dies keeps what the attempt had opened, as nobody else
    /// knows its actions.
    async fn attempt(&self, goal: Goal, mut actions: Vec<Action>) -> Made {
        let job = Job { goal, touched: !actions.is_empty() || goal == Goal::CleanUp, ..self.job.clone() };
        let (view, _) = watch::channel(View::default());
        let (logbook, mut requests) = Logbook::new();
        let desk = Desk {
            tools: self.tools,
            stop: self.stop.clone(),
            view: &view,
            logbook,
            actions: actions.clone(),
            offers: Arc::new(NoOffers),
            drain: Arc::new(NoDrain),
            reboot_recorded: watch::channel(true).1,
        };
        let mut attempt = self.driver.attempt(&job, desk);
        let end = loop {
            tokio::select! {
                biased;
                Some(Request { entry, answer }) = requests.recv() => {
                    tracing::info!("{entry}");
                    let is_late = *self.stop.borrow() && entry.is_work();
                    if !is_late {
                        apply(&mut actions, &entry, &job.runner, now());
                    }
                    let answered = if is_late { Err(Halt::Cancelled) } else { Ok(Instant::now() + HOLD) };
                    // An attempt that was ended meanwhile does not need the answer.
                    answer.send(answered).ok();
                }
                end = &mut attempt => break end,
            }
        };
        drop(attempt);
        let view = view.borrow().clone();
        Made { end, view, actions }
    }

    /// Looks for what an attempt has left, as a runner does that has only its record.
    async fn second_look(&self, made: &Made) -> Verdict {
        if !made.view.authenticated {
            return Verdict::Skipped("nobody has signed in".into());
        }
        let looked = self.attempt(Goal::CleanUp, made.actions.clone()).await;
        match (&looked.view.clean, &looked.end) {
            (Some(Ok(())), _) => Verdict::Passed(String::new()),
            (Some(Err(failure)), _) | (None, End::Failed(failure)) => {
                Verdict::Failed(failure.message.clone())
            }
            (None, _) => Verdict::Failed("the driver does not say whether something is left".into()),
        }
    }

    async fn plan(&self) -> Verdict {
        let Made { end, view, .. } = self.attempt(Goal::Plan, Vec::new()).await;
        let clean = nothing_left(&view);
        match (end, view.plan, clean) {
            (End::Planned, Some(plan), Verdict::Passed(_)) => {
                let (changes, all) = (plan.changes(), plan.items.len());
                Verdict::Passed(format!("{changes} of {all} components would be installed"))
            }
            (End::Planned, _, verdict) => verdict,
            (end, ..) => Verdict::Failed(why(&end)),
        }
    }
}

fn not_inventoried() -> Verdict {
    Verdict::Skipped("the inventory was not taken".into())
}

/// Returns how far the first contact came: reached, trusted, signed in, inventoried.
fn contact(made: &Made) -> [Verdict; 4] {
    let Made { end, view, .. } = made;
    let address = view.address.clone().unwrap_or_default();
    let managers =
        view.manager.as_ref().and_then(|manager| Some((&manager.name, manager.first_key.as_ref()?)));
    let first = match (&view.first_key, managers, &view.first_certificate) {
        (Some(key), ..) => Some(("its host key".to_owned(), "spec.ssh.hostKeys", key)),
        (None, Some((name, key)), _) => Some((format!("the host key of {name}"), "spec.ssh.hostKeys", key)),
        (None, None, Some(print)) => Some(("its certificate".to_owned(), "spec.tls.fingerprints", print)),
        (None, None, None) => None,
    };
    let trusted = match first {
        Some((what, field, text)) => format!(
            "{what} is trusted on first use and not recorded here; compare it with the machine's own, and pin it: {field}: [{text:?}]"
        ),
        None => String::new(),
    };
    let extent = view.survey.as_ref().map(|survey| survey.extent()).unwrap_or_default();
    let failed_in = match end {
        End::Failed(failure) => Some(failure.reason),
        End::Finished(_) | End::Planned | End::Inventoried | End::Cancelled => None,
    };
    let is_refused = failed_in.is_some_and(|reason| REFUSALS.contains(&reason));
    let is_trusted = view.host_key_accepted || view.certificate_accepted || is_refused;
    let is_strange = failed_in.is_some_and(|reason| STRANGERS.contains(&reason));
    let steps = [
        (view.address.is_some() || is_trusted || is_strange, address),
        (is_trusted && !is_strange, trusted),
        (view.authenticated, String::new()),
        (*end == End::Inventoried, extent),
    ];
    let mut has_failed = false;
    steps.map(|(is_good, text)| {
        if is_good && !has_failed {
            return Verdict::Passed(text);
        }
        if std::mem::replace(&mut has_failed, true) {
            return Verdict::Skipped("an earlier check has failed".into());
        }
        Verdict::Failed(why(end))
    })
}

fn nothing_left(view: &View) -> Verdict {
    match &view.clean {
        Some(Ok(())) => Verdict::Passed(String::new()),
        Some(Err(failure)) => Verdict::Failed(failure.message.clone()),
        None if !view.authenticated => Verdict::Skipped("nobody has signed in".into()),
        None => Verdict::Failed("the driver does not say whether something is left".into()),
    }
}

fn updated(made: &Made) -> Verdict {
    let results = &made.view.results;
    let is_good = |outcome| matches!(outcome, Outcome::Updated | Outcome::UpToDate | Outcome::NotApplicable);
    let is_pending = |outcome| outcome == Outcome::RebootPending;
    let words: Vec<String> = results
        .iter()
        .map(|result| {
            let text = format!("{} {} {}", result.name, result.outcome, result.after);
            if result.message.is_empty() { text } else { format!("{text} ({})", result.message) }
        })
        .collect();
    match &made.end {
        End::Finished(_) if results.iter().all(|result| is_good(result.outcome)) => {
            Verdict::Passed(words.join("; "))
        }
        End::Finished(_) if results.iter().all(|r| is_good(r.outcome) || is_pending(r.outcome)) => {
            Verdict::Skipped(format!("not verified before a restart: {}", words.join("; ")))
        }
        End::Finished(_) => Verdict::Failed(words.join("; ")),
        end @ (End::Planned | End::Inventoried | End::Cancelled | End::Failed(_)) => {
            Verdict::Failed(why(end))
        }
    }
}

/// Returns why an attempt ended.
fn why(end: &End) -> String {
    match end {
        End::Failed(Failure { reason, message }) => format!("{reason}: {message}"),
        End::Cancelled => "it was interrupted".to_owned(),
        End::Finished(_) | End::Planned | End::Inventoried => {
            "the driver ended the attempt otherwise".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(end: End, view: View) -> Vec<bool> {
        let made = Made { end, view, actions: Vec::new() };
        contact(&made).iter().map(|verdict| matches!(verdict, Verdict::Passed(_))).collect()
    }

    /// A user who is told that a machine is not reached looks at the network, when it is the password.
    #[test]
    fn the_check_that_fails_is_the_one_that_has_to_be_mended() {
        let failed = |reason| End::Failed(Failure::new(reason, "x"));
        assert_eq!(passed(failed(Reason::ConnectionTimedOut), View::default()), [false; 4]);
        assert_eq!(passed(failed(Reason::CertificateChanged), View::default()), [true, false, false, false]);
        assert_eq!(passed(failed(Reason::PasswordRejected), View::default()), [true, true, false, false]);
        let view = View { host_key_accepted: true, authenticated: true, ..View::default() };
        assert_eq!(passed(failed(Reason::ConnectionTimedOut), view.clone()), [true, true, true, false]);
        assert_eq!(passed(End::Inventoried, view), [true; 4]);
    }
}
