#!/bin/sh
# Double of an HPE smart component for Linux; see README.md.
device=/opt/firmware version=@VERSION@
silent='' force=''
mkdir -p $device
echo "$*" >>$device/arguments
for argument; do
  case $argument in
    -s | --silent) silent=1 ;;
    -f | --force) force=1 ;;
    -r | --reboot) touch $device/rebooted ;;
    *) echo "unknown argument $argument"; exit 3 ;;
  esac
done
# -f is ignored without -s.
[ "$silent" ] || force=
work=$(mktemp -d) || exit 3
echo image >"$work/image"
if [ -z "$silent" ]; then
  printf 'Continue (y/n)? '
  read -r answer && [ "$answer" = y ] || exit 5
fi
installed=$(cat $device/version 2>/dev/null)
if [ -e $device/exit ]; then
  code=$(cat $device/exit)
else
  code=0
  newest=$(printf '%s\n' "$installed" "$version" | sort -V | tail -n 1)
  [ "$newest" != "$installed" ] || [ "$force" ] || code=2
fi
case $code in
  0) echo "$version" >$device/version; echo "The installation is successful." ;;
  1) echo "$version" >$device/staged; echo "The installation is successful. A reboot is required." ;;
  2) echo "The installation was not attempted: the software is current." ;;
  *) echo "The installation failed." ;;
esac
exit "$code"
