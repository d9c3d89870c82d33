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
  tail -n 3 "$WORK/out" 2>/dev/null | sed 's/^/said /'
fi
