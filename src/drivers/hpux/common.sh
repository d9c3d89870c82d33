# shellcheck shell=sh
# What all programs for HP-UX begin with. Nothing of GNU's is used: HP-UX's shell is the POSIX shell, and its commands
# have the options of POSIX and of the manuals only.

# A command over SSH finds little more than /usr/bin.
PATH=/usr/sbin:/usr/bin:/usr/lbin:/usr/contrib/bin:/opt/perl/bin:/usr/local/bin:/sbin:/bin:$PATH
LC_ALL=C
# ps of HP-UX has -o with this only.
UNIX95=1
export PATH LC_ALL UNIX95
umask 077

# is_at_work DIRECTORY: whether the process that was started in it still runs. The number may be another's after a
# restart, so that the command line must name the directory.
is_at_work() {
  pid=$(cat "$1/pid" 2>/dev/null)
  [ -n "$pid" ] || return 1
  case $(ps -p "$pid" -o args 2>/dev/null) in
    *"$1/"*) return 0 ;;
    *) return 1 ;;
  esac
}

# state_of DIRECTORY: prints how far the work in it is: "ended CODE", "running", "unstarted" or "gone".
state_of() {
  if [ -f "$1/status" ]; then
    echo "ended $(cat "$1/status")"
  elif is_at_work "$1"; then
    echo running
  elif [ -f "$1/status" ]; then
    # It has ended between both looks.
    echo "ended $(cat "$1/status")"
  elif [ ! -f "$1/pid" ]; then
    echo unstarted
  else
    echo gone
  fi
}

# booted: prints when the machine was started, in words without blanks at the ends.
booted() { who -b 2>/dev/null | sed -e 's/^[ .]*//' -e 's/ *$//'; }

# limited SECONDS COMMAND…: runs a command that only reads, and ends it if it takes longer: 124 then. HP-UX has no timeout.
limited() {
  limit=$1
  shift
  "$@" </dev/null &
  work_of_it=$!
  (
    left=$limit
    while [ "$left" -gt 0 ]; do
      # sleep: the time that the command has, in which its end is looked for.
      sleep 1
      kill -0 "$work_of_it" || exit 0
      left=$((left - 1))
    done
    # What waits for this is about to end it.
    trap '' TERM
    kill -TERM "$work_of_it"
    # sleep: what does not end by itself is ended.
    sleep 2
    kill -KILL "$work_of_it"
    exit 124
  ) </dev/null >/dev/null 2>&1 &
  watch=$!
  wait "$work_of_it" 2>/dev/null
  code=$?
  kill -TERM "$watch" 2>/dev/null
  wait "$watch" 2>/dev/null
  [ $? != 124 ] || code=124
  return "$code"
}

# words_of: prints the last lines of what a program has said, without comments.
words_of() { grep -v -e '^#' -e '^ *$' | tail -n 3; }

# installers: prints the processes that work on software, whoever has started them, with their numbers, and those that have
# the lock of the products.
installers() {
  ps -e -o pid -o args 2>/dev/null |
    awk '/(^|[ \/])sw(install|agent|remove|copy|config|modify|verify|package|reg)( |$)/ { $1 = $1; print "process", $0 }'
  # shellcheck disable=SC2154 # by holders.sh
  holders "$lock_of_products" | awk '!/[ \/]sw(install|agent|remove|copy|config|modify|verify|package|reg)( |$)/ { print "process", $0 }'
}
