# shellcheck shell=sh
# Whether a connection from this machine gets an answer, tried by what it has.
# TRY: how many seconds one address is tried. GREETING: the line that is sent. IN_BASH and
# IN_PYTHON: programs that try one address. Arguments: HOST PORT, for each address.
#
# Prints for each address, all of which are tried at the same time: reach HOST PORT STATUS WORDS…
# STATUS 0: answered; 124: the time is over; 127: there is nothing to try it with.

# Words of the system are in English.
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
  # In one line.
  # shellcheck disable=SC2086 # a word each
  echo reach "$1" "$2" "$status" $words
}

while [ $# -ge 2 ]; do
  attempt "$1" "$2" &
  shift 2
done
wait
