# shellcheck shell=sh
# Prints "there" if the process exists. PID: its id. Where /proc hides the processes of others, it
# never does.
if [ -d "/proc/$PID" ]; then
  echo there
fi
