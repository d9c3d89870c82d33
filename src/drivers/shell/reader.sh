# shellcheck shell=sh
# The program on the command line of /bin/sh: prints a marker, reads a program as one line from standard
# input, and runs it. `stty` matters only on a terminal, which must not translate any characters.
#
# The command line passes through the user's login shell, which may be any shell. So the code is one line, the
# last one of this file, and has no character with a different meaning in some shell: no single quote, no
# backslash, no exclamation mark, no percent sign, no backquote.
stty raw -echo 2>/dev/null; echo farrier-ready-1; IFS= read -r line; eval "$line"
