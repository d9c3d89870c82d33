# shellcheck shell=sh
# holders FILE…: prints the processes that have one of these files open, by number and command line. Whoever has a lock of
# Software Distributor has its file open. The daemon may have it for longer than it has the lock.
holders() {
  for holder in $(fuser "$@" 2>/dev/null); do
    ps -p "$holder" -o args 2>/dev/null | sed -n "2s|^|$holder |p"
  done | awk '!seen[$0]++ && !/[ \/]swagentd( |$)/'
}
# The lock of the products that are installed (swinstall(1M), "Locking").
# shellcheck disable=SC2034 # for what comes after this
lock_of_products=/var/adm/sw/products/swlock
