# shellcheck shell=sh
# Makes the directory of an image, and prints "ready" if the image may come; else why not.
#
# TOP: the directory of this session. DIRECTORY: that of the image, below it. NEED: Kbytes.

refused=
mkdir "$TOP" 2>/dev/null
# Any user can write to the directory above it.
# shellcheck disable=SC3067 # every shell that is /bin/sh somewhere has -O
if [ -h "$TOP" ] || [ ! -d "$TOP" ] || [ ! -O "$TOP" ]; then
  refused="foreign $TOP"
elif [ -d "$DIRECTORY" ]; then
  refused="taken $DIRECTORY"
else
  room=$(bdf /var/tmp 2>/dev/null | awk 'END { print $(NF - 2) }')
  case $room in
    '' | *[!0-9]*) ;;
    *) [ "$room" -ge "$NEED" ] || refused="room $room" ;;
  esac
fi
if [ -z "$refused" ]; then
  mkdir "$DIRECTORY" || refused="directory $DIRECTORY"
fi
if [ -n "$refused" ]; then
  rmdir "$TOP" 2>/dev/null
  echo "refused $refused"
fi
