//! Comparison of revisions as HP-UX's Software Distributor makes it: field by field, at the dots ("Software Distributor
//! Administration Guide", 5900-2561, p. 73).
//!
//! Two fields of digits compare as numbers, others as text. A revision that ends earlier is the lower one, so that
//! `B.11.31 < B.11.31.0 < B.11.31.1909 < B.11.31.2403`.

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
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !(is_number(one) && is_number(other)) {
        return one.cmp(other);
    }
    // Of any length, so that nothing overflows.
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}
