# shellcheck shell=sh
# Begins to install from a depot that is there. DIRECTORY: that of the depot. ACTION: the number of the action. NAME and
# REVISION: what is installed. MAY_RESTART: yes or no. OPTIONS: further -x options, with blanks. RUN: program that
# installs. Prints "began", or "refused" and why.

work=$DIRECTORY/activate-$ACTION
refused=
selected=$(swlist -s "$DIRECTORY/depot" -l fileset -a is_reboot "$NAME,r=$REVISION" 2>/dev/null |
  awk 'NF > 1 && $1 !~ /^#/ { print $NF }')
restarts=no
case $selected in *true*) restarts=yes ;; esac
if [ -d "$work" ]; then
  # It was begun by a request whose answer was lost.
  echo began
elif [ ! -f "$DIRECTORY/depot" ]; then
  refused=gone
elif [ -z "$selected" ]; then
  refused="selection $(swlist -s "$DIRECTORY/depot" -l product -a revision 2>&1 |
    awk 'NF > 1 && $1 !~ /^#/ { printf "%s %s, ", $1, $2 }')"
elif [ "$restarts" = yes ] && [ "$MAY_RESTART" = no ]; then
  refused=restart
else
  others=$(installers)
  if [ -n "$others" ]; then
    refused="busy $(printf '%s\n' "$others" | sed -n -e 's/^process //' -e 1p)"
  else
    # shellcheck disable=SC2153 # it is given
    options=$OPTIONS
    [ "$restarts" = no ] || options="$options -x autoreboot=true"
    # Older releases refuse an option that they do not know.
    grep return_warning_exitcode /usr/lib/sw/sys.defaults >/dev/null 2>&1 &&
      options="$options -x return_warning_exitcode=true"
    if mkdir "$work" && booted >"$work/boot" && echo "$restarts" >"$work/restarts" &&
      printf '%s\n' "$options" >"$work/options" && printf '%s\n' "$RUN" >"$work/run"; then
      nohup sh "$work/run" </dev/null >"$work/out" 2>&1 &
      echo $! >"$work/pid"
      echo began
    else
      rm -rf "$work"
      refused="directory $work"
    fi
  fi
fi
[ -z "$refused" ] || echo "refused $refused"
