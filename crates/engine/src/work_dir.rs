//! The engine's own directory on the machine, and the paths in it.

use crate::dkms;
use farrier_protocol::Leftover;
use rustix::fs::{Gid, Uid};
use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Component, Path, PathBuf};

/// Required prefix of the directory's name. A wrong `--dir` must never cost a machine its `/usr`, so no
/// other directory is ever removed.
const PREFIX: &str = "farrier";

/// The engine's own directory, owned by root and not writable by other users.
#[derive(Debug, Clone)]
pub(crate) struct WorkDir {
    dir: PathBuf,
}

impl WorkDir {
    /// Accepts `dir` if it is a directory that may be ours. The error says why it is not.
    pub(crate) fn check(dir: &Path) -> Result<Self, String> {
        let place = Self::named(dir)?;
        let shown = dir.display();
        let meta = fs::symlink_metadata(dir).map_err(|error| format!("{shown}: {error}"))?;
        if !meta.is_dir() {
            return Err(format!("{shown} is not a directory"));
        }
        if meta.uid() != 0 || meta.mode() & 0o022 != 0 {
            return Err(format!("{shown} must be owned by root and writable by root only"));
        }
        Ok(place)
    }

    /// Accepts `dir` by its name alone; it need not exist.
    pub(crate) fn named(dir: &Path) -> Result<Self, String> {
        let ours = dir.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
        let plain = dir.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !dir.is_absolute() || !plain || !ours {
            return Err(format!(
                "{} is not an absolute path whose last part begins with `{PREFIX}`",
                dir.display()
            ));
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// The directory itself.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the path of the engine's binary.
    pub(crate) fn engine(&self) -> PathBuf {
        self.dir.join("engine")
    }

    /// Returns the path of the socket on which the engine accepts connections.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("link").join("socket")
    }

    /// Returns the path of the configuration of the callback channel.
    pub(crate) fn callback(&self) -> PathBuf {
        self.dir.join("callback.json")
    }

    /// Returns the path of the report where the engine listens, on channel `Listen`.
    pub(crate) fn listening(&self) -> PathBuf {
        self.dir.join("listening.json")
    }

    /// Returns the directory of payloads, which are kept until their task ends.
    pub(crate) fn payloads(&self) -> PathBuf {
        self.dir.join("payload")
    }

    /// Returns the working directory of scripts.
    pub(crate) fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// Returns the directory of the output of installers, as they print it.
    pub(crate) fn output(&self) -> PathBuf {
        self.dir.join("output")
    }

    /// Returns the directory of metadata of repositories, which exists during a simulation.
    pub(crate) fn metadata(&self) -> PathBuf {
        self.dir.join("metadata")
    }

    /// Returns the directory of the journal if `/var/log` is read-only.
    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Recreates the directory of the socket.
    pub(crate) fn prepare_link(&self) -> io::Result<()> {
        make_empty(&self.dir.join("link"), 0o711)
    }

    /// Recreates the directories of payloads and scripts. This removes the files of an earlier engine,
    /// so none of its installers may be running.
    pub(crate) fn prepare_work(&self) -> io::Result<()> {
        if dkms::is_unfinished(&self.work()) {
            let work = self.work();
            return Err(io::Error::other(format!(
                "the installation of a driver could not be taken back; see {}",
                work.display()
            )));
        }
        make_empty(&self.payloads(), 0o700)?;
        make_empty(&self.work(), 0o700)
    }

    /// Listens on the socket, to which only root and `peer_uid` can connect.
    pub(crate) fn listen(&self, peer_uid: u32) -> io::Result<UnixListener> {
        let path = self.socket();
        // The mode must be right from the start: an accepted connection cannot be revoked.
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(&path);
        rustix::process::umask(before);
        let listener = bound?;
        rustix::fs::chown(&path, Some(Uid::from_raw(peer_uid)), None::<Gid>)?;
        Ok(listener)
    }

    /// Removes the socket, so that no new peer connects.
    pub(crate) fn close(&self) {
        // The socket may already be gone; `remove` reports any other error.
        fs::remove_file(self.socket()).ok();
    }

    /// Removes the directory and its contents; symbolic links are removed, not followed.
    pub(crate) fn remove(&self) -> Result<(), Leftover> {
        self.remove_checked().map_err(|why| Leftover { what: self.dir.display().to_string(), why })
    }

    fn remove_checked(&self) -> Result<(), String> {
        match fs::symlink_metadata(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.to_string()),
            Ok(meta) if !is_roots_directory(&meta) => {
                return Err("not a directory that is owned by root".into());
            }
            Ok(_) => {}
        }
        // With the directory the knowledge would be lost of what is taken back, and how.
        dkms::undo_all(&self.work())?;
        remove_tree(&self.dir).map_err(|error| error.to_string())
    }
}

fn is_roots_directory(meta: &Metadata) -> bool {
    meta.is_dir() && meta.uid() == 0
}

fn make_empty(path: &Path, mode: u32) -> io::Result<()> {
    remove_tree(path)?;
    DirBuilder::new().mode(mode).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Removes a directory and its contents, if it exists.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The directory is removed by name at the end of every session.
    #[test]
    fn only_absolute_paths_with_our_name_are_accepted() {
        for dir in ["/", "/usr", "farrier-1", "/var/lib/farrier-1/..", "/var/farrier/../lib", ""] {
            assert!(WorkDir::named(Path::new(dir)).is_err(), "{dir}");
        }
        assert!(WorkDir::named(Path::new("/var/lib/farrier-7f3a")).is_ok());
    }
}
