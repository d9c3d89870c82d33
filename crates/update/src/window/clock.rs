//! The wall clock of a time zone: at which moments it shows the times of a schedule.
//!
//! The database of time zones is compiled in, so that the result does not depend on the files of
//! the machine; a new release of the database comes with a new release of Farrier.

use crate::model::Millis;
use croner::Cron;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

/// The wall clock of a time zone.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    /// The name as the database writes it.
    name: String,
    zone: TimeZone,
}

impl Clock {
    /// Returns the clock of the time zone with this name; `None` if the database has none.
    pub(super) fn new(name: &str) -> Option<Self> {
        let zone = TimeZoneDatabase::bundled().get(name).ok()?;
        Some(Self { name: zone.iana_name().unwrap_or(name).to_owned(), zone })
    }

    /// Returns the latest moment, not later than `time`, at which a time of `schedule` comes.
    pub(super) fn last(&self, schedule: &Cron, time: Millis) -> Option<Millis> {
        let local = self.zone.to_datetime(timestamp(time)?);
        // In times that come twice, all of them have come once when the second pass begins.
        let latest = match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Fold { before, after } => local.checked_add(between(after, before)).ok()?,
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Gap { .. } => local,
        };
        let mut shown = schedule.find_previous_occurrence(&latest, true).ok()?;
        loop {
            let moment = self.moment(shown)?;
            if moment <= time {
                return Some(moment);
            }
            shown = schedule.find_previous_occurrence(&shown, false).ok()?;
        }
    }

    /// Returns the first moment later than `time` at which a time of `schedule` comes.
    pub(super) fn next(&self, schedule: &Cron, time: Millis) -> Option<Millis> {
        let mut shown = self.zone.to_datetime(timestamp(time)?);
        loop {
            shown = schedule.find_next_occurrence(&shown, false).ok()?;
            let moment = self.moment(shown)?;
            // In the second pass of times that come twice, the rest of them have come already.
            if moment > time {
                return Some(moment);
            }
        }
    }

    /// Returns the moment at which the clock shows this for the first time; for a time that is skipped,
    /// the moment of the jump.
    fn moment(&self, shown: DateTime) -> Option<Millis> {
        let moment = match self.zone.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(shown).ok()?,
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(shown).ok()?,
            // By the offset after the jump, what is skipped lies before it.
            AmbiguousOffset::Gap { after, .. } => {
                self.zone.following(after.to_timestamp(shown).ok()?).next()?.timestamp()
            }
        };
        u64::try_from(moment.as_millisecond()).ok().map(Millis)
    }

    /// Returns `time` on this clock and in UTC.
    pub(super) fn in_words(&self, time: Millis) -> String {
        match timestamp(time).map(|time| self.zone.to_datetime(time)) {
            Some(local) => format!("{} {} ({time})", local.strftime("%Y-%m-%d %H:%M"), self.name),
            None => time.to_string(),
        }
    }
}

/// Returns whether any day of the calendar matches `schedule`.
pub(super) fn matches_some_day(schedule: &Cron) -> bool {
    // The calendar repeats after 400 years, and croner searches further.
    schedule.find_next_occurrence(&jiff::civil::date(2000, 1, 1).at(0, 0, 0, 0), true).is_ok()
}

/// Returns how much later clocks are with offset `later` than with offset `earlier`.
fn between(earlier: Offset, later: Offset) -> SignedDuration {
    SignedDuration::from_secs(i64::from(later.seconds()) - i64::from(earlier.seconds()))
}

/// Returns the time as jiff has it; `None` after the year 9999.
fn timestamp(time: Millis) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(time.0).ok()?).ok()
}
