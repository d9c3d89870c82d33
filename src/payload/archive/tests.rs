//! Archives of all kinds, good and bad.

use super::super::Store;
use super::super::tree::{CHUNK, MAX_DEPTH, MAX_ENTRIES, TreeEntry};
use super::*;
use farrier_update::Reason;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{Cursor, Write as _};
use tar::{Builder, EntryType, Header};
use zip::write::SimpleFileOptions;

/// Makes a tar archive. A name that ends with a slash is a folder.
fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in entries {
        let kind = if name.ends_with('/') { EntryType::Directory } else { EntryType::Regular };
        append(&mut builder, name, kind, None, content);
    }
    builder.into_inner().unwrap()
}

fn append(builder: &mut Builder<Vec<u8>>, name: &str, kind: EntryType, link: Option<&str>, content: &[u8]) {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    // The library refuses to write what must not be read here.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    if let Some(link) = link {
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    }
    header.set_cksum();
    builder.append(&header, content).unwrap();
}

fn special(kind: EntryType, name: &str, link: Option<&str>) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    append(&mut builder, "v1/a", EntryType::Regular, None, b"aa");
    append(&mut builder, name, kind, link, b"");
    builder.into_inner().unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn unpack(bytes: &[u8]) -> Result<(tempfile::TempDir, Tree), String> {
    let dir = tempfile::tempdir().unwrap();
    let (archive, to) = (dir.path().join("archive"), dir.path().join("tree"));
    std::fs::write(&archive, bytes).unwrap();
    super::unpack(&archive, &to).map(|tree| (dir, tree)).map_err(|error| error.to_string())
}

/// Returns paths and contents of what is in a folder of a tree; folders have a slash.
fn below(tree: &Tree, folder: &str) -> Vec<(String, Vec<u8>)> {
    let content = std::fs::read(&tree.path).unwrap();
    let mut found = Vec::new();
    for (name, entry) in tree.children(folder) {
        let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        match entry {
            TreeEntry::Folder => {
                found.push((format!("{path}/"), Vec::new()));
                found.extend(below(tree, &path));
            }
            TreeEntry::File(file) => {
                let (begin, size) = (file.begin.try_into().unwrap(), usize::try_from(file.size).unwrap());
                found.push((path, content[begin..][..size].to_vec()));
            }
        }
    }
    found
}

fn listed(tree: &Tree) -> Vec<(String, Vec<u8>)> {
    below(tree, "")
}

/// Vendors publish the same image as tar.gz and zip, with a folder around it or without.
#[test]
fn the_same_folder_comes_out_of_each_archive() {
    let large = vec![7; CHUNK + 3];
    let files: [(&str, &[u8]); 4] =
        [("release.plist", b"list"), ("SWBD/a.rpm", &large), ("SWBD/b.rpm", b""), ("z", b"zz")];
    let inside = files.map(|(name, content)| (format!("./v9.1.1d/{name}"), content));
    let inside = inside.each_ref().map(|(name, content)| (name.as_str(), *content));
    let expected: Vec<(String, Vec<u8>)> = [
        ("SWBD/", &b""[..]),
        ("SWBD/a.rpm", &large),
        ("SWBD/b.rpm", b""),
        ("release.plist", b"list"),
        ("z", b"zz"),
    ]
    .map(|(path, content)| (path.to_owned(), content.to_vec()))
    .into();
    let with_folders = [&[("./", &b""[..]), ("./v9.1.1d/", b"")], &inside[..]].concat();
    for archive in
        [tar(&files), gz(&tar(&files)), gz(&tar(&with_folders)), zip(&files), zip(&inside), tar(&inside)]
    {
        let (_dir, tree) = unpack(&archive).unwrap();
        assert_eq!(listed(&tree), expected);
        let names = |path| tree.children(path).map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(names(""), ["SWBD", "release.plist", "z"]);
        assert_eq!(names("SWBD"), ["a.rpm", "b.rpm"]);
        assert_eq!(tree.entry(""), Some(TreeEntry::Folder));
        assert!(tree.entry("SWBD/..").is_none() && tree.entry("SWBD/").is_none());
    }
}

/// GNU tar and pax write long names in entries of their own, and hard links for files that are the same.
#[test]
fn what_the_tar_of_the_system_writes_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "f".repeat(120), "n".repeat(130));
    let root = dir.path().join("v1");
    std::fs::create_dir_all(root.join(&long).parent().unwrap()).unwrap();
    std::fs::write(root.join(&long), "long").unwrap();
    std::fs::write(root.join("a"), "same").unwrap();
    std::fs::hard_link(root.join("a"), root.join("b")).unwrap();
    std::os::unix::fs::symlink("../b", root.join("f".repeat(120)).join("c")).unwrap();
    for format in ["gnu", "pax", "posix"] {
        let mut command = std::process::Command::new("tar");
        command.args(["--format", format, "-czf", "out", "v1"]).current_dir(dir.path());
        assert!(command.status().unwrap().success());
        let (_dir, tree) = unpack(&std::fs::read(dir.path().join("out")).unwrap()).unwrap();
        let files = listed(&tree);
        let content = |path: &str| files.iter().find(|(of, _)| of == path).map(|(_, bytes)| bytes.as_slice());
        assert_eq!(content(&long), Some(&b"long"[..]), "{format}");
        assert_eq!((content("a"), content("b")), (Some(&b"same"[..]), Some(&b"same"[..])), "{format}");
        assert_eq!(content(&format!("{}/c", "f".repeat(120))), Some(&b"same"[..]), "{format}");
    }
}

/// Otherwise an archive could show a machine what is not in it, or fill disk and memory.
#[test]
fn what_no_folder_may_have_is_refused_by_name() {
    let good = gz(&tar(&[("a", b"content that is long enough")]));
    let many: Vec<String> = (0..=MAX_ENTRIES).map(|n| n.to_string()).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let deep = "d/".repeat(MAX_DEPTH + 1);
    let deep = format!("{deep}f");
    for (archive, words) in [
        (tar(&[("../x", b"")]), "\"../x\" leads out of it"),
        (tar(&[("/etc/x", b"")]), "\"/etc/x\" leads out of it"),
        (zip(&[("a/../../x", b"")]), "\"a/../../x\" leads out of it"),
        (zip(&[("a\\x", b"")]), "backslashes"),
        (tar(&[("a\nb", b"")]), "control characters"),
        (tar(&[(&deep, b"")]), "too long a path"),
        (tar(&[("a", b""), ("a/b", b"")]), "\"a\" is a file and a folder"),
        (tar(&[("a/b", b""), ("a", b"")]), "\"a\" is a file and a folder"),
        (tar(&[("a/", b"")]), "it has no file"),
        (tar(&many), "more than 20000 files"),
        (special(EntryType::Symlink, "v1/l", Some("../../etc/passwd")), "\"v1/l\" is a link that leads out"),
        (special(EntryType::Symlink, "v1/l", Some("/etc/passwd")), "\"v1/l\" is a link that leads out"),
        (special(EntryType::Symlink, "v1/l", Some("l")), "\"v1/l\" is a link to v1/l, which is not in it"),
        (special(EntryType::Link, "v1/l", Some("v1")), "\"v1/l\" is a link to a folder"),
        (special(EntryType::Block, "v1/d", None), "\"v1/d\" is a device"),
        (special(EntryType::Fifo, "v1/p", None), "\"v1/p\" is a named pipe"),
        (special(EntryType::GNUSparse, "v1/s", None), "with holes"),
        (good[..good.len() - 12].to_vec(), "it is damaged"),
        (gz(b"no archive"), "it is damaged"),
        (b"\x7fELF".to_vec(), "neither tar nor tar.gz nor zip"),
        (Vec::new(), "neither tar nor tar.gz nor zip"),
        (b"\xfd7zXZ\0rest".to_vec(), "another program than gzip"),
    ] {
        let said = unpack(&archive).map(|(_, tree)| listed(&tree)).unwrap_err();
        assert!(said.contains(words), "{said}, and not {words}");
    }
    let mut long = Builder::new(Vec::new());
    append(&mut long, "x", EntryType::GNULongName, None, &vec![b'n'; 100_000]);
    assert!(unpack(&long.into_inner().unwrap()).map(drop).unwrap_err().contains("64 KiB"));
}

/// A second unpacking would take time and room, and what a killed process has left would stay for ever.
#[tokio::test]
async fn an_archive_is_unpacked_once_and_its_file_goes_with_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), None).unwrap();
    let digest = format!("sha256:{}", "0".repeat(64));
    let archive = store.path(&digest).unwrap();
    std::fs::write(&archive, "no archive").unwrap();
    let failure = store.tree("fos", &digest).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ArchiveInvalid);
    assert!(failure.message.contains("component fos") && failure.message.contains("payload.unpack"));
    assert_eq!(store.tree("fos", &digest).await, Err(failure), "remembered");
    let digest = format!("sha256:{}", "1".repeat(64));
    std::fs::write(store.path(&digest).unwrap(), gz(&tar(&[("v1/a", b"aa")]))).unwrap();
    let (one, other) = tokio::join!(store.tree("fos", &digest), store.tree("fos", &digest));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(std::sync::Arc::ptr_eq(&one, &other));
    std::fs::remove_file(&one.path).unwrap();
    let again = store.tree("fos", &digest).await.unwrap();
    assert_eq!(std::fs::read(&again.path).unwrap(), b"aa");
    let names = || std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names(), 3, "two archives and a tree");
    drop(Store::open(dir.path(), None).unwrap());
    assert_eq!(names(), 2);
}
