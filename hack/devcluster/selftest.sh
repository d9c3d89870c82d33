#!/usr/bin/env bash
# Proves that hack/cluster gives a real control plane and leaves nothing behind. One
# line per check; the last line counts them. Run it as: hack/cluster selftest
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

unset KUBECONFIG KUBEBUILDER_ASSETS FARRIER_OWN_CLUSTER
CLUSTER=$ROOT/hack/cluster
WORK=$(mktemp -d "${TMPDIR:-/tmp}/farrier-selftest.XXXXXX")
export TMPDIR=$WORK # `hack/cluster run` makes its folders in it
trap clean_up EXIT
ensure_packages procps iproute2
passed=0 failed=0

# clean_up: a devcluster that is still there holds the lock of its folder.
clean_up() {
  local lock
  for lock in "$WORK"/*/lock; do
    [ ! -e "$lock" ] || flock -n "$lock" true || kill -KILL "$(<"$lock")"
  done
  rm -rf "$WORK"
}

now() { date +%s%N; }

# check WHAT CMD…: one check, with its time. A subshell, so that any command of a
# function that fails ends it (inside an `if`, bash would go on).
check() {
  local what=$1 begun status
  shift
  begun=$(now)
  set +e
  (set -e; "$@") >"$WORK/check.log" 2>&1
  status=$?
  set -e
  if [ $status = 0 ]; then
    passed=$((passed + 1))
    printf 'ok      %5d ms  %s\n' $((($(now) - begun) / 1000000)) "$what"
  else
    failed=$((failed + 1))
    printf 'FAILED  %5d ms  %s\n' $((($(now) - begun) / 1000000)) "$what"
    sed 's/^/        /' "$WORK/check.log"
  fi
}

# fails_with TEXT CMD…: CMD fails, and says TEXT.
fails_with() {
  local text=$1 output
  shift
  if output=$("$@" 2>&1); then
    echo "was accepted: $*"
    return 1
  fi
  grep -qF -- "$text" <<<"$output" || { printf 'wanted "%s", got: %s\n' "$text" "$output"; return 1; }
}

# within SECONDS CMD…: CMD succeeds before the time is over.
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.05
  done
}

no_process() { ! pgrep -af -- "$1"; }
gone() { ! kubectl get "$@" 2>/dev/null; }
no_answer() { ! kubectl get --raw /readyz 2>/dev/null; }

start() {
  local exports
  exports=$("$CLUSTER" start "$DIR")
  eval "$exports"
  kubectl get namespace default
}

versions_agree() {
  local stated
  stated=$(awk '$1 == "k8s.io/kubernetes" && NF == 2 { print $2 }' "$ROOT/hack/devcluster/go.mod")
  [ "$(kubectl version | grep -cF "Version: $stated")" = 2 ]
}

schema() {
  kubectl apply -f - <<'YAML'
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: probes.selftest.farrier.dev}
spec:
  group: selftest.farrier.dev
  scope: Namespaced
  names: {plural: probes, singular: probe, kind: Probe}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              low: {type: integer}
              high: {type: integer}
            x-kubernetes-validations:
            - {rule: "self.low <= self.high", message: "low must not be above high"}
YAML
  kubectl wait --for=condition=Established crd/probes.selftest.farrier.dev --timeout=20s
}

probe() {
  kubectl apply -f - <<YAML
apiVersion: selftest.farrier.dev/v1
kind: Probe
metadata: {name: $1, namespace: default}
spec: {low: $2, high: $3}
YAML
}

namespace() {
  kubectl create namespace selftest
  kubectl create configmap inside -n selftest
  kubectl delete namespace selftest --timeout=30s
  gone namespace selftest
}

collection() {
  local uid
  kubectl create configmap owner
  uid=$(kubectl get configmap owner -o jsonpath='{.metadata.uid}')
  kubectl apply -f - <<YAML
apiVersion: v1
kind: ConfigMap
metadata:
  name: owned
  namespace: default
  ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: owner, uid: $uid}]
YAML
  kubectl delete configmap owner
  within 20 gone configmap owned
}

outage() {
  kill -KILL "$(<"$DIR/run/kube-apiserver.pid")"
  within 20 no_answer
  within 60 kubectl get --raw /readyz
  kubectl get probes.selftest.farrier.dev good
}

stopped() {
  "$CLUSTER" stop "$DIR"
  no_process "$DIR"
}

same_again() {
  start
  kubectl get probes.selftest.farrier.dev good
}

killed() {
  local components
  components=$(cat "$DIR"/run/*.pid)
  kill -KILL "$(<"$DIR/lock")"
  # shellcheck disable=SC2086 # one argument for each
  within 5 ended $components
  no_process "$DIR"
}
ended() { ! kill -0 "$@" 2>/dev/null; }

run_leaves_nothing() {
  local status=0
  # shellcheck disable=SC2016 # the command's own variables
  "$CLUSTER" run -- sh -c 'kubectl get namespace default && echo $KUBECONFIG >"$0" && exit 7' "$WORK/kubeconfig" || status=$?
  [ $status = 7 ]
  no_process "$(cluster_of "$WORK/kubeconfig")"
  [ ! -e "$(cluster_of "$WORK/kubeconfig")" ]
}
# cluster_of FILE: the folder of the cluster whose KUBECONFIG was written to FILE.
cluster_of() { dirname "$(dirname "$(<"$1")")"; }

# The command waits; then hack/cluster is killed under it.
run_killed() {
  local pid
  # shellcheck disable=SC2016 # the command's own variables
  "$CLUSTER" run -- sh -c 'echo $KUBECONFIG >"$0"; while kill -0 $PPID; do sleep 0.1; done' "$WORK/killed" &
  pid=$!
  within 60 test -s "$WORK/killed"
  pgrep -f "$(cluster_of "$WORK/killed")"
  kill -KILL $pid
  within 20 no_process "$(cluster_of "$WORK/killed")"
}

two_at_once() {
  local i
  for i in 1 2; do
    # shellcheck disable=SC2016 # the command's own variables
    "$CLUSTER" run -- sh -c 'kubectl create namespace own && grep server: $KUBECONFIG >"$0"' "$WORK/server.$i" &
  done
  wait -n
  wait -n
  ! cmp "$WORK/server.1" "$WORK/server.2" || return 1
}

# A lab's namespace: no default route, nothing but loopback.
without_network() {
  # shellcheck disable=SC2016 # the shell's own argument
  unshare --net sh -c 'ip link set lo up && "$0" run -- kubectl get namespace default' "$CLUSTER"
}

# Programs in a folder, here links to devcluster; without a controller manager.
assets() {
  local name
  mkdir "$WORK/assets"
  for name in etcd kube-apiserver kubectl; do ln -s "$TOOLS/devcluster" "$WORK/assets/$name"; done
  KUBEBUILDER_ASSETS=$WORK/assets "$CLUSTER" run -- kubectl get namespace default
}

# Somebody's KUBECONFIG is used if it answers, and never replaced in silence.
users_cluster() {
  local said
  said=$("$CLUSTER" run -- kubectl get probes.selftest.farrier.dev good 2>&1) || { echo "$said"; return 1; }
  grep -F "using the cluster of KUBECONFIG at https://" <<<"$said"
  fails_with NotFound env FARRIER_OWN_CLUSTER=1 "$CLUSTER" run -- kubectl get customresourcedefinition probes.selftest.farrier.dev
}

DIR=$WORK/cluster
check "devcluster is built, or was already" "$CLUSTER" build
check "start" start
TOOLS=$("$CLUSTER" build)
export KUBECONFIG=$DIR/kubeconfig/admin PATH=$TOOLS:$PATH
check "kubectl and API server have the version that go.mod names" versions_agree
check "a CRD with a CEL rule is established" schema
check "CEL: an object that keeps the rule is accepted" probe good 1 2
check "CEL: one that breaks it is refused, with the rule's message" fails_with "low must not be above high" probe bad 2 1
check "a namespace with content is created and deleted" namespace
check "an owned object goes with its owner" collection
check "a killed API server comes back, with its data" outage
check "the same folder cannot be started twice" fails_with "runs in" "$CLUSTER" start "$DIR"
check "the user's cluster is used, and named" users_cluster
check "stop ends every process" stopped
check "started again, the cluster has its data" same_again
check "kill -9 of devcluster leaves no process" killed
unset KUBECONFIG
check "run: passes on the status, leaves neither process nor folder" run_leaves_nothing
check "run: kill -9 of hack/cluster leaves no process" run_killed
check "run: two at once" two_at_once
check "run: a KUBECONFIG that does not answer is an error" fails_with "does not answer" env KUBECONFIG="$WORK/nothing" "$CLUSTER" run -- true
check "run: KUBEBUILDER_ASSETS" assets
if [ "$(id -u)" = 0 ]; then
  check "run: in a network namespace with loopback only" without_network
fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
