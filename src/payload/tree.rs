//! A payload that is an archive, as a folder.
//!
//! The files of the archive lie one after the other in one file of the store, and an index in memory says where. So no
//! name of an archive is ever the name of anything in a file system, and a path of a client is looked up in the index
//! alone.

use crate::failure::Failure;
use farrier_update::Reason;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Files and folders of an archive. An image of Fabric OS has some hundred.
pub(super) const MAX_ENTRIES: usize = 20_000;

/// Bytes of all files together. The largest images of switches have 3 GB.
const MAX_SIZE: u64 = 16 << 30;

/// Bytes of a path, and folders in it.
const MAX_PATH: usize = 512;
pub(super) const MAX_DEPTH: usize = 32;

/// How much of a file is copied at once.
pub(super) const CHUNK: usize = 256 * 1024;

/// A folder of files that are read only.
#[derive(Debug, PartialEq, Eq)]
pub struct Tree {
    /// The file with the content of all files.
    pub path: PathBuf,
    /// Everything below the folder, by path, without the folder itself.
    entries: BTreeMap<String, TreeEntry>,
}

/// What is at a path of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeEntry {
    /// A folder.
    Folder,
    /// A file.
    File(TreeFile),
}

/// A file of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeFile {
    /// Its number in the tree, from 0.
    pub number: u32,
    /// Where in [`Tree::path`] it begins.
    pub begin: u64,
    /// Its length in bytes.
    pub size: u64,
}

impl Tree {
    /// Returns what is at a path, whose parts are divided by single slashes; the empty path is the folder itself.
    pub fn entry(&self, path: &str) -> Option<TreeEntry> {
        if path.is_empty() { Some(TreeEntry::Folder) } else { self.entries.get(path).copied() }
    }

    /// Returns what is directly in the folder at this path, with names, in their order.
    pub fn children<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a str, TreeEntry)> {
        let start = if path.is_empty() { String::new() } else { format!("{path}/") };
        let below = self.entries.range(start.clone()..);
        below
            .map_while(move |(path, entry)| Some((path.strip_prefix(start.as_str())?, *entry)))
            .filter(|(name, _)| !name.contains('/'))
    }

    /// The same tree, after its file was moved.
    pub(super) fn moved(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }
}

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    /// What is wrong with the archive.
    #[error("{0}")]
    Archive(String),
    /// The store cannot be read or written.
    #[error(transparent)]
    Disk(io::Error),
}

impl UnpackError {
    /// The archive itself cannot be read.
    pub(super) fn damaged(error: &impl std::fmt::Display) -> Self {
        Self::Archive(format!("it is damaged: {error}"))
    }

    /// Describes the failure for the payload of a component.
    pub(super) fn failure(&self, component: &str, store: &Path) -> Failure {
        match self {
            Self::Disk(error) => super::sink::disk_failure(store, error),
            Self::Archive(words) => Failure::new(
                Reason::ArchiveInvalid,
                format!(
                    "the payload of component {component} cannot be offered as a folder: {words}; give an archive (tar, tar.gz or zip) that has files and folders only, or leave out payload.unpack"
                ),
            ),
        }
    }
}

/// Takes what is in an archive, in its order.
pub(super) struct TreeWriter {
    output: BufWriter<File>,
    entries: BTreeMap<String, TreeEntry>,
    /// Links with the paths that they lead to; what those are may come later.
    links: Vec<(String, String)>,
    at: u64,
    numbers: u32,
}

impl TreeWriter {
    /// Creates a writer of the content of files to this path.
    pub(super) fn create(path: &Path) -> Result<Self, UnpackError> {
        let file = File::create(path).map_err(UnpackError::Disk)?;
        let output = BufWriter::with_capacity(CHUNK, file);
        Ok(Self { output, entries: BTreeMap::new(), links: Vec::new(), at: 0, numbers: 0 })
    }

    /// Takes a folder.
    pub(super) fn folder(&mut self, path: &[u8]) -> Result<(), UnpackError> {
        let path = clean(path)?;
        self.insert(&path, TreeEntry::Folder)
    }

    /// Takes a file with its content.
    pub(super) fn file(&mut self, path: &[u8], content: &mut impl Read) -> Result<(), UnpackError> {
        let path = clean(path)?;
        if path.is_empty() {
            return Err(refused(&path, "is a file without a name"));
        }
        let begin = self.at;
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = content.read(&mut buffer).map_err(|error| UnpackError::damaged(&error))?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            self.at += bytes.len() as u64;
            if self.at > MAX_SIZE {
                return Err(UnpackError::Archive(format!("it has more than {} GiB", MAX_SIZE >> 30)));
            }
            self.output.write_all(bytes).map_err(UnpackError::Disk)?;
        }
        let file = TreeFile { number: self.numbers, begin, size: self.at - begin };
        self.numbers += 1;
        self.insert(&path, TreeEntry::File(file))
    }

    /// Takes a link to another path of the archive.
    pub(super) fn link(&mut self, path: &[u8], kind: Link, target: &[u8]) -> Result<(), UnpackError> {
        let path = clean(path)?;
        let folder = match kind {
            Link::Hard => "",
            Link::Symbolic => path.rsplit_once('/').map_or("", |(folder, _)| folder),
        };
        let leads = std::str::from_utf8(target).ok().filter(|target| !target.starts_with('/'));
        let target = leads.and_then(|target| resolve(folder, target)).ok_or_else(|| {
            refused(&path, &format!("is a link that leads out of it ({})", String::from_utf8_lossy(target)))
        })?;
        self.links.push((path, target));
        self.is_within_limits()
    }

    fn insert(&mut self, path: &str, entry: TreeEntry) -> Result<(), UnpackError> {
        for (end, _) in path.match_indices('/') {
            let folder = path.get(..end).unwrap_or_default();
            match self.entries.get(folder) {
                None => drop(self.entries.insert(folder.to_owned(), TreeEntry::Folder)),
                Some(TreeEntry::Folder) => {}
                Some(TreeEntry::File(_)) => return Err(refused(folder, "is a file and a folder")),
            }
        }
        let old = (!path.is_empty()).then(|| self.entries.insert(path.to_owned(), entry)).flatten();
        match (old, entry) {
            (Some(TreeEntry::Folder), TreeEntry::File(_)) | (Some(TreeEntry::File(_)), TreeEntry::Folder) => {
                Err(refused(path, "is a file and a folder"))
            }
            // As with `tar`, the last file of a name counts.
            (Some(TreeEntry::Folder), TreeEntry::Folder)
            | (Some(TreeEntry::File(_)), TreeEntry::File(_))
            | (None, _) => self.is_within_limits(),
        }
    }

    fn is_within_limits(&self) -> Result<(), UnpackError> {
        if self.entries.len() + self.links.len() > MAX_ENTRIES {
            return Err(UnpackError::Archive(format!("it has more than {MAX_ENTRIES} files and folders")));
        }
        Ok(())
    }

    /// Turns links into further names of the files that they lead to. A link may lead to a link.
    fn follow_links(&mut self) -> Result<(), UnpackError> {
        let mut left = std::mem::take(&mut self.links);
        loop {
            let before = left.len();
            for (path, target) in std::mem::take(&mut left) {
                match self.entries.get(&target).copied() {
                    Some(file @ TreeEntry::File(_)) => self.insert(&path, file)?,
                    Some(TreeEntry::Folder) => return Err(refused(&path, "is a link to a folder")),
                    None => left.push((path, target)),
                }
            }
            match left.first() {
                None => return Ok(()),
                Some((path, target)) if left.len() == before => {
                    return Err(refused(path, &format!("is a link to {target}, which is not in it")));
                }
                Some(_) => {}
            }
        }
    }

    /// Ends the archive. `path` is that of the file.
    pub(super) fn finish(mut self, path: &Path) -> Result<Tree, UnpackError> {
        self.follow_links()?;
        self.output.flush().map_err(UnpackError::Disk)?;
        if !self.entries.values().any(|entry| matches!(entry, TreeEntry::File(_))) {
            return Err(UnpackError::Archive("it has no file".to_owned()));
        }
        let mut tree = Tree { path: path.to_owned(), entries: self.entries };
        while let Some(folder) = only_folder(&tree) {
            tree.entries = tree
                .entries
                .iter()
                .filter_map(|(path, entry)| Some((path.strip_prefix(&folder)?.to_owned(), *entry)))
                .collect();
        }
        Ok(tree)
    }
}

/// How a link leads to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// From the root of the archive.
    Hard,
    /// From the folder of the link.
    Symbolic,
}

/// Returns the one folder that everything is in, with a slash.
fn only_folder(tree: &Tree) -> Option<String> {
    let mut children = tree.children("");
    match (children.next(), children.next()) {
        (Some((name, TreeEntry::Folder)), None) => Some(format!("{name}/")),
        _ => None,
    }
}

fn refused(path: &str, what: &str) -> UnpackError {
    UnpackError::Archive(format!("its entry {path:?} {what}"))
}

/// Returns the path of an entry without parts that mean nothing.
fn clean(path: &[u8]) -> Result<String, UnpackError> {
    let shown = String::from_utf8_lossy(path.get(..MAX_PATH).unwrap_or(path));
    let text = std::str::from_utf8(path).map_err(|_| refused(&shown, "has a name that is not UTF-8"))?;
    if path.len() > MAX_PATH || text.matches('/').count() > MAX_DEPTH {
        return Err(refused(&shown, "has too long a path"));
    }
    if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        return Err(refused(&shown, "leads out of it"));
    }
    if text.chars().any(|letter| letter.is_control() || letter == '\\') {
        return Err(refused(&shown, "has a name with control characters or backslashes"));
    }
    Ok(resolve("", text).unwrap_or_default())
}

/// Returns a path without `.`, `..` and double slashes, as seen from a folder; `None` if it leads out of the root.
/// Slashes at the beginning mean nothing.
pub fn resolve(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}
