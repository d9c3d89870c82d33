{{/*
What belongs to the cluster: what was set, or what the cluster says. It is only asked where all
namespaces are watched: who may not have more than some need not be allowed to read nodes.
*/}}

{{- define "farrier.podRanges" -}}
{{- $ranges := .Values.clusterRanges.pods -}}
{{- if not (or $ranges .Values.watchNamespaces) -}}
{{- range (lookup "v1" "Node" "" "").items -}}
{{- $ranges = concat $ranges (dig "spec" "podCIDRs" list .) -}}
{{- end -}}
{{- $ranges = $ranges | uniq | sortAlpha -}}
{{- end -}}
{{- join "," $ranges -}}
{{- end }}

{{- define "farrier.serviceRanges" -}}
{{- $ranges := .Values.clusterRanges.services -}}
{{- if not (or $ranges .Values.watchNamespaces) -}}
{{- if .Capabilities.APIVersions.Has "networking.k8s.io/v1/ServiceCIDR" -}}
{{- range (lookup "networking.k8s.io/v1" "ServiceCIDR" "" "").items -}}
{{- $ranges = concat $ranges (dig "spec" "cidrs" list .) -}}
{{- end -}}
{{- end -}}
{{- $ranges = $ranges | uniq | sortAlpha -}}
{{- end -}}
{{- join "," $ranges -}}
{{- end }}
