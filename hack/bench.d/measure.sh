# shellcheck shell=bash
# What the benchmarks share: medians, ratios, tables, processor time. Source it.

# load: the machine's load, to be printed beside figures.
load() { cut -d' ' -f1-2 /proc/loadavg; }

# heading TEXT…: what is measured, when, on what, under which load. With BENCH_MARKDOWN as in
# docs/performance.md.
heading() {
  local machine
  machine="$(date +%F), $(nproc) cores, $(awk '/^MemTotal:/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo) GiB, load $(load)"
  if [ -n "${BENCH_MARKDOWN:-}" ]; then
    printf '\n### %s\n\n%s; `hack/bench %s`.\n\n' "$*" "$machine" "$(basename "$0")"
  else
    printf '\n%s\n%s\n' "$*" "$machine"
  fi
}

# header NAME…: the columns of the table that follows; the last one is for remarks.
header() {
  row "$@"
  [ -z "${BENCH_MARKDOWN:-}" ] || { printf '| --- |'; printf ' ---: |%.0s' $(seq $(($# - 2))); printf ' --- |\n'; }
}

# row WHAT NUMBER… REMARK: one line of a table.
row() {
  if [ -n "${BENCH_MARKDOWN:-}" ]; then
    printf '|'
    printf ' %s |' "$@"
  else
    printf '  %-38s' "$1"
    printf ' %13s' "${@:2:$#-2}"
    printf '   %s' "${*: -1}"
  fi
  echo
}

# remark TEXT…: a line below a table.
remark() { [ -z "${BENCH_MARKDOWN:-}" ] || echo; echo "$*"; }

# median: of the numbers on standard input, one a line.
median() { sort -g | awk '{ v[NR] = $1 } END { if (NR) print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2; else print "nan" }'; }

# calc EXPRESSION [FORMAT]: floating point.
calc() { awk "BEGIN { printf \"${2:-%.2f}\", ($1) }"; }

# verdict RATIO RELATION AIM: "aim ≤ 5: met" or "aim ≤ 5: missed". A missed aim is no failure.
verdict() {
  local sign='≤'
  [ "$2" = '<=' ] || sign='≥'
  if [ "$(calc "$1 $2 $3" %d)" = 1 ]; then echo "aim $sign $3: met"; else echo "aim $sign $3: missed"; fi
}

# value NAME: of "NAME VALUE" lines on standard input, the last one.
value() { awk -v name="$1" '$1 == name { v = $2 } END { print v }'; }

# cpu_of PID…: processor seconds that these processes have used.
cpu_of() {
  local pid
  for pid; do cat "/proc/$pid/stat" 2>/dev/null || true; done |
    sed 's/.*) //' | awk -v tick="$(getconf CLK_TCK)" '{ sum += $12 + $13 } END { print sum / tick }'
}

# busy: processor seconds that all processors of this machine have worked since it started.
busy() {
  awk -v tick="$(getconf CLK_TCK)" '/^cpu / { print ($2 + $3 + $4 + $7 + $8) / tick }' /proc/stat
}

# timed CMD…: runs it; prints wall and processor seconds, children included.
timed() {
  local TIMEFORMAT='%R %U %S'
  { time "$@" >/dev/null 2>&1; } 2>&1 | awk '{ print $1, $2 + $3 }'
}

now() { echo "$EPOCHREALTIME"; }
