# shellcheck shell=sh
# Is anything of ours still there? Prints a line for each directory and each process that carries
# its name. NAME: our directory. Arguments: places where it may be.

# A process that has just ended may take a moment to go: asked for three times at most.
for round in 1 2 3; do
  found=
  for place; do
    [ -e "$place/$NAME" ] && found="$found $place/$NAME"
  done
  for process in /proc/[0-9]*; do
    command=
    read -r command 2>/dev/null <"$process/cmdline"
    case $command in */"$NAME"/*) found="$found process:${process#/proc/}" ;; esac
  done
  [ -n "$found" ] || break
  [ "$round" = 3 ] || sleep 1
done
# What is found has no blanks in it.
for thing in $found; do
  echo "left $thing"
done
