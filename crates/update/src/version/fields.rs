//! Comparison of revisions as HP-UX's Software Distributor makes it: field by field, at the dots ("Software Distributor
//! Administration Guide", 5900-2561, p. 73).
//!
//! Two fields of digits compare as numbers, two without digits at their beginning as text. The guide compares a mixed
//! field (`2403a`) as text too, which with numbers beside it is no order: `10 < 10a < 9 < 10`. So a field counts by its
//! leading number, then by the text behind it; a field without a number is the higher one. A revision that ends earlier
//! is the lower one, so that `B.11.31 < B.11.31.0 < B.11.31.1909 < B.11.31.2403 < B.11.31.2403a`.

use std::cmp::Ordering;

/// Compares `a` with `b`.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(one), Some(other)) => field(one, other),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn field(one: &str, other: &str) -> Ordering {
    let ((one, one_rest), (other, other_rest)) = (leading_number(one), leading_number(other));
    let by_number = match (one, other) {
        (Some(one), Some(other)) => one.len().cmp(&other.len()).then_with(|| one.cmp(other)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    };
    by_number.then_with(|| one_rest.cmp(other_rest))
}

/// Splits a field into its leading digits, of any length and without leading zeros, and the rest.
fn leading_number(field: &str) -> (Option<&str>, &str) {
    let end = field.find(|c: char| !c.is_ascii_digit()).unwrap_or(field.len());
    match field.split_at(end) {
        ("", rest) => (None, rest),
        (digits, rest) => (Some(digits.trim_start_matches('0')), rest),
    }
}
