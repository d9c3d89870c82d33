# shellcheck shell=sh
# Checks whether a rule of this session is left in the machine's firewall. Runs as root. Prints a line for each
# rule. MARK: the beginning of the comment of each rule. Programs that the machine lacks have no rules; a table of
# the older kernel interface is not asked for, because that would create it.

export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# rules: prints the rules of all firewalls.
rules() {
  nft list ruleset
  for version in ip ip6; do
    [ ! -s "/proc/net/${version}_tables_names" ] || "${version}tables-legacy-save" || "${version}tables-save"
  done
}

rules 2>/dev/null | grep -F "$MARK" | while read -r rule; do
  echo "left firewall rule: $rule"
done
