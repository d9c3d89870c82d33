{{/* What the schema cannot say: values that contradict each other, or the cluster. */}}
{{- define "farrier.checks" -}}
{{- $v := .Values -}}
{{- if $v.hostPorts.enabled -}}
{{- $last := sub (add $v.hostPorts.first $v.hostPorts.count) 1 | int -}}
{{- if gt $last 65535 -}}
{{- fail (printf "hostPorts: a block of %d ports from %d on ends at %d, after the last port, 65535; choose a lower hostPorts.first or hostPorts.count" (int $v.hostPorts.count) (int $v.hostPorts.first) $last) -}}
{{- end -}}
{{- if and (ge (int $v.http.port) (int $v.hostPorts.first)) (le (int $v.http.port) $last) -}}
{{- fail (printf "http.port: %d is one of the ports of hostPorts (%d to %d); choose another one" (int $v.http.port) (int $v.hostPorts.first) $last) -}}
{{- end -}}
{{- $namespace := lookup "v1" "Namespace" "" .Release.Namespace -}}
{{- if $namespace -}}
{{- $level := dig "metadata" "labels" "pod-security.kubernetes.io/enforce" "" $namespace -}}
{{- if has $level (list "baseline" "restricted") -}}
{{- fail (printf "hostPorts.enabled: the namespace %s enforces the pod security standard %q, which forbids host ports. Either set hostPorts.enabled=false (runs then use callback.exposure NodePort or LoadBalancer), or: kubectl label namespace %s pod-security.kubernetes.io/enforce=privileged --overwrite" .Release.Namespace $level .Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if has .Release.Namespace (list "kube-system" "kube-public" "kube-node-lease") -}}
{{- fail (printf "the namespace %s belongs to the cluster: its policies would concern the operator; install into another one with --namespace" .Release.Namespace) -}}
{{- end -}}
{{- include "farrier.others" . -}}
{{- if and $v.serviceMonitor.enabled $v.networkPolicy.enabled (not $v.networkPolicy.metricsFrom) -}}
{{- fail "serviceMonitor.enabled: nobody may read the metrics, because networkPolicy.metricsFrom is empty; name Prometheus' namespace there" -}}
{{- end -}}
{{- end }}

{{/*
Other releases in this cluster. In one namespace they would share the Lease of the leader, and over one
namespace two would decide about the same runs. What a namespace's administrator may not see, a ClusterRole
above all, is not asked for.
*/}}
{{- define "farrier.others" -}}
{{- range (lookup "apps/v1" "Deployment" .Release.Namespace "").items -}}
{{- $labels := .metadata.labels | default dict -}}
{{- $instance := get $labels "app.kubernetes.io/instance" -}}
{{- if and (eq (get $labels "app.kubernetes.io/name") "farrier") (eq (get $labels "app.kubernetes.io/component") "operator") (ne $instance $.Release.Name) -}}
{{- fail (printf "the namespace %s has the release %s of Farrier, and both would share one leader; install into another namespace, or upgrade that release" $.Release.Namespace $instance) -}}
{{- end -}}
{{- end -}}
{{- $roles := list -}}
{{- if .Values.watchNamespaces -}}
{{- /* Without a cluster, nothing is found. */ -}}
{{- $live := lookup "v1" "Namespace" "" .Release.Namespace -}}
{{- range .Values.watchNamespaces -}}
{{- if and $live (not (lookup "v1" "Namespace" "" .)) -}}
{{- fail (printf "watchNamespaces: there is no namespace %s; kubectl create namespace %s" . .) -}}
{{- end -}}
{{- $roles = concat $roles ((lookup "rbac.authorization.k8s.io/v1" "Role" . "").items | default list) -}}
{{- end -}}
{{- else -}}
{{- $roles = concat ((lookup "rbac.authorization.k8s.io/v1" "Role" "" "").items | default list) ((lookup "rbac.authorization.k8s.io/v1" "ClusterRole" "" "").items | default list) -}}
{{- end -}}
{{- range $roles -}}
{{- $labels := .metadata.labels | default dict -}}
{{- $watches := or (not .metadata.namespace) (hasSuffix "-watched" .metadata.name) -}}
{{- if and $watches (eq (get $labels "app.kubernetes.io/name") "farrier") (not (hasSuffix "-after-uninstall" .metadata.name)) -}}
{{- $annotations := .metadata.annotations | default dict -}}
{{- $name := get $annotations "meta.helm.sh/release-name" -}}
{{- $namespace := get $annotations "meta.helm.sh/release-namespace" -}}
{{- if and $name (or (ne $name $.Release.Name) (ne $namespace $.Release.Namespace)) -}}
{{- $where := ternary (printf "the namespace %s" .metadata.namespace) "all namespaces" (not (empty .metadata.namespace)) -}}
{{- fail (printf "watchNamespaces: %s is watched by the release %s in the namespace %s already, and two operators would decide about the same runs; give each release namespaces of its own" $where $name $namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
