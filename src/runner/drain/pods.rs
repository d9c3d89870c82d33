//! The pods of a Node, as far as a drain has to do with them.

use farrier_update::Millis;
use farrier_update::drain::{Pod, PodKind};
use k8s_openapi::api::core::v1::Pod as KubePod;
use kube::ResourceExt;

/// The annotation of the mirror of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Returns a pod as the decision needs it. `refused_at`: when its eviction was refused last.
pub(super) fn facts(pod: &KubePod, refused_at: Option<Millis>) -> Pod {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    Pod {
        kind: kind(pod),
        is_finished: matches!(phase, Some("Succeeded" | "Failed")),
        is_leaving: pod.metadata.deletion_timestamp.is_some(),
        has_local_data: volumes.into_iter().any(|volume| volume.empty_dir.is_some()),
        refused_at,
    }
}

fn kind(pod: &KubePod) -> PodKind {
    if pod.annotations().contains_key(MIRROR) {
        return PodKind::Mirror;
    }
    match pod.owner_references().iter().find(|owner| owner.controller == Some(true)) {
        Some(owner) if owner.kind == "DaemonSet" => PodKind::OfDaemonSet,
        Some(_) => PodKind::Replaced,
        None => PodKind::Alone,
    }
}

/// Returns namespace and name of a pod.
pub(super) fn name(pod: &KubePod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(metadata: &Value, spec: &Value, phase: &str) -> Pod {
        let pod = json!({"metadata": metadata, "spec": spec, "status": {"phase": phase}});
        facts(&serde_json::from_value(pod).unwrap(), None)
    }

    fn owned(kind: &str) -> Value {
        json!({"name": "p", "ownerReferences":
            [{"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "u", "controller": true}]})
    }

    /// A drain would wait for the pods of `DaemonSets` for ever, or throw away data and pods that nothing makes again.
    #[test]
    fn pods_are_told_apart_as_kubectl_drain_does() {
        let empty = json!({"containers": []});
        assert_eq!(read(&owned("ReplicaSet"), &empty, "Running").kind, PodKind::Replaced);
        assert_eq!(read(&owned("DaemonSet"), &empty, "Running").kind, PodKind::OfDaemonSet);
        assert_eq!(read(&json!({"name": "p"}), &empty, "Running").kind, PodKind::Alone);
        let mirror = json!({"name": "p", "annotations": {MIRROR: "x"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true}]});
        assert_eq!(read(&mirror, &empty, "Running").kind, PodKind::Mirror);
        assert!(read(&json!({"name": "p"}), &empty, "Succeeded").is_finished);
        let leaving = json!({"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert!(read(&leaving, &empty, "Running").is_leaving);
        let scratch = json!({"containers": [], "volumes": [{"name": "a", "emptyDir": {}}]});
        assert!(read(&owned("ReplicaSet"), &scratch, "Running").has_local_data);
        let config = json!({"containers": [], "volumes": [{"name": "a", "configMap": {"name": "c"}}]});
        assert!(!read(&owned("ReplicaSet"), &config, "Running").has_local_data);
    }
}
