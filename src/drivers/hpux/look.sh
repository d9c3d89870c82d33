# shellcheck shell=sh
# Reads the machine: what it is, what is installed, what works on it, and what is ours. Changes nothing.
#
# DIRECTORY: ours. EACH: how many seconds one listing may take. BRIEF: how many any other program may. Arguments: the
# bundles, products and filesets of the components.

echo "system $(uname -s) $(uname -r) $(uname -m)"
echo "host $(uname -n)"
echo "model $(model 2>/dev/null)"
limited "$BRIEF" machinfo 2>/dev/null | sed -n -e 's/^ *Machine serial number: */serial /p' \
  -e 's/^ *Firmware revision: */firmware system /p' \
  -e 's/^ *BMC firmware revision: */firmware BMC /p' -e 's/^ *MP firmware revision: */firmware MP /p'
echo "uid $(id -u)"
echo "boot $(booted)"
for tool in curl wget perl; do
  command -v "$tool" >/dev/null 2>&1 && echo "tool $tool"
done
if [ -n "$(openssl dgst -sha256 </dev/null 2>/dev/null)" ]; then
  echo "digest openssl"
elif perl -MDigest::SHA -e 1 2>/dev/null; then
  echo "digest perl"
fi
limited "$BRIEF" bdf /var/tmp 2>/dev/null | awk 'END { print "room", $(NF - 2) }'

# Before anything is listed: a listing has an agent, too.
installers

# list WHAT ARGUMENTS…: lists software into `listed`. Prints how that ended, and the last words if it failed: what could
# not be listed may be installed all the same.
list() {
  what=$1
  shift
  listed=$(limited "$EACH" swlist "$@" 2>&1)
  ended=$?
  echo "listed $what $ended"
  [ "$ended" = 0 ] || printf '%s\n' "$listed" | words_of | sed "s/^/said $what /"
}
# A line of software, for awk: not a comment, not a message, and not the second line of one.
# shellcheck disable=SC2016 # for awk
is_row='NF > 1 && $1 !~ /^#/ && $1 !~ /:$/ && $0 !~ /^     /'

wanted=" $* "
list bundle -l bundle -a revision
printf '%s\n' "$listed" | awk "$is_row"' { print "bundle", $1, $2 }'
all=" $(printf '%s\n' "$listed" | awk "$is_row"' { print $1 }' | tr '\n' ' ') "
bundles=
for name; do
  case $all in *" $name "*) bundles="$bundles $name" ;; esac
done
list product -l product -a revision
printf '%s\n' "$listed" | awk "$is_row"' { print "product", $1, $2 }'
# All at once: a name that is not installed would make it an error.
list fileset -l fileset -a revision -a state
printf '%s\n' "$listed" | awk -v wanted="$wanted" "$is_row"' {
  if ($NF != "configured") print "unfinished", $1, $NF
  product = $1
  sub(/\..*/, "", product)
  if (NF > 2 && index(wanted, " " product " ")) print "fileset", product, $1, $2, $NF
  if (NF > 2 && product != $1 && index(wanted, " " $1 " ")) print "fileset", $1, $1, $2, $NF
}'
if [ -n "$bundles" ]; then
  # shellcheck disable=SC2086 # a word each
  list contents -l fileset -a revision -a state $bundles
  # A fileset has the name of its bundle before its own, or is below a comment with it.
  printf '%s\n' "$listed" | awk -v wanted="$bundles " '
    BEGIN { if (split(wanted, names, " ") == 1) of = names[1] }
    $1 == "#" && index(wanted, " " $2 " ") { of = $2 }
    '"$is_row"' && NF > 2 {
      first = $1
      sub(/\..*/, "", first)
      if (index(wanted, " " first " ")) of = first
      if (of != "") print "fileset", of, $1, $2, $NF
    }'
fi

cluster=$(limited "$BRIEF" cmviewcl -f line 2>/dev/null)
# A machine that is in no cluster has no such program, or one that fails.
[ $? != 124 ] || echo "listed cluster 124"
printf '%s\n' "$cluster" | sed -n -e 's/^\(node:[^|]*|state=.*\)$/cluster \1/p' \
  -e 's/^\(package:[^|]*|owner=.*\)$/cluster \1/p'

for dir in "$DIRECTORY"/*; do
  [ -d "$dir" ] || continue
  number=${dir##*/}
  if [ -f "$dir/depot" ]; then echo "image $number whole"; else echo "image $number part"; fi
  [ ! -d "$dir/fetch" ] || echo "fetch $number $(state_of "$dir/fetch")"
  for work in "$dir"/activate-*; do
    [ ! -d "$work" ] || echo "activate $number ${work##*-} $(state_of "$work")"
  done
done
