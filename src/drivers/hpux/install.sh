# shellcheck shell=sh
# Begins to install from a depot that is there. DIRECTORY: that of the depot. ACTION: the number of the action. NAME and
# REVISION: what is installed. EACH: how many seconds a listing may take. MAY_RESTART: yes or no. OPTIONS: further -x
# options, with blanks. RUN: program that installs. Prints "began", or "refused" and why.

work=$DIRECTORY/activate-$ACTION
depot=$DIRECTORY/depot
refused=
# Before the depot is listed: a listing has an agent, too.
others=$(installers | sed -n -e 's/^process //' -e 1p)
# A line of software, for awk.
# shellcheck disable=SC2016 # for awk
is_row='NF > 1 && $1 !~ /^#/ && $1 !~ /:$/ && $0 !~ /^     /'
has='' restarts=no
if [ ! -d "$work" ] && [ -f "$depot" ] && [ -z "$others" ]; then
  listed=$(limited "$EACH" swlist -s "$depot" -l product -a revision 2>&1)
  ended=$?
  has=$(printf '%s\n' "$listed" | awk "$is_row"' { printf "%s %s, ", $1, $2 }')
  selected=$(limited "$EACH" swlist -s "$depot" -l fileset -a is_reboot "$NAME,r=$REVISION" 2>/dev/null |
    awk "$is_row"' { print $NF }')
  case $selected in *true*) restarts=yes ;; esac
fi
if [ -d "$work" ]; then
  # It was begun by a request whose answer was lost.
  echo began
elif [ ! -f "$depot" ]; then
  refused=gone
elif [ -n "$others" ]; then
  refused="busy $others"
elif [ "$ended" != 0 ] || [ -z "$has" ]; then
  # It is not the depot if nothing can be listed.
  if limited "$EACH" swlist -l bundle >/dev/null 2>&1; then why=depot; else why=unlisted; fi
  refused="$why $ended $(printf '%s\n' "$listed" | words_of | tr -s '\n ' '  ')"
elif [ -z "$selected" ]; then
  refused="selection $has"
elif [ "$restarts" = yes ] && [ "$MAY_RESTART" = no ]; then
  refused=restart
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
[ -z "$refused" ] || echo "refused $refused"
