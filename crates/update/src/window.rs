//! Maintenance windows: when machines may be changed.
//!
//! A window is a schedule of openings on the wall clock of a time zone, and for how long each
//! opening lasts. croner finds the openings on the wall clock; this module decides what they are in
//! time. It does not decide what waits for a window.

mod clock;

use crate::model::Millis;
use clock::Clock;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use std::time::Duration;

/// How far ahead of the current time `WindowState::Open::until` is followed through openings that
/// overlap. Work on a machine takes hours at most, so a later end makes no difference.
const HORIZON: Duration = Duration::from_hours(7 * 24);

/// The shortest duration: schedules have no finer resolution.
const SHORTEST: Duration = Duration::from_mins(1);

/// Whether a maintenance window is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowState {
    /// It is open.
    Open {
        /// When it closes. A window that stays open for more than a week because its openings overlap
        /// may close later than this.
        until: Millis,
    },
    /// It is closed.
    Closed {
        /// When it opens next; `None` if it never does.
        next: Option<Millis>,
    },
}

impl WindowState {
    /// Returns whether work that begins at `now` and is expected to take `expected` ends in the window.
    /// Work of which no duration is known fits as long as the window is open.
    pub fn fits(self, expected: Option<Duration>, now: Millis) -> bool {
        match self {
            Self::Open { until } => now.after(expected.unwrap_or_default()) <= until && now < until,
            Self::Closed { .. } => false,
        }
    }
}

/// Why a window is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The schedule cannot be parsed.
    #[error("schedule {schedule:?} is not a cron schedule of five fields: {problem}")]
    Schedule {
        /// The schedule.
        schedule: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No day matches the schedule.
    #[error("schedule {schedule:?} matches no day")]
    NeverOpens {
        /// The schedule.
        schedule: String,
    },
    /// The duration is too short.
    #[error("duration is shorter than one minute")]
    TooShort,
    /// The time zone is unknown.
    #[error("timeZone {0:?} is not in the IANA time zone database")]
    TimeZone(String),
}

/// A maintenance window.
///
/// The schedule has the five fields of a Kubernetes `CronJob`: minute, hour, day of the month, month,
/// day of the week, with lists, ranges, steps and English names; besides `L` (last) and `#`, so that
/// `0 22 * * 6#2` is the second Saturday of each month. If both days are restricted, either suffices.
///
/// On days on which clocks change:
///
/// - An opening at a time that is skipped is at the moment when the clock jumps.
/// - An opening at a time that comes twice is at the first one only.
/// - The duration is elapsed time: a window of 4 hours that opens at 22:00 before clocks go back
///   closes at 01:00.
#[derive(Debug, Clone)]
pub struct Window {
    schedule: Cron,
    duration: Duration,
    clock: Clock,
}

impl Window {
    /// Returns the window that opens at the times of `schedule` in `time_zone`, a name of the IANA
    /// database, by default UTC, for `duration` each time.
    ///
    /// # Errors
    ///
    /// `schedule` is not a cron schedule or matches no day, `duration` is shorter than a minute, or
    /// `time_zone` is unknown.
    pub fn new(schedule: &str, duration: Duration, time_zone: Option<&str>) -> Result<Self, WindowError> {
        let zone = time_zone.unwrap_or("UTC");
        let clock = Clock::new(zone).ok_or_else(|| WindowError::TimeZone(zone.to_owned()))?;
        let cron = parse(schedule)?;
        if !clock::matches_some_day(&cron) {
            return Err(WindowError::NeverOpens { schedule: schedule.to_owned() });
        }
        if duration < SHORTEST {
            return Err(WindowError::TooShort);
        }
        Ok(Self { schedule: cron, duration, clock })
    }

    /// Returns whether the window is open at `now`, and until when, or when it opens next.
    pub fn at(&self, now: Millis) -> WindowState {
        match self.clock.last(&self.schedule, now).map(|opening| opening.after(self.duration)) {
            Some(end) if now < end => WindowState::Open { until: self.extended(end, now.after(HORIZON)) },
            Some(_) | None => WindowState::Closed { next: self.next_after(now) },
        }
    }

    /// Returns the first opening that is later than `time`.
    pub fn next_after(&self, time: Millis) -> Option<Millis> {
        self.clock.next(&self.schedule, time)
    }

    /// Returns for how long each opening lasts.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Returns `time` for people: on the wall clock of the window's time zone, and in UTC.
    pub fn in_words(&self, time: Millis) -> String {
        self.clock.in_words(time)
    }

    /// Returns the end of the openings that overlap or adjoin the one that ends at `end`; it is not
    /// followed beyond `horizon`.
    fn extended(&self, mut end: Millis, horizon: Millis) -> Millis {
        while end < horizon {
            // All openings last equally long, so the last one that begins before the end ends last.
            match self.clock.last(&self.schedule, end).map(|opening| opening.after(self.duration)) {
                Some(later) if later > end => end = later,
                Some(_) | None => break,
            }
        }
        end
    }
}

/// Parses a schedule of five fields.
fn parse(schedule: &str) -> Result<Cron, WindowError> {
    let problem = |problem: String| WindowError::Schedule { schedule: schedule.to_owned(), problem };
    let fields = schedule.split_whitespace().count();
    if fields != 5 {
        return Err(problem(format!("it has {fields}")));
    }
    CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build()
        .parse(schedule)
        .map_err(|error| problem(error.to_string().trim_end_matches('.').to_owned()))
}

#[cfg(test)]
mod tests;
