//! Version locks of dnf 5, a file of TOML.
//!
//! An entry names packages by a pattern and has conditions, all of which must hold. A package that some entry
//! names is locked unless the conditions of one of them hold (`PackageSack::load_versionlock_excludes`). An entry
//! without a name or without a condition locks nothing, and a condition that is not valid counts as met.

use super::{evr, matches, toml};
use serde_json::Value;
use std::cmp::Ordering;

/// The format that dnf knows; it ignores a file of another one.
const FORMAT: &str = "1.0";

/// A package.
pub(super) struct Package<'a> {
    pub(super) name: &'a str,
    /// Epoch, version and release.
    pub(super) version: &'a str,
    /// May be empty.
    pub(super) arch: &'a str,
}

/// A lock that is against a package.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lock {
    /// The pattern that names the package.
    pub(super) name: String,
    /// What it asks for.
    pub(super) conditions: String,
}

/// Returns the first lock that is against the package. The error says why the file cannot be read.
pub(super) fn lock(text: &str, package: &Package<'_>) -> Result<Option<Lock>, String> {
    let document = toml::parse(text)?;
    if word(&document, "version") != FORMAT {
        return Ok(None);
    }
    let is_about = |entry: &&Value| {
        let name = word(entry, "name");
        !name.is_empty() && !conditions(entry).is_empty() && matches(name, package.name)
    };
    let about: Vec<&Value> = list(&document, "packages").iter().filter(is_about).collect();
    let is_met = |entry: &&Value| conditions(entry).iter().all(|one| is_met(one, package));
    if about.iter().any(is_met) {
        return Ok(None);
    }
    Ok(about.first().map(|entry| Lock {
        name: word(entry, "name").to_owned(),
        conditions: conditions(entry).iter().map(shown).collect::<Vec<_>>().join(" and "),
    }))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn conditions(entry: &Value) -> &[Value] {
    list(entry, "conditions")
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn shown(condition: &Value) -> String {
    ["key", "comparator", "value"].map(|key| word(condition, key)).join(" ")
}

fn is_met(condition: &Value, package: &Package<'_>) -> bool {
    let value = word(condition, "value");
    let epoch = package.version.split_once(':').map_or("0", |(epoch, _)| epoch);
    let order = match word(condition, "key") {
        "evr" => evr::compare(package.version, value),
        "epoch" if value.bytes().all(|byte| byte.is_ascii_digit()) => evr::compare(epoch, value),
        // It is not known for which architecture a package from a repository is.
        "arch" if !package.arch.is_empty() => package.arch.cmp(value),
        _ => return true,
    };
    let is_arch = word(condition, "key") == "arch";
    match word(condition, "comparator") {
        _ if value.is_empty() => true,
        "=" | "==" => order == Ordering::Equal,
        "!=" | "<>" => order != Ordering::Equal,
        "<" => is_arch || order == Ordering::Less,
        "<=" => is_arch || order != Ordering::Greater,
        ">" => is_arch || order == Ordering::Greater,
        ">=" => is_arch || order != Ordering::Less,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of dnf5-versionlock(8), with the comments that dnf itself writes.
    const EXAMPLE: &str = r#"version = "1.0"

# keep package bash on version 0:5.2.15-5.fc39
[[packages]]
name = "bash"               # name of the package
comment = "Added by 'versionlock add' command on 2026-10-03 00:35:13"
[[packages.conditions]]     # conditions for the package "bash"
key = "evr"
comparator = "="
value = "0:5.2.15-5.fc39"

[[packages]]
name = "iftop"
comment = "Added by 'versionlock exclude' command on 2026-10-03 01:56:44"
[[packages.conditions]]
key = "evr"
comparator = "!="
value = "0:1.0-0.31.pre4.fc39"

# keep acpi on major version 3
[[packages]]
name = "acpi"
[[packages.conditions]]
key = "evr"
comparator = "<"
value = "4"
[[packages.conditions]]
key = "evr"
comparator = ">="
value = "3"

# keep all *nvidia* packages on version 3:570.*
[[packages]]
name = "*nvidia*"
[[packages.conditions]]
key = "evr"
comparator = ">="
value = "3:570"
[[packages.conditions]]
key = "evr"
comparator = "<"
value = "3:571"
"#;

    fn locks(text: &str, name: &str, version: &str) -> Option<String> {
        let found = lock(text, &Package { name, version, arch: "x86_64" }).unwrap();
        found.map(|lock| format!("{}: {}", lock.name, lock.conditions))
    }

    /// A lock that is overlooked is a decision of the owner that is ignored; one that is invented stops updates.
    #[test]
    fn locks_are_read_as_dnf_does() {
        let of = |name: &str, version: &str| locks(EXAMPLE, name, version);
        assert_eq!(of("bash", "5.2.26-3.fc39").as_deref(), Some("bash: evr = 0:5.2.15-5.fc39"));
        assert_eq!(of("iftop", "1.0-0.31.pre4.fc39").as_deref(), Some("iftop: evr != 0:1.0-0.31.pre4.fc39"));
        for version in ["4-1.fc39", "4.1-1.fc39", "2.9-9", "1:3.2-1"] {
            assert_eq!(of("acpi", version).as_deref(), Some("acpi: evr < 4 and evr >= 3"), "{version}");
        }
        assert!(of("xorg-x11-drv-nvidia-cuda", "3:575.57-1.fc42").is_some());
        for (name, version) in [
            ("bash", "5.2.15-5.fc39"),
            ("bash", "0:5.2.15-5.fc39"),
            ("bash-completion", "9-1"),
            ("iftop", "1.0-0.32.fc39"),
            ("acpi", "3-1"),
            ("acpi", "3.99-1"),
            ("akmod-nvidia", "3:570.86-1.fc42"),
        ] {
            assert_eq!(of(name, version), None, "{name} {version}");
        }
    }

    #[test]
    fn one_entry_that_holds_is_enough_and_invalid_ones_lock_nothing() {
        let entry =
            |name: &str, conditions: &str| format!("{{name = \"{name}\", conditions = [{conditions}]}}");
        let condition = |key: &str, comparator: &str, value: &str| {
            format!("{{key = \"{key}\", comparator = \"{comparator}\", value = \"{value}\"}}")
        };
        let file = |entries: &[String]| format!("version = \"1.0\"\npackages = [{}]\n", entries.join(", "));
        let [first, second] = ["1-1", "2-1"].map(|version| entry("fx", &condition("evr", "=", version)));
        assert!(locks(&file(std::slice::from_ref(&first)), "fx", "2-1").is_some());
        assert_eq!(locks(&file(&[first.clone(), second]), "fx", "2-1"), None);
        for conditions in [
            String::new(),
            condition("version", "=", "9"),
            condition("evr", "~", "9"),
            condition("evr", "=", ""),
            condition("epoch", "=", "x"),
            condition("arch", "<", "a"),
        ] {
            assert_eq!(locks(&file(&[entry("fx", &conditions)]), "fx", "2-1"), None, "{conditions}");
        }
        for (condition, is_locked) in [
            (condition("epoch", "=", "1"), true),
            (condition("epoch", "=", "0"), false),
            (condition("arch", "=", "aarch64"), true),
            (condition("arch", "!=", "aarch64"), false),
        ] {
            assert_eq!(
                locks(&file(&[entry("fx", &condition)]), "fx", "2-1").is_some(),
                is_locked,
                "{condition}"
            );
        }
        let other = file(&[first]).replace("1.0", "2.0");
        assert_eq!(locks(&other, "fx", "2-1"), None, "dnf does not read another format");
        assert_eq!(
            locks("version = \"1.0\"\npackages = []\n", "fx", "2-1"),
            None,
            "after `versionlock clear`"
        );
    }

    /// dnf does not work at all with such a file, so that nobody knows what its owner wanted.
    #[test]
    fn a_file_that_is_not_toml_is_an_error() {
        let package = Package { name: "fx", version: "1-1", arch: "" };
        assert!(lock("version = \"1.0\"\n[unterminated\n", &package).is_err());
    }
}
