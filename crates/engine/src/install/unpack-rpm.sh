# Unpacks the files of an RPM package without installing it: `unpack-rpm.sh PACKAGE DIRECTORY`.
# cpio reads a file, not a pipe, so that a package that rpm2cpio cannot read ends this program.
set -eu
cd "$2"
umask 077
rpm2cpio "$1" >.payload
cpio --extract --make-directories --quiet --no-absolute-filenames <.payload
rm -f .payload
