# shellcheck shell=sh
# Reads the machine: what it is, what is installed, what works on it, and what is ours. Changes nothing.
#
# DIRECTORY: ours. Arguments: the bundles, products and filesets of the components.

echo "system $(uname -s) $(uname -r) $(uname -m)"
echo "host $(uname -n)"
echo "model $(model 2>/dev/null)"
machinfo 2>/dev/null | sed -n -e 's/^ *Machine serial number: */serial /p' -e 's/^ *Firmware revision: */firmware system /p' \
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
bdf /var/tmp 2>/dev/null | awk 'END { print "room", $(NF - 2) }'

# What is installed. A listing that fails is not one of nothing.
for level in bundle product; do
  listed=$(swlist -l "$level" -a revision 2>/dev/null)
  echo "listed $level $?"
  printf '%s\n' "$listed" | awk -v level="$level" 'NF > 1 && $1 !~ /^#/ { print level, $1, $2 }'
done
swlist -l fileset -a state 2>/dev/null |
  awk 'NF > 1 && $1 !~ /^#/ && $NF != "configured" { print "unfinished", $1, $NF }'
for name; do
  swlist -l fileset -a revision -a state "$name" 2>/dev/null |
    awk -v name="$name" 'NF > 2 && $1 !~ /^#/ { print "fileset", name, $1, $2, $NF }'
done

installers
cmviewcl -f line 2>/dev/null | sed -n -e 's/^\(node:[^|]*|state=.*\)$/cluster \1/p' \
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
