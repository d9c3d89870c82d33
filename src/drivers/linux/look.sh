# shellcheck shell=sh
# Checks whether anything of Farrier's is left. Prints a line for each directory and each process that carries
# its name. NAME: Farrier's directory. Arguments: possible parent directories.

# A process that has just ended may still be visible for a moment: check three times at most.
for round in 1 2 3; do
  found=
  for place; do
    [ -e "$place/$NAME" ] && found="$found $place/$NAME"
  done
  # What starts the engine when the machine boots.
  for file in "/etc/systemd/system/$NAME.service" "/etc/systemd/system/multi-user.target.wants/$NAME.service" \
    "/etc/local.d/$NAME.start" "/etc/cron.d/$NAME"; do
    { [ -e "$file" ] || [ -L "$file" ]; } && found="$found $file"
  done
  for process in /proc/[0-9]*; do
    command=
    read -r command 2>/dev/null <"$process/cmdline"
    case $command in */"$NAME"/*) found="$found process:${process#/proc/}" ;; esac
  done
  [ -n "$found" ] || break
  [ "$round" = 3 ] || sleep 1
done
# The names contain no blanks.
for thing in $found; do
  echo "left $thing"
done
