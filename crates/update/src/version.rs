//! Compares versions by the rules of each package format.
//!
//! Debian and RPM have their own rules, which contradict each other; scripts and firmware have none, so
//! their numbers are compared as numbers. This module does not decide whether a component is installed;
//! `plan` and `outcome` do.

mod fields;
mod natural;

use std::cmp::Ordering;

/// A set of rules for comparing versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// The rules of dpkg.
    Deb,
    /// The rules of rpm.
    Rpm,
    /// The rules of HP-UX's Software Distributor.
    Sd,
    /// Compares numbers as numbers, and the rest as text.
    Natural,
}

/// Compares `a` with `b`. A version that the scheme cannot parse is compared naturally.
pub fn compare(scheme: Scheme, a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim(), b.trim());
    match scheme {
        Scheme::Deb => match (debian(a), debian(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            (None, Some(_) | None) | (Some(_), None) => natural::compare(a, b),
        },
        Scheme::Rpm => rpm_version::rpm_evr_compare(a, b),
        Scheme::Sd => fields::compare(a, b),
        Scheme::Natural => natural::compare(a, b),
    }
}

/// Parses a Debian version; `None` if dpkg would reject it too.
///
/// To dpkg, missing digits at the end equal zero (`1.0~rc` is `1.0~rc0`), which debversion 0.5.5 does
/// not implement.
fn debian(text: &str) -> Option<debversion::Version> {
    let mut version: debversion::Version = text.parse().ok()?;
    version.upstream_version = with_final_zero(&version.upstream_version);
    version.debian_revision = version.debian_revision.as_deref().map(with_final_zero);
    Some(version)
}

/// Appends the zero that dpkg assumes in place of missing digits.
fn with_final_zero(part: &str) -> String {
    let zero = if part.ends_with(|c: char| c.is_ascii_digit()) { "" } else { "0" };
    format!("{part}{zero}")
}

/// Compares an installed version with a requested version.
///
/// Like [`compare`], but an RPM version without a release matches any release, as it does in a
/// package's own dependencies: `9.3` is satisfied by `9.3-4.el9`.
pub fn compare_installed(scheme: Scheme, installed: &str, wanted: &str) -> Ordering {
    match scheme {
        Scheme::Rpm if !wanted.contains('-') => {
            let without_release = installed.split_once('-').map_or(installed, |(version, _)| version);
            compare(scheme, without_release, wanted)
        }
        Scheme::Deb | Scheme::Rpm | Scheme::Sd | Scheme::Natural => compare(scheme, installed, wanted),
    }
}

#[cfg(test)]
mod tests;
