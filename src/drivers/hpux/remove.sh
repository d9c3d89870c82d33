# shellcheck shell=sh
# Removes the directory of an image, and that of the session if nothing else is in it. TOP, DIRECTORY: as in stage.sh.
# Prints "removed", or "refused" and why.

refused=
for work in "$DIRECTORY"/fetch "$DIRECTORY"/activate-*; do
  [ ! -d "$work" ] || ! is_at_work "$work" || refused="busy $work"
done
if [ -n "$refused" ]; then
  echo "refused $refused"
elif rm -rf "$DIRECTORY" && [ ! -d "$DIRECTORY" ]; then
  rmdir "$TOP" 2>/dev/null
  echo removed
fi
