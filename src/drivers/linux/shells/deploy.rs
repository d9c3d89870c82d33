//! Tests of the deployment: directories, upload, launch, and what an interruption leaves.

use super::super::deploy::{ASKS_CONFIG, ASKS_ENGINE, deploy_program};
use crate::drivers::engine::{Launch, Probe};
use crate::drivers::shell::script::END;
use crate::drivers::shell::shells::{Shell, temporary, text, with_every_shell};
use crate::engines::Engine;
use bytes::Bytes;
use farrier_protocol::{CallbackConfig, LaunchReport};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;

/// Fake engine: records its options and its callback configuration, and reports a successful launch.
const ENGINE: &str = r#"#!/bin/sh
dir=$3
printf '%s\n' "$@" >"$dir/launched"
case "$*" in *callback*) read -r config; echo "$config" >"$dir/config" ;; esac
echo 'farrier-launch-1 {"result":"started","pid":7}'
"#;

/// One deployment by one shell.
struct Deployment<'a> {
    places: Vec<&'a str>,
    gzip: bool,
    calls_back: bool,
}

impl<'a> Deployment<'a> {
    fn to(places: &[&'a str]) -> Self {
        Self { places: places.to_vec(), gzip: true, calls_back: false }
    }

    fn program(&self) -> Bytes {
        let engine = engine();
        let callback = CallbackConfig {
            addresses: Vec::new(),
            server_name: String::new(),
            server_pin: String::new(),
            certificate: String::new(),
            key: String::new(),
            listen: None,
        };
        let launch = Launch {
            engine: &engine,
            session: "s-1",
            run: "it's; $(a) run",
            lease_seconds: 900,
            retention: None,
            callback: self.calls_back.then_some(&callback),
        };
        let probe = Probe { uid: 1000, gzip: self.gzip, ..Probe::default() };
        deploy_program(&self.places, "a1", &launch, &probe, self.payload().len())
    }

    fn payload(&self) -> Bytes {
        if self.gzip { engine().gzip } else { Bytes::from_static(ENGINE.as_bytes()) }
    }

    /// Runs the deployment, and returns what was printed.
    fn run(&self, shell: &[&str]) -> String {
        let mut shell = Shell::start(shell);
        shell.send(&self.program());
        while let Some(asked) = shell.prints_one_of(&[ASKS_ENGINE, ASKS_CONFIG, END]) {
            match asked {
                ASKS_ENGINE => shell.send(&self.payload()),
                ASKS_CONFIG => shell.send(b"the way back\n"),
                _ => break,
            }
        }
        shell.ends()
    }
}

fn engine() -> Engine {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(ENGINE.as_bytes()).unwrap();
    let gzip = Bytes::from(encoder.finish().unwrap());
    Engine { digest: "sha256:0".into(), gzip }
}

/// Returns the names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn write_engine(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("engine"), ENGINE).unwrap();
    std::fs::set_permissions(dir.join("engine"), std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Machines with another `/bin/sh` could otherwise not be updated.
#[test]
fn the_engine_is_deployed_and_launched() {
    with_every_shell(|shell| {
        for (gzip, calls_back) in [(true, false), (false, false), (true, true)] {
            let place = temporary();
            let dir = place.path().join("farrier-a1");
            // The first directory does not exist; in the second none can be created.
            let places = ["/nowhere", "/proc", text(place.path())];
            let printed = Deployment { gzip, calls_back, ..Deployment::to(&places) }.run(shell);
            assert!(printed.contains(&format!("farrier-dir-1 {}\n", text(&dir))), "{shell:?}: {printed}");
            assert!(printed.contains(LaunchReport::PREFIX), "{shell:?}: {printed}");
            let mut left = vec!["engine", "launched"];
            left.extend(calls_back.then_some("config"));
            left.sort_unstable();
            assert_eq!(names(&dir), left, "{shell:?}: nothing of the trial is left");
            assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o711, "{shell:?}");
            let mut options: Vec<&str> = vec!["launch", "--dir", text(&dir), "--session", "s-1"];
            options.extend(["--run", "it's; $(a) run", "--peer-uid", "1000", "--digest", "sha256:0"]);
            options.extend(["--lease", "900"]);
            if calls_back {
                options.extend(["--channel", "callback"]);
                assert_eq!(std::fs::read_to_string(dir.join("config")).unwrap(), "the way back\n");
            }
            let launched = std::fs::read_to_string(dir.join("launched")).unwrap();
            assert_eq!(launched.lines().collect::<Vec<_>>(), options, "{shell:?}");
        }
    });
}

/// A working engine would otherwise be deployed again, or removed while its installer runs.
#[test]
fn a_running_engine_of_the_session_is_reused() {
    with_every_shell(|shell| {
        let (first, second) = (temporary(), temporary());
        let dir = second.path().join("farrier-a1");
        write_engine(&dir);
        // The shell that deployed it has ended: no process has this pid.
        std::fs::write(dir.join("pid"), "4194305\n").unwrap();
        let printed = Deployment::to(&[text(first.path()), text(second.path())]).run(shell);
        assert!(printed.contains(LaunchReport::PREFIX), "{shell:?}: {printed}");
        assert!(!printed.contains(ASKS_ENGINE), "{shell:?}: {printed}");
        assert!(names(&dir).contains(&"launched".to_owned()), "{shell:?}");
        assert!(names(first.path()).is_empty(), "{shell:?}");
    });
}

/// The shell of an operator that was killed runs until it notices the closed connection. A user who sees no
/// reason for the pause would look for it in the network.
#[test]
fn a_shell_of_an_earlier_deployment_is_named_and_waited_for() {
    with_every_shell(|shell| {
        let place = temporary();
        let dir = place.path().join("farrier-a1");
        std::fs::create_dir(&dir).unwrap();
        let mut earlier = Command::new("sleep").arg("3").spawn().unwrap();
        let pid = earlier.id();
        std::fs::write(dir.join("pid"), format!("{pid}\n")).unwrap();
        // A process that has ended and was not waited for still has its process id.
        let ended = thread::spawn(move || earlier.wait());
        let printed = Deployment::to(&[text(place.path())]).run(shell);
        ended.join().unwrap().unwrap();
        let held = printed.find(&format!("farrier-held-1 {pid} sleep\nfarrier-free-1\n"));
        assert!(held.is_some() && held < printed.find(ASKS_ENGINE), "{printed}");
        assert!(printed.contains(LaunchReport::PREFIX), "{printed}");
    });
}

/// A user who may write to `/tmp` could otherwise make root run a program of that user, or delete other
/// files.
#[test]
fn files_of_other_users_are_neither_run_nor_followed() {
    with_every_shell(|shell| {
        let (place, elsewhere) = (temporary(), temporary());
        write_engine(elsewhere.path());
        symlink(elsewhere.path(), place.path().join("farrier-a1")).unwrap();
        let printed = Deployment::to(&[text(place.path())]).run(shell);
        assert!(printed.contains(ASKS_ENGINE), "{shell:?}: {printed}");
        assert_eq!(names(elsewhere.path()), ["engine"], "{shell:?}");
        assert!(!place.path().join("farrier-a1").is_symlink(), "{shell:?}");
        // An engine that cannot be executed is replaced.
        let place = temporary();
        std::fs::create_dir_all(place.path().join("farrier-a1/engine")).unwrap();
        let printed = Deployment::to(&[text(place.path())]).run(shell);
        assert!(printed.contains(LaunchReport::PREFIX), "{shell:?}: {printed}");
    });
}

/// A wrong reason would direct the user to the wrong problem.
#[test]
fn each_place_that_cannot_be_used_is_named_with_its_reason() {
    with_every_shell(|shell| {
        let printed = Deployment::to(&["/nowhere", "/proc", "/sys"]).run(shell);
        assert!(printed.contains("farrier-places-1 /proc:readonly /sys:readonly\n"), "{shell:?}: {printed}");
        let place = temporary();
        let limited = [&["sh", "-c", "ulimit -f 4000; exec \"$@\"", "sh"], shell].concat();
        let printed = Deployment::to(&[text(place.path())]).run(&limited);
        let full = format!("farrier-places-1 {}:full\n", text(place.path()));
        assert!(printed.contains(&full), "{shell:?}: {printed}");
        assert!(names(place.path()).is_empty(), "{shell:?}");
    });
}

/// A connection that breaks during the upload would otherwise leave half an engine on the machine.
#[test]
fn nothing_is_left_of_a_deployment_that_was_cut_off() {
    with_every_shell(|shell| {
        for signal in [false, true] {
            let place = temporary();
            let deployment = Deployment::to(&[text(place.path())]);
            let mut running = Shell::start(shell);
            running.send(&deployment.program());
            assert!(running.prints(ASKS_ENGINE), "{shell:?}");
            running.send(&deployment.payload()[..100]);
            if signal {
                let pid = rustix::process::Pid::from_child(&running.child);
                rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
            }
            let printed = running.ends();
            assert!(!printed.contains(LaunchReport::PREFIX), "{shell:?}: {printed}");
            assert!(names(place.path()).is_empty(), "{shell:?}, by a signal: {signal}");
        }
    });
}
