# shellcheck shell=bash
# Tries one address: HOST PORT GREETING. Prints the machine's own address as the kernel's socket table shows
# it, `up` once the connection is established, and error messages. Succeeds if the peer answers the greeting.
#
# The own address is taken from a UDP socket to the same target, through which nothing is sent. So it is known
# whether or not the connection succeeds.

trap "" PIPE
printf -v port %04X "$2"
(
  exec 4<>"/dev/udp/$1/$2"
  for table in udp udp6; do
    while read -r _ own other _; do
      case $other in *:"$port") echo "own $own $other" ;; esac
    done <"/proc/net/$table"
  done
) 2>/dev/null
exec 3<>"/dev/tcp/$1/$2" || exit 1
echo up
echo "$3" >&3
read -r -n 1 -u 3
