# shellcheck shell=sh
# Farrier fetches a depot. WORK: this directory. TOOLS: what fetches, the best first, with blanks. IDLE: seconds after
# which a line counts as dead. PAUSE: seconds between two tries. SIZE: bytes of the depot. DIGEST: its SHA-256, in
# hexadecimal digits. DIGESTER: what computes it, or empty.

trap '' HUP
PATH=/usr/sbin:/usr/bin:/usr/lbin:/usr/contrib/bin:/opt/perl/bin:/usr/local/bin:/sbin:/bin:$PATH
LC_ALL=C
export PATH LC_ALL
umask 077
echo $$ >"$WORK/pid"
part=${WORK%/*}/depot.part

# fetch_with TOOL: fetches the depot. A line that is dead is given up: no end of the connection may ever arrive.
fetch_with() {
  case $1 in
    curl) curl -q -s -S -f --connect-timeout 30 --speed-limit 1 --speed-time "$IDLE" -K "$WORK/request" -o "$part" ;;
    wget)
      if [ -s "$WORK/authority" ] && [ -n "$(cat "$WORK/authority")" ]; then
        wget -nv -t 1 -T "$IDLE" --ca-certificate="$WORK/authority" -O "$part" -i "$WORK/url"
      else
        wget -nv -t 1 -T "$IDLE" -O "$part" -i "$WORK/url"
      fi
      ;;
    perl) perl "$WORK/fetch.pl" fetch "$WORK/url" "$part" "$IDLE" ;;
  esac
}
# fetch: tries each tool: one that is there may lack TLS, or a library. What they say is kept until one has done it.
fetch() {
  : >"$WORK/said"
  for tool in $TOOLS; do
    rm -f "$part"
    if words=$(fetch_with "$tool" 2>&1); then
      rm -f "$WORK/said"
      return 0
    else
      code=$?
    fi
    # shellcheck disable=SC2046 # all on one line
    echo "$tool ($code):" $(printf '%s\n' "$words" | tail -n 2) >>"$WORK/said"
  done
  return 1
}
checked() {
  case $DIGESTER in
    openssl) openssl dgst -sha256 "$part" | sed 's/^.*= *//' ;;
    perl) perl -MDigest::SHA -e 'print Digest::SHA->new(256)->addfile($ARGV[0], "b")->hexdigest' "$part" ;;
    *) echo "$DIGEST" ;;
  esac
}
# done_with CODE: writes how it ended.
done_with() {
  echo "$1" >"$WORK/status.part" && mv "$WORK/status.part" "$WORK/status"
  exit
}

try=1
until fetch; do
  [ $try -lt 3 ] || done_with 1
  try=$((try + 1))
  # sleep: a server that is busy, or restarts, is asked again.
  sleep "$PAUSE"
done
length=$(wc -c <"$part" | tr -d ' ')
if [ "$length" != "$SIZE" ]; then
  echo "it has $length bytes in place of $SIZE"
  done_with 2
fi
if [ "$(checked)" != "$DIGEST" ]; then
  echo "its digest is another one"
  done_with 3
fi
mv "$part" "${part%.part}" || done_with 4
done_with 0
