# shellcheck shell=bash
# What every script under hack/ shares: where things are cached, and how missing
# packages get onto the machine. Source it; it changes no state by itself.

# shellcheck disable=SC2034 # used by the scripts that source this file
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Tools and images outlive the checkout. FARRIER_CACHE moves them.
CACHE=${FARRIER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/farrier}
mkdir -p "$CACHE"

# say TEXT…: one progress line on standard error.
say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }

# die TEXT…: what failed and what to do next, then exit 1.
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# need_root: the lab makes namespaces and mounts.
need_root() { [ "$(id -u)" = 0 ] || die "$(basename "$0") must run as root: it makes network namespaces. Next: run it with sudo."; }

# need_cargo: Rust as rust-toolchain.toml asks for it, and what its crates in C need.
need_cargo() {
  PATH=$PATH:$HOME/.cargo/bin
  command -v cargo >/dev/null || die "Rust is not installed. Next: install rustup (https://rustup.rs); it brings what rust-toolchain.toml asks for."
  command -v cc >/dev/null || ensure_packages gcc libc6-dev
}

# need_cross MACHINE: what Rust needs to build for another processor, x86_64 or aarch64.
need_cross() {
  local target=$1-unknown-linux-gnu debian tool
  case $1 in x86_64) debian=amd64 ;; aarch64) debian=arm64 ;; esac
  ensure_packages "gcc-${1//_/-}-linux-gnu" "libc6-dev-$debian-cross"
  rustup target add "$target" >/dev/null 2>&1 ||
    die "the Rust library for $target cannot be installed. Next: rustup target add $target"
  tool=${target//-/_}
  export "CARGO_TARGET_${tool^^}_LINKER=$1-linux-gnu-gcc" "CC_$tool=$1-linux-gnu-gcc" "AR_$tool=$1-linux-gnu-ar"
}

# need_go DIR: a Go that can build the module in DIR.
need_go() {
  local wanted problem
  wanted=$(awk '$1 == "go" { print $2 }' "$1/go.mod")
  PATH=$PATH:/usr/local/go/bin
  command -v go >/dev/null ||
    die "Go is not installed, and ${1#"$ROOT/"} is built with it. Next: install Go $wanted or later (https://go.dev/doc/install)."
  problem=$(cd "$1" && go list -m 2>&1) ||
    die "$(go version) cannot build ${1#"$ROOT/"}: $problem. Next: install Go $wanted or later (https://go.dev/doc/install)."
}

# available_mib: memory that can be had without swapping.
available_mib() { awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo; }

# go_build DIR ARG…: `go build` in the module in DIR; what comes of it depends on the sources alone.
# All executables are stripped, so that compilers need not write debug information at all. Where
# there is memory for two compilers and a linker of 3 GiB each they do not collect garbage. Both
# together save a fifth of the processor time; where Go's cache is of other flags, it begins anew.
go_build() {
  local collect=()
  [ "$(available_mib)" -lt 10240 ] || collect=(GOGC=off GOMEMLIMIT=3GiB)
  (cd "$1" && shift && env CGO_ENABLED=0 GOWORK=off GOFLAGS='-mod=readonly -buildvcs=false' "${collect[@]}" \
    go build -trimpath -gcflags=all=-dwarf=false "$@")
}

# target_dir: where cargo puts what it builds.
target_dir() { echo "${CARGO_TARGET_DIR:-$ROOT/target}"; }

# dist_dir PROFILE: where hack/build leaves what it makes, by the profile it was built with.
dist_dir() {
  case $1 in
    release) echo "$(target_dir)/dist" ;;
    *) echo "$(target_dir)/dist-$1" ;;
  esac
}

# ensure_packages PKG…: installs the Debian packages that are missing. Services that
# the packages bring are kept from starting: the lab runs its own.
ensure_packages() {
  local missing=() p
  for p in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  [ "$(id -u)" = 0 ] || die "these packages are missing: ${missing[*]}. Next: apt-get install ${missing[*]}"
  say "installing ${missing[*]}"
  (
    flock 9
    policy=/usr/sbin/policy-rc.d
    made=
    if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' >$policy; chmod 755 $policy; made=1; fi
    trap '[ -z "$made" ] || rm -f $policy' EXIT
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -q --no-install-recommends "${missing[@]}" >"$CACHE/apt.log" 2>&1 ||
      { apt-get update -q >>"$CACHE/apt.log" 2>&1 &&
        apt-get install -y -q --no-install-recommends "${missing[@]}" >>"$CACHE/apt.log" 2>&1; } ||
      { tail -n 20 "$CACHE/apt.log" >&2; die "apt-get could not install ${missing[*]}. Next: read $CACHE/apt.log"; }
  ) 9>"$CACHE/apt.lock"
}

# ensure_engine_test_packages: what the engine's tests need, in namespaces of their own.
ensure_engine_test_packages() {
  # They build packages and install them, also on machines without the usual tools.
  command -v rpmbuild >/dev/null || ensure_packages rpm
  ensure_packages busybox
  # Firmware: the real fwupd with its test devices, and what unpacks the RPM packages of HPE.
  ensure_packages fwupd dbus cpio
  # Kernel modules: the real DKMS, and headers of a kernel to compile them with.
  ensure_packages dkms "linux-headers-$(dpkg --print-architecture)" xz-utils
  # The firewalls of namespaces.
  ensure_packages nftables iptables iproute2
  # Package managers with repositories that the tests make.
  ensure_packages apt dnf zypper createrepo-c
}

# digest_of FILE…: one short digest over the content of files, as a cache key.
digest_of() { cat "$@" | sha256sum | cut -c1-16; }
