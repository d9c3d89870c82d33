# shellcheck shell=sh
# Tries ports of Farrier's from this machine. TOOLS: what tries, the best first, with blanks. SECONDS_EACH: for one port.
# WORD: path of the test, and what the server answers. PERL: program for perl. AUTHORITY: certificate of our server, in
# PEM. DIRECTORY: for files, removed again. Arguments: SCHEME HOST PORT, for each.
#
# Prints for each, and for each tool until one has an answer of the network: reach INDEX WORDS…

# Nobody else may have made it: what is written into it is written by root.
rm -rf "$DIRECTORY"
mkdir -m 700 "$DIRECTORY" || exit 1
trap 'rm -rf "$DIRECTORY"' EXIT
trap 'exit 1' HUP INT TERM PIPE
printf '%s\n' "$AUTHORITY" >"$DIRECTORY/authority"

# in_url HOST: an address of IPv6 has brackets there.
in_url() { case $1 in *:*) echo "[$1]" ;; *) echo "$1" ;; esac; }

# attempt TOOL SCHEME HOST PORT
attempt() {
  tool=$1
  shift
  url=$1://$(in_url "$2"):$3/$WORD
  case $tool in
    curl)
      answer=$(curl -s -S -g -m "$SECONDS_EACH" --cacert "$DIRECTORY/authority" "$url" 2>&1)
      echo "curl $? $answer"
      ;;
    wget)
      answer=$(wget -q -t 1 -T "$SECONDS_EACH" --ca-certificate="$DIRECTORY/authority" -O - "$url" 2>"$DIRECTORY/words-$1")
      code=$?
      [ $code = 0 ] || answer=$(wget -nv -t 1 -T "$SECONDS_EACH" --ca-certificate="$DIRECTORY/authority" -O /dev/null "$url" 2>&1)
      echo "wget $code $answer"
      ;;
    perl)
      if [ "$1" = http ]; then
        answer=$(perl -e "$PERL" try "$2" "$3" "$SECONDS_EACH" "GET /$WORD HTTP/1.0" "$WORD" 2>&1)
      else
        # The alert for what is not TLS is the answer.
        answer=$(perl -e "$PERL" try "$2" "$3" "$SECONDS_EACH" "$WORD" "" 2>&1)
      fi
      echo "perl $? $answer"
      ;;
  esac
}

index=0
while [ $# -ge 3 ]; do
  for tool in $TOOLS; do
    said=$(attempt "$tool" "$1" "$2" "$3")
    # shellcheck disable=SC2086 # all on one line
    echo reach "$index" $said
    # Another tool would hear the same of the network; what a tool cannot do, another one can.
    case $said in "curl 0 "* | "curl 7 "* | "curl 28 "* | "curl 52 "* | "wget 0 "* | "wget 4 "*) break ;; esac
  done
  index=$((index + 1))
  shift 3
done
