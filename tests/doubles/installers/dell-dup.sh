#!/bin/sh
# Double of a Dell update package; see README.md.
device=/opt/firmware version=@VERSION@
quiet='' force='' reboot=''
mkdir -p $device
echo "$*" >>$device/arguments
for argument; do
  case $argument in
    -q) quiet=1 ;;
    -f) force=1 ;;
    -r) reboot=1 ;;
    *) echo "Invalid option: $argument"; exit 1 ;;
  esac
done
# The packages unpack themselves into a directory for temporary files, which they do not always remove.
work=$(mktemp -d) || exit 1
echo payload >"$work/payload"
echo "Collecting inventory..."
installed=$(cat $device/version 2>/dev/null)
if [ -e $device/exit ]; then
  code=$(cat $device/exit)
else
  code=0
  newest=$(printf '%s\n' "$installed" "$version" | sort -V | tail -n 1)
  if [ "$installed" = "$version" ]; then
    echo "The version of this Update Package is the same as the currently installed version."
    [ "$force" ] || code=3
  elif [ "$newest" = "$installed" ]; then
    echo "The version of this Update Package is older than the currently installed version."
    [ "$force" ] || code=3
  else
    echo "The version of this Update Package is newer than the currently installed version."
  fi
fi
if [ -z "$quiet" ]; then
  printf 'Continue? Y/N:'
  read -r answer && [ "$answer" = Y ] || exit 1
fi
case $code in
  0) echo "$version" >$device/version; echo "The update completed successfully." ;;
  1) echo "An error occurred during the update process." ;;
  2 | 6)
    echo "$version" >$device/staged
    [ -z "$reboot" ] || touch $device/rebooted
    echo "You must restart the system to apply the updates."
    ;;
  3) echo "You must use the -f option to continue with the update in the noninteractive mode." ;;
  4) echo "The prerequisite software version for this update was not found." ;;
  5) echo "This Update Package is not compatible with your system." ;;
  9) echo "RPM verification failed." ;;
esac
exit "$code"
