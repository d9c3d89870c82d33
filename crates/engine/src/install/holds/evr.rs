//! Compares versions of RPM packages as rpm does. The operator has its own comparison, in a library that would
//! be too large here.

use std::cmp::Ordering;

/// Compares `epoch:version-release`. A missing epoch is 0, and a missing release is less than any.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let [a, b] = [a, b].map(parts);
    // A number is never too long for the comparison of its parts.
    part(a.0, b.0).then_with(|| part(a.1, b.1)).then_with(|| match (a.2, b.2) {
        (Some(a), Some(b)) => part(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    })
}

/// Splits a version into epoch, version and release.
fn parts(evr: &str) -> (&str, &str, Option<&str>) {
    let (epoch, rest) = evr.split_once(':').unwrap_or(("0", evr));
    let (version, release) =
        rest.rsplit_once('-').map_or((rest, None), |(version, release)| (version, Some(release)));
    (if epoch.is_empty() { "0" } else { epoch }, version, release)
}

/// `rpmvercmp`: runs of digits are compared as numbers, runs of letters as text; digits are more than letters, `~`
/// is less than the end, and `^` is more than the end and less than anything else.
fn part(mut a: &str, mut b: &str) -> Ordering {
    loop {
        let is_separator = |c: char| !c.is_ascii_alphanumeric() && c != '~' && c != '^';
        (a, b) = (a.trim_start_matches(is_separator), b.trim_start_matches(is_separator));
        match (a.strip_prefix('~'), b.strip_prefix('~')) {
            (Some(next), Some(other)) => {
                (a, b) = (next, other);
                continue;
            }
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => {}
        }
        match (a.strip_prefix('^'), b.strip_prefix('^')) {
            (Some(next), Some(other)) => {
                (a, b) = (next, other);
                continue;
            }
            (Some(_), None) => return if b.is_empty() { Ordering::Greater } else { Ordering::Less },
            (None, Some(_)) => return if a.is_empty() { Ordering::Less } else { Ordering::Greater },
            (None, None) => {}
        }
        if a.is_empty() || b.is_empty() {
            return a.len().cmp(&b.len());
        }
        let (one, other) = (run(&mut a), run(&mut b));
        let digits = [one, other].map(|run| run.starts_with(|c: char| c.is_ascii_digit()));
        let order = match digits {
            [true, true] => {
                let [one, other] = [one, other].map(|run| run.trim_start_matches('0'));
                one.len().cmp(&other.len()).then_with(|| one.cmp(other))
            }
            [false, false] => one.cmp(other),
            [is_number, other] => is_number.cmp(&other),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Takes the first run of digits, or of letters.
fn run<'a>(text: &mut &'a str) -> &'a str {
    let whole: &'a str = text;
    let is_digit = whole.starts_with(|c: char| c.is_ascii_digit());
    let is_part = |c: char| if is_digit { c.is_ascii_digit() } else { c.is_ascii_alphabetic() };
    let (run, rest) = whole.split_at(whole.find(|c| !is_part(c)).unwrap_or(whole.len()));
    *text = rest;
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of rpm's own tests (`tests/rpmvercmp.at`), and epochs.
    #[test]
    fn versions_compare_as_rpm_does() {
        for (a, b) in [
            ("1.0", "2.0"),
            ("2.0", "2.0.1"),
            ("2.0.1", "2.0.1a"),
            ("5.5p1", "5.5p10"),
            ("xyz.4", "8"),
            ("10xyz", "10.1xyz"),
            ("5.5p2", "5.6p1"),
            ("1.0~rc1", "1.0"),
            ("1.0~rc1", "1.0~rc2"),
            ("1.0~rc1~git123", "1.0~rc1"),
            ("1.0", "1.0^"),
            ("1.0^git1", "1.01"),
            ("1.0^20160101", "1.0.1"),
            ("1.0~rc1", "1.0~rc1^git1"),
            ("1.0^git1~pre", "1.0^git1"),
            ("2:9", "3:1"),
            ("9", "1:1"),
            ("3", "3-1"),
            ("1-9", "1-10"),
        ] {
            assert_eq!(compare(a, b), Ordering::Less, "{a} {b}");
            assert_eq!(compare(b, a), Ordering::Greater, "{b} {a}");
        }
        for (a, b) in [("1", "01"), ("2_0", "2.0"), ("a+", "a_"), ("0:1-1", "1-1"), ("1.0^", "1.0^")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
    }
}
