//! Runs the scripts in every shell that is `/bin/sh` somewhere. The tests fail if a shell is not installed:
//! hack/check.d/50-unit installs all of them.

mod scripts;

use super::script::{END, READY, reader};
use bytes::Bytes;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// `/bin/sh` of Debian, of Alpine and appliances, of RHEL and SUSE, of older Unix systems, of Android.
const SHELLS: &[&[&str]] = &[&["dash"], &["busybox", "sh"], &["bash", "--posix"], &["ksh"], &["mksh"]];

/// A shell that waits for its program, started as sshd starts it.
pub(in crate::drivers) struct Shell {
    name: String,
    pub(in crate::drivers) child: Child,
    /// `None`: closed.
    input: Option<ChildStdin>,
    output: ChildStdout,
    printed: Vec<u8>,
}

impl Shell {
    pub(in crate::drivers) fn start(shell: &[&str]) -> Self {
        Self::start_with(shell, &[])
    }

    /// Starts a shell with additional environment variables.
    pub(in crate::drivers) fn start_with(shell: &[&str], environment: &[(&str, &str)]) -> Self {
        let name = shell.join(" ");
        let (program, options) = shell.split_first().unwrap();
        let mut child = Command::new(find(program))
            .args(options)
            .args(["-c", reader()])
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{name}: {e}. Next: hack/test unit, or install it"));
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        let mut shell = Self { name, child, input, output, printed: Vec::new() };
        assert!(shell.prints(READY), "{} is there", shell.name);
        shell
    }

    pub(in crate::drivers) fn send(&mut self, bytes: &[u8]) {
        // A shell that has ended accepts no input; the test then reports its output, which says more.
        if let Some(input) = &mut self.input {
            input.write_all(bytes).and_then(|()| input.flush()).ok();
        }
    }

    fn end_input(&mut self) {
        self.input = None;
    }

    /// Reads until this text is printed. Returns false if the shell has ended without printing it.
    pub(in crate::drivers) fn prints(&mut self, text: &str) -> bool {
        self.prints_one_of(&[text]).is_some()
    }

    /// Reads until one of these texts is printed after the text that was read before, and returns that text.
    pub(in crate::drivers) fn prints_one_of<'a>(&mut self, texts: &[&'a str]) -> Option<&'a str> {
        let from = self.printed.len();
        let mut byte = [0];
        loop {
            let new = self.printed.get(from..).unwrap();
            if let Some(text) = texts.iter().find(|text| new.ends_with(text.as_bytes())) {
                return Some(text);
            }
            if self.output.read(&mut byte).unwrap() == 0 {
                return None;
            }
            self.printed.extend(byte);
        }
    }

    /// Reads to the end of the output, and returns all of it.
    pub(in crate::drivers) fn ends(mut self) -> String {
        self.end_input();
        self.output.read_to_end(&mut self.printed).unwrap();
        self.child.wait().unwrap();
        String::from_utf8(std::mem::take(&mut self.printed)).unwrap()
    }
}

/// Returns what a program prints between the markers; `None` if it did not run to its end.
pub(in crate::drivers) fn output_of(
    shell: &[&str],
    environment: &[(&str, &str)],
    program: &Bytes,
) -> Option<String> {
    let mut shell = Shell::start_with(shell, environment);
    shell.send(program);
    let printed = shell.ends();
    let (_, body) = printed.split_once(&format!("{READY}\n"))?;
    body.strip_suffix(&format!("{END}\n")).map(str::to_owned)
}

/// Runs a test in every shell, concurrently.
pub(in crate::drivers) fn with_every_shell(test: impl Fn(&[&str]) + Sync) {
    std::thread::scope(|scope| {
        let test = &test;
        for shell in SHELLS {
            scope.spawn(move || test(shell));
        }
    });
}

/// Finds a program in `PATH`.
pub(in crate::drivers) fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("there is no {program}. Next: hack/test unit, or install it"))
}

/// Creates a directory for one shell.
pub(in crate::drivers) fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Returns a path as text.
pub(in crate::drivers) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
