# shellcheck shell=sh
# Stages payloads in PLACE/NAME. Runs as root.
#
# PLACE: the parent directory. NAME: the directory of staged payloads. SESSION: whose leases they are. LEASE: their
# length in seconds, from the end of the transfer. CARRYING: how long that may take, in seconds. DROP: the script that
# ends leases. ETC: where the files of the scheduler are. PROC: /proc.
# RUNNING: the directory that systemd makes when it has booted the machine. Arguments: digests.
#
# Prints "have SIZE DIGEST" for a payload that is there, "part SIZE DIGEST" for one of which so many bytes are
# there, "free KIB", and farrier-stage-1. Then it reads lines "DIGEST LENGTH SIZE" from its standard input, with
# "fresh" as a fourth word if nothing that is there counts: each time it prints "farrier-bytes-1 DIGEST", reads LENGTH
# bytes, and prints "stored DIGEST", "changed DIGEST" if the file with SIZE bytes has another digest, or "short
# DIGEST". The operator sends nothing before it is asked to. A line "-" ends it; a line "release" takes the leases
# back and ends it.
#
# Without a scheduler it prints "no-scheduler", and without sha256sum "no-sha256sum"; if it cannot write, "readonly".

umask 077
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
directory=$PLACE/$NAME

# has_cron: whether a cron runs that reads /etc/cron.d; that of busybox does not.
has_cron() {
  [ -d "$ETC/cron.d" ] || return 1
  for process in "$PROC"/[0-9]*; do
    command=
    read -r command 2>/dev/null <"$process/comm"
    case $command in
      cron | crond) case $(readlink "$process/exe") in */busybox) ;; *) return 0 ;; esac ;;
    esac
  done
  return 1
}

# schedule: makes the scheduler run the script that ends leases. Fails without a scheduler.
schedule() {
  run="sh $directory/drop $directory $ETC"
  if [ -d "$RUNNING" ]; then
    units=$ETC/systemd/system
    [ ! -e "$units/timers.target.wants/farrier-staged.timer" ] || return 0
    # SELinux lets systemd execute few files below /var, so a shell does.
    printf '%s\n' '[Unit]' 'Description=Removes payloads that Farrier has staged when their leases have ended' \
      '[Service]' Type=oneshot "ExecStart=/bin/sh -c \"exec $run\"" >"$units/farrier-staged.service" &&
      printf '%s\n' '[Unit]' 'Description=Ends leases of payloads that Farrier has staged' '[Timer]' \
        OnCalendar=hourly '[Install]' WantedBy=timers.target >"$units/farrier-staged.timer" &&
      chmod 644 "$units/farrier-staged.service" "$units/farrier-staged.timer" &&
      mkdir -p "$units/timers.target.wants" && chmod 755 "$units/timers.target.wants" &&
      ln -s ../farrier-staged.timer "$units/timers.target.wants/farrier-staged.timer" &&
      systemctl daemon-reload && systemctl start farrier-staged.timer
  elif has_cron; then
    printf '%s\n' "7 * * * * root [ ! -f $directory/drop ] || $run" >"$ETC/cron.d/farrier-staged" &&
      chmod 644 "$ETC/cron.d/farrier-staged"
  else
    echo no-scheduler
    return 1
  fi
}

# digest_of FILE: prints its digest.
digest_of() {
  sum=$(sha256sum <"$1") || return 1
  echo "${sum%% *}"
}

# lease SECONDS DIGEST…: writes the leases of this session.
lease() {
  until=$(($(date +%s) + $1))
  shift
  for digest; do
    echo "$until" >"$directory/$digest.until-$SESSION" || return 1
  done
}

# prepare DIGEST…: makes the directory with the leases and what ends them.
prepare() {
  command -v sha256sum >/dev/null 2>&1 || { echo no-sha256sum; return 1; }
  # Any user can make a directory in some of the places.
  # shellcheck disable=SC3067 # every shell that is /bin/sh somewhere has -O
  { [ -d "$directory" ] && [ ! -L "$directory" ] && [ -O "$directory" ]; } || rm -rf "$directory"
  [ -d "$directory" ] || mkdir -m 700 "$directory" || { echo readonly; return 1; }
  lease $((LEASE + CARRYING)) "$@" || { echo readonly; return 1; }
  printf '%s\n' "$DROP" >"$directory/drop" || { echo readonly; return 1; }
  schedule
}

# state DIGEST: prints how much of the payload is there.
state() {
  if [ -f "$directory/$1" ] && [ "$(digest_of "$directory/$1")" = "$1" ]; then
    echo "have $(($(wc -c <"$directory/$1"))) $1"
    return
  fi
  rm -f "$directory/$1"
  [ -f "$directory/$1.part-$SESSION" ] || : >"$directory/$1.part-$SESSION"
  echo "part $(($(wc -c <"$directory/$1.part-$SESSION"))) $1"
}

# receive DIGEST LENGTH SIZE HOW: reads the missing bytes of a payload.
receive() {
  part=$directory/$1.part-$SESSION
  [ "$4" != fresh ] || : >"$part"
  echo "farrier-bytes-1 $1"
  head -c "$2" >>"$part"
  if [ "$(($(wc -c <"$part")))" != "$3" ]; then
    echo "short $1"
  elif [ "$(digest_of "$part")" = "$1" ] && mv -f "$part" "$directory/$1"; then
    echo "stored $1"
  else
    rm -f "$part"
    echo "changed $1"
  fi
}

release() {
  rm -f "$directory"/*.until-"$SESSION" "$directory"/*.part-"$SESSION"
  sh -c "$DROP" drop "$directory" "$ETC"
}

if prepare "$@"; then
  for digest; do state "$digest"; done
  df -Pk "$directory" | {
    read -r _
    read -r _ _ _ free _
    echo "free $free"
  }
  echo farrier-stage-1
  digest=
  while read -r digest length size how; do
    case $digest in
      - | release) break ;;
      *) receive "$digest" "$length" "$size" "$how" ;;
    esac
  done
  # Also when the connection is lost: what has arrived stays as long as the user wants.
  case $digest in release) release ;; *) lease "$LEASE" "$@" ;; esac
  sync
elif [ -d "$directory" ]; then
  release
fi
