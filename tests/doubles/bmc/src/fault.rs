//! The faults that a test may switch on, each with a name.
//!
//! Where they take effect is the business of the places that ask for them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What goes wrong. As JSON: `{"name": "slow", "path": "/Tasks/", "ms": 500}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Fault {
    /// All sessions end now.
    DropSessions,
    /// 401 for a request that has valid credentials.
    Unauthorized {
        /// Part of the path; empty: every path.
        #[serde(default)]
        path: String,
    },
    /// This status instead of the answer.
    Status {
        /// Part of the path; empty: every path.
        #[serde(default)]
        path: String,
        /// For example 500.
        status: u16,
    },
    /// The answer comes late.
    Slow {
        /// Part of the path; empty: every path.
        #[serde(default)]
        path: String,
        /// How late.
        ms: u64,
    },
    /// The connection ends in the middle of the answer.
    CutAnswer {
        /// Part of the path; empty: every path.
        #[serde(default)]
        path: String,
    },
    /// A POST is carried out; the connection ends before its answer.
    LostAnswer {
        /// Part of the path; empty: every path.
        #[serde(default)]
        path: String,
    },
    /// One member of a collection answers with this status; the others are well.
    MemberError {
        /// Last part of its path.
        member: String,
        /// For example 500.
        status: u16,
    },
    /// One inventory entry has no `Version`.
    MemberWithoutVersion {
        /// Name of the device.
        device: String,
    },
    /// The inventory has members of types that it must not have.
    OddMembers,
    /// The tasks that there are now are forgotten; the updates go on.
    ForgetTasks,
    /// The next update's task is gone after it has been seen once.
    TaskVanishes,
    /// The task says that it is done; the version stays.
    LiesSuccess,
    /// The task says that it failed; the version is the new one.
    LiesFailure,
    /// `TaskState` `Completed`, `TaskStatus` `Critical`, version unchanged.
    CompletedCritical,
    /// One device of an image keeps its version; the others get theirs.
    Partial {
        /// Name of the device.
        device: String,
        /// What the task says of it.
        #[serde(default)]
        says: Says,
    },
    /// The task is completed with the message that a reboot is pending, and the version waits for it.
    RebootPending,
    /// The task ends as `UserIntervention`.
    UserIntervention,
    /// The task stays where it is.
    NoProgress,
    /// The update is over before its answer is sent.
    Instant,
    /// An update is answered 204 with `Location`.
    NoContent,
    /// An update is refused: this version is there already.
    AlreadyInstalled,
    /// An update is refused: another one runs.
    Busy,
    /// An update is refused: another manager has the machine in maintenance. It is visible at the system.
    Maintenance {
        /// For example `OneView`.
        by: String,
    },
    /// Another manager shows that it manages the machine; updates are taken all the same.
    ManagedBy {
        /// For example `OneView`.
        by: String,
        /// It says that it manages the firmware too.
        #[serde(default)]
        firmware: bool,
    },
    /// `PostState` of HPE, in HPE's words, and what DMTF's `BootProgress` makes of it.
    PostState {
        /// For example `InPostDiscoveryComplete`.
        state: String,
    },
    /// `PowerState` says this, whatever the power is.
    PowerState {
        /// For example `PoweringOff`.
        state: String,
    },
    /// There is no room for an image.
    NoRoom,
    /// The licence does not cover updates.
    NoLicence,
    /// `ServiceEnabled` is false.
    ServiceDisabled,
    /// There is no `UpdateService`.
    NoUpdateService,
    /// HPE: this component is locked.
    LockedComponent {
        /// File name.
        file: String,
    },
    /// No events are posted.
    NoEvents,
    /// Events are posted late.
    LateEvents {
        /// How late.
        ms: u64,
    },
    /// An update that nobody of us asked for stands before ours until the fault is cleared: in HPE's queue,
    /// where it waits for whom it names, elsewhere as a task that runs.
    ForeignEntry {
        /// HPE: `Uefi`, `RuntimeAgent`.
        #[serde(default)]
        updatable_by: String,
    },
    /// A module for measured boot is there: updates need `TPMOverride`.
    TrustedModule,
    /// 503 while more requests than this are under way.
    TooManyRequests {
        /// How many are served at a time.
        limit: usize,
    },
    /// Another certificate, of a key that nobody knows.
    ChangeCertificate,
    /// The certificate is over.
    ExpireCertificate,
    /// The account is locked.
    LockAccount {
        /// Whose.
        user: String,
    },
    /// The host is off.
    PowerOff,
    /// The host is in POST, until the fault is cleared.
    InPost,
}

/// What a task says when a part of its image has failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    /// It failed ("completed with errors"), and the messages tell which part.
    #[default]
    Exception,
    /// It is completed with the status `Warning`, and the messages tell which part.
    Warning,
    /// It is completed, and silent about that part.
    Nothing,
}

/// A fault with how often or how long it happens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Armed {
    /// What.
    #[serde(flatten)]
    pub fault: Fault,
    /// How many more times; without it: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// For how long, counted from now; without it: for ever.
    #[serde(default, rename = "for-ms", skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// Seconds in the header `Retry-After` of the answers that the fault makes, where it makes answers.
    #[serde(default, rename = "retry-after", skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    #[serde(skip)]
    until: Option<Instant>,
}

impl Armed {
    /// Until it is cleared.
    pub const fn always(fault: Fault) -> Self {
        Self { fault, times: None, for_ms: None, retry_after: None, until: None }
    }

    /// That many times.
    pub const fn times(fault: Fault, times: u32) -> Self {
        Self { fault, times: Some(times), for_ms: None, retry_after: None, until: None }
    }

    /// The same with this header `Retry-After`.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    fn is_over(&self) -> bool {
        self.times == Some(0) || self.until.is_some_and(|until| until <= Instant::now())
    }
}

/// The faults that are switched on.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Armed>);

impl Faults {
    pub(crate) fn arm(&mut self, mut armed: Armed) {
        armed.until = armed.for_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        self.0.push(armed);
    }

    pub(crate) fn clear(&mut self, name: Option<&str>) {
        self.0.retain(|armed| name.is_some_and(|name| fault_name(&armed.fault) != name));
    }

    pub(crate) fn armed(&mut self) -> &[Armed] {
        self.0.retain(|armed| !armed.is_over());
        &self.0
    }

    /// The first fault for which `pick` has an answer; one of its times is used up.
    pub(crate) fn take<T>(&mut self, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        self.take_with_retry(pick).map(|(picked, _)| picked)
    }

    /// The same with the seconds of `Retry-After`.
    pub(crate) fn take_with_retry<T>(
        &mut self,
        pick: impl Fn(&Fault) -> Option<T>,
    ) -> Option<(T, Option<u64>)> {
        let (armed, picked) = self
            .0
            .iter_mut()
            .filter(|armed| !armed.is_over())
            .find_map(|armed| pick(&armed.fault).map(|picked| (armed, picked)))?;
        armed.times = armed.times.map(|times| times.saturating_sub(1));
        Some((picked, armed.retry_after))
    }

    /// Whether this fault is on; one of its times is used up.
    pub(crate) fn has(&mut self, fault: &Fault) -> bool {
        self.take(|armed| (armed == fault).then_some(())).is_some()
    }

    /// Whether a fault is on, without using it up.
    pub(crate) fn look<T>(&self, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        self.0.iter().filter(|armed| !armed.is_over()).find_map(|armed| pick(&armed.fault))
    }
}

/// The name in JSON.
pub(crate) fn fault_name(fault: &Fault) -> String {
    serde_json::to_value(fault)
        .ok()
        .and_then(|value| value.get("name").and_then(|name| name.as_str().map(str::to_owned)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A test that switches a fault on for one request must not meet it at the second.
    #[test]
    fn a_fault_for_one_time_happens_once() {
        let armed: Armed = serde_json::from_str(r#"{"name": "unauthorized", "times": 1}"#).unwrap();
        let mut faults = Faults::default();
        faults.arm(armed);
        let fault = Fault::Unauthorized { path: String::new() };
        assert!(faults.has(&fault));
        assert!(!faults.has(&fault));
        assert!(faults.armed().is_empty());
    }
}
