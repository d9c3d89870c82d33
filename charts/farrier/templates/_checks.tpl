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
{{- if and $v.serviceMonitor.enabled $v.networkPolicy.enabled (not $v.networkPolicy.metricsFrom) -}}
{{- fail "serviceMonitor.enabled: nobody may read the metrics, because networkPolicy.metricsFrom is empty; name Prometheus' namespace there" -}}
{{- end -}}
{{- end }}
