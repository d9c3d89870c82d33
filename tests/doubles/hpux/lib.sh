# shellcheck shell=sh
# What all programs of the double share: where things are, settings and faults. Sourced.

double=/opt/hpux-double
state=$double/state
# The real programs of the system, some of which `install` has put aside.
PATH=$double/real:/usr/bin:/bin:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL

# has_fault NAME: the fault is switched on.
has_fault() { [ -e "$state/fault/$1" ]; }

# setting NAME DEFAULT: a setting of the machine.
setting() { if [ -s "$state/$1" ]; then cat "$state/$1"; else printf '%s\n' "$2"; fi; }

# wait_for NAME: waits as long as the setting says.
wait_for() {
  seconds=$(setting "$1" 0)
  # sleep: the time that the machine needs for it, which a test sets.
  [ "$seconds" = 0 ] || sleep "$seconds"
}

# shellcheck disable=SC2034 # for those that source this
host=$(setting hostname hpux01)

# stamp: the time as SD writes it into its logs.
stamp() { date '+%m/%d/%y %H:%M:%S %Z'; }

# restart: the machine restarts, as soon as this program has said what it has to say.
restart() {
  if has_fault reboot-not-made; then return; fi
  : >"$state/restarting"
  sh -c "$(setting reboot-with /sbin/reboot)"
}

# notice_boot: what a start of the machine does. The machine has no hook at its start, so the first program of the
# double that runs afterwards does it: filesets that were installed before are configured, as
# /sbin/rc2.d/S120swconfig does.
notice_boot() {
  boot=$(cat "$(setting boot-id-file /proc/sys/kernel/random/boot_id)")
  [ "$boot" != "$(setting boot-id '')" ] || return 0
  printf '%s\n' "$boot" >"$state/boot-id"
  date '+%b %e %H:%M' >"$state/boot-time"
  rm -f "$state/lock" "$state/restarting"
  for index in /var/adm/sw/products/*/INDEX; do
    [ -e "$index" ] || continue
    sed 's/^state installed$/state configured/; s/^state transient$/state corrupt/' "$index" >"$index.new" &&
      mv "$index.new" "$index"
  done
}
if [ "$(id -u)" = 0 ]; then notice_boot; fi
