# shellcheck shell=sh
# Checks whether a rule of this session is left in the machine's firewall. Runs as root. Prints a line for each
# rule, and one for each program that could not list its rules. MARK: the beginning of the comment of each rule.
# TOOLS: where the programs are. PROC: /proc. Programs that the machine lacks have no rules; a table of the older
# kernel interface is not asked for, because that would create it.

export LC_ALL=C PATH="$TOOLS"
FAILED='farrier: not listed'

# has_failed PROGRAM: says that it could not list its rules. Where the kernel has no nf_tables, also not as a module
# that the program would have loaded, there are none; where the kernel shows no symbols, that is not known.
has_failed() {
  case $1 in
    nft | *-nft-save)
      if grep -q . "$PROC/kallsyms" 2>/dev/null && ! grep -q nf_tables "$PROC/kallsyms"; then return; fi
      ;;
  esac
  echo "$FAILED"
}

# list PROGRAM ARGUMENT...: shows the rules of this session among those that the program lists.
list() {
  { "$@" 2>/dev/null || has_failed "$1"; } | grep -F -e "$MARK" -e "$FAILED" | while read -r rule; do
    case $rule in
      "$FAILED") echo "unlisted $1" ;;
      *) echo "left firewall rule: $rule" ;;
    esac
  done
}

# is_there PROGRAM: whether the machine has the program.
is_there() {
  command -v "$1" >/dev/null 2>&1
}

if is_there nft; then
  list nft list ruleset
else
  for version in ip ip6; do
    ! is_there "${version}tables-nft-save" || list "${version}tables-nft-save"
  done
fi
for version in ip ip6; do
  # Files in /proc have no size.
  grep -q . "$PROC/net/${version}_tables_names" 2>/dev/null || continue
  for program in "${version}tables-legacy-save" "${version}tables-save"; do
    if is_there "$program"; then
      list "$program"
      break
    fi
  done
done
