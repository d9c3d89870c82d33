# shellcheck shell=sh
# Prints "there" if the process exists. PID: its id. ENGINE: the engine that the process executes, or empty.
# PROC: /proc.
#
# If /proc hides the processes of other users (hidepid), it hides process 1 too. Then the file decides: an
# engine removes itself when it ends. Without a file, a hidden process counts as ended.
if [ -d "$PROC/$PID" ]; then
  echo there
elif [ ! -d "$PROC/1" ] && [ -n "$ENGINE" ] && [ -e "$ENGINE" ]; then
  echo there
fi
