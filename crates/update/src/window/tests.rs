//! Windows against a wall clock that is read minute by minute.

use super::*;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use proptest::prelude::*;
use std::collections::BTreeSet;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

fn time(text: &str) -> Millis {
    Millis(u64::try_from(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap())
}

fn window(schedule: &str, minutes: u64, zone: &str) -> Window {
    Window::new(schedule, Duration::from_mins(minutes), Some(zone)).unwrap()
}

fn open(until: &str) -> WindowState {
    WindowState::Open { until: time(until) }
}

fn closed(next: &str) -> WindowState {
    WindowState::Closed { next: Some(time(next)) }
}

/// The window of the documentation is closed until Saturday evening in Berlin, which is 21:00 in UTC.
#[test]
fn the_window_of_the_documentation_opens_on_saturday_evening_in_its_zone() {
    let window = window("0 22 * * 6", 240, "Europe/Berlin");
    assert_eq!(window.at(time("2026-11-30T19:00:00Z")), closed("2026-12-05T21:00:00Z"));
    assert_eq!(window.at(time("2026-12-05T20:59:59.999Z")), closed("2026-12-05T21:00:00Z"));
    assert_eq!(window.at(time("2026-12-05T21:00:00Z")), open("2026-12-06T01:00:00Z"));
    assert_eq!(window.at(time("2026-12-06T00:59:59.999Z")), open("2026-12-06T01:00:00Z"));
    assert_eq!(window.at(time("2026-12-06T01:00:00Z")), closed("2026-12-12T21:00:00Z"));
    assert_eq!(
        window.in_words(time("2026-12-05T21:00:00Z")),
        "2026-12-05 22:00 Europe/Berlin (2026-12-05T21:00:00Z)"
    );
}

/// In summer the same window opens an hour earlier in UTC.
#[test]
fn the_zone_decides_in_summer_as_in_winter() {
    let window = window("0 22 * * 6", 240, "Europe/Berlin");
    assert_eq!(window.at(time("2026-07-01T00:00:00Z")), closed("2026-07-04T20:00:00Z"));
}

/// Without this a window at half past two would not open at all on one Sunday of the year.
#[test]
fn an_opening_that_is_skipped_is_when_the_clock_jumps() {
    let berlin = window("30 2 * * *", 10, "Europe/Berlin");
    assert_eq!(berlin.next_after(time("2027-03-28T00:00:00Z")), Some(time("2027-03-28T01:00:00Z")));
    assert_eq!(berlin.at(time("2027-03-28T01:00:00Z")), open("2027-03-28T01:10:00Z"));
    assert_eq!(berlin.at(time("2027-03-28T01:10:00Z")), closed("2027-03-29T00:30:00Z"));
    // Half an hour is skipped: 02:00 to 02:30.
    let lord_howe = window("15 2 * * *", 10, "Australia/Lord_Howe");
    assert_eq!(lord_howe.next_after(time("2026-10-03T12:00:00Z")), Some(time("2026-10-03T15:30:00Z")));
}

/// Without this a machine would be updated twice as many times in one night of the year.
#[test]
fn an_opening_that_comes_twice_is_at_the_first_one() {
    let berlin = window("30 2 * * *", 10, "Europe/Berlin");
    assert_eq!(berlin.next_after(time("2026-10-24T12:00:00Z")), Some(time("2026-10-25T00:30:00Z")));
    assert_eq!(berlin.at(time("2026-10-25T00:45:00Z")), closed("2026-10-26T01:30:00Z"));
    assert_eq!(berlin.at(time("2026-10-25T01:30:00Z")), closed("2026-10-26T01:30:00Z"));
}

/// The duration is elapsed time: the night in which clocks go back does not make a window longer.
#[test]
fn a_duration_is_elapsed_time() {
    let berlin = window("0 22 * * *", 300, "Europe/Berlin");
    assert_eq!(berlin.at(time("2026-10-24T20:00:00Z")), open("2026-10-25T01:00:00Z"));
    assert_eq!(berlin.at(time("2027-03-27T21:00:00Z")), open("2027-03-28T02:00:00Z"));
}

/// Openings that overlap are one window; it is followed for a week.
#[test]
fn openings_that_overlap_are_one() {
    let nights = window("0 20,22 * * *", 180, "UTC");
    assert_eq!(nights.at(time("2026-12-01T20:30:00Z")), open("2026-12-02T01:00:00Z"));
    let adjoining = window("0 20,22 * * *", 120, "UTC");
    assert_eq!(adjoining.at(time("2026-12-01T20:30:00Z")), open("2026-12-02T00:00:00Z"));
    let always = window("0 0 * * *", 24 * 60, "UTC");
    assert_eq!(always.at(time("2026-12-01T12:00:00Z")), open("2026-12-09T00:00:00Z"));
    let minutely = window("* * * * *", 1, "UTC");
    assert_eq!(minutely.at(time("2026-12-01T12:00:00Z")), open("2026-12-08T12:00:00Z"));
}

/// The fields mean what they mean in a `CronJob`.
#[test]
fn schedules_are_read_as_those_of_cron_jobs() {
    for (schedule, next) in [
        ("*/15 * * * *", "2026-12-01T00:15:00Z"),
        ("0 3 1-7 * *", "2026-12-01T03:00:00Z"),
        ("0 3 * * SUN", "2026-12-06T03:00:00Z"),
        ("0 3 * * 0", "2026-12-06T03:00:00Z"),
        ("0 3 * jan-feb ?", "2027-01-01T03:00:00Z"),
        ("5,35 4-6/2 * * *", "2026-12-01T04:05:00Z"),
        // The 15th or a Friday, whichever comes first.
        ("0 3 15 * 5", "2026-12-04T03:00:00Z"),
        ("0 3 * * 6#2", "2026-12-12T03:00:00Z"),
        ("0 3 * * 6L", "2026-12-26T03:00:00Z"),
        ("0 3 L * *", "2026-12-31T03:00:00Z"),
        ("0 3 29 2 *", "2028-02-29T03:00:00Z"),
    ] {
        let next = time(next);
        assert_eq!(
            window(schedule, 60, "UTC").next_after(time("2026-12-01T00:00:00Z")),
            Some(next),
            "{schedule}"
        );
    }
}

/// A window that cannot be read must not look like one that is closed, or the run waits for ever.
#[test]
fn what_is_not_a_window_is_refused_with_its_field() {
    let refused = |schedule: &str, minutes, zone: &str| {
        Window::new(schedule, Duration::from_mins(minutes), Some(zone)).unwrap_err().to_string()
    };
    for schedule in ["", "0 22 * *", "0 0 22 * * 6", "60 * * * *", "0 24 * * *", "0 22 * * 8", "0 22 32 * *"]
    {
        assert!(refused(schedule, 60, "UTC").contains("is not a cron schedule of five fields"), "{schedule}");
    }
    for schedule in ["every day a", "@daily", "TZ=UTC 0 22 * *", "5-1 * * * *", "*/0 * * * *", "0 22 ö * *"]
    {
        assert!(refused(schedule, 60, "UTC").starts_with("schedule"), "{schedule}");
    }
    assert_eq!(refused("0 22 30 2 *", 60, "UTC"), "schedule \"0 22 30 2 *\" matches no day");
    assert_eq!(refused("0 22 * * 6", 0, "UTC"), "duration is shorter than one minute");
    assert_eq!(
        refused("0 22 * * 6", 60, "Europe/Atlantis"),
        "timeZone \"Europe/Atlantis\" is not in the IANA time zone database"
    );
    assert!(refused("0 22 * * 6", 60, "").starts_with("timeZone"));
}

/// What cannot end in the window does not begin.
#[test]
fn work_fits_if_it_ends_before_the_window_closes() {
    let now = Millis(10 * HOUR);
    let open = WindowState::Open { until: Millis(12 * HOUR) };
    assert!(open.fits(None, now));
    assert!(open.fits(Some(Duration::from_hours(2)), now));
    assert!(!open.fits(Some(Duration::from_millis(2 * HOUR + 1)), now));
    assert!(!open.fits(None, Millis(12 * HOUR)));
    assert!(!WindowState::Closed { next: None }.fits(None, now));
    assert!(!open.fits(Some(Duration::MAX), now));
}

/// Years that no calendar has are closed, and nothing fails.
#[test]
fn times_out_of_range_are_closed() {
    assert_eq!(window("0 22 * * 6", 60, "UTC").at(Millis(u64::MAX)), WindowState::Closed { next: None });
    assert_eq!(window("0 22 * * 6", 60, "UTC").at(Millis(0)), closed("1970-01-03T22:00:00Z"));
}

/// Returns all openings in the time from `start` to `end`, by reading the clock at every minute and
/// asking whether `matches` holds for what it shows: the reading of the documentation, in its simplest form.
/// What the clock skipped since the minute before comes at its jump, and what it has shown before does
/// not come again.
fn openings(
    zone: &TimeZone,
    start: Millis,
    end: Millis,
    matches: impl Fn(DateTime) -> bool,
) -> BTreeSet<Millis> {
    let read = |at: u64| zone.to_datetime(Timestamp::from_millisecond(i64::try_from(at).unwrap()).unwrap());
    let minute = jiff::SignedDuration::from_mins(1);
    let mut found = BTreeSet::new();
    let mut latest = read(start.0 - MINUTE);
    for at in (start.0..=end.0).step_by(usize::try_from(MINUTE).unwrap()) {
        let shown = read(at);
        while latest < shown {
            latest = latest.checked_add(minute).unwrap();
            if matches(latest) {
                found.insert(Millis(at));
            }
        }
    }
    found
}

/// A schedule, and whether it matches, computed independently.
fn arb_schedule() -> impl Strategy<Value = (String, [Option<Vec<i8>>; 3])> {
    let minutes = prop::option::of(prop::collection::vec(0_i8..60, 1..4));
    let hours = prop::option::of(prop::collection::vec(0_i8..5, 1..3));
    let weekdays = prop::option::of(prop::collection::vec(0_i8..7, 1..4));
    (minutes, hours, weekdays).prop_map(|(minutes, hours, weekdays)| {
        let field = |values: &Option<Vec<i8>>| match values {
            Some(values) => values.iter().map(i8::to_string).collect::<Vec<_>>().join(","),
            None => "*".to_owned(),
        };
        let text = format!("{} {} * * {}", field(&minutes), field(&hours), field(&weekdays));
        (text, [minutes, hours, weekdays])
    })
}

fn matches_at([minutes, hours, weekdays]: &[Option<Vec<i8>>; 3], at: DateTime) -> bool {
    let within =
        |values: &Option<Vec<i8>>, value| values.as_ref().is_none_or(|values| values.contains(&value));
    within(minutes, at.minute())
        && within(hours, at.hour())
        && within(weekdays, at.weekday().to_sunday_zero_offset())
}

/// Zones, each with the moments around which clocks change, or some moment if they do not.
const CHANGES: [(&str, &str); 9] = [
    ("Europe/Berlin", "2026-10-25T01:00:00Z"),
    ("Europe/Berlin", "2027-03-28T01:00:00Z"),
    ("America/New_York", "2026-11-01T06:00:00Z"),
    ("America/New_York", "2027-03-14T07:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    ("Australia/Lord_Howe", "2027-04-03T15:00:00Z"),
    ("UTC", "2026-12-31T23:00:00Z"),
    ("Asia/Kolkata", "2026-12-31T18:30:00Z"),
    // A whole day was skipped.
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// A window is open exactly while one of its openings lasts, `until` is the end of those that overlap,
    /// and `next` is the first opening that follows: for every schedule, around every change of clocks.
    #[test]
    fn windows_agree_with_a_clock_that_is_read_every_minute(
        (schedule, fields) in arb_schedule(),
        (zone, change) in prop::sample::select(CHANGES.to_vec()),
        minutes in prop_oneof![1_u64..90, 1_u64..1500],
        around in prop::collection::vec(-180_i64..240, 40),
        millis in 0_u64..MINUTE,
    ) {
        let change = time(change);
        let duration = Duration::from_mins(minutes);
        let day = 24 * HOUR;
        let tz = TimeZoneDatabase::bundled().get(zone).unwrap();
        let openings = openings(&tz, Millis(change.0 - 3 * day), Millis(change.0 + 18 * day), |at| matches_at(&fields, at));
        let window = window(&schedule, minutes, zone);
        for offset in around {
            let minute = change.0.checked_add_signed(offset * 60_000).unwrap();
            for now in [Millis(minute), Millis(minute + millis)] {
                let mut until = None;
                // The openings in order: the first that holds `now`, and those that begin before it ends.
                if openings.range(..=now).next_back().is_some_and(|o| now < o.after(duration)) {
                    let mut end = openings.range(..=now).next_back().unwrap().after(duration);
                    for next in openings.range((std::ops::Bound::Excluded(now), std::ops::Bound::Unbounded)) {
                        if *next <= end && end < now.after(HORIZON) { end = next.after(duration).max(end); }
                    }
                    until = Some(end);
                }
                let next = openings.range((std::ops::Bound::Excluded(now), std::ops::Bound::Unbounded)).next().copied();
                prop_assert_eq!(window.next_after(now), next, "{} in {} after {}", schedule, zone, now);
                match (window.at(now), until) {
                    (WindowState::Open { until }, Some(end)) => {
                        // Both are followed for a week; they may stop at different openings after it.
                        if end < now.after(HORIZON) {
                            prop_assert_eq!(until, end, "{} in {} at {}", schedule, zone, now);
                        } else {
                            prop_assert!(until >= now.after(HORIZON));
                        }
                    }
                    (WindowState::Closed { next: told }, None) => prop_assert_eq!(told, next),
                    (told, end) => prop_assert!(false, "{schedule} in {zone} at {now}: {told:?}, not {end:?}"),
                }
            }
        }
    }
}
