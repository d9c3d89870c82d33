# Runs a package manager, and puts the hold back that dpkg lifts when it installs a package that is on hold:
# keep-hold PACKAGE PROGRAM [ARGUMENT...]
package=$1
shift
# The timeout of the installer ends the package manager; this shell ends after it.
trap : TERM
"$@"
status=$?
printf '%s hold\n' "$package" | dpkg --set-selections
exit $status
