//! The NetworkPolicies of a run: the desired policies, how the existing ones differ (pure), and
//! their repair.

use super::error::ExposeError;
use super::make::bound_ports;
use super::objects::{has_same_digest, head_of_patch, labels_patch};
use super::{ActiveMachine, Exposer, WayBack};
use crate::api::LABEL_RUN_UID;
use crate::api::UpdateRun;
use crate::membership::{RunnerLocation, Runners};
use farrier_network::policy::{Input, Machine, Stage};
use farrier_network::table::{API_PORT, ListenPorts};
use farrier_network::{Channel, Phase};
use futures::future::join_all;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
use kube::ResourceExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// The change that one policy needs.
#[derive(Debug, PartialEq)]
enum PolicyChange {
    /// The policy exists in its desired state.
    Keep(String),
    /// The policy does not exist.
    Create(NetworkPolicy),
    /// The policy exists, but these fields differ from the desired state.
    Repair { there: Arc<NetworkPolicy>, wanted: NetworkPolicy, fields: Vec<&'static str> },
    /// The policy exists and is no longer wanted.
    Delete(Arc<NetworkPolicy>),
}

/// Computes the changes from the existing policies to the desired ones. Deletions come last: a
/// machine of a surplus policy may still be in use, and may have moved to another policy.
fn changes(there: &[Arc<NetworkPolicy>], wanted: Vec<NetworkPolicy>) -> Vec<PolicyChange> {
    let names: Vec<String> = wanted.iter().map(ResourceExt::name_any).collect();
    let surplus = there.iter().filter(|policy| !names.contains(&policy.name_any()));
    let surplus: Vec<PolicyChange> = surplus.map(|policy| PolicyChange::Delete(policy.clone())).collect();
    let needed = wanted.into_iter().zip(names).map(|(wanted, name)| {
        let Some(there) = there.iter().find(|policy| policy.name_any() == name) else {
            return PolicyChange::Create(wanted);
        };
        let fields = differences(there, &wanted);
        if fields.is_empty() {
            PolicyChange::Keep(name)
        } else {
            PolicyChange::Repair { there: there.clone(), wanted, fields }
        }
    });
    needed.chain(surplus).collect()
}

/// Returns the names of the fields that differ from the desired policy; empty if none does. A rule
/// that another client has added opens a path, and counts as a difference.
fn differences(made: &NetworkPolicy, wanted: &NetworkPolicy) -> Vec<&'static str> {
    let (Some(is), Some(should)) = (&made.spec, &wanted.spec) else { return vec!["spec"] };
    // No rules and an empty list of rules are the same.
    let ingress = is.ingress.iter().flatten().eq(should.ingress.iter().flatten());
    let egress = is.egress.iter().flatten().eq(should.egress.iter().flatten());
    [
        ("podSelector", selected(is) == selected(should)),
        ("policyTypes", is.policy_types == should.policy_types),
        ("ingress", ingress),
        ("egress", egress),
        ("annotations", has_same_digest(made, wanted)),
    ]
    .into_iter()
    .filter_map(|(field, same)| (!same).then_some(field))
    .collect()
}

/// Returns the pods that a policy selects. The API server leaves out empty labels and expressions.
fn selected(spec: &NetworkPolicySpec) -> (BTreeMap<String, String>, Vec<LabelSelectorRequirement>) {
    let selector = spec.pod_selector.clone().unwrap_or_default();
    (selector.match_labels.unwrap_or_default(), selector.match_expressions.unwrap_or_default())
}

/// Builds a merge patch that turns the existing policy into exactly the desired one, if it has not
/// changed since it was seen. The patch names every field of the spec: with server-side apply, a
/// field that another manager set would stay.
fn repair(made: &NetworkPolicy, wanted: &NetworkPolicy) -> Value {
    let spec = wanted.spec.clone().unwrap_or_default();
    let is = made.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref()?.match_labels.as_ref());
    let should = spec.pod_selector.unwrap_or_default();
    json!({
        "metadata": head_of_patch(made, wanted),
        "spec": {
            "podSelector": {"matchLabels": labels_patch(is, should.match_labels.as_ref()), "matchExpressions": should.match_expressions},
            "policyTypes": spec.policy_types,
            "ingress": spec.ingress,
            "egress": spec.egress,
        },
    })
}

impl Exposer {
    /// Creates, repairs and deletes policies until they are the desired ones.
    pub(super) async fn make_policies(
        &self,
        run: &UpdateRun,
        machines: &[ActiveMachine],
        runners: &Runners,
    ) -> Result<(), ExposeError> {
        let Some(template) = self.template(run) else { return Ok(()) };
        let uid = run.uid().unwrap_or_default();
        let Some(there) = self.policies_of(&uid) else { return Ok(()) };
        let input = self.needed(run, machines, runners).await;
        let wanted = template.policies(&input);
        let nothing_to_open = wanted.is_empty();
        for step in changes(&there, wanted) {
            self.take(run, &uid, step).await?;
        }
        let mut all = self.progress();
        let progress = all.entry(uid).or_default();
        progress.nothing_to_open = nothing_to_open;
        let ports = (input.pairs, input.services);
        if progress.ingress_path.as_ref().is_none_or(|(opened, _)| *opened != ports) {
            progress.ingress_path = Some((ports, Instant::now()));
        }
        Ok(())
    }

    /// Returns the existing policies of a run; `None` outside a cluster.
    fn policies_of(&self, uid: &str) -> Option<Vec<Arc<NetworkPolicy>>> {
        let mut policies = self.site.objects.as_ref()?.policies.state();
        policies.retain(|policy| policy.labels().get(LABEL_RUN_UID).is_some_and(|of| of == uid));
        Some(policies)
    }

    /// Returns the machines and peers that the policies have to allow.
    async fn needed(&self, run: &UpdateRun, machines: &[ActiveMachine], runners: &Runners) -> Input {
        let (pairs, services) = bound_ports(run);
        let mut input = Input { pairs, services, ..Input::default() };
        let looked_up = join_all(machines.iter().map(|machine| self.names.of(&machine.node))).await;
        for (ActiveMachine { node, phase, way_back, listen }, mut addresses) in machines.iter().zip(looked_up)
        {
            // A name may resolve to any address, and a policy must not open the cluster's own
            // addresses.
            addresses.retain(|address| self.site.admits(*address));
            input.machines.push(Machine {
                kind: node.spec.type_,
                addresses,
                ssh_port: node.spec.ssh.port,
                api_port: node.spec.port.unwrap_or(API_PORT),
                listen: listen.unwrap_or(ListenPorts::USUAL),
                channel: match way_back {
                    Some(WayBack::Engine) => Channel::Callback,
                    None if listen.is_some() => Channel::Listen,
                    Some(WayBack::Fetch(_)) | None => Channel::Session,
                },
                fetches: match way_back {
                    Some(WayBack::Fetch(scheme)) => Some(*scheme),
                    Some(WayBack::Engine) | None => None,
                },
                stage: Stage::In(match way_back {
                    // An image is fetched in deployment, whatever the step is that the status shows.
                    Some(WayBack::Fetch(_)) => Phase::Deployment,
                    Some(WayBack::Engine) | None => *phase,
                }),
            });
        }
        input.peers = runners.values().flat_map(|info| pod_ips(&info.location)).collect();
        input
    }

    async fn take(&self, run: &UpdateRun, uid: &str, step: PolicyChange) -> Result<(), ExposeError> {
        let (name, touched) = match step {
            PolicyChange::Keep(name) => {
                self.mark_seen(uid, &name);
                return Ok(());
            }
            PolicyChange::Delete(policy) => {
                self.delete_object(&*policy).await.map_err(ExposeError::Server)?;
                (policy.name_any(), None)
            }
            PolicyChange::Create(wanted) => {
                let name = wanted.name_any();
                self.apply(&wanted).await?;
                let deleted = self.was_seen(uid, &name);
                (name, deleted.then(|| "deleted by somebody".to_owned()))
            }
            PolicyChange::Repair { there, wanted, fields } => {
                let (name, theirs) = (there.name_any(), has_same_digest(&*there, &wanted));
                if theirs {
                    self.may_repair(uid, "NetworkPolicy", &name, &fields)?;
                }
                self.write_policy(&there, &repair(&there, &wanted)).await?;
                (name, theirs.then(|| format!("changed by somebody ({})", fields.join(", "))))
            }
        };
        // Recorded only after the write: if the write fails, the change is reported with the next
        // successful one.
        self.forget_seen(uid, &name);
        if let Some(touched) = touched {
            self.announce(run, &format!("NetworkPolicy {}/{name} was {touched}", self.site.namespace)).await;
        }
        Ok(())
    }
}

fn pod_ips(location: &RunnerLocation) -> Vec<IpAddr> {
    match location {
        RunnerLocation::Pod { pod_ips, .. } => pod_ips.clone(),
        RunnerLocation::Host { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
