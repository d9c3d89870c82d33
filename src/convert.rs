//! Converts API types to the types of the update logic. There is no conversion back.

mod window;

pub use window::{expected, window};

use crate::api::baseline::{
    Component as ApiComponent, Detect as ApiDetect, Payload, Reboot, Signature, Source,
};
use crate::api::managed_node::{
    AddressFamily, AppliedBaseline, Channel as ApiChannel, HandOver as ApiHandOver, HostKeyPolicy,
    ManagedNode, Privilege as ApiPrivilege,
};
use crate::api::quantity::{self, Span};
use crate::api::tls::{Tls, TlsPolicy};
use crate::api::update_run::{
    Approval as ApiApproval, DesiredState, Force as ApiForce, OnFailedDependency, Operation as ApiOperation,
    OrderPolicy as ApiOrderPolicy, RebootPolicy, RebootWhen, Stage as ApiStage, Strategy,
};
use crate::api::{Baseline, UpdateRun};
use crate::drivers::{HandOver, HttpsSettings, Node, Privilege, SshSettings};
use crate::ssh::{Algorithms, Family};
use crate::tls::{Fingerprint, NotAFingerprint, Policy, Trust};
use farrier_network::table::{API_PORT, calls_back_always};
use farrier_network::{Channel, MachineType, Scheme};
use farrier_protocol::Detect;
use farrier_update::reboot::{DEFAULT_DELAY, DEFAULT_TIMEOUT as DEFAULT_TIMEOUT_OF_REBOOT};
use farrier_update::run::{
    Approval, BaselineId, Desired, MachineKind, Operation, OrderPolicy, Rollout, Spread, Stage,
};
use farrier_update::{
    AppliesTo, Component, FailedDependency, Force, Millis, Needs, PayloadRef, RebootNeed, RebootOrder,
    Requirement, SignatureRef, digest_of,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use rustls::pki_types::CertificateDer;
use std::collections::BTreeSet;
use std::time::Duration;

/// Timeout of a component whose timeout cannot be parsed, which the schema rejects.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(10);

/// Converts a time. One before 1970 counts as its beginning.
pub fn millis(time: &Time) -> Millis {
    Millis(u64::try_from(time.0.as_millisecond()).unwrap_or_default())
}

/// Converts a component of a baseline.
pub fn component(from: &ApiComponent) -> Component {
    // The pattern has no `..`: a field that was forgotten here would be silently ignored.
    let ApiComponent {
        name,
        version,
        applies_to,
        installer,
        detect,
        source,
        payload,
        needs,
        requires,
        reboot,
        interruptible,
        timeout,
    } = from;
    Component {
        name: name.clone(),
        version: version.clone(),
        applies_to: AppliesTo {
            types: applies_to.types.iter().map(ToString::to_string).collect(),
            match_facts: applies_to.match_.clone(),
        },
        installer: *installer,
        detect: detect.as_ref().and_then(detection),
        firmware: detect.as_ref().and_then(|detect| detect.firmware.clone()),
        payload: payload.as_ref().filter(|_| *source == Source::Payload).map(payload_ref),
        needs: Needs { programs: needs.programs.clone(), kernel_headers: needs.kernel_headers },
        requires: requires
            .iter()
            .map(|r| Requirement { component: r.component.clone(), at_least: r.at_least.clone() })
            .collect(),
        reboot: match reboot {
            Reboot::Never => RebootNeed::Never,
            Reboot::IfRequested => RebootNeed::IfRequested,
            Reboot::Always => RebootNeed::Always,
        },
        interruptible: *interruptible,
        timeout: timeout.duration().unwrap_or(DEFAULT_TIMEOUT),
    }
}

fn payload_ref(from: &Payload) -> PayloadRef {
    let signature = |from: &Signature| SignatureRef { url: from.url.clone(), digest: from.digest.clone() };
    PayloadRef {
        url: from.url.clone(),
        digest: from.digest.clone(),
        size: from.size.and_then(|s| u64::try_from(s).ok()),
        unpack: from.unpack,
        signatures: from.signatures.iter().map(signature).collect(),
    }
}

/// Identifies a baseline.
pub fn baseline_id(baseline: &Baseline) -> BaselineId {
    let uid = baseline.uid().unwrap_or_default();
    BaselineId { uid, digest: digest_of(&baseline.spec.components) }
}

/// Reports whether a baseline has the content that was applied to a machine.
pub fn is_applied(applied: &AppliedBaseline, baseline: &BaselineId) -> bool {
    let applied = BaselineId { uid: applied.uid.clone(), digest: applied.digest.clone() };
    applied.has_content_of(baseline)
}

/// Reports whether a baseline of the name that a run refers to has the content that the run began with. A run
/// that has recorded no baseline takes any content: it has not begun, or it was begun by an earlier version.
pub fn is_baseline_of(run: &UpdateRun, baseline: &BaselineId) -> bool {
    let recorded = run.status.as_ref().and_then(|status| status.baseline.as_ref());
    recorded.is_none_or(|recorded| {
        let recorded = BaselineId { uid: recorded.uid.clone(), digest: recorded.digest.clone() };
        recorded.has_content_of(baseline)
    })
}

/// Returns the trust in a payload's source, or in a machine without what was recorded on first use.
/// `certificates` are those of `ca.crt`.
///
/// # Errors
/// A text that is not a fingerprint, which the schema rejects.
pub fn trust(
    from: Option<&Tls>,
    certificates: Vec<CertificateDer<'static>>,
) -> Result<Trust, NotAFingerprint> {
    let fingerprints = from.into_iter().flat_map(|tls| &tls.fingerprints);
    let fingerprints = fingerprints.map(|text| text.parse()).collect::<Result<BTreeSet<_>, _>>()?;
    let policy = match from.and_then(|tls| tls.policy) {
        Some(TlsPolicy::System) => Policy::System,
        // A configured certificate replaces the system's authorities, as with `curl --cacert`.
        None if fingerprints.is_empty() && certificates.is_empty() => Policy::System,
        // The schema rejects `TrustOnFirstUse` for payloads: there is no place to record the fingerprint of the
        // first use.
        Some(TlsPolicy::Pinned | TlsPolicy::TrustOnFirstUse) | None => Policy::Pinned,
    };
    Ok(Trust { fingerprints, certificates, policy })
}

fn detection(from: &ApiDetect) -> Option<Detect> {
    let ApiDetect { package, architecture, command, file, firmware: _, module } = from;
    let package = package.clone().map(|name| match architecture {
        Some(architecture) => format!("{name}:{architecture}"),
        None => name,
    });
    package
        .map(Detect::Package)
        .or_else(|| command.clone().map(Detect::Command))
        .or_else(|| file.clone().map(Detect::File))
        .or_else(|| module.clone().map(Detect::Module))
}

/// Returns a machine as the user describes it, with what was recorded on first use. `certificates` are those of
/// `spec.tls.caRef`.
///
/// # Errors
/// A text that is not a fingerprint, which the schema rejects.
pub fn node(node: &ManagedNode, certificates: Vec<CertificateDer<'static>>) -> Result<Node, NotAFingerprint> {
    let ssh = &node.spec.ssh;
    Ok(Node {
        name: node.name_any(),
        type_: node.spec.type_,
        product: node.spec.product.clone(),
        addresses: node.spec.addresses.clone(),
        families: families(node),
        ssh: SshSettings {
            port: ssh.port,
            host_keys: host_keys(node),
            trust_first: ssh.host_key_policy == HostKeyPolicy::TrustOnFirstUse,
            algorithms: if ssh.legacy_algorithms { Algorithms::WithLegacy } else { Algorithms::Current },
            privilege: match ssh.privilege {
                ApiPrivilege::None => Privilege::None,
                ApiPrivilege::Sudo => Privilege::Sudo,
                ApiPrivilege::Su => Privilege::Su,
            },
        },
        https: https(node, certificates)?,
        hand_over: node.spec.hand_over.map(hand_over),
    })
}

/// Converts how images get to a machine.
pub fn hand_over(from: ApiHandOver) -> HandOver {
    match from {
        ApiHandOver::Push => HandOver::Push,
        ApiHandOver::Pull => HandOver::Pull,
    }
}

fn https(
    node: &ManagedNode,
    certificates: Vec<CertificateDer<'static>>,
) -> Result<HttpsSettings, NotAFingerprint> {
    let mut trust = trust(node.spec.tls.as_ref(), certificates)?;
    let first_use = node.spec.tls.as_ref().and_then(|tls| tls.policy) == Some(TlsPolicy::TrustOnFirstUse);
    let is_open = first_use && trust.fingerprints.is_empty() && trust.certificates.is_empty();
    let recorded = node.status.as_ref().and_then(|status| status.certificate.as_deref()).filter(|_| is_open);
    if is_open {
        trust.policy = Policy::TrustOnFirstUse;
    }
    trust.fingerprints.extend(recorded.map(str::parse::<Fingerprint>).transpose()?);
    Ok(HttpsSettings { port: node.spec.port.unwrap_or(API_PORT), trust })
}

/// Returns the address families that may be used with a machine, in order of preference.
pub fn families(node: &ManagedNode) -> Vec<Family> {
    let families = address_families(node).into_iter().map(|family| match family {
        AddressFamily::IPv4 => Family::V4,
        AddressFamily::IPv6 => Family::V6,
    });
    families.collect()
}

/// Returns the address families that the user allows and machines of this type have, in order of preference.
pub fn address_families(node: &ManagedNode) -> Vec<AddressFamily> {
    let has = |family: &AddressFamily| match family {
        AddressFamily::IPv4 => true,
        AddressFamily::IPv6 => node.spec.type_.has_ipv6(),
    };
    node.spec.address_families.iter().copied().filter(has).collect()
}

/// Returns the port of `spec.callbackAddress` at which a machine finds what the run has for this protocol, if something
/// forwards it there. A machine that uses HTTPS and HTTP has one for each; any other one uses one service only.
pub fn forwarded_port(node: &ManagedNode, scheme: Scheme) -> Option<u16> {
    match scheme {
        Scheme::Http if calls_back_always(node.spec.type_) => node.spec.callback_http_port,
        Scheme::Sftp | Scheme::Scp | Scheme::Ftp if calls_back_always(node.spec.type_) => None,
        Scheme::Https | Scheme::Http | Scheme::Sftp | Scheme::Scp | Scheme::Ftp => node.spec.callback_port,
    }
}

/// Returns the host keys of a machine, written by the user or recorded on first use.
fn host_keys(node: &ManagedNode) -> Vec<String> {
    let recorded = node.status.as_ref().and_then(|s| s.host_key.clone());
    let trust_first = node.spec.ssh.host_key_policy == HostKeyPolicy::TrustOnFirstUse;
    let mut keys = node.spec.ssh.host_keys.clone();
    keys.extend(recorded.filter(|_| trust_first && keys.is_empty()));
    keys
}

/// Converts the desired state of a run.
pub fn desired(from: DesiredState) -> Desired {
    match from {
        DesiredState::Run => Desired::Run,
        DesiredState::Plan => Desired::Plan,
        DesiredState::Pause => Desired::Pause,
        DesiredState::Cancel => Desired::Cancel,
    }
}

/// Converts stages, budgets and fault domains. The selectors of stages are evaluated where the machines are known.
pub fn rollout(from: &Strategy) -> Rollout {
    // The patterns have no `..`: a field that was forgotten here would be silently ignored.
    let Strategy {
        max_concurrent: _,
        stages,
        spread,
        failure_budget,
        unreachable_budget,
        retries: _,
        window: _,
        stage_for: _,
    } = from;
    let stage = |stage: &ApiStage| {
        let ApiStage {
            name,
            selector: _,
            count,
            max_concurrent,
            soak,
            approval,
            failure_budget,
            unreachable_budget,
        } = stage;
        Stage {
            name: name.clone(),
            count: count.as_ref().and_then(quantity::limit),
            max_concurrent: max_concurrent.as_ref().and_then(quantity::limit),
            soak: soak.as_ref().and_then(Span::duration).unwrap_or_default(),
            approval: match approval {
                ApiApproval::Automatic => Approval::Automatic,
                ApiApproval::Manual => Approval::Manual,
            },
            failure_budget: failure_budget.as_ref().and_then(quantity::budget),
            unreachable_budget: unreachable_budget.as_ref().and_then(quantity::budget),
        }
    };
    Rollout {
        stages: stages.iter().map(stage).collect(),
        failure_budget: failure_budget.as_ref().and_then(quantity::budget),
        unreachable_budget: unreachable_budget.as_ref().and_then(quantity::budget),
        spread: spread.as_ref().map(|spread| Spread {
            label: spread.label.clone(),
            max_unavailable: usize::try_from(spread.max_unavailable).unwrap_or(usize::MAX),
        }),
    }
}

/// Converts whether types of machines order a run.
pub fn order(from: ApiOrderPolicy) -> OrderPolicy {
    match from {
        ApiOrderPolicy::ByType => OrderPolicy::ByType,
        ApiOrderPolicy::None => OrderPolicy::None,
    }
}

/// Returns the place of a type of machine in the order of types.
pub fn machine_kind(from: MachineType) -> MachineKind {
    match from {
        MachineType::Linux | MachineType::Windows | MachineType::VMware => MachineKind::Server,
        MachineType::HPUX => MachineKind::HpuxServer,
        MachineType::ILO | MachineType::IDRAC | MachineType::Redfish => MachineKind::ManagementProcessor,
        MachineType::OnboardAdministrator => MachineKind::OnboardAdministrator,
        MachineType::VirtualConnect => MachineKind::VirtualConnect,
        MachineType::SASSwitch => MachineKind::SasSwitch,
        MachineType::Superdome2 | MachineType::SuperdomeX | MachineType::SuperdomeFlex => {
            MachineKind::Complex
        }
        MachineType::FCSwitch | MachineType::Moonshot => MachineKind::Other,
    }
}

/// Converts the operation of a run.
pub fn operation(from: ApiOperation) -> Operation {
    match from {
        ApiOperation::Inventory => Operation::Inventory,
        ApiOperation::Stage => Operation::Stage,
        ApiOperation::Update => Operation::Update,
    }
}

/// Converts which components are installed although they are installed already.
pub fn force(from: ApiForce) -> Force {
    let ApiForce { downgrade, rewrite, holds, trusted_module, inhibitors: _ } = from;
    Force { downgrade, rewrite, trusted_module, holds }
}

/// Converts whether and how machines are rebooted. Durations that cannot be parsed, which the schema rejects,
/// count as not set.
pub fn reboot(from: RebootPolicy, force: ApiForce) -> RebootOrder {
    let RebootPolicy { policy, delay, message, timeout } = from;
    let span = |span: Option<Span>| span.as_ref().and_then(Span::duration);
    RebootOrder {
        policy: match policy {
            RebootWhen::Never => farrier_update::RebootPolicy::Never,
            RebootWhen::IfRequired => farrier_update::RebootPolicy::IfRequired,
            RebootWhen::Always => farrier_update::RebootPolicy::Always,
        },
        delay: span(delay).unwrap_or(DEFAULT_DELAY),
        message: message.unwrap_or_default(),
        timeout: span(timeout).unwrap_or(DEFAULT_TIMEOUT_OF_REBOOT),
        ignore_inhibitors: force.inhibitors,
    }
}

/// Converts what happens to a component whose dependency failed.
pub fn on_failed_dependency(from: OnFailedDependency) -> FailedDependency {
    match from {
        OnFailedDependency::OmitNode => FailedDependency::OmitNode,
        OnFailedDependency::OmitComponent => FailedDependency::OmitComponent,
        OnFailedDependency::Force => FailedDependency::Force,
    }
}

/// Converts the channel of an engine.
pub fn channel(from: ApiChannel) -> Channel {
    match from {
        ApiChannel::Session => Channel::Session,
        ApiChannel::Callback => Channel::Callback,
        ApiChannel::Listen => Channel::Listen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Otherwise any authority of the system could issue a certificate in place of the configured one, and
    /// the attacker would receive the credentials of the source.
    #[test]
    fn authorities_of_the_system_count_only_without_certificates_and_fingerprints() {
        let given = || vec![CertificateDer::from(vec![1])];
        let fingerprint = format!("sha256:{}", "0a".repeat(32));
        let pinned = Tls { fingerprints: vec![fingerprint], ..Tls::default() };
        let policy = |tls: Option<&Tls>, certificates| trust(tls, certificates).unwrap().policy;
        assert_eq!(policy(None, vec![]), Policy::System);
        assert_eq!(policy(Some(&Tls::default()), vec![]), Policy::System);
        assert_eq!(policy(None, given()), Policy::Pinned, "ca.crt of secretRef");
        assert_eq!(policy(Some(&Tls::default()), given()), Policy::Pinned, "ca.crt of caRef");
        assert_eq!(policy(Some(&pinned), vec![]), Policy::Pinned);
        for (written, expected) in [(TlsPolicy::System, Policy::System), (TlsPolicy::Pinned, Policy::Pinned)]
        {
            let explicit = Tls { policy: Some(written), ..pinned.clone() };
            assert_eq!(policy(Some(&explicit), given()), expected);
            assert_eq!(policy(Some(&Tls { policy: Some(written), ..Tls::default() }), vec![]), expected);
        }
        let trust = trust(Some(&pinned), given()).unwrap();
        assert_eq!((trust.fingerprints.len(), trust.certificates), (1, given()));
    }

    /// Otherwise a baseline that is created again under its name changes what a run installs, or a run that
    /// was begun by an earlier version stops.
    #[test]
    fn a_run_keeps_the_baseline_that_it_recorded() {
        let baseline = |uid: &str, version: &str| -> BaselineId {
            let component = json!({
                "name": "ethtool",
                "version": version,
                "installer": "Deb",
                "payload": {"url": "https://x/ethtool.deb", "digest": "sha256:0"},
            });
            let baseline = json!({
                "metadata": {"name": "spring", "uid": uid},
                "spec": {"components": [component]},
            });
            baseline_id(&serde_json::from_value(baseline).unwrap())
        };
        let run = |recorded: Option<BaselineId>| -> UpdateRun {
            let recorded = recorded.map(|id| json!({"uid": id.uid, "digest": id.digest}));
            let status = json!({"nodes": ["a"], "baseline": recorded});
            let run = json!({"metadata": {"name": "r"}, "spec": {"selector": {}}, "status": status});
            serde_json::from_value(run).unwrap()
        };
        let (begun, earlier) = (run(Some(baseline("a", "1"))), run(None));
        assert!(is_baseline_of(&begun, &baseline("a", "1")));
        assert!(is_baseline_of(&begun, &baseline("b", "1")), "created again with the same content");
        assert!(!is_baseline_of(&begun, &baseline("b", "2")), "other content");
        assert!(is_baseline_of(&earlier, &baseline("b", "2")), "recorded by an earlier version");
    }

    /// Otherwise the package of the machine's own architecture would be replaced.
    #[test]
    fn the_architecture_of_a_package_is_part_of_what_is_read() {
        let read = |package: &str, architecture: Option<&str>| {
            let package = Some(package.to_owned());
            detection(&ApiDetect {
                package,
                architecture: architecture.map(str::to_owned),
                ..ApiDetect::default()
            })
        };
        assert_eq!(read("fx", None), Some(Detect::Package("fx".to_owned())));
        for exact in [read("fx", Some("i386")), read("fx:i386", None)] {
            assert_eq!(exact, Some(Detect::Package("fx:i386".to_owned())));
        }
    }
}
