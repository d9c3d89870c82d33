# shellcheck shell=sh
# Restarts the machine. BOOT: when it was started, as far as is known. Prints "began", or "refused" and why.

if [ "$(booted)" != "$BOOT" ]; then
  echo "refused restarted"
elif [ -n "$(installers)" ]; then
  echo "refused busy $(installers | sed -n -e 's/^process //' -e 1p)"
elif cd /; then
  nohup shutdown -r -y 0 </dev/null >/dev/null 2>&1 &
  echo began
fi
