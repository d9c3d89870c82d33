#!/bin/sh
# A payload of installer Script, in place of a vendor's flash tool: "flashes" the version that the
# baseline asks for. Farrier runs it as root and passes FARRIER_COMPONENT and FARRIER_VERSION. It
# reads the version back by spec.components[].detect; exit status 0 alone proves nothing.
set -eu
echo "flashing ${FARRIER_COMPONENT:?} ${FARRIER_VERSION:?}"
printf '%s\n' "$FARRIER_VERSION" >/etc/bmc-tool.version
