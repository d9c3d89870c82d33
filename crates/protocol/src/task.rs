//! Tasks that the runner gives to the engine.

use crate::survey::Detect;
use serde::{Deserialize, Serialize};

/// `POST /v1/next`: the engine is idle and requests a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// The task that has just ended. All its events have been sent and acknowledged.
    pub done: Option<String>,
}

/// One task. The engine executes a task id at most once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Unique within the session, for instance `apply-1`.
    pub id: String,
    /// Kind and content of the task.
    pub work: Work,
}

/// The kinds of tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Work {
    /// Reads the machine and changes nothing. Ends with `SurveyDone`.
    Survey {
        /// Whether to list every installed package.
        packages: bool,
        /// What to read, by component name.
        detect: Vec<(String, Detect)>,
        /// Whether to list the devices of fwupd. It is asked for [`Detect::Firmware`] as well, and otherwise
        /// not: its daemon, which is started for that, takes a second or more and probes the hardware.
        #[serde(default, skip_serializing_if = "is_false")]
        fwupd: bool,
        /// Programs to look for, by name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        programs: Vec<String>,
    },
    /// Fetches every payload, checks every digest, then runs the steps in order. A failed step does not
    /// stop later steps unless they name it in [`Step::after`].
    Apply {
        /// The steps, in the order in which they run.
        steps: Vec<Step>,
        /// Limit in seconds for each wait for a resource that another process holds, such as a lock of a
        /// package manager or free space. After that time the step fails.
        #[serde(default = "default_wait_seconds")]
        wait_seconds: u64,
    },
    /// Reboots the machine once. Ends with `TaskDone` after `Rebooted` or `NotRebooted`.
    ///
    /// The engine takes this task again after it was started again in the same boot of the machine, and
    /// continues: a reboot that was requested in this boot has not happened, and requesting it again in the
    /// same boot cannot cause a second one.
    Reboot {
        /// How long the engine waits before it requests the reboot, in seconds. A cancellation meanwhile
        /// calls the reboot off.
        delay_seconds: u64,
        /// What users who are signed in are told; may be empty.
        message: String,
        /// Limit in seconds for the wait for programs that inhibit a shutdown.
        wait_seconds: u64,
        /// Whether the machine is rebooted although a program inhibits that.
        ignore_inhibitors: bool,
    },
    /// Determines what [`Self::Apply`] would do with packages from repositories, and changes nothing on the
    /// machine: metadata of the repositories is fetched into the engine's own directory. Reports `Simulated`.
    Simulate {
        /// The steps; those with a payload are skipped.
        steps: Vec<Step>,
    },
    /// Releases every lease, keeps the logs, and exits. Ends with `Retired`.
    Retire,
}

/// [`Work::Apply::wait_seconds`] if the runner does not set it.
pub const DEFAULT_WAIT_SECONDS: u64 = 60;

const fn default_wait_seconds() -> u64 {
    DEFAULT_WAIT_SECONDS
}

/// One component to be installed.
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each a field of the message")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Name of the component in the baseline.
    pub component: String,
    /// Version that the baseline asks for.
    pub version: String,
    /// How it is installed.
    pub installer: Installer,
    /// What is installed. `None`: the package [`Self::package`] in exactly [`Self::version`], from the
    /// repositories that are configured on the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
    /// Components of this task that must have succeeded before this step; otherwise the step is skipped.
    pub after: Vec<String>,
    /// Time limit in seconds for the installer alone, without the download.
    pub timeout_seconds: u64,
    /// Whether the engine terminates the installer when it exceeds its limit. If false, the installer is
    /// left to finish however long it takes.
    pub interruptible: bool,
    /// Whether an older version may replace a newer one.
    pub downgrade: bool,
    /// Whether the same version is installed again.
    pub rewrite: bool,
    /// The package, or the module of DKMS, that the payload must be. `None`: any package; operators that do not set it, and
    /// components whose version is not read from the package database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageRef>,
    /// The entry of the machine's firmware list that the payload is for, as in [`Detect::Firmware`]. `None`:
    /// the payload itself must leave no choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// Whether firmware is installed although the key of an encrypted disk may be bound to it by a trusted
    /// module (TPM).
    #[serde(default, skip_serializing_if = "is_false")]
    pub overrides_trusted_module: bool,
    /// Whether the step is refused if the machine's owner has decided against it: by a hold, a pin, a version
    /// lock or an excluded package. Operators that do not set it do not ask for that.
    #[serde(default, skip_serializing_if = "is_false")]
    pub respect_holds: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// A package by name and architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageRef {
    /// Its name.
    pub name: String,
    /// Architectures that count as this package, as the package manager writes them. Empty: all
    /// architectures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arches: Vec<String>,
}

impl PackageRef {
    /// Reports whether a package of this name that is built for `arch` is this package.
    pub fn is_for(&self, arch: &str) -> bool {
        self.arches.is_empty() || self.arches.iter().any(|known| known == arch)
    }
}

/// The file of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payload {
    /// `sha256:` and 64 lower-case hexadecimal digits. The runner serves the payload under this name.
    pub digest: String,
    /// Length in bytes.
    pub size: u64,
    /// Last segment of the payload's URL, kept because some installers use it.
    pub file_name: String,
}

/// How the engine installs a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Installer {
    /// A Debian package.
    Deb,
    /// An RPM package.
    Rpm,
    /// An executable file: a script or a self-extracting archive. Runs as root in an empty
    /// directory, with `FARRIER_COMPONENT` and `FARRIER_VERSION` in its environment.
    Script,
    /// A cabinet with firmware, for fwupd.
    Fwupd,
    /// A Dell update package: a self-extracting program.
    DellDup,
    /// An HPE smart component for Linux: a self-extracting program (`.scexe`), or an RPM package that
    /// contains one.
    HpeSmartComponent,
    /// The source tree of a kernel module with a `dkms.conf`, in a tar archive that may be compressed by gzip or
    /// xz. DKMS compiles and installs it.
    Tar,
}
