//! A Service that another client has changed.

use super::*;
use crate::exposure::fixtures::{run, selector};
use std::collections::BTreeMap;

const PAIR: ServicePorts = ServicePorts { pair: Pair { http: 63001, https: 63002 }, sftp: None };
const NODES: ServicePorts = ServicePorts { pair: Pair { http: 30101, https: 30102 }, sftp: None };

fn wanted(exposure: Exposure, nodes: Option<ServicePorts>) -> Service {
    wanted_for(PAIR, exposure, nodes)
}

fn wanted_for(ports: ServicePorts, exposure: Exposure, nodes: Option<ServicePorts>) -> Service {
    let (run, selector) = (run(), selector());
    let template = ObjectTemplate { run: &run, namespace: "operators", selector: &selector };
    template.service(exposure, ports, nodes).unwrap()
}

/// The Service as the API server returns it: with defaults, addresses and node ports.
fn made() -> Service {
    let mut service = wanted(Exposure::NodePort, Some(NODES));
    let spec = service.spec.as_mut().unwrap();
    spec.cluster_ip = Some("10.96.7.7".to_owned());
    spec.ip_families = Some(vec!["IPv4".to_owned()]);
    spec.session_affinity = Some("None".to_owned());
    spec.internal_traffic_policy = Some("Cluster".to_owned());
    service.metadata.resource_version = Some("7".to_owned());
    service.metadata.annotations.as_mut().unwrap().insert("cloud/balancer".to_owned(), "x".to_owned());
    service
}

fn changed(change: impl FnOnce(&mut ServiceSpec)) -> Service {
    let mut service = made();
    change(service.spec.as_mut().unwrap());
    service
}

/// Otherwise the operator and the API server, or a cloud's controller, would overwrite each other's
/// changes for ever.
#[test]
fn fields_that_the_cluster_adds_are_no_difference() {
    assert_eq!(differences(&made(), &wanted(Exposure::NodePort, None)), [""; 0]);
    assert_eq!(differences(&made(), &wanted(Exposure::NodePort, Some(NODES))), [""; 0]);
}

/// If this fails, machines reach another pod, or none, and nothing reports it.
#[test]
fn a_foreign_change_is_named_and_repaired() {
    let port = |spec: &mut ServiceSpec| spec.ports.as_mut().unwrap()[1].clone();
    let cases: [(&str, Service); 9] = [
        ("type", changed(|s| s.type_ = Some("ClusterIP".to_owned()))),
        ("externalTrafficPolicy", changed(|s| s.external_traffic_policy = Some("Cluster".to_owned()))),
        ("ipFamilyPolicy", changed(|s| s.ip_family_policy = Some("SingleStack".to_owned()))),
        ("selector", changed(|s| s.selector = Some(BTreeMap::from([("app".to_owned(), "x".to_owned())])))),
        (
            "selector",
            changed(|s| {
                s.selector.as_mut().unwrap().insert("and".to_owned(), "x".to_owned());
            }),
        ),
        ("ports", changed(|s| s.ports.as_mut().unwrap()[1].port = 9999)),
        ("ports", changed(|s| s.ports.as_mut().unwrap()[1].target_port = Some(IntOrString::Int(22)))),
        ("ports", changed(|s| s.ports.as_mut().unwrap()[1].node_port = Some(31000))),
        (
            "ports",
            changed(|s| {
                let more = ServicePort { name: Some("more".to_owned()), port: 22, ..port(s) };
                s.ports.as_mut().unwrap().push(more);
            }),
        ),
    ];
    let wanted = wanted(Exposure::NodePort, Some(NODES));
    for (field, service) in cases {
        assert_eq!(differences(&service, &wanted), [field]);
        let mut object = serde_json::to_value(&service).unwrap();
        json_patch::merge(&mut object, &repair(&service, &wanted));
        let repaired: Service = serde_json::from_value(object).unwrap();
        assert_eq!(repaired, made(), "{field}");
    }
}

/// A patch computed from an outdated version would undo changes that were made since.
#[test]
fn a_patch_names_the_version_that_it_was_computed_from() {
    assert_eq!(repair(&made(), &wanted(Exposure::NodePort, None))["metadata"]["resourceVersion"], "7");
}

/// If the run was given other pod ports, that is our own change, and is recognised as one.
#[test]
fn a_service_of_another_desired_spec_is_written_again() {
    let mut old = made();
    let annotations = old.metadata.annotations.as_mut().unwrap();
    annotations.insert("farrier.dev/digest".to_owned(), "old".to_owned());
    assert_eq!(differences(&old, &wanted(Exposure::NodePort, None)), ["annotations"]);
}

#[test]
fn machines_connect_to_the_port_of_the_node_or_of_the_load_balancer() {
    assert_eq!(outer_ports(&made(), Exposure::NodePort), Some(NODES));
    assert_eq!(outer_ports(&made(), Exposure::LoadBalancer), Some(PAIR));
    assert_eq!(outer_ports(&wanted(Exposure::NodePort, None), Exposure::NodePort), None);
}

/// Otherwise machines that fetch by SFTP reach nothing behind a Service, or the port stays open when they are done.
#[test]
fn the_port_of_sftp_is_added_and_removed_and_node_ports_stay() {
    let with = ServicePorts { sftp: Some(2222), ..PAIR };
    let nodes = ServicePorts { sftp: Some(30103), ..NODES };
    let wanted_with = wanted_for(with, Exposure::NodePort, Some(NODES));
    assert_eq!(differences(&made(), &wanted_with), ["ports", "annotations"]);
    let mut object = serde_json::to_value(made()).unwrap();
    json_patch::merge(&mut object, &repair(&made(), &wanted_with));
    let mut changed: Service = serde_json::from_value(object).unwrap();
    // As the API server does.
    changed.spec.as_mut().unwrap().ports.as_mut().unwrap()[2].node_port = Some(30103);
    assert_eq!(outer_ports(&changed, Exposure::NodePort), Some(nodes));
    assert_eq!(outer_ports(&changed, Exposure::LoadBalancer), Some(with));
    assert_eq!(differences(&changed, &wanted_for(with, Exposure::NodePort, Some(nodes))), [""; 0]);
    assert_eq!(differences(&changed, &wanted(Exposure::NodePort, Some(NODES))), ["ports", "annotations"]);
}

/// Switches look for SFTP at port 22 and nowhere else, and no pod of ours can listen there.
#[test]
fn a_balancer_has_the_port_that_the_run_names() {
    let (mut run, selector) = (run(), selector());
    let mut sftp_of = |named: u16, exposure| {
        run.spec.callback.sftp_port = Some(named);
        let template = ObjectTemplate { run: &run, namespace: "operators", selector: &selector };
        let service = template.service(exposure, ServicePorts { sftp: Some(63022), ..PAIR }, None).unwrap();
        let port = service.spec.unwrap().ports.unwrap().remove(2);
        (port.port, port.target_port)
    };
    let inner = Some(IntOrString::Int(63022));
    assert_eq!(sftp_of(22, Exposure::LoadBalancer), (22, inner.clone()));
    assert_eq!(sftp_of(22, Exposure::NodePort), (63022, inner.clone()));
    assert_eq!(sftp_of(63002, Exposure::LoadBalancer), (63022, inner), "the pair has that port");
}
