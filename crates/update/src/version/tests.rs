//! Tests of the comparison of versions: the vendors' own examples, and the laws of an order.

use super::{Scheme, compare, compare_installed};
use proptest::prelude::*;
use std::cmp::Ordering::{self, Equal, Greater, Less};

const SCHEMES: [Scheme; 4] = [Scheme::Deb, Scheme::Rpm, Scheme::Sd, Scheme::Natural];

/// Checks each row in both directions.
fn table(scheme: Scheme, rows: &[(&str, Ordering, &str)]) {
    for &(a, expected, b) in rows {
        assert_eq!(compare(scheme, a, b), expected, "{scheme:?}: {a} and {b}");
        assert_eq!(compare(scheme, b, a), expected.reverse(), "{scheme:?}: {b} and {a}");
    }
}

/// Results of `dpkg --compare-versions`. A different result downgrades a machine, or never updates it.
#[test]
fn debian_versions_compare_as_dpkg_does() {
    table(
        Scheme::Deb,
        &[
            ("1:6.1-1", Greater, "1:5.19-1"),
            ("1:1.0", Greater, "2.0"),
            ("1.0~rc1", Less, "1.0"),
            ("1.0~rc1-1", Less, "1.0-1"),
            ("1.0-1", Less, "1.0-1+b1"),
            ("1.0-1~bpo12+1", Less, "1.0-1"),
            ("1.10", Greater, "1.9"),
            ("1.0", Equal, "1.0-0"),
            ("0:1.0", Equal, "1.0"),
            ("1.0~rc", Equal, "1.0~rc0"),
            ("110.", Equal, "110.0"),
            ("1.0-a", Equal, "1.0-a00"),
            ("10", Greater, "1"),
            ("1.00", Equal, "1.0"),
            ("1.0a", Less, "1.0+"),
            ("1.0-1ubuntu1", Greater, "1.0-1"),
        ],
    );
}

/// The cases of rpm's own test suite. A different result downgrades a machine, or never updates it.
#[test]
fn rpm_versions_compare_as_rpm_does() {
    table(
        Scheme::Rpm,
        &[
            ("1.0", Equal, "1.0"),
            ("2.0.1", Greater, "2.0"),
            ("2.0.1a", Greater, "2.0.1"),
            ("5.5p10", Greater, "5.5p2"),
            ("10xyz", Less, "10.1xyz"),
            ("xyz10", Less, "xyz10.1"),
            ("xyz.4", Less, "8"),
            ("5.5p2", Less, "5.6p1"),
            ("6.0.rc1", Greater, "6.0"),
            ("10b2", Greater, "10a1"),
            ("1.0aa", Greater, "1.0a"),
            ("10.0001", Equal, "10.1"),
            ("4.999.9", Less, "5.0"),
            ("20101122", Greater, "20101121"),
            ("2_0", Equal, "2.0"),
            ("a+", Equal, "a_"),
            ("1.0~rc1", Less, "1.0"),
            ("1.0~rc1~git123", Less, "1.0~rc1"),
            ("1.0^", Greater, "1.0"),
            ("1.0^git1", Less, "1.0.1"),
            ("1.0^git1~pre", Less, "1.0^git1"),
            ("1:1.0-1", Greater, "2.0-9"),
            ("1.0-1.el9", Less, "1.0-2.el9"),
            ("0:1.0-1", Equal, "1.0-1"),
        ],
    );
}

/// Firmware follows no rules; a comparison of numbers as text would flash 1.9 over 1.10.
#[test]
fn other_versions_compare_by_their_numbers() {
    table(
        Scheme::Natural,
        &[
            ("1.10", Greater, "1.9"),
            ("2.10", Equal, "2.10.0"),
            ("1.0rc1", Less, "1.0"),
            ("1.0-beta2", Less, "1.0-rc1"),
            ("1.0b", Greater, "1.0"),
            ("1.0b", Less, "1.0.1"),
            ("v2.1", Equal, "2.1"),
            ("V2.1", Equal, "v2.1"),
            ("U46 2.58 (05/22/2021)", Less, "U46 2.60 (01/13/2022)"),
            ("A12", Equal, "a12"),
            ("A09", Less, "A10"),
            ("99999999999999999999999", Less, "100000000000000000000000"),
            ("007", Equal, "7"),
            ("", Less, "1"),
            ("", Equal, "0"),
            ("verbose", Less, "1b"),
        ],
    );
}

/// A version that dpkg cannot parse must still be comparable.
#[test]
fn unreadable_debian_versions_compare_naturally() {
    table(Scheme::Deb, &[("1_10", Greater, "1_9"), ("", Less, "1.0"), ("99999999999:1", Greater, "1:1")]);
}

/// A baseline that says `9.3` means any release of 9.3.
#[test]
fn an_rpm_version_without_a_release_matches_any_release() {
    assert_eq!(compare_installed(Scheme::Rpm, "9.3-4.el9", "9.3"), Equal);
    assert_eq!(compare_installed(Scheme::Rpm, "1:9.3-4.el9", "1:9.3"), Equal);
    assert_eq!(compare_installed(Scheme::Rpm, "9.2-9", "9.3"), Less);
    assert_eq!(compare_installed(Scheme::Rpm, "9.3-4.el9", "9.3-5.el9"), Less);
    assert_eq!(compare_installed(Scheme::Deb, "1.0-1", "1.0"), Greater);
}

/// Generates text as version fields really contain it, and some unlikely text.
fn version() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => "([0-2]:)?[0-2]{0,2}([.~+^_-][0-2ab]{0,2}){0,4}",
        2 => "[0-9a-z.:~^ -]{0,8}",
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// An order that contradicts itself would update a machine back and forth for ever.
    #[test]
    fn every_scheme_is_an_order(a in version(), b in version(), c in version()) {
        for scheme in SCHEMES {
            prop_assert_eq!(compare(scheme, &a, &a), Equal);
            prop_assert_eq!(compare(scheme, &a, &b), compare(scheme, &b, &a).reverse());
            // Debian versions that dpkg cannot parse are compared by other rules, so only parseable
            // versions are in one order.
            let readable = |text: &str| scheme != Scheme::Deb || super::debian(text.trim()).is_some();
            if [&a, &b, &c].iter().all(|text| readable(text)) && compare(scheme, &a, &b) != Greater
                && compare(scheme, &b, &c) != Greater {
                prop_assert_ne!(compare(scheme, &a, &c), Greater, "{:?}: {} {} {}", scheme, a, b, c);
            }
        }
    }
}

/// Otherwise a patch bundle of March is taken for newer than one of September, or an update for a downgrade.
#[test]
fn revisions_of_hp_ux_compare_field_by_field() {
    table(
        Scheme::Sd,
        &[
            ("A.00.09.08zf", Less, "A.01.00.01p"),
            ("A.01.02", Less, "A.01.10"),
            ("B.11.23", Less, "B.11.31"),
            ("B.11.31", Less, "B.11.31.0"),
            ("B.11.31.1909", Less, "B.11.31.2403"),
            ("B.11.31.2403", Less, "B.11.31.2403a"),
            ("B.11.31.2403", Less, "C.01"),
            ("1.010", Equal, " 1.10"),
            ("A.9", Less, "A.10a"),
            ("A.10", Less, "A.10a"),
            ("1:.0", Less, "2.0"),
            ("1.99999999999999999999999999", Greater, "1.8"),
            ("", Less, "A.01"),
        ],
    );
}
