# shellcheck shell=sh
# What /bin/sh is given on its command line: says that it is there, reads a program as one line from
# its standard input, and runs it. `stty` matters only on a terminal: nothing may be translated
# there.
#
# The command line goes through the user's login shell, which may be any. So the code is one line,
# the last one here, and has no character that means something else in one of them: no single
# quote, no backslash, no exclamation mark, no percent sign, no backquote.
stty raw -echo 2>/dev/null; echo farrier-ready-1; IFS= read -r line; eval "$line"
