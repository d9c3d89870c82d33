//! Finds the process that holds a lock on a file, from `/proc`.
//!
//! `fcntl` can return the process as well (`F_GETLK`), but only with unsafe code.

use crate::lock_holder;
use farrier_protocol::Holder;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Returns the process that holds a lock on the open file. `None` if it is not visible, for instance
/// because it runs outside of this process's PID namespace.
///
/// The device in `/proc/locks` is not compared: with btrfs and overlayfs it differs from the device in
/// `stat`, and with overlayfs the inode may differ too. The process must have the file open in any case;
/// among several processes, one whose lock has the right inode is preferred.
pub(super) fn find(file: &OwnedFd) -> Option<Holder> {
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    let (path, file) = (fs::read_link(&own).ok()?, identity(Path::new(&own))?);
    let (_, inode) = file;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let find = |is_right: bool| {
        let owners = locks.lines().filter_map(owner).filter(|(of, _)| (*of == inode) == is_right);
        owners.map(|(_, pid)| pid).find(|pid| has_open(*pid, &path, file))
    };
    let pid = find(true).or_else(|| find(false))?;
    Some(Holder { pid, name: lock_holder::name(pid) })
}

/// Parses the inode and the process id of one line, such as `1: POSIX  ADVISORY  WRITE 714 08:01:42 0 EOF`.
/// A line with an arrow after the number belongs to a process that waits for the lock itself.
fn owner(line: &str) -> Option<(u64, u32)> {
    let mut words = line.split_whitespace().skip(1);
    if words.next()? != "POSIX" {
        return None;
    }
    let pid = words.nth(2)?.parse().ok()?;
    let inode = words.next()?.rsplit(':').next()?.parse().ok()?;
    Some((inode, pid))
}

/// Returns device and inode of a file.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Reports whether the process has this file open. A process in a container may have another file with the
/// same path open.
fn has_open(pid: u32, path: &Path, file: (u64, u64)) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
    // Only links with the right path are followed: a file on a server that is unreachable would block.
    let mut links = descriptors.into_iter().flatten().flatten().map(|entry| entry.path());
    links.any(|link| fs::read_link(&link).is_ok_and(|target| target == path) && identity(&link) == Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the apt of a container is named as the holder of the machine's own lock.
    #[test]
    fn another_file_with_the_same_path_is_not_the_locked_file() {
        let path = std::env::current_exe().unwrap();
        let _open = fs::File::open(&path).unwrap();
        let (device, inode) = identity(&path).unwrap();
        let own = std::process::id();
        assert!(has_open(own, &path, (device, inode)));
        assert!(!has_open(own, &path, (device, inode + 1)));
        assert!(!has_open(own, &path, (device + 1, inode)));
    }

    #[test]
    fn only_those_who_have_a_lock_are_counted() {
        assert_eq!(owner("3: POSIX  ADVISORY  WRITE 714 08:01:42 0 EOF"), Some((42, 714)));
        for other in [
            "3: -> POSIX  ADVISORY  WRITE 715 08:01:42 0 EOF",
            "4: FLOCK  ADVISORY  WRITE 714 08:01:42 0 EOF",
            "",
        ] {
            assert_eq!(owner(other), None, "{other}");
        }
    }
}
