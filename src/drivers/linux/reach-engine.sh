# shellcheck shell=sh
# Whether a connection from this machine gets an answer, tried by ENGINE. Arguments: addresses.

"$ENGINE" reach "$@"
