# shellcheck shell=sh
# Prints how far work is. WORK: its directory.

echo "state $(state_of "$WORK")"
[ ! -f "$WORK/boot" ] || echo "begun $(cat "$WORK/boot")"
[ ! -f "$WORK/restarts" ] || echo "restarts $(cat "$WORK/restarts")"
echo "boot $(booted)"
installers
# What explains the result: errors and warnings of its own log, or what was printed.
if [ -f "$WORK/log" ]; then
  grep -e '^ERROR' -e '^WARNING' "$WORK/log" | head -n 4 | sed 's/^/said /'
else
  cat "$WORK/said" "$WORK/out" 2>/dev/null | tail -n 3 | sed 's/^/said /'
fi
# Who had a lock that it needs, when it had failed.
[ ! -s "$WORK/holders" ] || sed 's/^/holder /' "$WORK/holders"
