# shellcheck shell=sh
# Farrier installs from a depot. WORK: this directory. NAME and REVISION: what is installed.

trap '' HUP INT QUIT
PATH=/usr/sbin:/usr/bin:/usr/lbin:/usr/contrib/bin:/sbin:/bin:$PATH
LC_ALL=C
export PATH LC_ALL
echo $$ >"$WORK/pid"
cd / || exit 1
# shellcheck disable=SC2046 # a word each
swinstall -s "${WORK%/*}/depot" -x logfile="$WORK/log" $(cat "$WORK/options") "$NAME,r=$REVISION"
echo $? >"$WORK/status.part" && mv "$WORK/status.part" "$WORK/status"
