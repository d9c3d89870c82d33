//! Why something is as it is: the closed set of reasons in conditions, events and metrics.
//!
//! The comment of each reason is user documentation: what it means, then what to do next.
//! Behind its name stands its class, which says whether another attempt is worth it. No
//! text is parsed anywhere to find a reason.

use farrier_protocol::{FailureCode, Refusal};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of reason it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Not a failure.
    News,
    /// A failure that may well be over a little later.
    Passing,
    /// A failure that stays until somebody does something. A wrong password belongs here,
    /// because repeated failures lock accounts; so does a wrong host key.
    Lasting,
    /// The machine was not reached, which may well be over a little later.
    Away,
    /// The machine was not reached, and will not be until somebody does something.
    Nowhere,
}

/// Declares the reasons once: the enum, the list, the names, the classes and the texts.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident: $class:ident,)+) => {
        /// A reason, as it stands in conditions, events and metrics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name: CamelCase, stable, fit for a condition and for a metric's label.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            const fn class(self) -> Class {
                match self {
                    $(Self::$name => Class::$class,)+
                }
            }

            /// What it means and what to do next, for users.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

reasons! {
    // How work stands.

    /// Everything that was asked for is done and proven. Nothing is left to do.
    Succeeded: News,
    /// The node had every version of the baseline before. Nothing was changed on it.
    AlreadyCurrent: News,
    /// It is known what will be done, and nothing is changed yet. Set the run's `desiredState` to `Run`.
    Planned: News,
    /// Work goes on; the message names the step. Wait.
    InProgress: News,
    /// Work was begun on the machines that the message names. Wait.
    Started: News,
    /// There was nothing to be installed. Look into `status.components` if you expected otherwise.
    NothingToDo: News,
    /// Components were installed; whether it worked is decided by the second reading.
    Applied: News,
    /// The second reading shows the versions that the baseline asks for.
    Verified: News,
    /// Components were installed, and the second reading shows their versions; the message names them.
    Updated: News,
    /// The state is not known yet. Wait for the next status.
    Unknown: News,

    // Reaching a machine.

    /// A host name could not be resolved from the operator. Check `spec.addresses` and the cluster's DNS.
    NameNotResolved: Away,
    /// The machine refused the connection. Check that its SSH server runs, on the port of `spec.ssh.port`.
    ConnectionRefused: Away,
    /// The machine, or the SSH server on it, did not answer. Check that it is on and well, and that firewalls
    /// let the operator reach the SSH port.
    ConnectionTimedOut: Away,
    /// There is no route to any of its addresses. Check the addresses, and the routes of the operator's host.
    NoRoute: Away,
    /// No address is left to try. Check `spec.addresses` against `spec.addressFamilies`.
    NoUsableAddress: Nowhere,
    /// What answers on the port does not speak SSH; the message repeats its words. Check `spec.ssh.port`. If the
    /// words are those of an SSH server that admits nobody at the moment, see `ConnectionClosed`.
    NotAnSshServer: Away,
    /// The machine accepted the connection and closed it before the SSH handshake was done. Check `MaxStartups`,
    /// `PerSourceMaxStartups` and `PerSourcePenalties` in its `sshd_config`, `hosts.deny`, and firewalls.
    ConnectionClosed: Away,
    /// Operator and machine have no cipher, key exchange or host key type in common. Update its SSH server.
    SshNegotiationFailed: Lasting,
    /// An established connection broke. Farrier connects again by itself.
    ConnectionLost: Away,
    /// The machine answered.
    Reachable: News,

    // Whether it is the right machine.

    /// The machine shows another host key than the known one: it was reinstalled, or it is another machine.
    /// Check it, then set the new key in `spec.ssh.hostKeys`.
    HostKeyChanged: Lasting,
    /// The host key is not known and `hostKeyPolicy` is `Pinned`. Put the key into `spec.ssh.hostKeys`.
    HostKeyUnknown: Lasting,
    /// The host key is the expected one.
    HostKeyVerified: News,
    /// The host key was seen for the first time and is recorded in the status; from now on it must stay.
    HostKeyRecorded: News,

    // Logging in.

    /// The machine does not accept the password. Correct it in the Secret. It is not tried again by itself,
    /// because repeated failures lock accounts.
    PasswordRejected: Lasting,
    /// The machine does not accept the key. Add its public half to `authorized_keys` of the account.
    KeyRejected: Lasting,
    /// The private key in the Secret cannot be read. Store it in OpenSSH or PEM format.
    KeyUnreadable: Lasting,
    /// The passphrase in the Secret does not open the private key. Correct `passphrase`.
    KeyPassphraseWrong: Lasting,
    /// The account is locked or expired. Unlock it on the machine.
    AccountLocked: Lasting,
    /// The machine refused the login for another reason; the message repeats its words.
    AuthenticationFailed: Lasting,
    /// The Secret of `credentialsRef` or of a payload does not exist. Create it in the same namespace. A run
    /// waits for it as long as `arrivalTimeout` says.
    SecretNotFound: Lasting,
    /// The Secret lacks a key; the message says which. Add it. A run waits for it as long as `arrivalTimeout`
    /// says.
    SecretIncomplete: Lasting,
    /// The login worked.
    Authenticated: News,

    // Working on a machine.

    /// The login worked, and the SSH server opens no session for the account. Set `MaxSessions` in its
    /// `sshd_config` to 1 or more, also in `Match` blocks.
    SshSessionRefused: Lasting,
    /// The login worked, and the SSH server refuses to run commands for the account. Have it allow them.
    SshCommandRefused: Lasting,
    /// The SSH server runs another command in place of the one it was asked for. Exempt the account from
    /// `ForceCommand` in `sshd_config`, or remove `command=` from its line in `authorized_keys`.
    SshCommandReplaced: Lasting,
    /// The account may transfer files by SFTP and run nothing. Exempt it from `ForceCommand internal-sftp` in
    /// `sshd_config` (often in a `Match` block), and give it a shell, or use another account.
    SftpOnly: Lasting,
    /// sudo or su did not work without a terminal, and the SSH server gives none. Set `PermitTTY yes` in its
    /// `sshd_config`, remove `no-pty` or `restrict` from `authorized_keys`, or `requiretty` from sudoers.
    SshTerminalRefused: Lasting,
    /// A command was started on the machine and did not end in time. Check the machine's load, the account's login
    /// scripts, and `ForceCommand` in `sshd_config`.
    CommandTimedOut: Passing,
    /// The account's shell does not run commands: it is `nologin`, or restricted, or `ForceCommand` in
    /// `sshd_config` runs another one that fails. Give the account a shell, or exempt it from `ForceCommand`.
    ShellUnusable: Lasting,
    /// The account is not root, and `privilege` is `None`. Set it to `Sudo` or `Su`, or sign in as root.
    NotRoot: Lasting,
    /// `privilege` is `Sudo` and the machine has no sudo. Install it, or use `None` as root or `Su`.
    SudoMissing: Lasting,
    /// sudo does not let the account become root. Add a rule to the machine's sudoers.
    SudoDenied: Lasting,
    /// sudo does not accept the password in the Secret. Correct it.
    SudoPasswordRejected: Lasting,
    /// sudo asks for another account's password (`targetpw`, `rootpw`). Switch that off, or use `Su`.
    SudoAsksAnotherPassword: Lasting,
    /// su does not accept the password in the Secret. Correct it.
    SuPasswordRejected: Lasting,
    /// su does not work for the account; the message repeats its words.
    SuFailed: Lasting,
    /// There is not enough room on the machine; the message says where and how much. It is waited for a while:
    /// make room.
    DiskFull: Passing,
    /// No directory was found that can be written. Check that `/var` and `/tmp` are not mounted read-only.
    NoWritableDirectory: Lasting,
    /// No directory was found from which programs may run (`noexec`). Offer one on the machine.
    NoExecutableDirectory: Lasting,
    /// There is no engine for the machine's architecture. The message names it.
    ArchitectureNotSupported: Lasting,
    /// The engine runs on the machine.
    EngineDeployed: News,
    /// The engine could not do its work; the message says why.
    EngineFailed: Passing,
    /// The engine is gone without having taken its leave. Farrier looks for its journal and goes on.
    EngineLost: Passing,
    /// The engine answers, and has not done its work within the longest time that it may take. Look at what
    /// runs on the machine, and at who controls it.
    EngineStalled: Passing,
    /// The engine on the machine is of a version that this operator cannot talk to. It finishes the component
    /// that it is at and removes itself; the message says until when. Wait, or end the older run.
    EngineIncompatible: Passing,
    /// Another run works on the machine. It is waited for, and tried again after that; the message names it.
    MachineBusy: Passing,

    // Payloads.

    /// There is nothing at the payload's URL. Correct the URL, which takes a new baseline.
    PayloadNotFound: Lasting,
    /// The payload's server cannot be reached or is in trouble. Check it; Farrier tries again.
    PayloadUnavailable: Passing,
    /// There is no TLS connection to the payload's server that can be trusted. The message says what is wrong
    /// with the certificate or the server, and what to change.
    PayloadUntrusted: Lasting,
    /// The payload's bytes do not have the digest of the baseline. Find out who changed them.
    PayloadDigestMismatch: Lasting,
    /// The payload ended early. Farrier tries again.
    PayloadTruncated: Passing,
    /// The payload does not have the size of the baseline. Correct `size` or the file.
    PayloadSizeMismatch: Lasting,
    /// The payload's server, or the operator's rules, refuse to hand it out. Check access and path.
    PayloadRefused: Lasting,
    /// All payloads are on the machine and have the right digest.
    PayloadVerified: News,

    // Installing.

    /// Somebody else uses the machine's package manager; the message names the process. It is waited for, and
    /// tried again after that.
    PackageManagerBusy: Passing,
    /// The machine lacks the program that installs such components. Limit the component by `appliesTo`.
    InstallerMissing: Lasting,
    /// An installer failed; the message has its last words. See the log on the machine.
    InstallerFailed: Passing,
    /// An installer exceeded `timeout` and was ended. Raise the component's `timeout`.
    InstallerTimedOut: Passing,
    /// An installer exceeds `timeout` and is left to finish, because it may not be interrupted. Wait.
    InstallerOverdue: News,
    /// The machine or the engine died while an installer ran. Check the component, then start a new run.
    InstallerInterrupted: Lasting,
    /// Something that a component requires is not there. Add it to the baseline, or see `onFailedDependency`.
    DependencyMissing: Lasting,
    /// A component that another one requires was not installed, so that other one was left out.
    DependencyFailed: Lasting,
    /// The payload is another package than the component's `detect` names, or one for another architecture.
    /// Correct the payload, or `detect.package` and `detect.architecture`; both take a new baseline.
    PackageMismatch: Lasting,
    /// A package of the same name is installed for another architecture, and installing this one would replace
    /// it or leave both unusable. Remove the other one from the machine, or bring both to the same version.
    ArchitectureConflict: Lasting,
    /// Installing it would remove a package that the running system was booted from. Boot the machine from
    /// another kernel, then start a new run.
    BootedPackageKept: Lasting,
    /// The installer says that it worked, and the machine still has another version. See its log.
    VersionNotReached: Lasting,
    /// A result could not be proven, because a version could not be read. Check the component's `detect`.
    NotVerified: Lasting,
    /// A component is installed and takes effect with the next reboot. Reboot the machine.
    RebootPending: News,

    // Leaving.

    /// A second look at the machine found nothing of ours.
    NothingLeftBehind: News,
    /// Something of ours is still on the machine; `status.leftovers` says what. Remove it by hand.
    Leftovers: Lasting,
    /// What is on the machine is about to be taken back. Wait.
    CleanupPending: News,
    /// It could not be established that nothing is left on the machine. Farrier tries again until it expires.
    CleanupFailed: Passing,

    // Decisions of the user.

    /// The run was cancelled.
    Cancelled: Lasting,
    /// The node is kept out of runs by `spec.hold`. Set it to `false` and start a new run.
    Held: Lasting,
    /// The run is paused. Set `desiredState` to `Run` to go on.
    Paused: Lasting,
    /// Everything is planned and nothing is changed. Set `desiredState` to `Run` to carry it out.
    PlanOnly: Lasting,
    /// This version cannot do it yet; the message names the field. Leave it out or wait for a later version.
    NotYetSupported: Lasting,
    /// A fault in Farrier. Please report it, with the message.
    InternalError: Lasting,

    // Runs.

    /// The node does not exist any more.
    NodeNotFound: Lasting,
    /// The baseline does not exist. Create it: a run waits for it as long as `arrivalTimeout` says.
    BaselineNotFound: Lasting,
    /// The baseline cannot be carried out; the message says why. Create a corrected one and a new run.
    BaselineInvalid: Lasting,
    /// The run's selector matches no node that may be updated. Check the labels. A run waits for nodes as long
    /// as `arrivalTimeout` says.
    NoNodesSelected: Lasting,
    /// The run's selector cannot be read. Start a new run with a corrected one.
    SelectorInvalid: Lasting,
    /// Every node succeeded.
    AllSucceeded: News,
    /// At least one node did not succeed; see `status.failing`.
    SomeFailed: Lasting,
    /// Another run works on the node. It is begun when that is over.
    WaitingForNode: News,
    /// As many nodes as `maxConcurrent` allows are being worked on. It is begun when one is done.
    WaitingForSlot: News,
    /// An attempt failed and another one follows at the time given.
    WaitingForRetry: News,
    /// It waits for a runner to take it. Check that the operator's pods are running.
    WaitingForRunner: News,
    /// The runner that worked on the machine does not answer any more, and another one goes on where it was.
    /// Nothing is done twice. Look at why it ended.
    RunnerLost: News,
    /// The run is being cancelled: what is in progress ends and is cleaned up. Wait.
    Cancelling: News,
    /// This run needs no such thing.
    NotRequired: News,
    // The network.

    /// The callback server of the run can be reached; the message says where.
    Exposed: News,
    /// The ports of the run are being opened. Wait.
    Exposing: News,
    /// The ports of the run are being closed. Wait.
    Closing: News,
    /// Nothing is open for this run.
    Closed: News,
    /// The ports of `spec.callback` are taken, and `onConflict` is `Fail`. Start a run with other ports.
    PortsTaken: Lasting,
    /// No free pair of ports is left on the host. Free one, or wait for another run to end.
    PortsExhausted: Lasting,
    /// The operator may not use ports below 1024. Use higher ones, or give it `NET_BIND_SERVICE`.
    PortNotPermitted: Lasting,
    /// The ports of `spec.callback` cannot be used; the message says why. Start a run with other ports.
    PortsInvalid: Lasting,
    /// This installation cannot offer what `spec.callback.exposure` asks for; the message says what to set.
    ExposureNotPossible: Lasting,
    /// No load balancer has given the run's Service an address. Install one, or use another exposure.
    LoadBalancerPending: Lasting,
    /// A Service or NetworkPolicy of the run could not be made; the message repeats the API server's words.
    ExposureFailed: Lasting,
    /// Somebody has changed or deleted a Service or NetworkPolicy of the run, and it was put right. Find out
    /// who or what does that, and leave it out of it.
    ExposureRestored: News,
    /// A machine's address lies in the cluster's own range of pods or Services. Correct `spec.addresses`.
    AddressInClusterRange: Lasting,
    /// The machine reaches the callback server.
    CallbackReachable: News,
    /// From the machine nothing answers at the callback server's address. Let it out to the port that the
    /// message names, in its own firewall and on the way.
    CallbackTimedOut: Passing,
    /// A firewall answers in place of the callback server. Let the machine out to the port that the message
    /// names.
    CallbackRejected: Passing,
    /// Nothing listens where the machine is told to call. Check `callbackAddress` and the exposure.
    CallbackRefused: Passing,
    /// The machine has no route to the callback server. Check its routes, or set `callbackAddress`.
    CallbackNoRoute: Passing,
    /// The engine does not get through to the callback server, although the port answers; the message says
    /// why. Look for a proxy in between.
    CallbackUntrusted: Passing,
    /// The machine calls from an address that is not in its `spec.addresses`, so that the callback server turns
    /// it away; the message names the address. Add it there, or have the machine call from one that is there.
    CallbackSourceNotListed: Lasting,
    /// There is no address at which the machine could reach the callback server. Set `callbackAddress`, or
    /// allow another family in `addressFamilies`.
    CallbackAddressMissing: Lasting,
    /// Somebody who has no business there was turned away from the callback server; the message counts.
    ConnectionsRefused: News,
    /// Fewer nodes failed than the run tolerates.
    WithinBudget: News,
}

impl Reason {
    /// The reason with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == name)
    }

    /// Whether the same attempt may well succeed a little later.
    pub const fn retryable(self) -> bool {
        match self.class() {
            Class::Passing | Class::Away => true,
            Class::News | Class::Lasting | Class::Nowhere => false,
        }
    }

    /// Whether it means that an object is missing or incomplete which may still be created or completed.
    /// A run waits for such objects until its deadline for arrivals.
    pub const fn may_arrive(self) -> bool {
        matches!(
            self,
            Self::SecretNotFound
                | Self::SecretIncomplete
                | Self::NodeNotFound
                | Self::BaselineNotFound
                | Self::NoNodesSelected
        )
    }

    /// Whether it means that the machine was not reached at all.
    ///
    /// Such nodes are counted as `unreachable`, apart from `failed`: a machine that is
    /// switched off says nothing about the update.
    pub const fn unreachable(self) -> bool {
        match self.class() {
            Class::Away | Class::Nowhere => true,
            Class::News | Class::Passing | Class::Lasting => false,
        }
    }
}

impl From<FailureCode> for Reason {
    fn from(code: FailureCode) -> Self {
        match code {
            FailureCode::DiskFull => Self::DiskFull,
            FailureCode::DigestMismatch => Self::PayloadDigestMismatch,
            FailureCode::PayloadUnavailable => Self::PayloadUnavailable,
            FailureCode::PackageManagerBusy => Self::PackageManagerBusy,
            FailureCode::InstallerMissing => Self::InstallerMissing,
            FailureCode::Other => Self::EngineFailed,
        }
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::OtherPackage => Self::PackageMismatch,
            Refusal::ArchitectureConflict => Self::ArchitectureConflict,
            Refusal::RemovesBooted => Self::BootedPackageKept,
            Refusal::Unknown => Self::InstallerFailed,
        }
    }
}

/// What a user can do where the engine refused to start an installer.
pub const fn refusal_remedy(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::OtherPackage => {
            "correct the payload, or detect.package and detect.architecture, in a new baseline"
        }
        Refusal::ArchitectureConflict => {
            "remove the other one from the machine, or bring both to the same version there"
        }
        Refusal::RemovesBooted => "boot the machine from another kernel and start a new run",
        Refusal::Unknown => remedy(FailureCode::Other),
    }
}

/// What a user can do about a failure of the engine.
pub const fn remedy(code: FailureCode) -> &'static str {
    match code {
        FailureCode::DiskFull => "make room there and start a new run",
        FailureCode::DigestMismatch => "find out what changed the bytes on their way",
        FailureCode::PayloadUnavailable => "look at the operator's log",
        FailureCode::PackageManagerBusy => "wait until that program has ended, or end it",
        FailureCode::InstallerMissing => "limit the component by appliesTo",
        FailureCode::Other => "look at the log on the machine, see status.logs",
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A reason that cannot be read back from a status is lost at the next restart.
    #[test]
    fn every_reason_is_read_back_by_its_name() {
        for &reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), serde_json::json!(reason.as_str()));
        }
        assert_eq!(Reason::parse("NoSuchReason"), None);
        assert_eq!(Reason::parse(""), None);
    }

    /// Kubernetes refuses a condition whose reason is not CamelCase or is too long.
    #[test]
    fn names_fit_a_condition_and_differ() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for name in names {
            assert!(name.starts_with(|c: char| c.is_ascii_uppercase()), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
            assert!(name.len() <= 64, "{name}");
        }
    }

    /// A reason without an explanation helps nobody.
    #[test]
    fn every_reason_is_explained_in_whole_sentences() {
        for &reason in Reason::ALL {
            assert!(reason.meaning().ends_with('.'), "{reason}: {}", reason.meaning());
            assert!(!reason.meaning().contains("  "), "{reason}: {}", reason.meaning());
        }
    }

    /// Trying a wrong password again locks the account of the whole fleet.
    #[test]
    fn nothing_about_credentials_or_trust_is_tried_again() {
        for reason in [
            Reason::PasswordRejected,
            Reason::KeyRejected,
            Reason::AccountLocked,
            Reason::AuthenticationFailed,
            Reason::SudoPasswordRejected,
            Reason::SudoAsksAnotherPassword,
            Reason::SuPasswordRejected,
            Reason::HostKeyChanged,
            Reason::HostKeyUnknown,
            Reason::PayloadDigestMismatch,
            Reason::InstallerInterrupted,
        ] {
            assert!(!reason.retryable(), "{reason}");
        }
    }

    /// A machine that reboots for five minutes must not fail its run.
    #[test]
    fn a_machine_that_is_away_is_tried_again() {
        for &reason in Reason::ALL {
            // An address list with nothing to try in it stays so until a user changes it.
            if reason.unreachable() && reason != Reason::NoUsableAddress {
                assert!(reason.retryable(), "{reason}");
            }
        }
    }
}
