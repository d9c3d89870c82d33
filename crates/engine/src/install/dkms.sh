# Installs a source tree of a kernel module by DKMS, or takes that back:
#   dkms.sh install STATE NAME VERSION TREE [replace] [force]
#   dkms.sh undo STATE
# STATE is a directory for what has to be taken back. It is there from the first change until all of it is
# done or undone, so that `undo` can be called at any time after this program was killed.
# DKMS reports where it is by exit codes, which this program passes on.
set -eu
action=$1 state=$2
sources=/usr/src

# status: what DKMS has of the module, as lines `STATE VERSION KERNEL ARCHITECTURE`. dkms 2 writes
# `NAME, VERSION`, dkms 3 `NAME/VERSION`. An installed file that differs from the compiled one is damaged.
status() {
  dkms status -m "$name" 2>/dev/null | awk '
    {
      colon = index($0, ": ")
      state = substr($0, colon + 2)
      count = split(substr($0, 1, colon - 1), part, ", ")
      at = sub(/^[^\/]*\//, "", part[1]) ? 1 : 2
      kernel = count > at ? part[at + 1] : "-"
      arch = count > at + 1 ? part[at + 2] : "-"
      if (state ~ /^installed( \([Oo]riginal[ _]modules? exists?\))?$/) state = "installed"
      else if (state ~ /^installed-weak/ || state ~ /^broken/ || !colon) next
      else if (state ~ /^installed/) state = "damaged"
      else if (state ~ /^built/) state = "built"
      else state = "added"
      print state, part[at], kernel, arch
    }'
}

# has STATE VERSION [KERNEL]: whether DKMS has the version in this state, or in one that includes it.
has() {
  status | awk -v state="$1" -v version="$2" -v kernel="${3-}" '
    $2 == version && (kernel == "" || $3 == kernel) &&
      ($1 == state || state == "added" || (state == "built" && $1 != "added")) { found = 1 }
    END { exit !found }'
}

# build VERSION KERNEL, install VERSION KERNEL: for one kernel, if that is not done.
build() { has built "$1" "$2" || dkms build -m "$name" -v "$1" -k "$2"; }
install() {
  has installed "$1" "$2" || dkms install -m "$name" -v "$1" -k "$2" ${force:+--force} || return $?
  has installed "$1" "$2" && return 0
  echo "DKMS has not installed $name $1 for $2: what the kernel has by this name is newer, or the same"
  return 6
}
forget() { has added "$1" && dkms remove -m "$name" -v "$1" --all; }

# is_packaged VERSION: whether a package of the machine brings the sources.
is_packaged() {
  dpkg -S "$sources/$name-$1/dkms.conf" >/dev/null 2>&1 || rpm -qf "$sources/$name-$1/dkms.conf" >/dev/null 2>&1
}

# keep: what DKMS has of the module and the files that it has installed, byte for byte: what the owner has signed
# or changed cannot be compiled again.
keep() {
  [ -e "$built" ] || return 0
  cp -a "$built" "$state/dkms"
  find "$built" -name '*.ko*' | sed 's|.*/||' | sort -u | while read -r file; do
    (cd / && find lib/modules/*/ -name "$file")
  done | sort -u >"$state/files"
  tar -cf "$state/files.tar" -C / -T "$state/files"
}

# undo: brings back what STATE says was there before.
undo() {
  [ -e "$state/begun" ] || return 0
  echo "taking back $name $version"
  if [ -e "$state/added" ] || [ -e "$state/replaced" ]; then
    forget "$version" || :
  elif ! grep -q "^[a-z]* $version $kernel " "$state/before"; then
    # Its sources were there, and nothing for this kernel.
    ! has built "$version" "$kernel" || dkms remove -m "$name" -v "$version" -k "$kernel" || :
  fi
  if [ -e "$state/tree" ]; then rm -rf "$sources/$name-$version" "$state/part"; fi
  if [ -e "$state/saved" ]; then
    rm -rf "$sources/$name-$version"
    cp -Rp "$state/saved" "$sources/$name-$version"
  fi
  if [ -e "$state/dkms" ]; then
    # The copy stays until the end, because this may be killed as well.
    if ! { rm -rf "$built" && cp -a "$state/dkms" "$built" && tar -xpf "$state/files.tar" -C /; }; then
      echo "what was installed of $name before could not be restored completely"
      return 1
    fi
    for dir in /lib/modules/*/; do
      [ ! -e "$dir/modules.dep" ] || depmod "$(basename "$dir")" || :
    done
  else
    rm -rf "$built"
  fi
  rm -f "$state/begun"
}

if [ "$action" = undo ]; then
  [ -e "$state/begun" ] || exit 0
  name=$(cat "$state/name") version=$(cat "$state/version") kernel=$(cat "$state/kernel")
  built=/var/lib/dkms/$name
  undo
  exit
fi

name=$3 version=$4 tree=$5 kernel=$(uname -r) force='' replace=''
shift 5
for word; do
  case $word in replace) replace=1 ;; force) force=1 ;; esac
done
built=/var/lib/dkms/$name
target=$sources/$name-$version log=$built/$version/build/make.log

# `dkms status` ends at a version without sources, and says nothing of the others.
for source in "$built"/*/source; do
  [ ! -L "$source" ] || [ -e "$source/dkms.conf" ] || {
    echo "DKMS has a version of $name without its sources; restore ${source%/source}/source, or remove that version"
    exit 2
  }
done

# finish: after anything but success, everything is as before, and the cause is printed last.
finish() {
  code=$?
  trap '' TERM INT HUP
  trap - EXIT
  [ -e "$state/begun" ] || exit $code
  errors=
  if [ -e "$log" ]; then
    echo "the end of make.log:"
    tail -n 40 "$log"
    errors=$(grep -E -m 3 '(^|[ :])(fatal )?error:|Error! ' "$log" || :)
  fi
  undo || :
  [ -z "$errors" ] || printf '%s\n' "$errors"
  exit $code
}

mkdir "$state"
echo "$name" >"$state/name"
echo "$version" >"$state/version"
echo "$kernel" >"$state/kernel"
status >"$state/before"
keep
trap finish EXIT
trap 'exit 143' TERM INT HUP
: >"$state/begun"

if [ -n "$replace" ] && [ -e "$target" ]; then
  cp -Rp "$target" "$state/part"
  mv "$state/part" "$state/saved"
  : >"$state/replaced"
  forget "$version" || :
  rm -rf "$target"
elif [ -n "$replace" ] && has added "$version"; then
  : >"$state/replaced"
  forget "$version"
fi
if [ ! -e "$target" ]; then
  : >"$state/tree"
  cp -Rp "$tree" "$target"
fi
if ! has added "$version"; then
  : >"$state/added"
  dkms add -m "$name" -v "$version"
fi

# The running kernel, and those that may be booted next: the newest one, and those that have another version.
others=$(
  {
    awk -v version="$version" '$1 ~ /^(installed|damaged)$/ && $2 != version { print $3 }' "$state/before"
    for dir in /lib/modules/*; do
      # Headers can be there without their kernel.
      [ ! -e "$dir/build/Makefile" ] || [ ! -e "$dir/modules.builtin" ] || echo "${dir##*/}"
    done | sort -V | tail -n 1
  } | sort -u | grep -Fxv -e "$kernel" || :
)
# replace_on KERNEL: puts the version in the place of the one that is installed for this kernel.
replace_on() {
  build "$version" "$1" || return $?
  old=$(status | awk -v kernel="$1" -v version="$version" '$1 ~ /^(installed|damaged)$/ && $2 != version && $3 == kernel { print $2; exit }')
  [ -z "$old" ] || dkms uninstall -m "$name" -v "$old" -k "$1" || return $?
  install "$version" "$1" && return 0
  code=$?
  [ -z "$old" ] || dkms install -m "$name" -v "$old" -k "$1" --force || :
  return $code
}
replace_on "$kernel"
for other in $others; do
  replace_on "$other" || echo "$name $version is not installed for the kernel $other, which keeps what it has"
done
# From here on nothing is taken back.
rm -f "$state/begun"
trap - EXIT TERM INT HUP

# Versions that were replaced and that no kernel has any more; those of packages belong to the package manager.
# shellcheck disable=SC2013 # versions have no blanks
for old in $(awk -v version="$version" '$1 ~ /^(installed|damaged)$/ && $2 != version { print $2 }' "$state/before" | sort -u); do
  if is_packaged "$old"; then
    echo "$name $old stays in DKMS, because a package of this machine brings it"
  elif status | grep -q "^installed $old "; then
    echo "$name $old stays in DKMS, because a kernel has it"
  elif forget "$old"; then
    rm -rf "$sources/$name-$old"
  fi
done
