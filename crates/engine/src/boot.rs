//! The files by which the machine starts the engine again when it boots.
//!
//! They exist while a reboot is under way: [`make`] records each one as a lease before it exists, and
//! [`release`] removes them. Without them the engine is started again when the runner signs in; with them it
//! also goes on, and removes everything in the end, if the runner never comes back.

use crate::command::{self, Errors, TOOL};
use crate::engine::Engine;
use crate::lock_holder;
use farrier_protocol::{EventBody, Lease, LeaseKind, Leftover};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

/// Directories on a disk that keeps its content when the machine is rebooted. An engine that is elsewhere is
/// gone after the reboot.
const PERMANENT: [&str; 2] = ["/var/lib", "/var/tmp"];

/// The types of file systems in memory, tmpfs and ramfs, as in `linux/magic.h`.
const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58F6];

/// Where systemd looks for units of the administrator.
const UNITS: &str = "/etc/systemd/system";

/// What a file of the boot contains.
enum Content {
    /// A text, and the mode of the file.
    Text(String, u32),
    /// A symbolic link to this path.
    Link(String),
}

/// Returns the machine's boot id.
pub(crate) fn id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Reports whether systemd is the init of this machine (`sd_booted(3)`).
pub(crate) fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Reports whether a directory keeps its content when the machine is rebooted: not if it is on a file system in
/// memory, nor where machines clean up when they boot.
pub(crate) fn is_kept(dir: &Path) -> bool {
    let is_cleaned = ["/tmp", "/run", "/dev"].iter().any(|place| dir.starts_with(place));
    // The type has another width on each architecture, and all magic numbers have 32 bits.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::unnecessary_cast,
        reason = "as above"
    )]
    let is_memory = rustix::fs::statfs(dir).is_ok_and(|found| IN_MEMORY.contains(&(found.f_type as u32)));
    !is_cleaned && !is_memory
}

/// Makes the files, unless they exist already: an engine that was killed may have left the lease of a file alone. The machine is rebooted without them if that fails: then the
/// engine is started again when the runner signs in.
pub(crate) fn make(engine: &Engine) {
    for (path, content) in files(engine).unwrap_or_default() {
        let what = path.display().to_string();
        let lease = engine.shared.known(|known| {
            let is_it = |lease: &&Lease| lease.kind == LeaseKind::BootFile && lease.what == what;
            let taken = known.leases.iter().find(is_it).cloned();
            taken.ok_or_else(|| known.new_lease(LeaseKind::BootFile, what.clone()))
        });
        let (id, taken) = match lease {
            Ok(lease) => (lease.id, Ok(())),
            Err(lease) => (lease.id.clone(), engine.shared.record(EventBody::LeaseTaken { lease })),
        };
        if taken.is_err() || write(&path, &content).is_err() {
            fs::remove_file(&path).ok();
            engine.report(EventBody::LeaseReturned { id });
            return;
        }
    }
    if has_systemd() {
        command::capture("systemctl", &["daemon-reload"], Errors::Discard, TOOL).ok();
    }
}

/// Removes the files among `leases`, the last one first, and reports the id of each lease that is released.
/// Returns what could not be removed.
pub(crate) fn release<'a>(
    leases: impl DoubleEndedIterator<Item = &'a Lease>,
    mut released: impl FnMut(&str),
) -> Vec<Leftover> {
    let (mut left, mut is_unit) = (Vec::new(), false);
    for lease in leases.rev().filter(|lease| lease.kind == LeaseKind::BootFile) {
        match remove(&lease.what) {
            Ok(()) => released(&lease.id),
            Err(why) => left.push(Leftover { what: lease.what.clone(), why }),
        }
        is_unit |= lease.what.starts_with(UNITS);
    }
    if is_unit && has_systemd() {
        // Otherwise systemd remembers the unit until the next boot.
        command::capture("systemctl", &["daemon-reload"], Errors::Discard, TOOL).ok();
    }
    left
}

/// Removes a file that a journal names. Only names of Farrier are accepted, whatever the journal says.
fn remove(what: &str) -> Result<(), String> {
    let path = Path::new(what);
    let is_ours = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"farrier-"));
    let is_known = [UNITS, "/etc/cron.d", "/etc/local.d"].iter().any(|dir| path.starts_with(dir));
    if !is_ours || !is_known || what.contains("..") {
        return Err("this is not a file that starts an engine".into());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.to_string()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a file whose lease is taken. What is there under its name may have been cut off.
fn write(path: &Path, content: &Content) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    match content {
        Content::Link(target) => symlink(target, path),
        Content::Text(text, mode) => {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(*mode).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        }
    }
}

/// Returns the files for the init that this machine uses; `None` if there is no init that starts the engine,
/// or the engine's directory does not outlive a reboot.
fn files(engine: &Engine) -> Option<Vec<(PathBuf, Content)>> {
    let dir = engine.place.dir();
    if !PERMANENT.iter().any(|place| dir.starts_with(place)) {
        return None;
    }
    let name = dir.file_name()?.to_str()?;
    let words = engine.session.arguments("resume");
    let words = words.into_iter().map(|word| word.into_string().ok()).collect::<Option<Vec<_>>>()?;
    let program = engine.place.engine();
    let line = [&[program.to_str()?.to_owned()], words.as_slice()].concat().join(" ");
    // All parts are names, numbers and paths of Farrier's own; anything else would need quotes.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._- ".contains(&byte);
    if !line.bytes().all(is_plain) {
        return None;
    }
    Some(if has_systemd() {
        vec![
            (PathBuf::from(format!("{UNITS}/{name}.service")), Content::Text(unit(&line, dir), 0o644)),
            (
                PathBuf::from(format!("{UNITS}/multi-user.target.wants/{name}.service")),
                Content::Link(format!("../{name}.service")),
            ),
        ]
    } else if fs::symlink_metadata("/etc/runlevels/default/local").is_ok() {
        // OpenRC.
        let text = format!("#!/bin/sh\n[ ! -x {} ] || {line} &\n", program.display());
        vec![(PathBuf::from(format!("/etc/local.d/{name}.start")), Content::Text(text, 0o755))]
    } else if has_cron() {
        let text = format!("@reboot root [ ! -x {} ] || exec {line}\n", program.display());
        vec![(PathBuf::from(format!("/etc/cron.d/{name}")), Content::Text(text, 0o644))]
    } else {
        return None;
    })
}

/// The unit starts the engine with a shell, because `SELinux` lets an init execute few files below `/var`.
fn unit(line: &str, dir: &Path) -> String {
    format!(
        "[Unit]\n\
         Description=Farrier engine, which continues an update after a reboot\n\
         ConditionFileIsExecutable={}/engine\n\
         After=network.target\n\
         \n\
         [Service]\n\
         ExecStart=/bin/sh -c \"exec {line}\"\n\
         KillMode=process\n",
        dir.display()
    )
}

/// Reports whether a cron runs that reads `/etc/cron.d` and knows `@reboot`: that of busybox does neither.
fn has_cron() -> bool {
    let is_cron = |pid: u32| {
        let is_busybox = fs::read_link(format!("/proc/{pid}/exe"))
            .is_ok_and(|exe| exe.file_name().is_some_and(|name| name == "busybox"));
        matches!(lock_holder::name(pid).as_str(), "cron" | "crond") && !is_busybox
    };
    Path::new("/etc/cron.d").is_dir() && lock_holder::processes().into_iter().any(is_cron)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A journal that is lost with the reboot would let the machine be rebooted again.
    #[test]
    fn what_is_in_memory_or_cleaned_up_is_not_kept() {
        for dir in ["/dev/shm", "/run/farrier-x", "/tmp/farrier-x/log"] {
            assert!(!is_kept(Path::new(dir)), "{dir}");
        }
        assert!(is_kept(Path::new("/proc")), "any other file system");
    }

    /// A journal that somebody has changed must not cost a machine its files.
    #[test]
    fn only_files_that_start_an_engine_are_removed() {
        for what in ["/etc/passwd", "/etc/cron.d/backup", "/etc/cron.d/../farrier-x", "/tmp/farrier-x", ""] {
            assert!(remove(what).is_err(), "{what}");
        }
        assert_eq!(remove("/etc/cron.d/farrier-that-is-not-there"), Ok(()));
    }
}
