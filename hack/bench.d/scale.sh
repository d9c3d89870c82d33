# shellcheck shell=bash
# What the parts of hack/bench.d/scale share: simulated machines, operators at work on them, and what each process
# used. Source it after measure.sh and operator.sh, with `work` set to a folder that goes away.
work=${work:-}

# machines COUNT: simulated ones; sets MACHINES to their process.
machines() {
  ssh-keygen -q -t ed25519 -N '' -f "$work/key"
  mkfifo "$work/ask"
  "$BENCH_MACHINES" serve "$1" --authorized "$work/key.pub" --install-ms "${BENCH_INSTALL_MS:-500}" \
    ${BENCH_FOREIGN:+--foreign "$BENCH_FOREIGN"} <"$work/ask" >"$work/told" 2>"$work/machines.log" &
  MACHINES=$!
  exec {ask}>"$work/ask"
  until grep -qsx ready "$work/told"; do kill -0 $MACHINES; sleep 0.1; done
}

# counted: what the machines have counted, as "name value" lines.
counted() {
  local ends
  ends=$(grep -cx end "$work/told" || true)
  echo >&"$ask"
  until [ "$(grep -cx end "$work/told")" -gt "$ends" ]; do sleep 0.1; done
  tail -n 6 "$work/told"
}

# prepare: definitions, namespace, secret and baseline; sets PLANE to the processes of etcd, API server and
# controllers.
prepare() {
  mapfile -t PLANE < <(cat "$(dirname "$(dirname "$KUBECONFIG")")"/run/*.pid)
  "$FARRIER" crd | kubectl apply --server-side -f - >/dev/null
  kubectl wait --for=condition=Established --timeout=30s crd --all >/dev/null
  kubectl create namespace fleet >/dev/null
  kubectl create secret generic root -n fleet --from-literal=username=root --from-file=ssh-privatekey="$work/key" >/dev/null
  baseline agent-2 2.0
}

# operator NUMBER: one more, at work; adds its process to OPERATORS.
operator() {
  local log=$work/operator-$1.log pid
  : >"$log"
  # MALLOC_ARENA_MAX as in the image (hack/image.d/oci.py).
  RUST_LOG=${RUST_LOG:-info} MALLOC_ARENA_MAX=${MALLOC_ARENA_MAX:-1} FARRIER_HTTP_ADDR=127.0.0.1:$((8080 + $1)) \
    "$FARRIER" operator --runner-name "farrier-$1" --engines "$FARRIER_ENGINES" --payload-dir "$LAB_IMAGE/payloads" \
    --cache-dir "$work/cache-$1" 2>>"$log" &
  pid=$!
  OPERATORS+=("$pid")
  until grep -q 'farrier is at work' "$log"; do
    kill -0 "$pid" 2>/dev/null || { tail -n 20 "$log" >&2; exit 1; }
    sleep 0.05
  done
}

# stop_operators: all of them.
stop_operators() {
  kill "${OPERATORS[@]}"
  wait "${OPERATORS[@]}" || true
  OPERATORS=()
}

# group NAME FIRST LAST: these machines as ManagedNodes with that label. Two clients apply them, so that the API
# server and not kubectl decides how long it takes.
group() {
  local chunk
  mkdir -p "$work/nodes"
  "$BENCH_MACHINES" list "$2" "$3" | awk -v group="$1" '{
    printf "{\"apiVersion\":\"farrier.dev/v1alpha1\",\"kind\":\"ManagedNode\",\"metadata\":{\"name\":\"%s\",\"namespace\":\"fleet\",\"labels\":{\"group\":\"%s\"}},", $1, group
    printf "\"spec\":{\"type\":\"Linux\",\"addresses\":[\"%s\"],\"credentialsRef\":{\"name\":\"root\"},\"ssh\":{\"hostKeys\":[\"%s %s\"]}}}\n", $2, $3, $4 }' |
    split -l 500 -a 4 - "$work/nodes/"
  for chunk in "$work"/nodes/*; do echo "$chunk"; done | xargs -P 2 -I{} kubectl create -f {} >/dev/null
  rm -r "$work/nodes"
}

# start_run NAME GROUP CONCURRENT [OPERATION]
start_run() {
  run_of "$1" "$2" agent-2 "$3" | sed "s/^  {/&operation: ${4:-Update}, /" | kubectl apply -f - >/dev/null
}

# watch_status NAME: until the run has ended; leaves the largest size of its status in a file.
watch_status() {
  local json size largest=0
  until [ -n "${json:-}" ] && [ "$(jq -r '.status.finishedAt // ""' <<<"$json")" != '' ]; do
    kill -0 "${OPERATORS[@]}" || { tail -n 20 "$work"/operator-*.log >&2; exit 1; }
    sleep 0.5
    json=$(kubectl get updaterun -n fleet "$1" -o json)
    size=$(jq -c .status <<<"$json" | wc -c)
    largest=$((size > largest ? size : largest))
  done
  echo "$largest" >"$work/status"
}

# succeeded NAME COUNT: refuses a run of which not every machine did, and machines that something is left on.
succeeded() {
  local found
  found=$(kubectl get updaterun -n fleet "$1" -o jsonpath='{.status.counts.succeeded}')
  counted >"$work/counted"
  [ "$found" = "$2" ] && [ "$(value engines <"$work/counted")" = 0 ] && [ "$(value unknown <"$work/counted")" = 0 ] && return
  echo "error: $found of $2 machines succeeded in $1, and the machines counted: $(tr '\n' ' ' <"$work/counted")" >&2
  kubectl get updaterun -n fleet "$1" -o jsonpath='{.status.failing}' >&2
  tail -n 5 "$work/machines.log" >&2
  exit 1
}

# status_writes: how often the status of a ManagedNode was written.
status_writes() { writes | awk '$1 == "managednodes/status" { count = $2 } END { print count + 0 }'; }

# await_statuses COUNT: until that has been done so often.
await_statuses() {
  until [ "$(status_writes)" -ge "$1" ]; do sleep 1; done
}

# settle: until the operators have worked for a hundredth of five seconds at most.
settle() {
  local before
  while :; do
    before=$(cpu_of "${OPERATORS[@]}")
    sleep 5
    [ "$(calc "$(cpu_of "${OPERATORS[@]}") - $before <= 0.05" %d)" = 0 ] || return 0
  done
}

# memory_of FIELD PID…: the sum of VmRSS or VmHWM, in KiB.
memory_of() {
  local field=$1 pid
  shift
  for pid; do cat "/proc/$pid/status" 2>/dev/null || true; done |
    awk -v field="$field:" '$1 == field { sum += $2 } END { print sum + 0 }'
}

# forget_peaks: VmHWM begins again at what is in use now.
forget_peaks() {
  local pid
  for pid in "${OPERATORS[@]}" "${PLANE[@]}"; do echo 5 >"/proc/$pid/clear_refs"; done
}

# idle_time: processor seconds in which no processor had work.
idle_time() { awk -v tick="$(getconf CLK_TCK)" '/^cpu / { print ($5 + $6) / tick }' /proc/stat; }

# metrics: of all operators.
metrics() {
  local number
  for number in "${!OPERATORS[@]}"; do
    printf 'GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n' | socket 127.0.0.1 $((8080 + number))
  done
}

# socket HOST PORT: sends standard input, prints the answer.
socket() {
  exec {connection}<>"/dev/tcp/$1/$2"
  cat >&"$connection"
  cat <&"$connection"
  exec {connection}>&-
}

# requests_of_operator: to the API server, watches included, since it was started, as "VERB-RESOURCE NUMBER" lines.
requests_of_operator() {
  metrics | awk '
    function label(name) { return match($0, "[{,]" name "=\"[^\"]*\"") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 4) : "" }
    /^farrier_api_requests_total/ { sum[label("verb") "-" label("resource")] += $NF }
    END { for (what in sum) print what, sum[what] }'
}

# decisions FILE COUNT: since the operators were started, the mean time of a decision in ms, and the time of all of them
# for each change of a NodeUpdate. FILE is what `writes_since` has printed for COUNT machines.
decisions() {
  metrics | awk -v count="$2" '
    NR == FNR { if ($1 ~ /^nodeupdates/) changes += $2 * count; next }
    /^farrier_decision_duration_seconds_sum/ { sum += $NF * 1000 }
    /^farrier_decision_duration_seconds_count/ { made += $NF }
    END { printf "decision %.2f\ndecision-change %.2f\n", made ? sum / made : 0, changes ? sum / changes : 0 }' "$1" -
}
