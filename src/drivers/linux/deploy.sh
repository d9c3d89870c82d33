# shellcheck shell=sh
# Puts the engine onto the machine and launches it, or takes up the one of this session that is
# there already. Runs as root.
#
# NAME: our directory. PLACES: where it may be, the preferred one first. ROOM_KIB: what must be free
# there. PATIENCE: how many seconds an earlier shell of this session is waited for. LENGTH: how many
# bytes the engine has on its way, COMPRESSED=yes: by gzip. CONFIG=yes: each launch reads a line
# with the way back from standard input. Arguments: options of `engine launch`.
#
# Prints farrier-send-1 when it waits for the engine on standard input, and farrier-config-1 when it
# waits for the way back. Nothing is sent before, so that nobody reads what is another one's.

umask 077
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# launch DIRECTORY OPTION…: from here on the directory is the engine's. A launch that fails removes
# it, one whose report nobody could read does not. 126 and 127: it could not be executed at all.
launch() {
  directory=$1
  shift
  trap '' HUP PIPE
  [ "$CONFIG" != yes ] || echo farrier-config-1
  "$directory/engine" launch --dir "$directory" "$@"
}

# is_ours PATH: what is not root's own is not ours. Anybody can write to some of the places.
# shellcheck disable=SC3067 # every shell that is /bin/sh somewhere has -O
is_ours() { [ ! -L "$1" ] && [ -O "$1" ]; }

# held_by_another DIRECTORY: the shell of an operator that was killed in the middle of this goes on
# until it notices, and two at once would pull the directory from under each other.
held_by_another() { [ -e "$1/pid" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null; }

# receive: the engine from standard input.
receive() {
  if [ "$COMPRESSED" = yes ]; then
    head -c "$LENGTH" | gzip -dc
  else
    head -c "$LENGTH"
  fi
}

# What an earlier call has left, or is still about to leave.
taken=
for place in $PLACES; do
  directory=$place/$NAME
  [ -e "$directory" ] || [ -L "$directory" ] || continue
  is_ours "$directory" || { rm -rf "$directory"; continue; }
  seconds=0
  while held_by_another "$directory" && [ "$seconds" -lt "$PATIENCE" ]; do
    sleep 1
    seconds=$((seconds + 1))
  done
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

# A place is tried for real: made, filled and executed in. WHY: why each place was not taken.
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
    # Cut off in the middle, nothing stays.
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
