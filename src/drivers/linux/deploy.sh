# shellcheck shell=sh
# Deploys the engine to the machine and launches it, or attaches to the engine of this session that already
# runs. Runs as root.
#
# NAME: Farrier's directory. PLACES: its possible parent directories, in order of preference. ROOM_KIB: free
# space that is required there. PATIENCE: how many seconds to wait for an earlier shell of this session.
# LENGTH: number of bytes of the engine as it is sent; COMPRESSED=yes: sent with gzip compression. CONFIG=yes:
# each launch reads a line with the callback configuration from standard input. Arguments: options of `engine
# launch`.
#
# Prints farrier-held-1, with process id and name, when it has waited a second for an earlier shell, and
# farrier-free-1 when that wait ends.
#
# Prints farrier-send-1 when it waits for the engine on standard input, and farrier-config-1 when it waits for
# the callback configuration. The operator sends nothing earlier, so that no other process reads the data.

umask 077
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# launch DIRECTORY OPTION…: from here on the engine owns the directory. A launch that fails removes the
# directory; a launch whose report could not be read does not. Status 126 or 127: the engine could not be
# executed.
launch() {
  directory=$1
  shift
  trap '' HUP PIPE
  [ "$CONFIG" != yes ] || echo farrier-config-1
  "$directory/engine" launch --dir "$directory" "$@"
}

# is_ours PATH: whether root owns the path and it is not a symbolic link. Any user can write to some of the
# parent directories.
# shellcheck disable=SC3067 # every shell that is /bin/sh somewhere has -O
is_ours() { [ ! -L "$1" ] && [ -O "$1" ]; }

# held_by_another DIRECTORY: whether an earlier shell of this session still runs. The shell of an operator
# that was killed continues until it notices the closed connection. Two shells at once would delete each
# other's directory.
held_by_another() { [ -e "$1/pid" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null; }

# report_holder DIRECTORY: prints which process is waited for.
report_holder() {
  pid=$(cat "$1/pid")
  echo "farrier-held-1 $pid $(cat "/proc/$pid/comm" 2>/dev/null)"
}

# receive: reads the engine from standard input.
receive() {
  if [ "$COMPRESSED" = yes ]; then
    head -c "$LENGTH" | gzip -dc
  else
    head -c "$LENGTH"
  fi
}

# Handles directories that an earlier deployment has left or is about to remove.
taken=
for place in $PLACES; do
  directory=$place/$NAME
  [ -e "$directory" ] || [ -L "$directory" ] || continue
  is_ours "$directory" || { rm -rf "$directory"; continue; }
  seconds=0
  while held_by_another "$directory" && [ "$seconds" -lt "$PATIENCE" ]; do
    sleep 1
    seconds=$((seconds + 1))
    [ "$seconds" -ne 1 ] || report_holder "$directory"
  done
  [ "$seconds" -eq 0 ] || echo farrier-free-1
  if [ -x "$directory/engine" ] && is_ours "$directory/engine"; then
    echo "farrier-dir-1 $directory"
    launch "$directory" "$@"
    if [ $? -lt 126 ] && [ -d "$directory" ]; then
      taken=$directory
      break
    fi
  fi
  rm -rf "$directory"
done

# Tests each parent directory by creating, filling and executing in a directory. WHY: the reason for each
# rejected one.
if [ -z "$taken" ]; then
  why=
  for place in $PLACES; do
    [ -d "$place" ] || continue
    directory=$place/$NAME
    mkdir -m 711 "$directory" 2>/dev/null || { why="$why $place:readonly"; continue; }
    echo $$ 2>/dev/null >"$directory/pid"
    if cp /bin/sh "$directory/sh" 2>/dev/null &&
      dd if=/dev/zero of="$directory/room" bs=1024 count="$ROOM_KIB" 2>/dev/null; then
      if "$directory/sh" -c : 2>/dev/null; then
        rm -f "$directory/sh" "$directory/room"
        taken=$directory
        break
      fi
      why="$why $place:noexec"
    else
      why="$why $place:full"
    fi
    rm -rf "$directory"
  done
  if [ -n "$taken" ]; then
    # An interruption leaves nothing on the machine.
    trap 'rm -rf "$taken"' EXIT
    trap 'exit 1' HUP INT TERM PIPE
    echo "farrier-dir-1 $taken"
    echo farrier-send-1
    if receive >"$taken/engine" && chmod 755 "$taken/engine"; then
      trap - EXIT
      launch "$taken" "$@"
      if [ $? -lt 126 ]; then rm -f "$taken/pid"; else rm -rf "$taken"; fi
    else
      echo farrier-upload-1 failed
    fi
  else
    echo "farrier-places-1$why"
  fi
fi
