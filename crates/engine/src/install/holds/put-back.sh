# Puts a package on hold: put-back PACKAGE. The caller has the lock of dpkg's front ends.
printf '%s hold\n' "$1" | DPKG_FRONTEND_LOCKED=true dpkg --set-selections
