# shellcheck shell=sh
# What must be known before an engine can be brought: system, architecture, who we are.
# NAME: our directory. Arguments: places where it may be.

echo "from ${SSH_CONNECTION%% *}"
echo "system $(uname -s)"
echo "arch $(uname -m)"
echo "uid $(id -u)"
command -v gzip >/dev/null 2>&1 && echo "gzip yes"
for place; do
  [ -d "$place/$NAME" ] && echo "existing $place/$NAME"
done
