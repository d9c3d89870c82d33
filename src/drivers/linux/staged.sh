# shellcheck shell=sh
# Looks for staged payloads, or removes them. Runs as root.
#
# MODE: look (which of the payloads are there, and right; SESSION holds these by a lease of HOLD seconds), release
# (takes back the leases of SESSION) or remove (the payloads, whoever has staged them, and the leases of SESSION).
# NAME: the directory of staged payloads. PLACES: its possible parent directories. DROP: the script that ends leases.
# ETC: where the scheduler's files are. Arguments: digests.
#
# Prints "staged PLACE SIZE DIGEST" for each payload that is there, and "changed PLACE DIGEST" for each that was
# removed because it is another file now.

umask 077
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# digest_of FILE: prints its digest.
digest_of() {
  sum=$(sha256sum <"$1") || return 1
  echo "${sum%% *}"
}

# hold FILE: keeps the file while an update is at work, even if all its leases end meanwhile.
hold() {
  [ ! -f "$1" ] || echo $(($(date +%s) + HOLD)) >"$1.until-$SESSION"
}

# look PLACE DIGEST: whether the payload is there, and right.
look() {
  [ -f "$1/$NAME/$2" ] || return 0
  found=$(digest_of "$1/$NAME/$2") || return 0
  if [ "$found" = "$2" ]; then
    echo "staged $1 $(($(wc -c <"$1/$NAME/$2"))) $2"
  else
    # With its leases: nobody has staged this file.
    rm -f "$1/$NAME/$2" "$1/$NAME/$2".*
    echo "changed $1 $2"
  fi
}

for place in $PLACES; do
  directory=$place/$NAME
  # Any user can make a directory in some of the places.
  # shellcheck disable=SC3067 # every shell that is /bin/sh somewhere has -O
  { [ -d "$directory" ] && [ ! -L "$directory" ] && [ -O "$directory" ]; } || continue
  case $MODE in
    look)
      for digest; do hold "$directory/$digest"; done
      # What is not held, because the disk is full, and has no other lease is not there any more.
      sh -c "$DROP" drop "$directory" "$ETC"
      for digest; do look "$place" "$digest"; done
      ;;
    release) rm -f "$directory"/*.until-"$SESSION" "$directory"/*.part-"$SESSION" ;;
    remove)
      rm -f "$directory"/*.until-"$SESSION"
      for digest; do rm -f "$directory/$digest" "$directory/$digest".*; done
      ;;
  esac
  sh -c "$DROP" drop "$directory" "$ETC"
done
