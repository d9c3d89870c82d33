# shellcheck shell=bash
# What the benchmarks share: medians, ratios, tables, processor time. Source it.

# load: the machine's load, to be printed beside figures.
load() { cut -d' ' -f1-2 /proc/loadavg; }

# heading TEXT…: what is measured, on what, under which load.
heading() { printf '\n%s\n%s cores, load %s\n' "$*" "$(nproc)" "$(load)"; }

# median: of the numbers on standard input, one a line.
median() { sort -g | awk '{ v[NR] = $1 } END { if (NR) print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2; else print "nan" }'; }

# calc EXPRESSION [FORMAT]: floating point.
calc() { awk "BEGIN { printf \"${2:-%.2f}\", ($1) }"; }

# row WHAT OURS PEER RATIO AIM: one line of a table; aims are compared by whoever reads.
row() { printf '  %-34s %14s %14s %10s   %s\n' "$@"; }

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

# timed CMD…: runs it; prints wall and processor seconds, children included.
timed() {
  local TIMEFORMAT='%R %U %S'
  { time "$@" >/dev/null 2>&1; } 2>&1 | awk '{ print $1, $2 + $3 }'
}

now() { echo "$EPOCHREALTIME"; }
