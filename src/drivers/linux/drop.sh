# shellcheck shell=sh
# Removes the staged payloads that have no lease any more, and with the last one everything else. Stays on the
# machine while something is staged: its scheduler runs it. Arguments: the directory; where the scheduler's files are.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
directory=$1
etc=$2
cd "$directory" || exit 0
now=$(date +%s)
kept=' '
for lease in *.until-*; do
  [ -f "$lease" ] || continue
  until=0
  read -r until <"$lease"
  # A lease that cannot be read has ended: it was cut off when the disk was full.
  if [ "$until" -gt "$now" ] 2>/dev/null; then kept="$kept${lease%%.*} "; else rm -f "$lease"; fi
done
for file in *; do
  case $file in drop | *.until-*) continue ;; esac
  case $kept in *" ${file%%.*} "*) ;; *) rm -f "$file" ;; esac
done
[ "$kept" = ' ' ] || exit 0
rm -f "$etc/cron.d/farrier-staged"
units=$etc/systemd/system
if [ -e "$units/farrier-staged.timer" ] || [ -e "$units/farrier-staged.service" ]; then
  [ ! -d /run/systemd/system ] || systemctl stop farrier-staged.timer
  rm -f "$units/timers.target.wants/farrier-staged.timer" "$units/farrier-staged.timer" "$units/farrier-staged.service"
  [ ! -d /run/systemd/system ] || systemctl daemon-reload
fi
cd /
rm -rf "$directory"
