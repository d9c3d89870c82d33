//! What the owner of a machine has decided about a package: that it stays as it is, or is not installed.
//!
//! The decisions are read, never changed. Each answer names the decision, where it is made and how it is
//! lifted. Only dpkg changes one when it is overridden; [`leases`] puts it back.

mod apt;
mod dnf5;
mod evr;
pub(crate) mod leases;
mod rpm;
mod toml;

pub(crate) use apt::{deb_from_repository, deb_payload, on_hold};
pub(crate) use rpm::rpm;

use std::fs;
use std::path::{Path, PathBuf};

/// Reports whether a text matches a pattern with `*` and `?`.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut of) = (0, 0);
    // Where the last `*` is, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while let Some(letter) = text.get(of) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(one) if *one == b'?' || one == letter => (at, of) = (at + 1, of + 1),
            Some(_) | None => {
                let Some((before, taken)) = star else { return false };
                star = Some((before, taken + 1));
                (at, of) = (before + 1, taken + 1);
            }
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|rest| *rest == b'*')
}

/// Returns the files of a directory that `is_read` accepts, by name. A directory that does not exist has none.
fn files(dir: &str, is_read: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_read(path)).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pattern that matches too little lets through what the owner excluded.
    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text) in [
            ("fx", "fx"),
            ("fx*", "fx"),
            ("fx*", "fx-tools"),
            ("*", ""),
            ("f?-*.x86_64", "fx-1-1.x86_64"),
            ("*a*b", "xaybab"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("fx", "fx2"), ("fx?", "fx"), ("", "a"), ("*a", "ab")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
