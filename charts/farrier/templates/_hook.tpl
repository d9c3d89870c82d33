{{/* The spec of a Job that runs one command of the image, once. */}}
{{- define "farrier.hookJob" -}}
backoffLimit: 0
activeDeadlineSeconds: 150
template:
  metadata:
    labels: {{- include "farrier.labels" .root | nindent 6 }}
      app.kubernetes.io/component: hook
  spec:
    serviceAccountName: {{ .account }}
    restartPolicy: Never
    enableServiceLinks: false
    securityContext: {{- include "farrier.podSecurity" .root | nindent 6 }}
    {{- with .root.Values.image.pullSecrets }}
    imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
    {{- end }}
    {{- with .root.Values.nodeSelector }}
    nodeSelector: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .root.Values.tolerations }}
    tolerations: {{- toYaml . | nindent 6 }}
    {{- end }}
    containers:
    - name: hook
      image: {{ include "farrier.image" .root | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: {{ toJson .args }}
      securityContext: {{- include "farrier.containerSecurity" .root | nindent 8 }}
      env:
      - name: FARRIER_POD_NAMESPACE
        valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
      - name: FARRIER_DEPLOYMENT
        value: {{ include "farrier.name" .root }}
      {{- with .root.Values.watchNamespaces }}
      - name: FARRIER_NAMESPACE
        value: {{ join "," . | quote }}
      {{- end }}
      resources:
        requests: {cpu: 10m, memory: 32Mi}
        limits: {memory: 256Mi}
{{- end }}
