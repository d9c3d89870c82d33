//! What a driver is tried on.

use super::{Fault, NoOffers};
use crate::attempt::{Goal, Job, Offers, Tools};
use crate::drivers::Driver;
use futures::future::LocalBoxFuture;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Gives machines of one kind to try a driver on.
pub trait Bench {
    /// What is tried on what, for the report.
    fn name(&self) -> String;

    /// Prepares a machine for one trial: the old version is installed, and nothing of Farrier's is there. The
    /// machine is nobody else's until the trial is over.
    fn machine(&self) -> LocalBoxFuture<'_, Rc<dyn Subject + '_>>;

    /// Where the requests to such a machine are recorded.
    fn journal(&self) -> Journal;

    /// How many trials are made at the same time.
    fn at_once(&self) -> usize {
        16
    }

    /// How long a trial may take.
    fn limit(&self) -> Duration;

    /// How long a runner that does not answer holds its Lease, and may send what it has recorded. The driver must
    /// be told the same, or a longer time. More than a second.
    fn hold(&self) -> Duration {
        Duration::from_secs(15)
    }

    /// Why such machines cannot be updated here; they are only inventoried.
    fn only_inventory(&self) -> Option<&'static str> {
        None
    }
}

/// A machine that is tried.
pub trait Subject {
    /// Returns the driver of this machine.
    fn driver(&self) -> Arc<dyn Driver>;

    /// Returns what attempts share.
    fn tools(&self) -> Tools;

    /// Returns what makes offers to the machine, for one attempt. Usually nothing: it takes a push.
    fn offers(&self) -> Arc<dyn Offers> {
        Arc::new(NoOffers)
    }

    /// Returns the job. Its only component has a version that is not installed. The kit sets the runner, the number
    /// of the attempt, and what is known of earlier ones, and makes the session another one for each NodeUpdate.
    fn job(&self, goal: Goal) -> Job;

    /// Looks at the machine, without the driver, once it has nothing more to do: what it was told just now must have
    /// had its effect.
    fn footprint(&self) -> LocalBoxFuture<'_, Footprint>;

    /// Returns what makes a fault happen when it is awaited.
    ///
    /// # Errors
    /// Why it cannot happen to this machine.
    fn fault(&self, fault: Fault) -> Result<LocalBoxFuture<'_, ()>, String>;

    /// Reports whether a fault that was asked for has happened. A check that met no fault proves nothing.
    fn has_happened(&self, fault: Fault) -> bool;
}

/// What a machine looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint {
    /// The installed version of the job's component.
    pub version: String,
    /// How many times something was installed.
    pub installed: usize,
    /// How many times the machine, or the host that it manages, was restarted on request.
    pub restarts: usize,
    /// What is there of Farrier's, in words: sessions, files, processes, entries of queues.
    pub left: Vec<String>,
}

/// Where the requests to a machine are recorded, which tells at which points an attempt can be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// In the logbook: an attempt is cut before and after each entry.
    Logbook,
    /// By the engine on the machine: an attempt is cut whenever it shows another state.
    Machine,
}
