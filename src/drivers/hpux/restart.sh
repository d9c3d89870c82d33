# shellcheck shell=sh
# Restarts the machine. BOOT: when it was started, as far as is known. DIRECTORY: for a moment. PATIENCE: how many seconds
# a restart may take to be refused. Prints "began", or "refused" and why.

if [ "$(booted)" != "$BOOT" ]; then
  echo "refused restarted"
elif [ -n "$(installers)" ]; then
  echo "refused busy $(installers | sed -n -e 's/^process //' -e 1p)"
elif cd / && rm -rf "$DIRECTORY" && mkdir -m 700 "$DIRECTORY" && exec 3>"$DIRECTORY/out" && exec 4<"$DIRECTORY/out"; then
  # The machine may be gone before anything else is done, and nothing must be left.
  rm -rf "$DIRECTORY"
  # shellcheck disable=SC2016 # for that shell
  nohup sh -c 'shutdown -r -y 0; echo "farrier-ended $?"' </dev/null >&3 2>&3 4<&- &
  said='' left=$PATIENCE
  while [ "$left" -gt 0 ]; do
    # sleep: a restart that is refused says so at once, and nothing reports one that is made.
    sleep 1
    said=$said$(cat <&4)
    case $said in *farrier-ended*) left=0 ;; *) left=$((left - 1)) ;; esac
  done
  code=0
  case $said in *farrier-ended*) code=${said##*farrier-ended } ;; esac
  if [ "$code" = 0 ]; then
    echo began
  else
    # shellcheck disable=SC2046 # all on one line
    echo refused shutdown "$code" $(printf '%s\n' "${said%farrier-ended*}" | words_of)
  fi
else
  echo "refused directory $DIRECTORY"
fi
