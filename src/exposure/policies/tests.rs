//! Policies that another client has changed.

use super::*;
use crate::exposure::fixtures::{run, selector};
use crate::exposure::objects::ObjectTemplate;
use k8s_openapi::api::networking::v1::{NetworkPolicyEgressRule, NetworkPolicyIngressRule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// An egress policy as it was created.
fn wanted() -> NetworkPolicy {
    let (run, selector) = (run(), selector());
    let template = ObjectTemplate { run: &run, namespace: "operators", selector: &selector };
    let input = Input {
        machines: vec![Machine {
            kind: farrier_network::MachineType::Linux,
            addresses: vec![[192, 0, 2, 7].into()],
            ssh_port: 22,
            api_port: 443,
            listen: ListenPorts::USUAL,
            channel: Channel::Session,
            fetches: None,
            stage: Stage::In(farrier_network::Phase::Inventory),
        }],
        ..Input::default()
    };
    template.policies(&input).remove(0)
}

/// The policy as the API server returns it.
fn made() -> NetworkPolicy {
    let mut policy = wanted();
    policy.metadata.resource_version = Some("7".to_owned());
    policy
}

fn changed(change: impl FnOnce(&mut NetworkPolicySpec)) -> NetworkPolicy {
    let mut policy = made();
    change(policy.spec.as_mut().unwrap());
    policy
}

/// Every change by which another client may open more, or something else.
fn touched() -> [(&'static str, NetworkPolicy); 7] {
    let requirement =
        LabelSelectorRequirement { key: "x".to_owned(), operator: "Exists".to_owned(), values: None };
    [
        ("egress", changed(|s| s.egress.as_mut().unwrap().push(NetworkPolicyEgressRule::default()))),
        ("egress", changed(|s| s.egress = None)),
        ("ingress", changed(|s| s.ingress = Some(vec![NetworkPolicyIngressRule::default()]))),
        ("policyTypes", changed(|s| s.policy_types.as_mut().unwrap().push("Ingress".to_owned()))),
        (
            "podSelector",
            changed(|s| {
                let labels = s.pod_selector.as_mut().unwrap().match_labels.as_mut().unwrap();
                labels.insert("and".to_owned(), "x".to_owned());
            }),
        ),
        (
            "podSelector",
            changed(|s| s.pod_selector.as_mut().unwrap().match_expressions = Some(vec![requirement])),
        ),
        ("podSelector", changed(|s| s.pod_selector = None)),
    ]
}

/// Otherwise a foreign rule could open a path to or from the operator's pods.
#[test]
fn a_foreign_change_is_named_and_completely_undone() {
    for (field, policy) in touched() {
        assert_eq!(differences(&policy, &wanted()), [field]);
        let mut object = serde_json::to_value(&policy).unwrap();
        json_patch::merge(&mut object, &repair(&policy, &wanted()));
        let repaired: NetworkPolicy = serde_json::from_value(object).unwrap();
        assert_eq!(repaired, made(), "{field}");
    }
}

/// Otherwise the operator would write the policy and publish an event with every reconciliation.
#[test]
fn a_policy_as_it_was_made_is_left_alone() {
    assert_eq!(differences(&made(), &wanted()), [""; 0]);
    assert_eq!(differences(&changed(|s| s.ingress = Some(Vec::new())), &wanted()), [""; 0]);
    // An operator that was not configured with the labels of its pods selects all pods of its namespace.
    let none = |labels| LabelSelector { match_labels: labels, match_expressions: None };
    let mut all = wanted();
    all.spec.as_mut().unwrap().pod_selector = Some(none(Some(BTreeMap::new())));
    assert_eq!(differences(&changed(|s| s.pod_selector = Some(none(None))), &all), [""; 0]);
}

/// A stale cache must not cause a second repair and a second event.
#[test]
fn a_patch_names_the_version_that_it_was_computed_from() {
    assert_eq!(repair(&made(), &wanted())["metadata"]["resourceVersion"], "7");
}

#[test]
fn each_policy_is_kept_created_repaired_or_deleted() {
    let named = |name: &str, mut policy: NetworkPolicy| {
        policy.metadata.name = Some(name.to_owned());
        policy
    };
    let broken = Arc::new(named("b", changed(|s| s.egress = None)));
    let surplus = Arc::new(named("z", made()));
    let there = [surplus.clone(), Arc::new(named("a", made())), broken.clone()];
    let wanted = ["a", "b", "c"].map(|name| named(name, wanted()));
    let [_, b, c] = wanted.clone();
    assert_eq!(
        changes(&there, wanted.to_vec()),
        [
            PolicyChange::Keep("a".to_owned()),
            PolicyChange::Repair { there: broken, wanted: b, fields: vec!["egress"] },
            PolicyChange::Create(c),
            PolicyChange::Delete(surplus),
        ]
    );
}
