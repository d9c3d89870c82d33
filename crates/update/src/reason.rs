//! The closed set of reasons in conditions, events and metrics.
//!
//! The comment of each reason is user documentation: first the meaning, then the next step for the user. Each
//! reason has a class, which determines whether another attempt is made. No code parses text to find a
//! reason.

mod arrival;
mod class;
#[macro_use]
mod declare;
mod engine;
#[macro_use]
mod runs;

pub use engine::{refusal_remedy, remedy};

use class::Class;
use serde::{Deserialize, Serialize};

with_reasons_of_runs! {
    // Progress of work.

    /// The requested work is done and verified. No action is needed.
    Succeeded: Informational,
    /// The node already had every version of the baseline. Nothing was changed on it.
    AlreadyCurrent: Informational,
    /// The plan is complete, and nothing was changed yet. Set the run's `desiredState` to `Run`.
    Planned: Informational,
    /// Work is in progress; the message names the step. Wait.
    InProgress: Informational,
    /// Work was started on the machines that the message names. Wait.
    Started: Informational,
    /// No component had to be installed. See `status.components` if you expected otherwise.
    NothingToDo: Informational,
    /// Components were installed; the second reading decides whether the installation succeeded.
    Applied: Informational,
    /// The second reading shows the versions that the baseline requires.
    Verified: Informational,
    /// Components were installed, and the second reading shows their versions; the message names them.
    Updated: Informational,
    /// The state is not known yet. Wait for the next status.
    Unknown: Informational,

    // Connecting to a machine.

    /// The operator could not resolve a host name. Check `spec.addresses` and the cluster's DNS.
    NameNotResolved: UnreachableTransient,
    /// The machine refused the connection. Check that its SSH server is running and listens on the port in
    /// `spec.ssh.port`; of a device, its web server.
    ConnectionRefused: UnreachableTransient,
    /// The machine, or its SSH or web server, did not answer. Check that the machine is on and healthy, and
    /// that firewalls let the operator reach the port.
    ConnectionTimedOut: UnreachableTransient,
    /// There is no route to any address of the machine. Check the addresses, and the routes of the operator's
    /// host.
    NoRoute: UnreachableTransient,
    /// No usable address is left. Check `spec.addresses` against `spec.addressFamilies`.
    NoUsableAddress: UnreachablePermanent,
    /// The server on the port does not speak SSH; the message quotes its answer. Check `spec.ssh.port`. If
    /// the answer comes from an SSH server that temporarily accepts no connections, see `ConnectionClosed`.
    NotAnSshServer: UnreachableTransient,
    /// The machine accepted the connection and closed it before the SSH or TLS handshake was complete. A
    /// device may be starting. Of an SSH server, check `MaxStartups`, `PerSourceMaxStartups` and
    /// `PerSourcePenalties` in its `sshd_config`, `hosts.deny`, and firewalls.
    ConnectionClosed: UnreachableTransient,
    /// Operator and machine have no cipher, key exchange or host key type in common. Update the machine's SSH
    /// server.
    SshNegotiationFailed: Permanent,
    /// The machine's SSH server has only algorithms that are not safe any more; the message names them. Update its
    /// firmware or SSH server, or allow them with `spec.ssh.legacyAlgorithms: true` of the ManagedNode.
    LegacyAlgorithmsNeeded: Permanent,
    /// The connection to the machine uses algorithms that are not safe any more, because
    /// `spec.ssh.legacyAlgorithms` allows them; the message names them. Who is in between may read and change
    /// what is sent. Keep such machines in a network of their own, and update their firmware.
    LegacyAlgorithmsInUse: Informational,
    /// `spec.ssh.legacyAlgorithms` is true, and the machine has current algorithms. Remove the field.
    LegacyAlgorithmsUnused: Informational,
    /// The server on the port is no Redfish service; the message says what it is. Check address and port: this
    /// must be the management processor, not the operating system.
    NotARedfishService: UnreachableTransient,
    /// Operator and device have no version of TLS, cipher or signature algorithm in common, or the device asks
    /// for a certificate of the operator. The message says what to change on the device.
    TlsNegotiationFailed: Permanent,
    /// An established connection was lost. Farrier reconnects automatically.
    ConnectionLost: UnreachableTransient,
    /// The machine answered.
    Reachable: Informational,

    // Verifying the machine's identity.

    /// The machine's host key differs from the known key: the machine was reinstalled, or it is another
    /// machine. Verify the machine, then set the new key in `spec.ssh.hostKeys`.
    HostKeyChanged: Permanent,
    /// The host key is not known and `hostKeyPolicy` is `Pinned`. Add the key to `spec.ssh.hostKeys`.
    HostKeyUnknown: Permanent,
    /// The host key is the expected key.
    HostKeyVerified: Informational,
    /// The host key was seen for the first time and is recorded in the status. From now on, the machine must
    /// present this key.
    HostKeyRecorded: Informational,
    /// The machine's certificate differs from the recorded one: the certificate was renewed, or it is another
    /// machine. Verify the machine, then delete `status.certificate` or set `spec.tls`.
    CertificateChanged: Permanent,
    /// The machine's certificate is not trusted; the message says why. Set `spec.tls` of the ManagedNode: the
    /// fingerprint, the authority in `caRef`, or the policy `TrustOnFirstUse`.
    CertificateUntrusted: Permanent,
    /// The certificate is trusted.
    CertificateVerified: Informational,
    /// The certificate was seen for the first time and is recorded in the status. From now on, the machine must
    /// present this certificate.
    CertificateRecorded: Informational,

    // Signing in.

    /// The machine has ended Farrier's session. Farrier signs in again.
    SessionEnded: Transient,

    /// The machine rejected the password. Correct the password in the Secret. Farrier does not retry, because
    /// repeated failures lock accounts.
    PasswordRejected: Permanent,
    /// The machine rejected the key. Add the public key to `authorized_keys` of the account.
    KeyRejected: Permanent,
    /// The private key in the Secret cannot be read. Store it in OpenSSH or PEM format.
    KeyUnreadable: Permanent,
    /// The passphrase in the Secret does not decrypt the private key. Correct `passphrase`.
    KeyPassphraseWrong: Permanent,
    /// The account is locked or expired. Unlock it on the machine.
    AccountLocked: Permanent,
    /// The machine demands a new password before anything else. Set one on the machine, then store it in the
    /// Secret.
    PasswordChangeRequired: Permanent,
    /// The machine has no session left. Close sessions on it, or wait until they expire; Farrier tries again.
    SessionLimitReached: Transient,
    /// The machine refused the login for another reason; the message quotes the machine's answer.
    AuthenticationFailed: Permanent,
    /// The Secret of `credentialsRef` or of a payload does not exist. Create it in the same namespace. A run
    /// waits for the Secret for the duration of `arrivalTimeout`.
    SecretNotFound: Permanent,
    /// The Secret lacks a key; the message names the key. Add the key. A run waits for it for the duration of
    /// `arrivalTimeout`.
    SecretIncomplete: Permanent,
    /// The login succeeded.
    Authenticated: Informational,

    // Working on a machine.

    /// The login succeeded, but the SSH server opens no session for the account. Set `MaxSessions` in its
    /// `sshd_config` to 1 or more, also in `Match` blocks.
    SshSessionRefused: Permanent,
    /// The login succeeded, but the SSH server refuses to run commands for the account. Allow commands for
    /// the account.
    SshCommandRefused: Permanent,
    /// The SSH server runs another command instead of the requested command. Exempt the account from
    /// `ForceCommand` in `sshd_config`, or remove `command=` from its line in `authorized_keys`.
    SshCommandReplaced: Permanent,
    /// The account may transfer files by SFTP but not run commands. Exempt it from `ForceCommand
    /// internal-sftp` in `sshd_config` (often in a `Match` block), and give it a shell, or use another
    /// account.
    SftpOnly: Permanent,
    /// sudo or su failed without a terminal, and the SSH server provides no terminal. Set `PermitTTY yes` in
    /// its `sshd_config`, remove `no-pty` or `restrict` from `authorized_keys`, or remove `requiretty` from
    /// sudoers.
    SshTerminalRefused: Permanent,
    /// A command on the machine did not end in time. Check the machine's load, the account's login scripts,
    /// and `ForceCommand` in `sshd_config`.
    CommandTimedOut: Transient,
    /// The account's shell does not run commands: the shell is `nologin` or restricted, or `ForceCommand` in
    /// `sshd_config` runs another command that fails. Give the account a shell, or exempt it from
    /// `ForceCommand`.
    ShellUnusable: Permanent,
    /// The account is not root, and `privilege` is `None`. Set `privilege` to `Sudo` or `Su`, or sign in as
    /// root.
    NotRoot: Permanent,
    /// `privilege` is `Sudo`, but the machine has no sudo. Install sudo, or use `Su`, or `None` with root.
    SudoMissing: Permanent,
    /// sudo does not let the account become root. Add a rule to the machine's sudoers.
    SudoDenied: Permanent,
    /// sudo rejected the password in the Secret. Correct the password.
    SudoPasswordRejected: Permanent,
    /// sudo asks for another account's password (`targetpw`, `rootpw`). Disable that setting, or use `Su`.
    SudoAsksAnotherPassword: Permanent,
    /// su rejected the password in the Secret. Correct the password.
    SuPasswordRejected: Permanent,
    /// su failed for the account; the message quotes its output.
    SuFailed: Permanent,
    /// The machine has too little free space; the message says where and how much is missing. Farrier waits
    /// for a while: free some space.
    DiskFull: Transient,
    /// No writable directory was found. Check that `/var` and `/tmp` are not mounted read-only.
    NoWritableDirectory: Permanent,
    /// No directory was found from which programs may run (`noexec`). Provide such a directory on the
    /// machine.
    NoExecutableDirectory: Permanent,
    /// Payloads cannot be staged on the machine: it lacks a program that verifies them, or a scheduler that removes
    /// them when their lease ends. The message says which. Leave the machine out of runs with operation Stage.
    StagingUnsupported: Permanent,
    /// No engine exists for the machine's architecture. The message names the architecture.
    ArchitectureNotSupported: Permanent,
    /// The engine is running on the machine.
    EngineDeployed: Informational,
    /// The engine could not do its work; the message gives the cause.
    EngineFailed: Transient,
    /// The engine is gone without having reported its end. Farrier looks for its journal and continues from
    /// there.
    EngineLost: Transient,
    /// The engine answers, but has not completed its work within the time limit. Check which processes run on
    /// the machine, and who else has root access.
    EngineStalled: Transient,
    /// The version of the engine on the machine is incompatible with this operator. The engine finishes the
    /// component that it is installing and then removes itself; the message says when at the latest. Wait, or
    /// end the older run.
    EngineIncompatible: Transient,
    /// Another run is working on the machine; the message names it. Farrier waits for that run to end, and
    /// then tries again.
    MachineBusy: Transient,
    /// Another tool, or another installation of Farrier, holds the machine's Lease; the message names the Lease, its
    /// holder, and until when it is valid. Farrier waits for `--wait-seconds`, and then tries again. If the holder
    /// does not exist any more, delete the Lease.
    NodeInUse: Transient,
    /// The API server does not let Farrier write the Lease of the machine; the message quotes it and names the rights.
    /// Update the operator's role (`helm upgrade`), or the quota or webhook that the message names. Farrier
    /// waits for `--wait-seconds`, and then tries again; a machine is cleaned without a Lease.
    LeaseRefused: Transient,
    /// What the machine does for others is being moved away before it is disrupted, or is let back; the message names
    /// the pods, the budget or the hook that this waits for, and until when. Nothing has been changed on the machine.
    Draining: Informational,
    /// The machine could not be drained, and was not touched; the message names the pods that may not be evicted, or
    /// quotes the hook. See docs/drains.md, then start a run with `retryOf`.
    DrainFailed: Permanent,
    /// The machine was not drained in the time of `spec.drain.timeout` of the ManagedNode, and was not touched; the
    /// message names the pods and the budget, or quotes the hook. Move them away, or raise the timeout.
    DrainTimedOut: Transient,
    /// The API server does not let Farrier drain the Node or create the Job; the message quotes it and names the rights.
    /// Set `drain.kubernetesNodes` or `drain.jobs` of the chart. It is waited for until the timeout.
    DrainRefused: Transient,
    /// The machine was drained, and could not be given back: its Node is still cordoned, or its hook was not called
    /// with success. The message has the command. The machine counts as failed, so that no others follow it.
    UndrainFailed: Permanent,

    // Working on a device.

    /// The device answers, but cannot do its work now: it is starting, busy, or has an error; the message
    /// quotes its answer. Farrier tries again. If this lasts, reset the management processor.
    DeviceUnavailable: Transient,
    /// The device refuses a request; the message quotes its answer. See the log of the device.
    DeviceRefused: Permanent,
    /// A licence agreement of the device was accepted, because `spec.acceptEula` of the run says so; the message quotes
    /// its question.
    AgreementAccepted: Informational,
    /// `spec.product` names no product that Farrier has a file for, or one for machines of another type, or it is needed
    /// and not set; the message lists the products. Correct it, or write a file (docs/console-devices.md).
    ProductUnknown: Permanent,
    /// The device shows a prompt or asks a question that its product file does not have; the message quotes it, and
    /// nothing was answered. Check `spec.product`, or add it to a product file of your own (docs/console-devices.md).
    PromptUnknown: Permanent,
    /// The device asks to accept a licence agreement. Read it, and set `spec.acceptEula` of a new UpdateRun if you
    /// accept it.
    AgreementMissing: Permanent,
    /// The account may not do this on the device. Give it the rights of an administrator.
    RightsMissing: Permanent,
    /// The device takes no firmware over Redfish. Update it by hand, or update its management processor first.
    UpdateServiceMissing: Permanent,
    /// The service of the device that takes firmware is disabled. Enable it on the device.
    UpdateServiceDisabled: Permanent,
    /// The device refuses the image: it cannot be read, or its signature is not valid; the message quotes its
    /// answer. Use the vendor's image for this device.
    ImageRefused: Permanent,
    /// The image is not for this machine; the message says why. Use the one for it, or restrict it with `appliesTo`.
    ImageNotForMachine: Permanent,
    /// The machine fetches from one port only, and the run has another; the message says what to set.
    FetchPortWrong: Permanent,
    /// The device has no room for the image. Remove images that are not needed from it.
    DeviceFull: Permanent,
    /// The device could not fetch the image; the message quotes its answer. Check that it reaches the callback
    /// server, and that it trusts its certificate.
    FetchFailed: Transient,
    /// The device lacks a licence for this. Install one on it.
    LicenceMissing: Permanent,
    /// Another manager is working with the device, or has it in maintenance. Wait until that has ended.
    ManagedElsewhere: Transient,
    /// The device needs the host to be on. Power it on.
    HostPoweredOff: Permanent,
    /// The configuration of the machine is locked (iDRAC: System Lockdown Mode), and with it its firmware. End the
    /// lockdown on the device.
    DeviceLocked: Permanent,
    /// The host is in its power-on self-test, in which firmware must not be changed. Farrier waits for its end. If
    /// that lasts, look at the console of the host: it may wait for a key.
    HostInPost: Transient,
    /// The machine is running as a node of a cluster; the message names its packages. Farrier never halts a node:
    /// its owner does (Serviceguard: `cmhaltnode -f`). Then start a new run.
    ClusterNodeRunning: Permanent,
    /// The device posts its progress to Farrier.
    Posted: Informational,
    /// Farrier asks the device for its progress; the message says why it is not posted.
    Polled: Informational,
    /// A trusted module (TPM) may have measured the firmware: the device updates it only if that protection is
    /// overridden, or the key of an encrypted disk of the machine is bound to it. Farrier updates it only on request.
    /// Have the recovery keys of encrypted disks at hand, and set spec.force.trustedModule of a new UpdateRun.
    OverrideRequired: Permanent,
    /// An image is sent in sections, and the baseline does not name one signature for each of them. Set
    /// payload.signatures of the component.
    SignatureMissing: Permanent,
    /// An entry of somebody else's is before Farrier's in the queue of the device, and cannot be worked off; the
    /// message names it. Remove it, or do what it waits for.
    QueueBlocked: Transient,
    /// The device's answer cannot be used; the message says why. Check that nothing in between answers for
    /// the device, and update its firmware by hand.
    DeviceAnswerInvalid: Transient,

    // Payloads.

    /// Nothing exists at the payload's URL. Correct the URL, which requires a new baseline.
    PayloadNotFound: Permanent,
    /// The payload's server cannot be reached or reports an error. Check the server; Farrier tries again.
    PayloadUnavailable: Transient,
    /// No trusted TLS connection to the payload's server is possible. The message says what is wrong with the
    /// certificate or the server, and what to change.
    PayloadUntrusted: Permanent,
    /// The digest of the payload differs from the digest in the baseline, or no layer of the artifact has it. Find
    /// out who changed the payload.
    PayloadDigestMismatch: Permanent,
    /// The transfer of the payload ended early. Farrier tries again.
    PayloadTruncated: Transient,
    /// The size of the payload differs from the size in the baseline. Correct `size` or the file.
    PayloadSizeMismatch: Permanent,
    /// The payload's server, or a rule of the operator, denies access to the payload. Check access and path.
    PayloadRefused: Permanent,
    /// The payload cannot be offered as a folder; the message says why. Correct the archive, or `payload.unpack`.
    ArchiveInvalid: Permanent,
    /// All payloads are on the machine and have the right digest.
    PayloadVerified: Informational,

    // Installing.

    /// Another process is using the machine's package manager, or fwupd; the message names the process. Farrier waits
    /// for it to end, and then tries again.
    PackageManagerBusy: Transient,
    /// The machine lacks the program that installs components of this kind. Restrict the component with
    /// `appliesTo`.
    InstallerMissing: Permanent,
    /// An installer failed; the message contains the end of its output. See the log on the machine.
    InstallerFailed: Transient,
    /// An installer exceeded `timeout` and was terminated. Raise the component's `timeout`.
    InstallerTimedOut: Transient,
    /// An installer exceeded `timeout` but is left to finish, because it must not be interrupted. Wait.
    InstallerOverdue: Informational,
    /// The machine or the engine died while an installer was running. Check the component, then start a new
    /// run.
    InstallerInterrupted: Permanent,
    /// A requirement of a component is missing. Add it to the baseline, or see `onFailedDependency`.
    DependencyMissing: Permanent,
    /// A component was skipped, because a component that it requires was not installed.
    DependencyFailed: Permanent,
    /// The payload is a different package from the one that the component's `detect` names, or is for another
    /// architecture. Correct the payload, or `detect.package` and `detect.architecture`; both require a new
    /// baseline.
    PackageMismatch: Permanent,
    /// A package of the same name is installed for another architecture, and installing this package would
    /// replace it or leave both unusable. Remove the other package from the machine, or bring both to the
    /// same version.
    ArchitectureConflict: Permanent,
    /// The installation would remove a package that the running system was booted from. Boot the machine from
    /// another kernel, then start a new run.
    BootedPackageKept: Permanent,
    /// The owner of the machine has decided against the installation: by a hold, a pin, a version lock or an
    /// excluded package. The message says where and how to lift it. Lift it there, or allow the installation with
    /// `spec.force.holds` of a new run.
    PackageHeld: Permanent,
    /// The package manager of the machine would upgrade, downgrade or remove packages that the baseline does not
    /// name; the message lists them. Add them to the baseline, each with its version, or change the packages on the
    /// machine.
    OtherPackagesAffected: Permanent,
    /// No repository of the machine has the package in the version of the baseline; the message lists the versions
    /// that there are. Correct the version in a new baseline, or add a repository to the machine.
    VersionNotAvailable: Permanent,
    /// A repository of the machine could not be read; the message quotes the package manager. Repair the repository
    /// or the way to it, or disable it on the machine.
    RepositoryUnreachable: Transient,
    /// The signature or the checksum of a repository or of a package of it is wrong or cannot be verified; the
    /// message quotes the package manager. Nothing was installed from it. Find out what changed, or install the key
    /// of the repository on the machine.
    RepositoryUntrusted: Permanent,
    /// The machine lacks a program, or the headers of its kernel, that the installation needs. Nothing was copied to
    /// it. Install the packages that the message names, or restrict the component with `appliesTo`.
    PrerequisiteMissing: Permanent,
    /// The installer reported success, but the machine still has another version. See the installer's log.
    VersionNotReached: Permanent,
    /// A result could not be verified, because a version could not be read. Check the component's `detect`.
    NotVerified: Permanent,
    /// The payload has firmware for several devices of the machine, and the component names none of them. Name one
    /// with `detect.firmware`, which requires a new baseline.
    DeviceAmbiguous: Permanent,
    /// The machine, or the device that the firmware is for, runs on a battery, or its battery is too low: firmware
    /// that is cut off may make it unusable. Connect it to mains, then start a new run.
    OnBattery: Permanent,
    /// A component is installed and takes effect after the next reboot. Reboot the machine.
    RebootPending: Informational,
    /// A component is installed and takes effect when the machine is switched off and on again; a reboot does not put
    /// it into effect, so Farrier does not reboot the machine for it. Switch the machine off and on.
    PowerCyclePending: Informational,
    /// The machine is being rebooted. Wait; the message says until when.
    Rebooting: Informational,
    /// The machine was rebooted: its boot id has changed. No action is needed.
    Rebooted: Informational,
    /// A program on the machine inhibits its shutdown, and did not end that in time; the message names the program
    /// and its reason. Let it end, or set spec.force.inhibitors of a new UpdateRun.
    RebootInhibited: Permanent,
    /// The machine could not be rebooted, or has lost by its reboot what was on it; the message gives the cause. Unless
    /// it was rebooted, reboot it by hand, then start a run with operation Inventory.
    RebootFailed: Permanent,
    /// The machine did not come back after its reboot; the message says how long Farrier waited and what it tried.
    /// Look at the console of the machine. If it only takes longer, raise spec.reboot.timeout.
    RebootTimedOut: Permanent,
    /// A kernel is installed, and the machine runs another one after its reboot, usually the old one. Look at the
    /// default entry of the boot loader.
    OldKernelRunning: Permanent,
    /// The device may restart its host by itself when it gets the image, and the run does not allow that. Nothing was
    /// sent. Set reboot.policy to `IfRequired` in a run at a time at which the host may restart.
    RestartNotAllowed: Permanent,
    /// The image is for several parts of the machine, and some of them kept their version; the message names them.
    /// Look at the log of the machine, then start a new UpdateRun with force.rewrite.
    PartlyApplied: Permanent,
    /// The image is on the machine and is not in effect, as the run has asked for. status.components says where it
    /// is and what puts it into effect; a run with operation Update does.
    Staged: Informational,

    // Cleaning up.

    /// A second check of the machine found nothing that belongs to Farrier.
    NothingLeftBehind: Informational,
    /// Something that belongs to Farrier is still on the machine; `status.leftovers` lists it. Remove it by
    /// hand.
    Leftovers: Permanent,
    /// Farrier's files and processes are about to be removed from the machine. Wait.
    CleanupPending: Informational,
    /// Farrier could not verify that nothing is left on the machine. It tries again until the engine's lease
    /// expires.
    CleanupFailed: Transient,

    // Decisions of the user.

    /// The run was cancelled.
    Cancelled: Permanent,
    /// `spec.hold` excludes the node from runs. Set it to `false` and start a new run.
    Held: Permanent,
    /// The run is paused. Set `desiredState` to `Run` to continue.
    Paused: Permanent,
    /// Everything is planned, and nothing was changed. Set `desiredState` to `Run` to carry out the plan.
    PlanOnly: Permanent,
    /// This version of Farrier does not support a field; the message names the field. Omit it, or wait for a
    /// later version.
    NotYetSupported: Permanent,
    /// An internal error in Farrier. Please report it, with the message.
    InternalError: Permanent,

    // The network.

    /// The callback server of the run can be reached; the message says where.
    Exposed: Informational,
    /// The ports of the run are being opened. Wait.
    Exposing: Informational,
    /// The ports of the run are being closed. Wait.
    Closing: Informational,
    /// No port is open for this run.
    Closed: Informational,
    /// The ports in `spec.callback` are in use, and `onConflict` is `Fail`. Start a run with other ports.
    PortsTaken: Permanent,
    /// The host has no free pair of ports left. Free a pair, or wait for another run to end.
    PortsExhausted: Permanent,
    /// The operator may not use ports below 1024. Use higher ports, or grant it `NET_BIND_SERVICE`.
    PortNotPermitted: Permanent,
    /// The ports in `spec.callback` cannot be used; the message gives the cause. Start a run with other
    /// ports.
    PortsInvalid: Permanent,
    /// This installation does not support the value of `spec.callback.exposure`; the message says what to
    /// set.
    ExposureNotPossible: Permanent,
    /// No load balancer has assigned an address to the run's Service. Install a load balancer, or use another
    /// exposure.
    LoadBalancerPending: Permanent,
    /// A Service or NetworkPolicy of the run could not be created; the message quotes the API server.
    ExposureFailed: Permanent,
    /// A Service or NetworkPolicy of the run was changed or deleted by someone else, and Farrier restored it.
    /// Find out who or what changed it, and exclude it there.
    ExposureRestored: Informational,
    /// A machine's address lies in the cluster's own range of pods or Services. Correct `spec.addresses`.
    AddressInClusterRange: Permanent,
    /// The machine reaches the callback server.
    CallbackReachable: Informational,
    /// The machine receives no answer from the callback server's address. Allow connections from the machine
    /// to the port that the message names, in its own firewall and on the network path.
    CallbackTimedOut: Transient,
    /// A firewall rejects connections to the callback server. Allow connections from the machine to the port
    /// that the message names.
    CallbackRejected: Transient,
    /// Nothing listens at the address that the machine calls. Check `callbackAddress` and the exposure.
    CallbackRefused: Transient,
    /// The machine has no route to the callback server. Check its routes, or set `callbackAddress`.
    CallbackNoRoute: Transient,
    /// The port answers, but the engine cannot verify the callback server; the message gives the cause. Look
    /// for a proxy in between.
    CallbackUntrusted: Transient,
    /// The machine calls from an address that is not in its `spec.addresses`, so the callback server rejects
    /// it; the message names the address. Add the address, or let the machine call from a listed address.
    CallbackSourceNotListed: Permanent,
    /// The callback server has no address that the machine could reach. Set `callbackAddress`, or allow
    /// another family in `addressFamilies`.
    CallbackAddressMissing: Permanent,
    /// The runner reaches the engine's port on the machine.
    ListenReachable: Informational,
    /// The runner receives no answer from the engine's port on the machine. Allow connections from the operator
    /// to the port that the message names, in the machine's own firewall and on the network path.
    ListenTimedOut: Transient,
    /// A firewall rejects connections to the engine's port on the machine. Allow connections from the operator to
    /// the port that the message names.
    ListenRejected: Transient,
    /// The engine's port answers, but runner and engine cannot authenticate each other. Look for a proxy or for
    /// address translation in between.
    ListenUntrusted: Transient,
    /// Other programs of the machine use all ports on which its engine may listen. Free one of them.
    ListenPortsTaken: Transient,
    /// The machine's SSH server does not tell the addresses of its connections (`SSH_CONNECTION`), so that the
    /// engine's port cannot be opened for the operator alone. Use another channel.
    ListenAddressUnknown: Permanent,
    /// The machine was told to fetch an image from Farrier, and has not connected within a minute. Allow
    /// connections from the machine to the address and port that the message names, in every firewall in
    /// between.
    PullNotSeen: Transient,
    /// The machine connected to fetch an image from Farrier, and rejected the certificate of the callback server.
    /// Import `ca.crt` of the Secret `<run>-callback` among the authorities that the machine trusts, or have it fetch
    /// by HTTP.
    PullUntrusted: Permanent,
    /// A file service (SFTP with SCP, or FTP) was turned on for a run, because a machine fetches its image by it.
    FileServiceOpened: Informational,
    /// A file service was turned off, because no machine of the run fetches by it any more.
    FileServiceClosed: Informational,
    /// The callback server rejected connections that do not belong to the run; the message says how many.
    ConnectionsRefused: Informational,
    /// The numbers of failed and of unreachable nodes are within the budgets of the run.
    WithinBudget: Informational,
}

#[cfg(test)]
mod tests;
