//! Comparison of versions that follow no rules: versions of firmware and scripts, as vendors print
//! them.
//!
//! A version is a sequence of numbers and words; all other characters only separate them. Numbers of
//! any length compare as numbers, words compare without regard to case. A sequence that ends earlier is
//! continued with zeros, so `2.10` and `2.10.0` are equal. At one position of the sequence:
//!
//! ```text
//! rc, beta, …  <  0 or nothing  <  any other word  <  1  <  2  <  10
//! ```
//!
//! So `1.0rc1 < 1.0 < 1.0b < 1.0.1` and `1.9 < 1.10`. A leading `v` is ignored.

use std::cmp::Ordering;

/// Words that mark a pre-release.
const EARLY: [&str; 7] = ["dev", "alpha", "beta", "pre", "preview", "rc", "snapshot"];

/// One position of the sequence. The order of the variants is the order of the comparison.
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

/// Compares `a` with `b`.
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

/// Returns the sequence of a version.
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

/// Returns the place for a run of digits.
fn number(digits: &str) -> Place<'_> {
    match digits.trim_start_matches('0') {
        "" => Place::Zero,
        significant => Place::Number(significant.len(), significant),
    }
}

/// Returns the place for a run of letters.
fn word<'a>(letters: &str) -> Place<'a> {
    let lower = letters.to_lowercase();
    if EARLY.contains(&lower.as_str()) { Place::Early(lower) } else { Place::Word(lower) }
}
