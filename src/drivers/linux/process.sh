# shellcheck shell=sh
# Prints "there" if the process exists. PID: its id. Prints nothing if /proc hides the processes of other
# users.
if [ -d "/proc/$PID" ]; then
  echo there
fi
