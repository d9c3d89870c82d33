//! Tables and spans of time, as all commands print them.

use jiff::Timestamp;
use std::time::Duration;

/// Renders a table with columns of equal width.
pub(super) fn aligned<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let lines: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Returns a duration as users write it.
pub(super) fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let words: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if words.is_empty() { "0s".to_owned() } else { words.concat() }
}

/// Returns how long something has been so, in the two largest units, as kubectl shows ages.
pub(super) fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = u64::try_from(now.duration_since(since).as_secs()).unwrap_or(0);
    roughly(Duration::from_secs(seconds))
}

/// Returns a duration in the two largest units.
pub(super) fn roughly(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    match (days, hours) {
        (0, 0) => in_words(duration),
        (0, _) => in_words(Duration::from_secs(seconds / 60 * 60)),
        (_, 0) => format!("{days}d"),
        (_, _) => format!("{days}d{hours}h"),
    }
}
