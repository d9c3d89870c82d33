//! A wait of an attempt, described for users.

use farrier_protocol::{Holder, Wait, WaitFor};
use farrier_update::{Millis, Reason};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Maximum distance from now, in milliseconds, at which a wait is shown to begin or end. An engine could
/// report any time.
const LONGEST: u64 = 30 * 24 * 3600 * 1000;

const MIB: u64 = 1024 * 1024;

/// A wait of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The kind of wait.
    pub reason: Reason,
    /// What is waited for, in words that follow "waiting for".
    pub what: String,
    /// The same in one or two words, for a column.
    pub short: String,
    /// The process on the machine that blocks the attempt, if there is one and it is visible.
    pub holder: Option<Holder>,
    /// When the wait began, by the operator's clock.
    pub since: Millis,
    /// When the wait times out, by the operator's clock. `None`: it has no timeout.
    pub until: Option<Millis>,
}

impl Waiting {
    /// Creates a wait that begins now.
    pub fn new(reason: Reason, what: impl Into<String>, short: &str, limit: Duration) -> Self {
        let since = now();
        let until = Some(since.after(limit));
        Self { reason, what: what.into(), short: short.to_owned(), holder: None, since, until }
    }

    /// Converts a wait that an engine has reported. A wait without a timeout of its own ends with the
    /// engine's task, at `limit`. `ahead`: how far the machine's clock was ahead of the operator's.
    pub fn of_engine(wait: &Wait, ahead: i64, limit: Option<Millis>) -> Self {
        let (reason, what, short) = match &wait.what {
            WaitFor::PackageLock { path } => {
                (Reason::PackageManagerBusy, format!("the lock {path}"), "the package manager")
            }
            WaitFor::Room { path, needed, free } => (
                Reason::DiskFull,
                format!(
                    "room on the file system of {path}: {} MiB are needed, {} MiB are free",
                    needed.div_ceil(MIB),
                    free / MIB
                ),
                "room",
            ),
            WaitFor::Installer { component } if component.is_empty() => {
                (Reason::InProgress, "an installer that an earlier engine has started".into(), "an installer")
            }
            WaitFor::Installer { component } => (
                Reason::InProgress,
                format!("the installer of {component}, which an earlier engine has started"),
                "an installer",
            ),
            WaitFor::Inhibitor { who, why } => (
                Reason::RebootInhibited,
                format!("{who} to end: it inhibits the shutdown of the machine ({why})"),
                "an inhibitor",
            ),
            WaitFor::RebootDelay => (Reason::Rebooting, "the delay before the reboot".into(), "the delay"),
            WaitFor::Firmware => {
                (Reason::PackageManagerBusy, "another program that changes firmware".into(), "fwupd")
            }
            WaitFor::Unknown => (
                Reason::InProgress,
                "something that this version of the operator does not know".into(),
                "the engine",
            ),
        };
        let name = wait.holder.as_ref().map(|holder| holder.name.clone()).filter(|name| !name.is_empty());
        Self {
            reason,
            what,
            short: name.unwrap_or_else(|| short.to_owned()),
            holder: wait.holder.clone(),
            since: to_operator_clock(wait.since, ahead),
            until: wait.until.map(|until| to_operator_clock(until, ahead)).or(limit),
        }
    }

    /// Creates the wait for an installer that has exceeded its timeout and must not be interrupted.
    pub fn overdue(component: &str, at: u64, ahead: i64, limit: Option<Millis>) -> Self {
        Self {
            reason: Reason::InstallerOverdue,
            what: format!("the installer of {component}, which may not be interrupted"),
            short: "an installer".into(),
            holder: None,
            since: to_operator_clock(at, ahead),
            until: limit,
        }
    }

    /// Describes the wait in one sentence without the full stop.
    pub fn as_text(&self) -> String {
        let Self { reason: _, what, short: _, holder, since, until } = self;
        let holder = match holder {
            Some(Holder { pid, name }) if name.is_empty() => format!(" (process {pid})"),
            Some(Holder { pid, name }) => format!(" ({name}, process {pid})"),
            None => String::new(),
        };
        let until = until.map(|until| format!(", until {} at most", clock_time(until)));
        format!("waiting for {what}{holder} since {}{}", clock_time(*since), until.unwrap_or_default())
    }
}

/// Formats a time to the second, as statuses show it.
fn clock_time(at: Millis) -> String {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map(|at| at.to_string()).unwrap_or_default()
}

/// Returns the current time by the operator's clock.
pub fn now() -> Millis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// Returns how far the machine's clock is ahead of the operator's, in milliseconds, when an event arrives
/// right after it was recorded at `at`.
pub fn ahead_at_arrival(at: u64) -> i64 {
    let millis = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
    millis(at).saturating_sub(millis(now().0))
}

/// Converts a time of the machine to the operator's clock.
fn to_operator_clock(theirs: u64, ahead: i64) -> Millis {
    let Millis(now) = now();
    let at = i64::try_from(theirs).unwrap_or(i64::MAX).saturating_sub(ahead);
    let at = u64::try_from(at).unwrap_or_default();
    Millis(at.clamp(now.saturating_sub(LONGEST), now.saturating_add(LONGEST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine whose clock is wrong would show a wait that ended an hour ago.
    #[test]
    fn times_of_the_machine_are_shown_by_our_clock() {
        let Millis(now) = now();
        let hour = 3_600_000;
        let wait = Wait {
            what: WaitFor::PackageLock { path: "/var/lib/dpkg/lock".into() },
            holder: Some(Holder { pid: 714, name: "apt-get".into() }),
            since: now - hour,
            until: Some(now - hour + 60_000),
        };
        let ahead = -3_600_000;
        let shown = Waiting::of_engine(&wait, ahead, Some(Millis(now)));
        assert_eq!((shown.since, shown.until), (Millis(now), Some(Millis(now + 60_000))));
        assert_eq!((shown.reason, shown.short.as_str()), (Reason::PackageManagerBusy, "apt-get"));
        let text = shown.as_text();
        assert!(
            text.starts_with("waiting for the lock /var/lib/dpkg/lock (apt-get, process 714) since "),
            "{text}"
        );
        let limit = Some(Millis(now + hour));
        let endless = Waiting::of_engine(&Wait { until: None, ..wait }, ahead, limit);
        assert_eq!(endless.until, limit, "the limit of the task");
    }

    /// Otherwise a machine whose clock was set during an attempt would show a wait that ended in the past.
    #[test]
    fn the_end_of_a_wait_is_ahead_although_the_machines_clock_was_set() {
        let Millis(now) = now();
        for theirs in [now - 3_600_000, now + 3_600_000] {
            let what = WaitFor::Unknown;
            let wait = Wait { what, holder: None, since: theirs - 900, until: Some(theirs + 59_100) };
            let shown = Waiting::of_engine(&wait, ahead_at_arrival(theirs), None);
            let (Millis(since), Millis(until)) = (shown.since, shown.until.unwrap());
            assert!((now - 900..now).contains(&since), "{since} {now}");
            assert_eq!(until - since, 60_000);
        }
    }

    /// A status with a time that cannot be serialized would never be written.
    #[test]
    fn times_that_an_engine_makes_up_are_kept_within_bounds() {
        for at in [0, u64::MAX] {
            for ahead in [i64::MIN, 0, i64::MAX] {
                assert!(!clock_time(to_operator_clock(at, ahead)).is_empty());
            }
        }
    }
}
