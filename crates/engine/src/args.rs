//! The command line that the runner passes.

use crate::callback::address::{Address, MAX_ADDRESSES};
use crate::digest::Digest;
use crate::logs::Retention;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Output of `--help`.
pub(crate) const HELP: &str = "\
farrier-engine: updates this machine on behalf of a Farrier operator, then removes itself.

Usage:
  farrier-engine launch --dir D --session S --run R --peer-uid U --digest sha256:HEX --lease SECONDS
                         [--channel session|callback|listen] [--keep-runs N] [--keep-days N]
      Starts the detached engine of session S and waits until it accepts connections.
      Channels callback and listen: first reads one line of JSON from standard input with the addresses
      of the operator, or the port for it. Without it the engine neither connects nor listens.
      Needs root. Prints one line: farrier-launch-1 {JSON}. Exit status: 0 if the engine runs, 1 if not.
  farrier-engine attach --dir D
      Joins standard input and output to the engine in D, which speaks HTTP/1.1 as client.
      Exit status: 0 if the connection ended, 3 if no engine listens in D.
  farrier-engine resume --dir D --session S --run R --peer-uid U --lease SECONDS
      Becomes the engine of session S again. The machine itself executes this after a reboot.
  farrier-engine sweep --dir D --session S
      Removes D and what a dead engine of session S left on this machine. Needs root.
      Prints one line of JSON with what could not be removed. Exit status: 0 if nothing, 1 if something.
  farrier-engine reach [--timeout-ms N] ADDRESS...
      Tries to get an answer by TCP from each ADDRESS, like 10.0.0.1:63002 or [fe80::1%eth0]:63002,
      all at once, for at most N milliseconds (3000). Prints one line of JSON for each, in order.
      Exit status: 0 if all answered, 1 if not.
  farrier-engine --version | --help

D is a directory that is owned by root and whose name begins with `farrier`. Journal and log are kept in
/var/log/farrier/R, for the last 20 runs (--keep-runs) and for 90 days (--keep-days).

Example:
  /var/lib/farrier-7f3a/engine launch --dir /var/lib/farrier-7f3a --session 7f3a --run spring \\
      --peer-uid 1000 --digest sha256:9f86d0… --lease 900
";

/// Maximum length of a name: the limit of Kubernetes, because these are names of Kubernetes objects.
const MAX_NAME_LEN: usize = 253;

/// Default timeout of `reach`, long enough to recover from two lost packets.
const REACH_TIMEOUT: Duration = Duration::from_secs(3);

/// A parsed command line.
pub(crate) enum Command {
    /// Start the detached engine.
    Launch {
        /// The session of the engine.
        session: Session,
        /// Expected digest of the engine's binary.
        digest: Digest,
    },
    /// Run as the detached engine.
    Run {
        /// The session of the engine.
        session: Session,
    },
    /// Run as the engine again after a reboot of the machine.
    Resume {
        /// The session of the engine.
        session: Session,
    },
    /// Join standard input and output to the engine.
    Attach {
        /// The directory of the engine.
        dir: PathBuf,
    },
    /// Try to open connections.
    Reach {
        /// The addresses.
        addresses: Vec<Address>,
        /// The timeout of each connection.
        timeout: Duration,
    },
    /// Remove what a dead engine left.
    Sweep {
        /// The directory of the dead engine.
        dir: PathBuf,
        /// The session of the dead engine.
        session: String,
    },
    /// Wait for the start signal of the engine, then execute `program`.
    Step {
        /// Program and arguments.
        program: Vec<OsString>,
    },
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// The session of an engine, and its directory.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// The directory with the engine in it.
    pub(crate) dir: PathBuf,
    /// Id of the session: the UID of the NodeUpdate.
    pub(crate) id: String,
    /// Name of the run, for the logs.
    pub(crate) run: String,
    /// The login user who may attach, besides root.
    pub(crate) peer_uid: u32,
    /// How long the engine may go without contact.
    pub(crate) lease: Duration,
    /// Which logs of earlier runs are kept.
    pub(crate) keep: Retention,
}

/// Parses the arguments after the program's name. The error names the invalid argument.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let mut arguments = arguments.peekable();
    let Some(word) = arguments.next() else { return Err("no command given".into()) };
    match word.to_str() {
        Some("-h" | "--help" | "help") => Ok(Command::Help),
        Some("-V" | "--version") => Ok(Command::Version),
        Some("launch") => {
            let mut options = Options::read(arguments)?;
            let (session, digest) = (options.session()?, options.take("digest")?.parse()?);
            options.channel()?;
            // Remaining options come from a later version of the operator, which may have deployed this
            // engine before it was upgraded. The operator does not depend on such options.
            Ok(Command::Launch { session, digest })
        }
        Some("run") => {
            let mut options = Options::read(arguments)?;
            let session = options.session()?;
            options.finish().map(|()| Command::Run { session })
        }
        Some("resume") => {
            let mut options = Options::read(arguments)?;
            let session = options.session()?;
            options.finish().map(|()| Command::Resume { session })
        }
        Some("attach") => {
            let mut options = Options::read(arguments)?;
            let dir = options.take("dir")?.into();
            options.finish().map(|()| Command::Attach { dir })
        }
        Some("reach") => reach(arguments),
        Some("sweep") => {
            let mut options = Options::read(arguments)?;
            let (dir, session) = (options.take("dir")?.into(), options.name("session")?);
            options.finish().map(|()| Command::Sweep { dir, session })
        }
        Some("step") => Ok(Command::Step { program: arguments.collect() }),
        _ => Err(format!("unknown command {}", word.display())),
    }
}

/// Reports whether a line on standard input follows this command line. This is checked before anything
/// else, so that the line is never left for the shell that started the engine.
pub(crate) fn announces_line(words: &[OsString]) -> bool {
    let pairs = words.windows(2);
    words.first().is_some_and(|word| word == "launch")
        && pairs
            .into_iter()
            .any(|pair| matches!(pair, [name, value] if name == "--channel" && (value == "callback" || value == "listen")))
}

fn reach(arguments: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let mut arguments = arguments.peekable();
    let mut timeout = REACH_TIMEOUT;
    if arguments.next_if(|word| word == "--timeout-ms").is_some() {
        let text = arguments.next().unwrap_or_default();
        let millis = text.to_str().and_then(|text| text.parse().ok()).filter(|millis| *millis > 0);
        let wrong = || format!("--timeout-ms {} is not a number of milliseconds", text.display());
        timeout = Duration::from_millis(u32::into(millis.ok_or_else(wrong)?));
    }
    let addresses = arguments.map(|word| word.to_string_lossy().parse());
    let addresses: Vec<Address> = addresses.collect::<Result<_, _>>()?;
    if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
        return Err(format!("{} addresses: between 1 and {MAX_ADDRESSES} are tried", addresses.len()));
    }
    Ok(Command::Reach { addresses, timeout })
}

/// `--name value` pairs that have not been consumed.
struct Options(BTreeMap<String, String>);

impl Options {
    fn read(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut options = BTreeMap::new();
        while let Some(word) = arguments.next() {
            let word = word.into_string().map_err(|word| format!("{} is not UTF-8", word.display()))?;
            let Some(name) = word.strip_prefix("--") else {
                return Err(format!("unexpected argument {word}"));
            };
            let value = arguments.next().ok_or_else(|| format!("--{name} needs a value"))?;
            let value = value.into_string().map_err(|_| format!("the value of --{name} is not UTF-8"))?;
            if options.insert(name.to_owned(), value).is_some() {
                return Err(format!("--{name} is given twice"));
            }
        }
        Ok(Self(options))
    }

    fn take(&mut self, name: &str) -> Result<String, String> {
        self.0.remove(name).ok_or_else(|| format!("--{name} is missing"))
    }

    fn number(&mut self, name: &str) -> Result<u32, String> {
        let text = self.take(name)?;
        text.parse().map_err(|_| format!("--{name} {text} is not a whole number"))
    }

    /// Takes a name that becomes part of a path.
    fn name(&mut self, name: &str) -> Result<String, String> {
        let text = self.take(name)?;
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if text.is_empty() || text.len() > MAX_NAME_LEN || text.starts_with('.') || !plain {
            return Err(format!("--{name} {text:?} is not a name: use letters, digits, '.', '_' and '-'"));
        }
        Ok(text)
    }

    fn session(&mut self) -> Result<Session, String> {
        Ok(Session {
            dir: self.take("dir")?.into(),
            id: self.name("session")?,
            run: self.name("run")?,
            peer_uid: self.number("peer-uid")?,
            lease: Duration::from_secs(self.number("lease")?.into()),
            keep: self.keep()?,
        })
    }

    fn keep(&mut self) -> Result<Retention, String> {
        let mut keep = Retention::default();
        for (name, value) in [("keep-runs", &mut keep.runs), ("keep-days", &mut keep.days)] {
            if self.0.contains_key(name) {
                *value = self.number(name)?;
            }
        }
        Ok(keep)
    }

    /// Checks the option. Its value was already evaluated by [`announces_line`].
    fn channel(&mut self) -> Result<(), String> {
        match self.0.remove("channel").as_deref() {
            None | Some("session" | "callback" | "listen") => Ok(()),
            Some(other) => Err(format!("--channel {other}: there are `session`, `callback` and `listen`")),
        }
    }

    fn finish(self) -> Result<(), String> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("unknown option --{name}")),
        }
    }
}

impl Session {
    /// Returns the arguments that [`parse`] reads back as `run` of this session.
    pub(crate) fn run_arguments(&self) -> Vec<OsString> {
        self.arguments("run")
    }

    /// Returns the arguments that [`parse`] reads back as this command for this session.
    pub(crate) fn arguments(&self, command: &str) -> Vec<OsString> {
        let mut arguments = vec![OsString::from(command), "--dir".into(), self.dir.clone().into()];
        arguments.extend([
            "--session".into(),
            self.id.clone().into(),
            "--run".into(),
            self.run.clone().into(),
        ]);
        arguments.extend(["--peer-uid".into(), self.peer_uid.to_string().into()]);
        arguments.extend(["--lease".into(), self.lease.as_secs().to_string().into()]);
        arguments.extend(["--keep-runs".into(), self.keep.runs.to_string().into()]);
        arguments.extend(["--keep-days".into(), self.keep.days.to_string().into()]);
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> impl Iterator<Item = OsString> {
        line.split(' ').map(OsString::from).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn run_arguments_are_read_back() {
        let line = "run --dir /var/lib/farrier-1 --session s-1 --run spring --peer-uid 1000 --lease 900 --keep-runs 5 --keep-days 7";
        let Ok(Command::Run { session }) = parse(words(line)) else { panic!("not read") };
        assert_eq!(session.run_arguments(), words(line).collect::<Vec<_>>());
    }

    /// Without this, an upgraded operator could not resume the engines that it deployed before.
    #[test]
    fn options_of_a_later_version_are_ignored_by_launch() {
        let digest = "0".repeat(64);
        let line = format!(
            "launch --dir /var/lib/farrier-1 --session s --run r --peer-uid 0 --digest sha256:{digest} --lease 9 --colour red"
        );
        assert!(matches!(parse(words(&line)), Ok(Command::Launch { .. })));
    }

    /// A session or run name with a slash in it would move the journal to another directory.
    #[test]
    fn names_that_leave_their_folder_are_refused() {
        for name in ["", ".", "..", "../x", "a/b", "a b"] {
            let words = ["sweep", "--dir", "/x", "--session", name].map(OsString::from);
            assert!(parse(words.into_iter()).is_err(), "{name:?}");
        }
    }
}
