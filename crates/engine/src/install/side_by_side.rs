//! Which rpm packages are installed beside their other versions instead of replacing them: what
//! dnf, yum and zypper have in their configuration and, where it says nothing, by default.

use std::fs;
use std::path::PathBuf;

/// What dnf's and yum's `installonlypkgs` has by default; each is something that a package
/// provides, if only its own name. zypper's default is among them.
const PROVIDED: &str = "kernel kernel-PAE kernel-bigmem kernel-enterprise kernel-smp kernel-debug \
    kernel-unsupported kernel-source kernel-devel installonlypkg(kernel) installonlypkg(kernel-module) \
    installonlypkg(vm) multiversion(kernel)";

/// Parts of a kernel by name. Packages that only provide one of these names are modules of another
/// vendor, which yum upgrades.
const MAX_NAMED: [&str; 4] = ["kernel-core", "kernel-modules", "kernel-modules-core", "kernel-modules-extra"];

/// Configuration files and folders of them, and the option in question. Without an option each
/// line is an entry.
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

/// Whether a package of this name that provides this is one of them.
pub(super) fn is_configured(name: &str, provides: &[&str]) -> bool {
    let is_provided = |entry: &str| entry == name || provides.contains(&entry);
    if MAX_NAMED.contains(&name) || PROVIDED.split(' ').any(is_provided) {
        return true;
    }
    let texts = CONFIGURATION
        .iter()
        .flat_map(|(path, option)| read(path).into_iter().map(move |text| (text, option)));
    texts.into_iter().any(|(text, option)| entries(&text, option).into_iter().any(is_provided))
}

/// The text of a file, or of all files of a folder; nothing of what is not there.
fn read(path: &str) -> Vec<String> {
    let files: Vec<PathBuf> = match fs::read_dir(path) {
        Ok(folder) => folder.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![path.into()],
    };
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect()
}

/// The entries of an option; its value may go on in indented lines.
fn entries<'a>(text: &'a str, option: &str) -> Vec<&'a str> {
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

    /// An entry that is overlooked has its package's other versions removed.
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
