//! Unpacks a source tree from a tar archive, plain or compressed by gzip or xz.
//!
//! The archive is read here and not by the machine's own `tar`: programs differ in what they refuse, and a check of
//! a listing before the extraction would be a second reader that may understand the archive differently. Nothing is
//! ever written through a link: links are made last, and hard links are copies. Owners, special modes, sparse files
//! and other extensions are not supported; sources do not need them.

mod header;
mod source;

use farrier_protocol::StepExit;
use header::{Entry, Kind, Reader};
use source::Source;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// The file that describes a source tree to DKMS.
pub(super) const CONF: &str = "dkms.conf";

/// Maximum size of a tree. The largest driver sources, those of graphics cards, have a tenth of it.
const MAX_SIZE: u64 = 4 << 30;

/// Why an archive is not unpacked.
#[derive(Debug)]
pub(super) enum Unpack {
    /// It is not what it should be. The text says why.
    Refused(String),
    /// The machine lacks the program that decompresses it: its name, and its package.
    Missing(&'static str, &'static str),
    /// The step ends in this way.
    Other(StepExit),
    /// The machine's disk failed.
    Disk(io::Error),
}

impl From<io::Error> for Unpack {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Unpacks the archive into `dir`, which must not exist, and returns the directory with the source tree.
pub(super) fn tree(archive: &Path, dir: &Path) -> Result<PathBuf, Unpack> {
    make(dir)?;
    let mut source = Source::open(archive)?;
    let mut links = Vec::new();
    let mut rest = MAX_SIZE;
    let mut reader = Reader::new(source.stream());
    while let Some(entry) = reader.next()? {
        rest = rest.checked_sub(entry.size).ok_or_else(|| {
            Unpack::Refused(format!("the payload has more than {} GiB unpacked", MAX_SIZE >> 30))
        })?;
        let path = inside(&entry.path)?;
        match &entry.kind {
            Kind::Directory => make_all(&dir.join(path), &entry)?,
            Kind::File => write(&dir.join(path), &entry, reader.content())?,
            Kind::HardLink => copy(&dir.join(inside(&entry.link)?), &dir.join(path), &entry)?,
            Kind::Link => links.push((path, entry)),
        }
        reader.skip()?;
    }
    source.finish()?;
    let tree = find(dir)?;
    for (path, entry) in links {
        // What is beside the tree is not installed.
        let Ok(below) = dir.join(&path).strip_prefix(&tree).map(Path::to_owned) else { continue };
        if !stays(&below, Path::new(&entry.link)) {
            return Err(leaves(&entry.path, &format!("a link to {}", entry.link)));
        }
        let is_link = |dir: &Path| fs::symlink_metadata(tree.join(dir)).is_ok_and(|meta| meta.is_symlink());
        if below.ancestors().skip(1).any(is_link) {
            return Err(leaves(&entry.path, "a link below another link"));
        }
        make_parent(&tree.join(&below), &entry)?;
        symlink(&entry.link, tree.join(&below)).map_err(|error| conflict(error, &entry))?;
    }
    Ok(tree)
}

/// Finds the directory with the source tree: the archive's root, or one directory in it.
fn find(dir: &Path) -> Result<PathBuf, Unpack> {
    let has_conf = |dir: &Path| fs::symlink_metadata(dir.join(CONF)).is_ok_and(|meta| meta.is_file());
    if has_conf(dir) {
        return Ok(dir.to_owned());
    }
    let below = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    let mut found: Vec<PathBuf> = below.iter().map(fs::DirEntry::path).filter(|dir| has_conf(dir)).collect();
    match (found.pop(), found.len()) {
        (Some(tree), 0) => Ok(tree),
        (Some(_), more) => {
            let count = more.saturating_add(1);
            Err(Unpack::Refused(format!(
                "the payload has {count} directories with a {CONF}; it must have one"
            )))
        }
        (None, _) => Err(Unpack::Refused(format!(
            "the payload has no {CONF} at its root or in a directory there, so it is no source tree for DKMS"
        ))),
    }
}

/// Returns a path of the archive as one below the directory.
fn inside(path: &str) -> Result<PathBuf, Unpack> {
    let mut below = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => below.push(name),
            Component::CurDir => {}
            Component::RootDir => return Err(leaves(path, "an absolute path")),
            Component::ParentDir | Component::Prefix(_) => return Err(leaves(path, "a path with ..")),
        }
    }
    Ok(below)
}

fn leaves(path: &str, what: &str) -> Unpack {
    Unpack::Refused(format!("the payload has an entry that leaves its directory: {path:?} is {what}"))
}

/// Reports whether a link at `path` leads to something in the tree, whatever the other links of the tree are: `..`
/// may be only at the beginning, where it is a real directory that is left.
fn stays(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    let mut has_descended = false;
    target.components().all(|part| match part {
        Component::ParentDir if has_descended || depth == 0 => false,
        Component::ParentDir => {
            depth = depth.saturating_sub(1);
            true
        }
        Component::Normal(_) => {
            has_descended = true;
            true
        }
        Component::CurDir => true,
        Component::RootDir | Component::Prefix(_) => false,
    })
}

fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(dir)
}

fn make_all(dir: &Path, entry: &Entry) -> Result<(), Unpack> {
    make(dir).map_err(|error| conflict(error, entry))
}

fn make_parent(path: &Path, entry: &Entry) -> Result<(), Unpack> {
    path.parent().map_or(Ok(()), |parent| make_all(parent, entry))
}

/// Distinguishes an archive that contradicts itself from a disk that fails.
fn conflict(error: io::Error, entry: &Entry) -> Unpack {
    let contradicts = [
        io::ErrorKind::AlreadyExists,
        io::ErrorKind::NotADirectory,
        io::ErrorKind::IsADirectory,
        io::ErrorKind::InvalidInput,
        io::ErrorKind::InvalidFilename,
    ];
    if contradicts.contains(&error.kind()) {
        return Unpack::Refused(format!("the payload contradicts itself about {:?}: {error}", entry.path));
    }
    Unpack::Disk(error)
}

/// Writes a file. Of several entries with one path the last one counts, as with `tar`.
fn write(path: &Path, entry: &Entry, content: &mut io::Take<&mut dyn Read>) -> Result<(), Unpack> {
    make_parent(path, entry)?;
    let mode = if entry.mode & 0o111 == 0 { 0o644 } else { 0o755 };
    let mut open = OpenOptions::new();
    let file = open.write(true).create(true).truncate(true).mode(mode).open(path);
    let mut file = file.map_err(|error| conflict(error, entry))?;
    file.set_permissions(Permissions::from_mode(mode))?;
    header::copy(content, &mut file)?;
    set_time(&file, entry);
    Ok(())
}

fn copy(from: &Path, to: &Path, entry: &Entry) -> Result<(), Unpack> {
    make_parent(to, entry)?;
    match fs::symlink_metadata(from) {
        Ok(meta) if meta.is_file() && from != to => {}
        _ => {
            let text = format!("the payload has a link to a file that is not before it: {:?}", entry.link);
            return Err(Unpack::Refused(text));
        }
    }
    fs::copy(from, to).map_err(|error| conflict(error, entry))?;
    set_time(&File::open(to)?, entry);
    Ok(())
}

/// Sets the time of the last change: programs like `make` decide by it what has to be done again.
fn set_time(file: &File, entry: &Entry) {
    if let Some(time) = UNIX_EPOCH.checked_add(Duration::from_secs(entry.modified)) {
        // A time that the file system cannot have does not matter.
        file.set_modified(time).ok();
    }
}

#[cfg(test)]
mod tests;
