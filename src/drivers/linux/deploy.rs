//! Deploys the engine to the machine and launches it.
//!
//! One root shell does all the work: it attaches to a running engine of this session, or else chooses a
//! directory, reads the binary from its standard input, and launches it. If the shell is interrupted, it
//! removes what it has created; the next deployment removes the rest.

use super::{Machine, PLACES, directory};
use crate::attempt::LogRetention;
use crate::drivers::engine::{DeployProgress, Deployed, Launch, NotDeployed, Probe};
use crate::drivers::shell::script::{END, program};
use crate::engines::Engine;
use crate::failure::Failure;
use crate::ssh::{Output, Running};
use bytes::Bytes;
use farrier_protocol::{CallbackConfig, Holder, LaunchError, LaunchReport};
use farrier_update::Reason;
use std::time::Duration;

/// How long the deployment and launch may take: enough for 1 MiB over a slow link, and for a machine under
/// load.
const LIMIT: Duration = Duration::from_mins(2);

/// How long the script waits for an earlier shell of the same session. A shell whose connection is gone
/// notices that as soon as it reads or writes.
const EARLIER_SHELL_TIMEOUT: Duration = Duration::from_secs(30);

/// Free space that a directory must have for the engine and its journal, in KiB. The engine checks the space
/// for payloads itself, because it knows their sizes.
const ROOM_KIB: u32 = 4096;

/// Printed when the script waits for the binary.
pub(super) const ASKS_ENGINE: &str = "farrier-send-1";

/// Printed when the launch waits for the callback configuration.
pub(super) const ASKS_CONFIG: &str = "farrier-config-1";

/// Printed when the script waits for an earlier shell, with process id and name.
pub(super) const HELD: &str = "farrier-held-1 ";

/// Printed when the script no longer waits for an earlier shell.
pub(super) const FREE: &str = "farrier-free-1";

impl Machine {
    /// Deploys and launches the engine; an engine of this session that already runs is not touched. Reports
    /// the progress to `report`.
    ///
    /// # Errors
    /// Those of becoming root, `DiskFull`, `NoWritableDirectory`, `NoExecutableDirectory`, `MachineBusy`,
    /// `EngineFailed`, `CommandTimedOut`, and those of running a command.
    pub async fn deploy(
        &self,
        launch: &Launch<'_>,
        probe: &Probe,
        mut report: impl FnMut(DeployProgress),
    ) -> Result<Deployed, NotDeployed> {
        let work = async {
            let mut shell = self.session.root_shell(probe.uid).await?;
            report(DeployProgress::Begins);
            let payload =
                if probe.gzip { launch.engine.gzip.clone() } else { self.uncompressed(launch.engine)? };
            shell.send(deploy_program(PLACES, &self.session.id, launch, probe, payload.len())).await?;
            answer(&mut shell, payload, launch.callback, &mut report).await?;
            shell.end_input().await;
            Ok(shell.output_so_far().stdout.clone())
        };
        let printed: String = tokio::time::timeout(LIMIT, work).await.unwrap_or_else(|_| {
            Err(Failure::new(
                Reason::CommandTimedOut,
                format!(
                    "deploying the engine to {} took more than {} s; check the network's bandwidth and the machine's load",
                    self.session.connection.node,
                    LIMIT.as_secs()
                ),
            ))
        })?;
        let deployed = self.read_report(&printed)?;
        let calls_back = launch.callback.is_some_and(|config| config.listen.is_none());
        Ok(Deployed { calls_back, ..deployed })
    }

    fn uncompressed(&self, engine: &Engine) -> Result<Bytes, Failure> {
        engine.raw().map_err(|error| {
            let node = &self.session.connection.node;
            Failure::new(
                Reason::InternalError,
                format!("the engine for {node} cannot be decompressed: {error}"),
            )
        })
    }

    fn read_report(&self, printed: &str) -> Result<Deployed, NotDeployed> {
        let node = &self.session.connection.node;
        let dir = last_after(printed, "farrier-dir-1 ").filter(|dir| is_ours(dir, &self.session.id));
        let report = last_after(printed, LaunchReport::PREFIX)
            .and_then(|json| serde_json::from_str::<LaunchReport>(json).ok());
        match (report, dir) {
            (
                Some(
                    LaunchReport::Started { pid, listening }
                    | LaunchReport::AlreadyRunning { pid, listening },
                ),
                Some(dir),
            ) => Ok(Deployed { dir: dir.to_owned(), pid, calls_back: false, listening }),
            (Some(LaunchReport::Failed { code, message, holder }), _) => {
                let failure = launch_failed(node, code, &message);
                Err(if code == LaunchError::MachineBusy {
                    NotDeployed::Busy { failure, holder }
                } else {
                    failure.into()
                })
            }
            (_, _) => Err(self.not_launched(printed).into()),
        }
    }

    fn not_launched(&self, printed: &str) -> Failure {
        let node = &self.session.connection.node;
        if let Some(places) = last_after(printed, "farrier-places-1") {
            return no_place(node, places);
        }
        if printed.contains("farrier-upload-1") {
            return Failure::new(
                Reason::EngineFailed,
                format!(
                    "the engine could not be written on {node}; check the free space of {} there",
                    PLACES.join(", ")
                ),
            );
        }
        if !printed.contains(END) {
            return Failure::new(
                Reason::EngineFailed,
                format!(
                    "the shell that deploys the engine to {node} was killed before it was done; check what kills processes on the machine"
                ),
            );
        }
        let words: String =
            printed.lines().rev().take(5).collect::<Vec<_>>().join(" | ").chars().take(300).collect();
        Failure::new(
            Reason::EngineFailed,
            format!("the engine did not start on {node} ({words}); look at /var/log/farrier there"),
        )
    }
}

/// Returns the program that deploys and launches the engine. If interrupted, the program removes what it has
/// created.
pub(super) fn deploy_program(
    places: &[&str],
    id: &str,
    launch: &Launch<'_>,
    probe: &Probe,
    length: usize,
) -> Bytes {
    let Launch { engine, session, run, lease_seconds, retention, callback } = launch;
    let yes = |is: bool| if is { "yes" } else { "no" };
    let (uid, lease) = (probe.uid.to_string(), lease_seconds.to_string());
    let mut options =
        vec!["--session", session, "--run", run, "--peer-uid", &uid, "--digest", &engine.digest];
    options.extend(["--lease", &lease]);
    // Engines of earlier versions ignore these options.
    let retention = retention.map(|LogRetention { runs, days }| (runs.to_string(), days.to_string()));
    if let Some((runs, days)) = &retention {
        options.extend(["--keep-runs", runs, "--keep-days", days]);
    }
    if let Some(config) = callback {
        options.extend(["--channel", if config.listen.is_some() { "listen" } else { "callback" }]);
    }
    let settings = [
        ("NAME", directory(id).as_str()),
        ("PLACES", &places.join(" ")),
        ("ROOM_KIB", &ROOM_KIB.to_string()),
        ("PATIENCE", &EARLIER_SHELL_TIMEOUT.as_secs().to_string()),
        ("LENGTH", &length.to_string()),
        ("COMPRESSED", yes(probe.gzip)),
        ("CONFIG", yes(callback.is_some())),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    program(include_str!("deploy.sh"), &settings, &options)
}

/// Answers the script's requests until the script ends: sends the binary, unless the script has found a
/// running engine, and the callback configuration for each launch.
async fn answer(
    shell: &mut Running,
    payload: Bytes,
    callback: Option<&CallbackConfig>,
    report: &mut impl FnMut(DeployProgress),
) -> Result<(), Failure> {
    let config = match callback {
        Some(callback) => serde_json::to_string(callback).unwrap_or_default() + "\n",
        None => String::new(),
    };
    let mut payload = Some(payload);
    let mut configs = 0;
    let mut reported = 0;
    loop {
        let (waits, given, known) = (payload.is_some(), configs, reported);
        let asks = |o: &Output| {
            (waits && o.stdout.contains(ASKS_ENGINE))
                || o.stdout.matches(ASKS_CONFIG).count() > given
                || progress(&o.stdout).count() > known
        };
        if !shell.read_until(|o| asks(o) || o.stdout.contains(END)).await? || !asks(shell.output_so_far()) {
            return Ok(());
        }
        let news: Vec<DeployProgress> = progress(&shell.output_so_far().stdout).skip(known).collect();
        if !news.is_empty() {
            reported += news.len();
            news.into_iter().for_each(&mut *report);
        } else if let Some(payload) = payload.take_if(|_| shell.output_so_far().stdout.contains(ASKS_ENGINE))
        {
            shell.send(payload).await?;
        } else {
            configs += 1;
            shell.send(Bytes::from(config.clone())).await?;
        }
    }
}

/// Returns what the script has printed about its waits, without an incomplete last line.
fn progress(printed: &str) -> impl Iterator<Item = DeployProgress> {
    let lines = printed.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    lines.map(|line| line.trim_end_matches('\r')).filter_map(|line| {
        if line == FREE {
            return Some(DeployProgress::Continues);
        }
        let (pid, name) = line.strip_prefix(HELD)?.split_once(' ')?;
        // The name of a process may have any characters, and has at most 15.
        let name = name.chars().filter(|letter| !letter.is_control()).take(15).collect();
        Some(DeployProgress::Waits {
            holder: Holder { pid: pid.parse().ok()?, name },
            limit: EARLIER_SHELL_TIMEOUT,
        })
    })
}

/// Whether this path may be Farrier's directory. The name becomes part of further commands.
fn is_ours(dir: &str, id: &str) -> bool {
    let name = directory(id);
    PLACES.iter().any(|place| dir.strip_prefix(place).and_then(|rest| rest.strip_prefix('/')) == Some(&*name))
}

fn last_after<'a>(printed: &'a str, prefix: &str) -> Option<&'a str> {
    printed.lines().rev().find_map(|line| line.trim_end_matches('\r').strip_prefix(prefix)).map(str::trim)
}

fn no_place(node: &str, places: &str) -> Failure {
    let (reason, next) = if places.contains(":full") {
        (Reason::DiskFull, format!("free at least {} MiB in one of them", ROOM_KIB / 1024))
    } else if places.contains(":noexec") {
        (Reason::NoExecutableDirectory, "mount one of them without noexec".to_owned())
    } else {
        (Reason::NoWritableDirectory, "make one of them writable".to_owned())
    };
    Failure::new(reason, format!("no directory of {node} can take the engine ({places}); {next}"))
}

fn launch_failed(node: &str, code: LaunchError, message: &str) -> Failure {
    match code {
        LaunchError::MachineBusy => Failure::new(
            Reason::MachineBusy,
            format!("another engine is at work on {node}: {message}; wait for that run to end"),
        ),
        LaunchError::DigestMismatch => Failure::new(
            Reason::EngineFailed,
            format!(
                "the engine did not arrive intact on {node}: {message}; the deployment is repeated if retries are left"
            ),
        ),
        LaunchError::NotRoot => Failure::new(
            Reason::NotRoot,
            format!("the engine is not root on {node}: {message}; check spec.ssh.privilege"),
        ),
        LaunchError::DiskFull => Failure::new(
            Reason::DiskFull,
            format!("there is no room for the engine's journal on {node}: {message}; make room in /var/log"),
        ),
        LaunchError::NoJournal => Failure::new(
            Reason::NoWritableDirectory,
            format!("the engine cannot keep its journal on {node}: {message}; make /var/log writable"),
        ),
        LaunchError::Other => {
            Failure::new(Reason::EngineFailed, format!("the engine did not start on {node}: {message}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_in_one_of_the_places_and_has_the_name_of_the_session() {
        assert!(is_ours("/run/farrier-a1", "a1") && is_ours("/var/lib/farrier-a1", "a1"));
        for wrong in ["/run/farrier-a2", "/etc/farrier-a1", "/run/farrier-a1; reboot", "/run//farrier-a1", ""]
        {
            assert!(!is_ours(wrong, "a1"), "{wrong}");
        }
    }

    #[test]
    fn the_process_that_a_deployment_waits_for_is_read() {
        let printed =
            "Welcome\nfarrier-held-1 714 a\tsh\r\nfarrier-free-1\nfarrier-held-1 x y\nfarrier-held-1 9";
        let holder = Holder { pid: 714, name: "ash".into() };
        assert_eq!(
            progress(printed).collect::<Vec<_>>(),
            [DeployProgress::Waits { holder, limit: EARLIER_SHELL_TIMEOUT }, DeployProgress::Continues]
        );
    }

    #[test]
    fn the_reason_for_no_place_is_the_one_that_can_be_mended() {
        assert_eq!(no_place("db-01", "/var/lib:readonly /tmp:full").reason, Reason::DiskFull);
        assert_eq!(no_place("db-01", "/var/lib:readonly /tmp:noexec").reason, Reason::NoExecutableDirectory);
        assert_eq!(no_place("db-01", "/var/lib:readonly").reason, Reason::NoWritableDirectory);
    }
}
