{{/* What the operator may do in the namespaces that it watches, each with its reason. */}}
{{- define "farrier.watchedRules" -}}
# One watch per kind fills its caches.
- apiGroups: [farrier.dev]
  resources: [managednodes, baselines, updateruns, nodeupdates]
  verbs: [list, watch]
# Read uncached before a write that must not be decided on old news.
- apiGroups: [farrier.dev]
  resources: [updateruns, nodeupdates]
  verbs: [get]
# Its own finalizer on a run.
- apiGroups: [farrier.dev]
  resources: [updateruns]
  verbs: [patch]
# Runs that take scheduled inventories (spec.inventory of ManagedNodes). It makes no others.
- apiGroups: [farrier.dev]
  resources: [updateruns]
  verbs: [create]
# A run goes by itself when spec.ttlAfterFinished is over.
- apiGroups: [farrier.dev]
  resources: [updateruns]
  verbs: [delete]
# Children of a run carry an ownerReference that blocks its deletion; some clusters ask for this.
- apiGroups: [farrier.dev]
  resources: [updateruns/finalizers]
  verbs: [update]
# One NodeUpdate for each machine of a run: made, told what to do, and taken away if the run is
# deleted before it has begun.
- apiGroups: [farrier.dev]
  resources: [nodeupdates]
  verbs: [create, patch, delete]
# What was found on a machine, by server-side apply, which creates as well.
- apiGroups: [farrier.dev]
  resources: [nodeinventories]
  verbs: [create, patch]
# Conditions, counts, outcomes. The spec of what users write is never written.
- apiGroups: [farrier.dev]
  resources: [managednodes/status, baselines/status, updateruns/status, nodeupdates/status, nodeinventories/status]
  verbs: [patch]
# Users read the logs of machines by LogRequests, which are found by their label and removed when their
# users have left them.
- apiGroups: [farrier.dev]
  resources: [logrequests]
  verbs: [get, list, watch, delete]
# The lines of a log, for the user who asked.
- apiGroups: [farrier.dev]
  resources: [logrequests/status]
  verbs: [patch]
# The Lease of a machine while it is worked on, so that other tools leave it alone. Its name follows
# from the machine's, so that a rule cannot name it.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, update, delete]
# Credentials of machines and of payloads, each by the name that a spec refers to; never listed.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
# Certificates to trust, which are not secret: the ConfigMap that payload.tls.caRef refers to.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
# The certificates and the unguessable path of a run's call-backs, in a Secret beside the run, made
# and taken away with it. Its name is not known before, so that a rule cannot name it.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, delete]
# What happened, beside the object that it happened to.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.drain.jobs }}
# The template of a Job that drains a machine.
- apiGroups: [batch]
  resources: [cronjobs]
  verbs: [get]
# That Job, which goes with the NodeUpdate.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, create, delete]
{{- end }}
{{- end }}

{{/* What it may do to drain Nodes, which belong to no namespace, and whose pods may be in any. */}}
{{- define "farrier.drainRules" -}}
# Cordoned and uncordoned, with an annotation that says by whom.
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, patch]
# What is on a Node.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
# Pods leave as their budgets allow; they are never deleted.
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
{{- end }}

{{/* What it may do in its own namespace, where its pods are. */}}
{{- define "farrier.ownRules" -}}
# Who leads, and which runners live.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, create, update, delete]
# How machines reach the pods for the time of a run: exposure NodePort or LoadBalancer.
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch, create, patch, delete]
# Who may come in to the pods, and where they may connect, for the time of a run.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch, delete]
{{- end }}
