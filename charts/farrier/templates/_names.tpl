{{/* What things are called, and how they are found again. */}}

{{- define "farrier.name" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $name = ternary .Release.Name (printf "%s-farrier" .Release.Name) (contains "farrier" .Release.Name) -}}
{{- end -}}
{{- trunc 40 $name | trimSuffix "-" -}}
{{- end }}

{{- define "farrier.selector" -}}
app.kubernetes.io/name: farrier
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "farrier.labels" -}}
app.kubernetes.io/name: farrier
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "farrier.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "farrier.name" .) -}}
{{- end }}

{{- define "farrier.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The first and the last of the host ports. */}}
{{- define "farrier.hostPorts" -}}
{{- untilStep (int .Values.hostPorts.first) (int (add .Values.hostPorts.first .Values.hostPorts.count)) 1 | toJson -}}
{{- end }}

{{/* What every pod of the chart is held to: the restricted pod security standard. */}}
{{- define "farrier.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "farrier.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* One word is the level of what is ours; libraries stay quiet, and the client's own words repeat ours. */}}
{{- define "farrier.log" -}}
{{- if has . (list "error" "warn" "info" "debug" "trace") -}}
{{ printf "warn,farrier=%s,kube_client=off" . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end }}

{{/* Where the API server is: what was set, what the cluster says, or the usual ports anywhere. */}}
{{- define "farrier.apiServer" -}}
{{- $set := .Values.networkPolicy.apiServer -}}
{{- $rules := list -}}
{{- if $set.cidrs -}}
{{- $rules = list (dict "cidrs" $set.cidrs "ports" (list (int $set.port))) -}}
{{- else -}}
{{- range (lookup "discovery.k8s.io/v1" "EndpointSlice" "default" "").items -}}
{{- if eq (dig "metadata" "labels" "kubernetes.io/service-name" "" .) "kubernetes" -}}
{{- $cidrs := list -}}
{{- range .endpoints -}}
{{- range .addresses -}}
{{- $cidrs = append $cidrs (printf "%s/%s" . (ternary "128" "32" (contains ":" .))) -}}
{{- end -}}
{{- end -}}
{{- $ports := list -}}
{{- range .ports -}}
{{- $ports = append $ports (int .port) -}}
{{- end -}}
{{- if and $cidrs $ports -}}
{{- $rules = append $rules (dict "cidrs" $cidrs "ports" $ports) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $rules -}}
{{- $rules = list (dict "cidrs" (list "0.0.0.0/0" "::/0") "ports" (list 443 6443)) -}}
{{- end -}}
{{- end -}}
{{- $rules | toJson -}}
{{- end }}
