# shellcheck shell=sh
# Prints the facts that are needed before the deployment: system, architecture, user. NAME: Farrier's
# directory. STAGED: name of the directory of staged payloads. Arguments: possible parent directories.

echo "from ${SSH_CONNECTION%% *}"
own=${SSH_CONNECTION#* * }
echo "at ${own%% *}"
echo "system $(uname -s)"
echo "arch $(uname -m)"
echo "uid $(id -u)"
command -v gzip >/dev/null 2>&1 && echo "gzip yes"
for place; do
  [ -d "$place/$NAME" ] && echo "existing $place/$NAME"
  [ -d "$place/$STAGED" ] && echo "staged $place/$STAGED"
done
