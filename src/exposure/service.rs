//! The Service of a run: the desired Service, how an existing one differs, and the patch that
//! repairs it. Pure.

use super::objects::{ObjectTemplate, digest, has_same_digest, head_of_patch, labels_patch};
use crate::api::update_run::Exposure;
use farrier_network::ledger::Pair;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

/// Names of the ports that devices and engines connect to.
const NAMES: [&str; 2] = ["http", "https"];

/// Name of the port for SFTP and SCP.
const SFTP: &str = "sftp";

/// The ports of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServicePorts {
    /// Those that every run has.
    pub(super) pair: Pair,
    /// That of the SFTP service, while it is open. FTP is not behind a Service.
    pub(super) sftp: Option<u16>,
}

impl ObjectTemplate<'_> {
    /// Builds the Service, for exposures that have one. `nodes` are the node ports that machines
    /// were given before, which the Service keeps.
    pub(super) fn service(
        &self,
        exposure: Exposure,
        ports: ServicePorts,
        nodes: Option<ServicePorts>,
    ) -> Option<Service> {
        let type_ = match exposure {
            Exposure::HostPort => return None,
            Exposure::NodePort => "NodePort",
            Exposure::LoadBalancer => "LoadBalancer",
        };
        let port = |name: &str, number: u16| ServicePort {
            name: Some(name.to_owned()),
            port: i32::from(number),
            target_port: Some(IntOrString::Int(i32::from(number))),
            protocol: Some("TCP".to_owned()),
            ..ServicePort::default()
        };
        let ServicePorts { pair, sftp } = ports;
        let mut listed = vec![port(NAMES[0], pair.http), port(NAMES[1], pair.https)];
        // A balancer has the port that the run names: some machines look for the service at no other one.
        let named = self.run.spec.callback.sftp_port.filter(|_| exposure == Exposure::LoadBalancer);
        let named = named.filter(|port| ![pair.http, pair.https].contains(port)).map(i32::from);
        listed.extend(sftp.map(|number| {
            let inner = port(SFTP, number);
            ServicePort { port: named.unwrap_or(inner.port), ..inner }
        }));
        let mut spec = ServiceSpec {
            type_: Some(type_.to_owned()),
            selector: Some(self.selector.clone()),
            // The machine's own address must stay visible: policies and the admission check it.
            external_traffic_policy: Some("Local".to_owned()),
            ip_family_policy: Some("PreferDualStack".to_owned()),
            ports: Some(listed),
            ..ServiceSpec::default()
        };
        let meta = self.meta(self.name(), digest(&spec));
        if let (Some(nodes), Some(ports)) = (nodes, &mut spec.ports) {
            let nodes = [Some(nodes.pair.http), Some(nodes.pair.https), nodes.sftp];
            for (port, node) in ports.iter_mut().zip(nodes) {
                port.node_port = node.map(i32::from);
            }
        }
        Some(Service { metadata: meta, spec: Some(spec), ..Service::default() })
    }
}

/// Returns the names of the fields that differ from the desired Service; empty if none does. Fields
/// that the API server and load balancers add are ignored.
pub(super) fn differences(made: &Service, wanted: &Service) -> Vec<&'static str> {
    let (Some(is), Some(should)) = (&made.spec, &wanted.spec) else { return vec!["spec"] };
    let mut found = Vec::new();
    let mut note = |differs: bool, field| {
        if differs {
            found.push(field);
        }
    };
    note(is.type_ != should.type_, "type");
    note(is.selector != should.selector, "selector");
    note(is.external_traffic_policy != should.external_traffic_policy, "externalTrafficPolicy");
    // A single-family cluster keeps this field, and assigns the family that it has.
    note(is.ip_family_policy != should.ip_family_policy, "ipFamilyPolicy");
    note(!are_same_ports(is, should), "ports");
    note(!has_same_digest(made, wanted), "annotations");
    found
}

fn are_same_ports(is: &ServiceSpec, should: &ServiceSpec) -> bool {
    let (is, should) = (is.ports.as_deref().unwrap_or_default(), should.ports.as_deref().unwrap_or_default());
    is.len() == should.len()
        && is.iter().zip(should).all(|(is, should)| {
            let node_port = should.node_port.is_none() || is.node_port == should.node_port;
            let given = ServicePort { node_port: None, ..is.clone() };
            node_port && given == ServicePort { node_port: None, ..should.clone() }
        })
}

/// Builds a merge patch that repairs the existing Service, if it has not changed since it was seen.
/// Such a patch replaces lists, and with them foreign ports; fields that it does not name stay.
/// Node ports that it does not name stay with the names of their ports.
pub(super) fn repair(made: &Service, wanted: &Service) -> Value {
    let spec = wanted.spec.clone().unwrap_or_default();
    let seen = made.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    json!({
        "metadata": head_of_patch(made, wanted),
        "spec": {
            "type": spec.type_,
            "selector": labels_patch(seen, spec.selector.as_ref()),
            "externalTrafficPolicy": spec.external_traffic_policy,
            "externalName": null,
            "ipFamilyPolicy": spec.ip_family_policy,
            "ports": spec.ports,
        },
    })
}

/// Returns the ports of a Service that clients outside the cluster connect to.
pub(super) fn outer_ports(service: &Service, exposure: Exposure) -> Option<ServicePorts> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    let outer = |name: &str| {
        let port = ports.iter().find(|port| port.name.as_deref() == Some(name))?;
        let number = if exposure == Exposure::NodePort { port.node_port? } else { port.port };
        u16::try_from(number).ok()
    };
    let [http, https] = NAMES.map(outer);
    Some(ServicePorts { pair: Pair { http: http?, https: https? }, sftp: outer(SFTP) })
}

#[cfg(test)]
mod tests;
