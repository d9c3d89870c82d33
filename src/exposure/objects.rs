//! The desired NetworkPolicies of a run, and what its Service has in common with them. Pure.

use crate::api::{LABEL_RUN, LABEL_RUN_UID, UpdateRun, label_value};
use farrier_network::policy::{CIDRS_PER_RULE, Input, PolicyType, Rule, rules};
use farrier_network::{IpNet, Transport};
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The run, for users: namespace and name.
const ANNOTATION_RUN: &str = "farrier.dev/run";

/// Digest of the desired spec, so that the object is written only when the spec changes.
const ANNOTATION_DIGEST: &str = "farrier.dev/digest";

/// Maximum number of rules of a policy, so that it stays below the size limit of the API server.
const RULES_PER_POLICY: usize = 10;

/// Builds the metadata of a merge patch. The patch applies to the version that was seen, and to no
/// later one.
pub(super) fn head_of_patch<K: Resource>(seen: &K, wanted: &K) -> Value {
    json!({
        "resourceVersion": seen.resource_version(),
        "labels": wanted.labels(),
        "annotations": wanted.annotations(),
    })
}

/// Builds a merge patch that leaves exactly these labels: all other existing labels are set to
/// null.
pub(super) fn labels_patch(
    seen: Option<&BTreeMap<String, String>>,
    wanted: Option<&BTreeMap<String, String>>,
) -> Map<String, Value> {
    let foreign = seen.into_iter().flatten().map(|(key, _)| (key.clone(), Value::Null));
    foreign.chain(wanted.into_iter().flatten().map(|(key, value)| (key.clone(), json!(value)))).collect()
}

/// What the objects of a run are built from.
pub(super) struct ObjectTemplate<'a> {
    /// The run.
    pub(super) run: &'a UpdateRun,
    /// The operator's namespace.
    pub(super) namespace: &'a str,
    /// Labels of the operator's pods.
    pub(super) selector: &'a BTreeMap<String, String>,
}

impl ObjectTemplate<'_> {
    /// Returns the name of the objects of the run. It is not the run's own name, which may be too
    /// long.
    pub(super) fn name(&self) -> String {
        format!("farrier-{}", self.run.uid().unwrap_or_default())
    }

    pub(super) fn meta(&self, name: String, digest: String) -> ObjectMeta {
        let run = (self.run.namespace().unwrap_or_default(), self.run.name_any());
        let same_namespace = self.namespace == run.0;
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(BTreeMap::from([
                (LABEL_RUN_UID.to_owned(), self.run.uid().unwrap_or_default()),
                (LABEL_RUN.to_owned(), label_value(&run.1)),
                ("app.kubernetes.io/managed-by".to_owned(), "farrier".to_owned()),
            ])),
            annotations: Some(BTreeMap::from([
                (ANNOTATION_RUN.to_owned(), format!("{}/{}", run.0, run.1)),
                (ANNOTATION_DIGEST.to_owned(), digest),
            ])),
            // An owner in another namespace is not allowed; there the sweep deletes the object.
            owner_references: same_namespace
                .then(|| self.run.controller_owner_ref(&()))
                .flatten()
                .map(|owner| vec![owner]),
            ..ObjectMeta::default()
        }
    }

    /// Builds the policies: ingress to the operator's pods for this run, and their egress.
    pub(super) fn policies(&self, input: &Input) -> Vec<NetworkPolicy> {
        let rules = rules(input, CIDRS_PER_RULE);
        let of = |way: PolicyType| rules.iter().filter(|rule| rule.way == way).cloned().collect::<Vec<_>>();
        let out = of(PolicyType::Egress);
        let into = of(PolicyType::Ingress);
        let outs = out.chunks(RULES_PER_POLICY).enumerate().map(|(i, rules)| {
            let egress = rules
                .iter()
                .map(|r| NetworkPolicyEgressRule { ports: Some(ports(r)), to: Some(peers(r)) })
                .collect();
            self.policy(format!("{}-out-{i}", self.name()), "Egress", None, Some(egress))
        });
        let ins = into.chunks(RULES_PER_POLICY).enumerate().map(|(i, rules)| {
            let ingress = rules
                .iter()
                .map(|r| NetworkPolicyIngressRule { ports: Some(ports(r)), from: Some(peers(r)) })
                .collect();
            self.policy(format!("{}-in-{i}", self.name()), "Ingress", Some(ingress), None)
        });
        outs.chain(ins).collect()
    }

    fn policy(
        &self,
        name: String,
        type_: &str,
        ingress: Option<Vec<NetworkPolicyIngressRule>>,
        egress: Option<Vec<NetworkPolicyEgressRule>>,
    ) -> NetworkPolicy {
        let spec = NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(self.selector.clone()),
                match_expressions: None,
            }),
            policy_types: Some(vec![type_.to_owned()]),
            ingress,
            egress,
        };
        let meta = self.meta(name, digest(&spec));
        NetworkPolicy { metadata: meta, spec: Some(spec) }
    }
}

/// Reports whether an object was created from the same desired spec: if it differs all the same,
/// another client has changed it.
pub(super) fn has_same_digest(made: &impl ResourceExt, wanted: &impl ResourceExt) -> bool {
    made.annotations().get(ANNOTATION_DIGEST) == wanted.annotations().get(ANNOTATION_DIGEST)
}

pub(super) fn digest(spec: &impl Serialize) -> String {
    let json = serde_json::to_vec(spec).unwrap_or_default();
    crate::engines::hex(&Sha256::digest(json))
}

fn ports(rule: &Rule) -> Vec<NetworkPolicyPort> {
    let port = |port: &farrier_network::policy::Port| NetworkPolicyPort {
        port: Some(IntOrString::Int(i32::from(port.port))),
        protocol: Some(match port.transport {
            Transport::Tcp => "TCP".to_owned(),
            Transport::Udp => "UDP".to_owned(),
        }),
        end_port: None,
    };
    rule.ports.iter().map(port).collect()
}

fn peers(rule: &Rule) -> Vec<NetworkPolicyPeer> {
    let peer = |cidr: &IpNet| NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr: cidr.to_string(), except: None }),
        ..NetworkPolicyPeer::default()
    };
    rule.cidrs.iter().map(peer).collect()
}
