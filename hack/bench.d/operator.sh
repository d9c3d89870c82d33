# shellcheck shell=bash
# An operator at work in a fresh cluster, with machines that a lab has made. Source it, with
# `work` set to a folder that goes away.
work=${work:-}

# operator_start: definitions, namespace, secret, operator; sets OPERATOR to its process id.
operator_start() {
  "$FARRIER" crd | kubectl apply --server-side -f - >/dev/null
  kubectl wait --for=condition=Established --timeout=30s crd --all >/dev/null
  kubectl create namespace fleet >/dev/null
  kubectl create secret generic root -n fleet --from-literal=username=root \
    --from-file=ssh-privatekey="$LAB_IMAGE/keys/id_ed25519" >/dev/null
  operator_run
}

# operator_run: the operator alone; sets OPERATOR.
operator_run() {
  : >"$work/operator.log"
  # MALLOC_ARENA_MAX as in the image (hack/image.d/oci.py).
  RUST_LOG=${RUST_LOG:-info} MALLOC_ARENA_MAX=${MALLOC_ARENA_MAX:-1} "$FARRIER" operator --engines "$FARRIER_ENGINES" --payload-dir "${BENCH_PAYLOADS:-$LAB_IMAGE/payloads}" \
    --cache-dir "$work/cache" 2>>"$work/operator.log" &
  OPERATOR=$!
  until grep -q 'farrier is at work' "$work/operator.log"; do
    kill -0 $OPERATOR 2>/dev/null || { cat "$work/operator.log" >&2; exit 1; }
    sleep 0.05
  done
}

# manage GROUP NAME…: these machines as ManagedNodes with that label.
manage() {
  local group=$1 name
  shift
  for name; do
    labctl show "$name" | jq -c --arg group "$group" '{
      apiVersion: "farrier.dev/v1alpha1", kind: "ManagedNode",
      metadata: {name, namespace: "fleet", labels: {group: $group}},
      spec: {type: "Linux", addresses: [.v4], credentialsRef: {name: "root"}, ssh: {hostKeys: [.hostKey]}}}'
  done | kubectl apply --server-side -f - >/dev/null
}

# baseline NAME VERSION: farrier-agent in that version.
baseline() {
  local file=farrier-agent_$2_all.deb digest
  digest=$(sha256sum "$LAB_IMAGE/payloads/$file" | cut -d' ' -f1)
  kubectl apply -f - >/dev/null <<YAML
apiVersion: farrier.dev/v1alpha1
kind: Baseline
metadata: {name: $1, namespace: fleet}
spec:
  components:
  - {name: farrier-agent, version: "$2", installer: Deb, payload: {url: "file:///$file", digest: "sha256:$digest"}}
YAML
}

# run_of NAME GROUP BASELINE CONCURRENT: the manifest of an UpdateRun. Its machines are made moments
# before it, and those of a real fleet long before: it does not wait whether others come.
run_of() {
  cat <<YAML
apiVersion: farrier.dev/v1alpha1
kind: UpdateRun
metadata: {name: $1, namespace: fleet}
spec:
  {selector: {matchLabels: {group: $2}}, baselineRef: {name: $3}, strategy: {maxConcurrent: $4}, arrivalTimeout: 0s}
YAML
}

# writes: how often the API server was asked to change one of our objects or an event, or to make or delete a
# Lease (which machines have), refused requests included: lines of what was asked for, such as nodeupdates/status, and the number.
writes() {
  kubectl get --raw /metrics | awk '
    function label(name) { return match($0, "[{,]" name "=\"[^\"]*\"") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 4) : "" }
    /^apiserver_request_total/ && (/verb="(POST|PUT|PATCH|APPLY|DELETE)"/ && /group="(farrier.dev|events.k8s.io)"/ ||
      /verb="(POST|DELETE)"/ && /group="coordination.k8s.io"/) {
      what = label("subresource")
      sum[label("resource") (what == "" ? "" : "/" what)] += $NF
    }
    END { for (what in sum) print what, sum[what] }' | sort
}

# writes_since FILE COUNT: of the lines that `writes` printed into FILE, what has been added since for
# each of COUNT machines, and the sum.
writes_since() {
  writes | awk -v count="$2" '
    NR == FNR { before[$1] = $2; next }
    $2 > before[$1] { n = ($2 - before[$1]) / count; sum += n; printf "%s %.2f\n", $1, n }
    END { printf "all %.1f\n", sum }' "$1" -
}
