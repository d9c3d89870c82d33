//! Which of two versions is newer, by the rules of whoever made them.
//!
//! Debian and RPM have rules of their own, which contradict each other; scripts and
//! firmware have none, so numbers in them are compared as numbers. This does not decide
//! whether something is to be installed; `plan` and `outcome` do.

mod natural;

use crate::model::InstallerKind;
use std::cmp::Ordering;

/// A set of rules for comparing versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Those of dpkg.
    Deb,
    /// Those of rpm.
    Rpm,
    /// Numbers as numbers, the rest as text.
    Natural,
}

impl Scheme {
    /// The rules for components of this kind.
    pub fn of(kind: InstallerKind) -> Self {
        match kind {
            InstallerKind::Deb => Self::Deb,
            InstallerKind::Rpm => Self::Rpm,
            InstallerKind::Script
            | InstallerKind::Fwupd
            | InstallerKind::DellDup
            | InstallerKind::HpeSmartComponent
            | InstallerKind::WindowsComponent
            | InstallerKind::Msi
            | InstallerKind::RedfishImage
            | InstallerKind::SwinstallDepot
            | InstallerKind::Vib
            | InstallerKind::DeviceImage => Self::Natural,
        }
    }
}

/// How `a` stands to `b`. What the scheme cannot read is compared naturally.
pub fn compare(scheme: Scheme, a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim(), b.trim());
    match scheme {
        Scheme::Deb => match (debian(a), debian(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            (None, Some(_) | None) | (Some(_), None) => natural::compare(a, b),
        },
        Scheme::Rpm => rpm_version::rpm_evr_compare(a, b),
        Scheme::Natural => natural::compare(a, b),
    }
}

/// A Debian version; `None` if dpkg would not read it either.
///
/// To dpkg, no digits at the end are the same as zeros (`1.0~rc` is `1.0~rc0`), which
/// debversion 0.5.5 does not know.
fn debian(text: &str) -> Option<debversion::Version> {
    let mut version: debversion::Version = text.parse().ok()?;
    version.upstream_version = with_final_zero(&version.upstream_version);
    version.debian_revision = version.debian_revision.as_deref().map(with_final_zero);
    Some(version)
}

/// Writes the zero out that stands for no digits.
fn with_final_zero(part: &str) -> String {
    let zero = if part.ends_with(|c: char| c.is_ascii_digit()) { "" } else { "0" };
    format!("{part}{zero}")
}

/// How an installed version stands to one that somebody asked for.
///
/// Like [`compare`], but an RPM version without a release asks for any release, as it does
/// in a package's own dependencies: `9.3` is met by `9.3-4.el9`.
pub fn compare_installed(scheme: Scheme, installed: &str, wanted: &str) -> Ordering {
    match scheme {
        Scheme::Rpm if !wanted.contains('-') => {
            let without_release = installed.split_once('-').map_or(installed, |(version, _)| version);
            compare(scheme, without_release, wanted)
        }
        Scheme::Deb | Scheme::Rpm | Scheme::Natural => compare(scheme, installed, wanted),
    }
}

#[cfg(test)]
mod tests;
