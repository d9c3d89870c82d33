# shellcheck shell=sh
# Tests with ENGINE whether a connection from this machine gets an answer. Arguments: addresses.

"$ENGINE" reach "$@"
