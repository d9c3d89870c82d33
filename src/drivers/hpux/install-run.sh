# shellcheck shell=sh
# Farrier installs from a depot, after holders.sh. WORK: this directory. NAME and REVISION: what is installed.

trap '' HUP INT QUIT
PATH=/usr/sbin:/usr/bin:/usr/lbin:/usr/contrib/bin:/sbin:/bin:$PATH
LC_ALL=C
# ps of HP-UX has -o with this only.
UNIX95=1
export PATH LC_ALL UNIX95
echo $$ >"$WORK/pid"
cd / || exit 1
depot=${WORK%/*}/depot
# shellcheck disable=SC2046 # a word each
swinstall -s "$depot" -x logfile="$WORK/log" $(cat "$WORK/options") "$NAME,r=$REVISION"
code=$?
# Who has a lock now may have had it before; nobody knows it later.
# shellcheck disable=SC2154 # by holders.sh
[ $code = 0 ] || holders "$lock_of_products" "$depot" >"$WORK/holders"
echo $code >"$WORK/status.part" && mv "$WORK/status.part" "$WORK/status"
