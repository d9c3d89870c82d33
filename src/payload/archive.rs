//! Reads archives: tar, tar.gz and zip, told apart by their content.

use super::tree::{Link, Tree, TreeWriter, UnpackError};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufReader, Read, Seek as _};
use std::path::Path;
use tar::{EntryType, PaxExtensions};

/// Longest name in a tar archive that has an entry of its own. What is longer would only fill memory.
const LONGEST_NAME: u64 = 64 * 1024;

/// How much is read after the end of a tar archive, which is padded with zeros to whole blocks of some KiB.
const LONGEST_REST: u64 = 16 * 1024 * 1024;

/// Bytes of a tar archive that are needed to know it: `ustar` is at 257.
const HEAD: u64 = 512;

/// Unpacks an archive: writes the content of its files to `to`.
///
/// # Errors
/// Why the archive cannot be a folder for a machine, or the disk has no room.
pub(super) fn unpack(archive: &Path, to: &Path) -> Result<Tree, UnpackError> {
    let input = File::open(archive).map_err(UnpackError::Disk)?;
    let mut writer = TreeWriter::create(to)?;
    read(input, &mut writer)?;
    writer.finish(to)
}

/// Passes everything in an archive to a writer.
fn read(mut input: File, to: &mut TreeWriter) -> Result<(), UnpackError> {
    let mut head = Vec::new();
    (&input).take(HEAD).read_to_end(&mut head).map_err(UnpackError::Disk)?;
    input.rewind().map_err(UnpackError::Disk)?;
    match head.as_slice() {
        [0x1f, 0x8b, ..] => read_tar(MultiGzDecoder::new(BufReader::new(input)), to),
        [b'P', b'K', 3 | 5, 4 | 6, ..] => read_zip(input, to),
        _ if head.get(257..262) == Some(b"ustar") => read_tar(BufReader::new(input), to),
        [0xfd, b'7', b'z', b'X', b'Z', ..] | [b'B', b'Z', b'h', ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Err(UnpackError::Archive("it is compressed by another program than gzip".to_owned()))
        }
        _ => Err(UnpackError::Archive("it is neither tar nor tar.gz nor zip".to_owned())),
    }
}

/// What entries before a file say about it: a name or a link that its own header has no room for.
#[derive(Default)]
struct Ahead {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

fn read_tar(input: impl Read, to: &mut TreeWriter) -> Result<(), UnpackError> {
    let damaged = |error| UnpackError::damaged(&error);
    let mut archive = tar::Archive::new(input);
    let mut ahead = Ahead::default();
    // The library would read names of any length into memory, so it is asked for the entries as they are.
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        let kind = entry.header().entry_type();
        if is_about_another(kind) {
            note(kind, &mut entry, &mut ahead)?;
            continue;
        }
        let Ahead { path, link, size } = std::mem::take(&mut ahead);
        let path = path.unwrap_or_else(|| entry.path_bytes().into_owned());
        let link = link.or_else(|| entry.link_name_bytes().map(std::borrow::Cow::into_owned));
        if size.is_some_and(|size| size != entry.size()) {
            return Err(strange(&path, "a size in two forms"));
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "the list of types is open")]
        match kind {
            EntryType::Regular | EntryType::Continuous => to.file(&path, &mut entry)?,
            EntryType::Directory => to.folder(&path)?,
            EntryType::Link => to.link(&path, Link::Hard, &link.unwrap_or_default())?,
            EntryType::Symlink => to.link(&path, Link::Symbolic, &link.unwrap_or_default())?,
            EntryType::Char | EntryType::Block => return Err(strange(&path, "a device")),
            EntryType::Fifo => return Err(strange(&path, "a named pipe")),
            EntryType::GNUSparse => return Err(strange(&path, "a file with holes")),
            _ => return Err(strange(&path, "something else than a file or a folder")),
        }
    }
    // The check sum of gzip comes after the end of the tar archive.
    let mut rest = archive.into_inner().take(LONGEST_REST);
    std::io::copy(&mut rest, &mut std::io::sink()).map(drop).map_err(damaged)
}

fn is_about_another(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader
    )
}

/// Reads an entry that is about the next one.
fn note(kind: EntryType, entry: &mut (impl Read + Sized), ahead: &mut Ahead) -> Result<(), UnpackError> {
    let mut bytes = Vec::new();
    entry.take(LONGEST_NAME + 1).read_to_end(&mut bytes).map_err(|error| UnpackError::damaged(&error))?;
    if bytes.len() as u64 > LONGEST_NAME {
        return Err(UnpackError::Archive("it has a name of more than 64 KiB".to_owned()));
    }
    let text = |bytes: &[u8]| bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
    #[expect(clippy::wildcard_enum_match_arm, reason = "the list of types is open")]
    match kind {
        EntryType::GNULongName => ahead.path = Some(text(&bytes)),
        EntryType::GNULongLink => ahead.link = Some(text(&bytes)),
        EntryType::XHeader => {
            for field in PaxExtensions::new(&bytes) {
                let field = field.map_err(|error| UnpackError::damaged(&error))?;
                match field.key_bytes() {
                    b"path" => ahead.path = Some(field.value_bytes().to_vec()),
                    b"linkpath" => ahead.link = Some(field.value_bytes().to_vec()),
                    b"size" => ahead.size = field.value().ok().and_then(|value| value.parse().ok()),
                    key if key.starts_with(b"GNU.sparse") => {
                        return Err(UnpackError::Archive("it has a file with holes".to_owned()));
                    }
                    _ => {}
                }
            }
        }
        // Comments, for instance the commit that `git archive` has packed.
        _ => {}
    }
    Ok(())
}

fn read_zip(input: File, to: &mut TreeWriter) -> Result<(), UnpackError> {
    let damaged = |error| UnpackError::damaged(&error);
    let mut archive = zip::ZipArchive::new(BufReader::new(input)).map_err(damaged)?;
    for number in 0..archive.len() {
        let mut entry = archive.by_index(number).map_err(damaged)?;
        let path = entry.name_raw().to_vec();
        if entry.is_dir() {
            to.folder(&path)?;
        } else if entry.is_symlink() {
            let mut target = Vec::new();
            (&mut entry).take(LONGEST_NAME).read_to_end(&mut target).map_err(|e| UnpackError::damaged(&e))?;
            to.link(&path, Link::Symbolic, &target)?;
        } else {
            to.file(&path, &mut entry)?;
        }
    }
    Ok(())
}

fn strange(path: &[u8], what: &str) -> UnpackError {
    UnpackError::Archive(format!("its entry {:?} is {what}", String::from_utf8_lossy(path)))
}

#[cfg(test)]
mod tests;
