# shellcheck shell=sh
# Tests with the machine's own tools whether a connection from this machine gets an answer. TRY: timeout for
# one address, in seconds. GREETING: the line to send. IN_BASH and IN_PYTHON: programs that try one address.
# Arguments: HOST PORT, for each address.
#
# Tries all addresses concurrently, and prints for each one: reach HOST PORT STATUS WORDS… STATUS 0: answered;
# 124: timed out; 127: no tool is available.

# Make system messages English.
export LC_ALL=C

attempt() {
  status=127 words=
  if command -v timeout >/dev/null 2>&1 && command -v bash >/dev/null 2>&1; then
    words=$(timeout "$TRY" bash -c "$IN_BASH" bash "$1" "$2" "$GREETING" 2>&1 </dev/null)
    status=$?
  elif command -v python3 >/dev/null 2>&1; then
    words=$(python3 -c "$IN_PYTHON" "$1" "$2" "$GREETING" "$TRY" 2>&1 </dev/null)
    status=$?
  fi
  # Print everything on one line.
  # shellcheck disable=SC2086 # a word each
  echo reach "$1" "$2" "$status" $words
}

while [ $# -ge 2 ]; do
  attempt "$1" "$2" &
  shift 2
done
wait
