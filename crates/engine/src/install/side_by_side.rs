//! Determines which rpm packages are installed beside their other versions instead of replacing them, from
//! the configuration and the defaults of dnf, yum and zypper.

use std::fs;
use std::path::PathBuf;

/// Default of `installonlypkgs` of dnf and yum. Each entry matches what a package provides, its own name
/// included. The default of zypper is a subset.
const PROVIDED: &str = "kernel kernel-PAE kernel-bigmem kernel-enterprise kernel-smp kernel-debug \
    kernel-unsupported kernel-source kernel-devel installonlypkg(kernel) installonlypkg(kernel-module) \
    installonlypkg(vm) multiversion(kernel)";

/// Parts of a kernel, matched by name only. Packages that merely provide one of these names are modules of
/// other vendors, which yum upgrades.
const KERNEL_PARTS: [&str; 4] =
    ["kernel-core", "kernel-modules", "kernel-modules-core", "kernel-modules-extra"];

/// Configuration files and directories, and the option to read. Without an option, each line is an entry.
const CONFIGURATION: [(&str, &str); 8] = [
    ("/etc/dnf/dnf.conf", "installonlypkgs"),
    ("/etc/dnf/libdnf5.conf.d", "installonlypkgs"),
    ("/usr/share/dnf5/libdnf.conf.d", "installonlypkgs"),
    ("/etc/yum.conf", "installonlypkgs"),
    ("/etc/zypp/zypp.conf", "multiversion"),
    ("/etc/zypp/zypp.conf.d", "multiversion"),
    ("/usr/etc/zypp/zypp.conf", "multiversion"),
    ("/etc/zypp/multiversion.d", ""),
];

/// Reports whether a package with this name and these provides is installed side by side.
pub(super) fn is_configured(name: &str, provides: &[&str]) -> bool {
    let is_provided = |entry: &str| entry == name || provides.contains(&entry);
    if KERNEL_PARTS.contains(&name) || PROVIDED.split(' ').any(is_provided) {
        return true;
    }
    let texts = CONFIGURATION
        .iter()
        .flat_map(|(path, option)| read(path).into_iter().map(move |text| (text, option)));
    texts.into_iter().any(|(text, option)| entries(&text, option).into_iter().any(is_provided))
}

/// Returns the text of a file, or of all files of a directory; nothing if the path does not exist.
fn read(path: &str) -> Vec<String> {
    let files: Vec<PathBuf> = match fs::read_dir(path) {
        Ok(folder) => folder.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![path.into()],
    };
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect()
}

/// Returns the entries of an option. Its value may continue in indented lines.
pub(crate) fn entries<'a>(text: &'a str, option: &str) -> Vec<&'a str> {
    let mut is_value = option.is_empty();
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let mut value = line;
        if !option.is_empty() && !line.starts_with([' ', '\t']) {
            let (key, rest) = line.split_once('=').unwrap_or((line, ""));
            (is_value, value) = (key.trim() == option, rest);
        }
        if is_value {
            let words = value.split([',', ' ', '\t']).filter(|word| !word.is_empty());
            found.extend(words.map(|word| word.strip_prefix("provides:").unwrap_or(word)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If an entry is overlooked, the other versions of its package are removed.
    #[test]
    fn entries_are_read_as_the_package_managers_write_them() {
        let dnf =
            "[main]\ngpgcheck=1\n#installonlypkgs=no\ninstallonlypkgs = one, two\n three\nbest=four\n five\n";
        assert_eq!(entries(dnf, "installonlypkgs"), ["one", "two", "three"]);
        let zypp =
            "[main]\nmultiversion = provides:multiversion(kernel),extra\nmultiversion.kernels = latest\n";
        assert_eq!(entries(zypp, "multiversion"), ["multiversion(kernel)", "extra"]);
        assert_eq!(entries("# comment\nprovides:a\nb\n", ""), ["a", "b"]);
    }

    #[test]
    fn kernels_and_their_modules_stand_side_by_side_by_default() {
        for (name, provides) in [
            ("kernel", &[][..]),
            ("kernel-modules", &[]),
            ("kernel-rt-core", &["installonlypkg(kernel)"]),
            ("kernel-default", &["multiversion(kernel)"]),
        ] {
            assert!(is_configured(name, provides), "{name}");
        }
        for (name, provides) in
            [("kernel-headers", &[][..]), ("kmod-disk", &["kernel-modules"]), ("bash", &[])]
        {
            assert!(!is_configured(name, provides), "{name}");
        }
    }
}
