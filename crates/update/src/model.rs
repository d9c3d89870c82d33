//! The data model of the update logic: nodes, runs and components.
//!
//! These types mirror the operator's API kinds without Kubernetes: they have no metadata and no
//! references, and no field is optional merely because a user may omit it.

use crate::installer::InstallerKind;
use farrier_protocol::Detect;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Name of a ManagedNode.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(pub String);

/// Name of an UpdateRun.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunName(pub String);

/// Name of a runner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunnerName(pub String);

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RunnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for RunnerName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl From<&str> for NodeName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl From<&str> for RunName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// A point in time: milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// Returns the point in time that is `span` later, or the maximum if the sum overflows.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Returns the time from `earlier` to this point; zero if `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// RFC 3339 in UTC with whole seconds, as the API server writes times: `2026-11-29T10:15:00Z`.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1000;
        let (days, of_day) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Returns year, month and day of a day since 1970-01-01, in the Gregorian calendar. Years are
/// counted from March, so that the leap day is the last day of a year (Howard Hinnant's
/// `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    // Days since 0000-03-01, divided into eras of 400 years, which all have the same number of days.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

/// One component of a baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// The name, unique in the baseline.
    pub name: String,
    /// The version that nodes are updated to.
    pub version: String,
    /// The machines that the component is meant for.
    pub applies_to: AppliesTo,
    /// The kind of installer.
    pub installer: InstallerKind,
    /// How the installed version is read. The default for packages and modules is the
    /// component's name.
    pub detect: Option<Detect>,
    /// The entry of the machine's own firmware inventory that has the installed version. The default for
    /// firmware images is the component's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// The file to install. `None`: the package comes from the repositories that the machine has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<PayloadRef>,
    /// The components that must be installed first.
    pub requires: Vec<Requirement>,
    /// What the machine must have before anything is copied to it.
    #[serde(default, skip_serializing_if = "Needs::is_empty")]
    pub needs: Needs,
    /// Whether the component takes effect only after a reboot.
    pub reboot: RebootNeed,
    /// Whether the installer may be terminated when it exceeds `timeout`.
    pub interruptible: bool,
    /// Time limit for the installer alone.
    pub timeout: Duration,
}

impl Component {
    /// Returns how an engine reads the installed version of this component, with the defaults applied; `None` if
    /// it cannot: a script does not report what it installed.
    pub fn detection(&self) -> Option<Detect> {
        if let Some(entry) = self.firmware_entry() {
            return Some(Detect::Firmware(entry.to_owned()));
        }
        let by_name = || match self.installer {
            kind if kind.packages().is_some() => Some(Detect::Package(self.name.clone())),
            kind if kind.compiles_modules() => Some(Detect::Module(self.name.clone())),
            kind if kind.is_depot() => Some(Detect::Package(self.name.clone())),
            _ => None,
        };
        self.detect.clone().or_else(by_name)
    }

    /// Returns the digest of the payload; `None` if there is no payload.
    pub fn digest(&self) -> Option<&str> {
        self.payload.as_ref().map(|payload| payload.digest.as_str())
    }

    /// Reports whether both are versions of the same thing: their installed versions are read in the same way.
    pub fn is_same_target(&self, other: &Self) -> bool {
        match (self.firmware_entry(), other.firmware_entry()) {
            (None, None) => self.detection().is_some() && self.detection() == other.detection(),
            (own, entry) => own == entry,
        }
    }

    /// Returns the entry of the machine's own firmware inventory that has the installed version; `None` if the
    /// version is read in another way.
    pub fn firmware_entry(&self) -> Option<&str> {
        let default =
            || Some(self.name.as_str()).filter(|_| self.installer.is_firmware() && self.detect.is_none());
        self.firmware.as_deref().or_else(default)
    }

    /// Returns the bundle, product or fileset of a depot, as HP-UX lists it; `None` of other components, and if the
    /// version is to be read in another way.
    pub fn depot_entry(&self) -> Option<&str> {
        match &self.detect {
            _ if !self.installer.is_depot() || self.firmware.is_some() => None,
            Some(Detect::Package(name)) => Some(name),
            Some(_) => None,
            None => Some(&self.name),
        }
    }

    /// Returns the entry that has the installed version, in the inventory that a machine without an engine keeps
    /// itself.
    pub fn own_entry(&self) -> Option<&str> {
        self.firmware_entry().or_else(|| self.depot_entry())
    }
}

/// The machines that a component is meant for. An empty value means all machines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppliesTo {
    /// Types of ManagedNodes, such as `Linux`. An empty list means every type.
    pub types: Vec<String>,
    /// Facts that must all have the given values, such as `os: debian`.
    pub match_facts: BTreeMap<String, String>,
}

/// What a machine must have before a component is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Needs {
    /// Programs, by name.
    pub programs: Vec<String>,
    /// The headers of the running kernel, for modules that are compiled on the machine.
    pub kernel_headers: bool,
}

impl Needs {
    /// Reports whether nothing is needed.
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty() && !self.kernel_headers
    }
}

/// The source of a component's payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PayloadRef {
    /// URL.
    pub url: String,
    /// `sha256:` and 64 lower-case hexadecimal digits.
    pub digest: String,
    /// Length in bytes, if the baseline specifies it.
    pub size: Option<u64>,
    /// Whether it is an archive that a machine fetches as a folder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unpack: bool,
    /// Signatures that are sent with it: one, or one for each section.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<SignatureRef>,
}

/// The source of a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignatureRef {
    /// URL.
    pub url: String,
    /// `sha256:` and 64 lower-case hexadecimal digits.
    pub digest: String,
}

/// Another component that must be installed before a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    /// Name of a component of the same baseline. The component itself means a version that must be installed
    /// before this one.
    pub component: String,
    /// The minimum version; `None` accepts any installed version.
    pub at_least: Option<String>,
}

/// Whether a component takes effect only after a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RebootNeed {
    /// Never.
    Never,
    /// If the installer requests a reboot.
    IfRequested,
    /// Always.
    Always,
}

/// What happens on a node where a requirement of a component is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailedDependency {
    /// Nothing is installed on the node.
    OmitNode,
    /// The component, and components that require it, are skipped.
    #[default]
    OmitComponent,
    /// The component is installed as if nothing were missing.
    Force,
}

/// What a run allows beyond a plain update.
#[expect(clippy::struct_excessive_bools, reason = "independent permissions")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Force {
    /// An older version may replace a newer one.
    pub downgrade: bool,
    /// A version that is already installed is installed again.
    pub rewrite: bool,
    /// What the machine's owner has decided is overridden: holds, pins, version locks, excluded packages.
    #[serde(skip_serializing_if = "is_false")]
    pub holds: bool,
    /// Firmware is installed although the key of an encrypted disk may be bound to it by a trusted module
    /// (TPM).
    #[serde(skip_serializing_if = "is_false")]
    pub trusted_module: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If time wrapped around, a run would be deleted as soon as it has ended.
    #[test]
    fn time_stops_at_its_end_instead_of_wrapping() {
        assert_eq!(Millis(u64::MAX).after(Duration::from_secs(1)), Millis(u64::MAX));
        assert_eq!(Millis(1).after(Duration::MAX), Millis(u64::MAX));
        assert_eq!(Millis(5).since(Millis(9)), Duration::ZERO);
        assert_eq!(Millis(2000).since(Millis(500)), Duration::from_millis(1500));
    }

    /// A deadline that is displayed wrongly makes users look at the wrong time.
    #[test]
    fn times_are_written_as_the_api_server_writes_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_796_040_900, "2026-11-30T12:15:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Millis(seconds * 1000 + 999).to_string(), text);
        }
        assert!(Millis(u64::MAX).to_string().ends_with('Z'));
    }
}
