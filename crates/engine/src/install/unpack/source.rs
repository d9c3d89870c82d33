//! The bytes of an archive, decompressed by the machine's own program where that is needed.

use super::Unpack;
use crate::command::{self, ENVIRONMENT};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// First bytes of a compressed file; the program that decompresses it, and the package that has it.
const COMPRESSED: [(&[u8], &str, &str); 2] =
    [(b"\x1f\x8b", "gzip", "gzip"), (b"\xfd7zXZ\0", "xz", "xz (xz-utils on Debian)")];

/// An open archive.
pub(super) enum Source {
    /// It is not compressed.
    Plain(File),
    /// A program decompresses it.
    Piped {
        /// The program's name.
        name: &'static str,
        /// The program.
        child: Child,
        /// What it prints.
        output: ChildStdout,
    },
}

impl Source {
    pub(super) fn open(archive: &Path) -> Result<Self, Unpack> {
        let mut start = Vec::new();
        File::open(archive)?.take(6).read_to_end(&mut start)?;
        let Some((_, name, package)) = COMPRESSED.iter().find(|(magic, ..)| start.starts_with(magic)) else {
            return Ok(Self::Plain(File::open(archive)?));
        };
        let program = command::find(name).ok_or(Unpack::Missing(name, package))?;
        let mut command = Command::new(program);
        command.arg("-dc").env_clear().envs(ENVIRONMENT).stdin(File::open(archive)?);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::from(io::ErrorKind::Other))?;
        Ok(Self::Piped { name, child, output })
    }

    pub(super) fn stream(&mut self) -> &mut dyn Read {
        match self {
            Self::Plain(file) => file,
            Self::Piped { output, .. } => output,
        }
    }

    /// Ends the program, which says whether the archive was whole.
    pub(super) fn finish(mut self) -> Result<(), Unpack> {
        let Self::Piped { name, child, output } = &mut self else { return Ok(()) };
        // What follows the end of an archive is filling, up to the size of a tape's block.
        io::copy(output, &mut io::sink())?;
        let status = child.wait()?;
        if status.success() {
            return Ok(());
        }
        Err(Unpack::Refused(format!("the payload is damaged: {name} failed: {status}")))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Self::Piped { child, .. } = self {
            // It has ended already, unless the archive was not read to its end.
            child.kill().ok();
            child.wait().ok();
        }
    }
}
