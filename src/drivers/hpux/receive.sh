# shellcheck shell=sh
# Receives an image on standard input, after stage.sh. LENGTH: its length in bytes. Prints "farrier-send-1" when it is
# to be sent, and "received" when all of it is there.

if [ -z "$refused" ]; then
  echo farrier-send-1
  cat >"$DIRECTORY/depot.part"
  # wc pads the number with blanks.
  length=$(wc -c <"$DIRECTORY/depot.part" | tr -d ' ')
  # shellcheck disable=SC2153 # it is given
  if [ "$length" = "$LENGTH" ] && mv "$DIRECTORY/depot.part" "$DIRECTORY/depot"; then
    echo received
  else
    echo "short $length"
  fi
fi
