//! Comparing versions that follow no rules: firmware, scripts, whatever a vendor prints.
//!
//! A version is a row of numbers and words; everything else only separates them. Numbers
//! compare as numbers of any length, words without regard to case. A row that ends counts
//! on as zeros, so `2.10` and `2.10.0` are the same. In one place of the row:
//!
//! ```text
//! rc, beta, …  <  0 or nothing  <  any other word  <  1  <  2  <  10
//! ```
//!
//! So `1.0rc1 < 1.0 < 1.0b < 1.0.1` and `1.9 < 1.10`. A `v` in front is decoration.

use std::cmp::Ordering;

/// Words that announce a version which is not out yet.
const EARLY: [&str; 7] = ["dev", "alpha", "beta", "pre", "preview", "rc", "snapshot"];

/// One place of the row. The order of the variants is the order of the comparison.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place<'a> {
    /// A word of [`EARLY`].
    Early(String),
    /// The number zero, or nothing.
    Zero,
    /// Any other word, in lower case.
    Word(String),
    /// A number without leading zeros: its length, then its digits.
    Number(usize, &'a str),
}

/// How `a` stands to `b`.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (places(a), places(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (left, right) => match left.unwrap_or(Place::Zero).cmp(&right.unwrap_or(Place::Zero)) {
                Ordering::Equal => {}
                unequal @ (Ordering::Less | Ordering::Greater) => return unequal,
            },
        }
    }
}

/// The row of a version.
fn places(text: &str) -> impl Iterator<Item = Place<'_>> {
    let text = text.trim();
    let undecorated = text
        .strip_prefix(['v', 'V'])
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        .unwrap_or(text);
    let mut rest = undecorated;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| !c.is_alphanumeric());
        let first = rest.chars().next()?;
        let numeric = first.is_ascii_digit();
        let end =
            rest.find(|c: char| !c.is_alphanumeric() || c.is_ascii_digit() != numeric).unwrap_or(rest.len());
        let (run, behind) = rest.split_at_checked(end)?;
        rest = behind;
        Some(if numeric { number(run) } else { word(run) })
    })
}

/// The place of a run of digits.
fn number(digits: &str) -> Place<'_> {
    match digits.trim_start_matches('0') {
        "" => Place::Zero,
        significant => Place::Number(significant.len(), significant),
    }
}

/// The place of a run of letters.
fn word<'a>(letters: &str) -> Place<'a> {
    let lower = letters.to_lowercase();
    if EARLY.contains(&lower.as_str()) { Place::Early(lower) } else { Place::Word(lower) }
}
