//! The catalog of a depot, read from its file before anything is sent: what it has, and what restarts the machine.
//!
//! A serial depot is a tar archive whose first members are the catalog (sd(4), "Depot structure"); the products and
//! their attributes are in `catalog/INDEX`. What is not understood decides nothing: the machine itself looks again.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom};

/// Length of a header, and of the unit of an archive.
const BLOCK: u64 = 512;

/// Longest catalog that is read. That of all of HP-UX 11i has some MiB.
const LONGEST: u64 = 64 * 1024 * 1024;

/// How many members are looked at until the catalog must have come.
const MEMBERS: usize = 4096;

/// What a depot has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Catalogue {
    /// Bundles and products, with their revisions.
    pub(super) software: BTreeSet<(String, String)>,
    /// Filesets, as `product.fileset`, with their revisions.
    filesets: BTreeSet<(String, String)>,
    /// Filesets after which the machine restarts.
    restarting: BTreeSet<String>,
}

impl Catalogue {
    /// Reads the catalog of a depot; `None` if the file is no archive with one.
    pub(super) fn of(file: &mut (impl Read + Seek)) -> Option<Self> {
        let mut at = 0;
        for _ in 0..MEMBERS {
            file.seek(SeekFrom::Start(at)).ok()?;
            let mut header = [0; 512];
            file.read_exact(&mut header).ok()?;
            if header.get(257..262)? != b"ustar" {
                return None;
            }
            let size = octal(header.get(124..136)?)?;
            let name = until_nul(header.get(..100)?);
            if name.trim_start_matches("./") == "catalog/INDEX" {
                let mut text = Vec::new();
                file.take(size.min(LONGEST)).read_to_end(&mut text).ok()?;
                return Some(Self::parse(&String::from_utf8_lossy(&text)));
            }
            at = at.checked_add(BLOCK)?.checked_add(size.div_ceil(BLOCK).checked_mul(BLOCK)?)?;
        }
        None
    }

    /// Reads lines of a keyword and a value, which define objects one below the other.
    fn parse(text: &str) -> Self {
        let mut catalogue = Self::default();
        let (mut object, mut product, mut fileset) = (String::new(), Named::default(), Named::default());
        for line in text.lines().chain(["end"]) {
            let (key, value) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
            let value = value.trim().trim_matches('"');
            if ["bundle", "product", "fileset", "end"].contains(&key) && value.is_empty() {
                if object == "fileset" {
                    catalogue.add_fileset(&product, &fileset);
                } else if !object.is_empty() {
                    catalogue.software.insert((product.tag.clone(), product.revision.clone()));
                }
                key.clone_into(&mut object);
                let of = if key == "fileset" { &mut fileset } else { &mut product };
                *of = Named::default();
                continue;
            }
            let of = if object == "fileset" { &mut fileset } else { &mut product };
            match key {
                "tag" if of.tag.is_empty() => value.clone_into(&mut of.tag),
                "revision" if of.revision.is_empty() => value.clone_into(&mut of.revision),
                "is_reboot" => of.restarts = value == "true",
                _ => {}
            }
        }
        catalogue
    }

    fn add_fileset(&mut self, product: &Named, fileset: &Named) {
        let name = format!("{}.{}", product.tag, fileset.tag);
        let revision = if fileset.revision.is_empty() { &product.revision } else { &fileset.revision };
        if fileset.restarts {
            self.restarting.insert(name.clone());
        }
        self.filesets.insert((name, revision.clone()));
    }

    /// Reports whether the depot has this bundle, product or fileset in this revision.
    pub(super) fn has(&self, name: &str, revision: &str) -> bool {
        let wanted = (name.to_owned(), revision.to_owned());
        self.software.contains(&wanted) || self.filesets.contains(&wanted)
    }

    /// Reports whether the machine restarts after the installation of this bundle, product or fileset. What a bundle
    /// consists of is not read: any fileset of the depot may be part of it.
    pub(super) fn restarts(&self, name: &str) -> bool {
        let of_product = format!("{name}.");
        let is_product = self.filesets.iter().any(|(fileset, _)| fileset.starts_with(&of_product));
        let is_fileset = self.filesets.iter().any(|(fileset, _)| fileset == name);
        match (is_product, is_fileset) {
            (_, true) => self.restarting.contains(name),
            (true, false) => self.restarting.iter().any(|fileset| fileset.starts_with(&of_product)),
            (false, false) => !self.restarting.is_empty(),
        }
    }
}

/// An object of the catalog.
#[derive(Debug, Default)]
struct Named {
    tag: String,
    revision: String,
    restarts: bool,
}

fn until_nul(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

fn octal(bytes: &[u8]) -> Option<u64> {
    u64::from_str_radix(until_nul(bytes).trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const INDEX: &str = "depot\nlayout_version 1.0\nvendor\ntag HP\nbundle\ntag BASE\nrevision B.11.31.2403\n\
        product\ntag Tool\nrevision A.01.00\ntitle \"a product\"\nfileset\ntag RUN\nis_reboot false\nfileset\ntag KRN\n\
        revision A.01.01\nis_reboot true\nproduct\ntag Doc\nrevision 2\nfileset\ntag MAN\n";

    fn archive(members: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, text) in members {
            let mut header = vec![0; 512];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[124..135].copy_from_slice(format!("{:011o}", text.len()).as_bytes());
            header[257..262].copy_from_slice(b"ustar");
            bytes.extend(header);
            bytes.extend(text.as_bytes());
            bytes.resize(bytes.len().div_ceil(512) * 512, 0);
        }
        bytes
    }

    /// Otherwise a depot that restarts the machine is copied to one that must not restart, or a wrong one to any.
    #[test]
    fn a_depot_says_what_it_has_and_what_restarts() {
        let bytes = archive(&[
            ("catalog/", ""),
            ("catalog/dfiles/x", "y"),
            ("./catalog/INDEX", INDEX),
            ("Tool/RUN", "z"),
        ]);
        let depot = Catalogue::of(&mut Cursor::new(bytes)).unwrap();
        for (name, revision) in [
            ("BASE", "B.11.31.2403"),
            ("Tool", "A.01.00"),
            ("Tool.RUN", "A.01.00"),
            ("Tool.KRN", "A.01.01"),
            ("Doc", "2"),
        ] {
            assert!(depot.has(name, revision), "{name} {revision} in {depot:?}");
        }
        assert!(!depot.has("Tool", "A.02.00") && !depot.has("RUN", "A.01.00"));
        let restarts = ["Tool", "Tool.KRN", "Tool.RUN", "Doc", "BASE"].map(|name| depot.restarts(name));
        assert_eq!(restarts, [true, true, false, false, true]);
    }

    #[test]
    fn what_is_no_depot_says_nothing() {
        for bytes in [Vec::new(), vec![7; 4000], archive(&[("README", "x")])] {
            assert_eq!(Catalogue::of(&mut Cursor::new(bytes)), None);
        }
        let mut endless = archive(&[("x", "")]);
        endless[124..135].copy_from_slice(b"77777777777");
        assert_eq!(Catalogue::of(&mut Cursor::new(endless)), None);
    }
}
