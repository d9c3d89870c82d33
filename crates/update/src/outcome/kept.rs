//! Configuration files of which an installer has kept the machine's own version, from its output.

/// Maximum number of files that a message names.
const MAX_NAMED: usize = 5;

/// Returns a remark about the files that were changed on the machine and kept; `None` if there are none. dpkg and
/// rpm put the package's version beside them.
pub(super) fn remark(output: &str) -> Option<String> {
    let mut kept: Vec<String> = Vec::new();
    let mut asked = None;
    for line in output.lines().map(str::trim) {
        if let Some(file) = line.strip_prefix("Configuration file '") {
            asked = file.strip_suffix('\'');
        } else if let (Some(file), true) = (asked, line.starts_with("==> Keeping old config file")) {
            kept.push(format!("{file} (the new one is {file}.dpkg-dist)"));
            asked = None;
        } else if let Some((file, new)) =
            line.strip_prefix("warning: ").and_then(|line| line.split_once(" created as "))
        {
            kept.push(format!("{file} (the new one is {new})"));
        }
    }
    let more = match kept.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = kept.get(..MAX_NAMED).unwrap_or(&kept).join(", ");
    (!kept.is_empty()).then(|| format!("changed configuration files were kept: {named}{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somebody has to merge what the package brings, and would not know of it.
    #[test]
    fn kept_files_are_named_for_both_package_formats() {
        let dpkg = "Setting up fx (2) ...\n\nConfiguration file '/etc/fx.conf'\n ==> Modified (by you or by a script) \
                    since installation.\n ==> Package distributor has shipped an updated version.\n ==> Keeping old \
                    config file as default.\n";
        let words =
            "changed configuration files were kept: /etc/fx.conf (the new one is /etc/fx.conf.dpkg-dist)";
        assert_eq!(remark(dpkg).as_deref(), Some(words));
        let rpm = "warning: /etc/fx.conf created as /etc/fx.conf.rpmnew\n";
        assert!(remark(rpm).unwrap().ends_with("(the new one is /etc/fx.conf.rpmnew)"));
        assert_eq!(remark("warning: fx.rpm: Header V4 RSA/SHA256 Signature, key ID 1: NOKEY\n"), None);
    }
}
