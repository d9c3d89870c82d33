//! The configuration of the callback channel: how it arrives, and where it must never appear.

use crate::machine::{DIR, Machine, engine_digest};
use crate::runner::{Connection, Runner};
use crate::sandbox::shell;
use crate::tls::{SESSION, Server};
use farrier_protocol::{CallbackConfig, LaunchError, LaunchReport};
use rcgen::KeyPair;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

sandboxed! {
    /// The script that launches is read from the same standard input.
    fn input_after_the_line_is_left_for_the_shell() {
        let server = Server::on("127.0.0.1:0");
        let machine = Machine::new(SESSION).deploy();
        let config = serde_json::to_string(&server.callback()).unwrap();
        let launch = |more: &str| machine.launch_line(&[], engine_digest(), &format!("--channel {more}"));
        let mut shell = Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = shell.stdin.take().unwrap();
        let mut output = BufReader::new(shell.stdout.take().unwrap()).lines();
        let mut said = || output.next().unwrap().unwrap();
        let mut report = String::new();
        for more in ["callback --levitate yes", "callback --lease 7", "callback", "callback"] {
            // The shell may read ahead as far as data is available. Therefore the configuration is sent
            // after the script prints a word, as the runner does.
            writeln!(input, "echo ready; {} || echo farrier-launch-0", launch(more)).unwrap();
            assert_eq!(said(), "ready");
            write!(input, "{config}\necho after\n").unwrap();
            report = said();
            assert!(report.starts_with("farrier-launch-"), "{report}");
            // Also after a failed launch: a key must not be taken for a command.
            assert_eq!(said(), "after", "{report}");
        }
        assert!(report.contains("alreadyRunning"), "{report}");
        write!(input, "{}\necho after\n", launch("session")).unwrap();
        assert!(said().contains("alreadyRunning"));
        assert_eq!(said(), "after");
        drop(input);
        shell.wait().unwrap();
    }
}

sandboxed! {
    /// Other users can log in to the machine as well.
    fn the_key_is_seen_by_root_alone() {
        let server = Server::on("127.0.0.1:0");
        let config = server.callback();
        let machine = Machine::new(SESSION).calling(&config);
        let path = format!("{DIR}/callback.json");
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o600, 0));
        let mut connection = server.connection();
        let mut runner = Runner::default();
        assert!(runner.serve(&mut connection, |runner| runner.asked == 1));
        let secret = config.key.lines().nth(1).unwrap();
        for place in ["/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ"] {
            let found = shell(&format!("cat {place} 2>/dev/null | tr '\\0' '\\n'"));
            assert!(!found.contains(secret), "{place}");
        }
        let files = shell("find /mnt /var/log /opt -type f");
        let holders: Vec<_> = files
            .lines()
            .filter(|file| fs::read(file).is_ok_and(|bytes| bytes.windows(secret.len()).any(|part| part == secret.as_bytes())))
            .collect();
        assert_eq!(holders, [path]);
        drop(connection);
        runner.finish_calls(&server, &machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// The file must never exist with another mode, not even for a moment.
    fn the_mode_of_an_existing_file_is_not_kept() {
        let server = Server::on("127.0.0.1:0");
        let machine = Machine::new(SESSION).deploy();
        let path = format!("{DIR}/callback.json");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let report = machine.launch_callback(&server.callback());
        assert!(matches!(report, LaunchReport::Started { .. }), "{report:?}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }
}

sandboxed! {
    /// A configuration that an earlier operator left must not make the engine connect to it.
    fn on_channel_session_no_configuration_is_kept() {
        let machine = Machine::new(SESSION).deploy();
        let path = format!("{DIR}/callback.json");
        fs::write(&path, "{}").unwrap();
        let machine = machine.started();
        assert!(!Path::new(&path).exists());
        let mut runner = Runner::default();
        let mut connection = Connection::attach(&machine);
        assert!(runner.serve(&mut connection, |runner| runner.hellos.len() == 1));
        assert_eq!(runner.hellos[0].dials, []);
    }
}

sandboxed! {
    /// The machine stays unchanged, and the operator gets an error that says what is wrong, without the
    /// key.
    fn an_invalid_configuration_is_refused_with_its_reason() {
        let server = Server::on("127.0.0.1:0");
        let good = server.callback();
        let p256 = KeyPair::generate().unwrap().serialize_pem();
        let other = server.callback().key;
        let variant = |change: &dyn Fn(&mut CallbackConfig)| {
            let mut config = good.clone();
            change(&mut config);
            serde_json::to_string(&config).unwrap()
        };
        let long = "x".repeat(70_000);
        for (line, message) in [
            (String::new(), "is invalid at byte"),
            ("rm -rf /".into(), "is invalid at byte"),
            (long, "longer than 65536 bytes"),
            (variant(&|config| config.addresses.clear()), "0 addresses"),
            (variant(&|config| config.addresses = vec!["runner.example:63002".into()]), "runner.example:63002"),
            (variant(&|config| config.server_name = "10.0.0.1".into()), "is not a valid server name"),
            (variant(&|config| config.server_pin = "sha256:0".into()), "is not a digest"),
            (variant(&|config| config.certificate = "none".into()), "certificate is not PEM"),
            (variant(&|config| config.key = "none".into()), "key is not PEM"),
            (variant(&|config| config.key.clone_from(&p256)), "not an Ed25519 key"),
            (variant(&|config| config.key.clone_from(&other)), "does not belong to its certificate"),
        ] {
            let machine = Machine::new(SESSION).deploy();
            match machine.launch_line_of_input(&line) {
                LaunchReport::Failed { code: LaunchError::Other, message: found, holder: None } => {
                    assert!(found.contains(message), "{found}");
                    assert!(!found.contains(good.key.lines().nth(1).unwrap()), "{found}");
                }
                report => panic!("{line}: {report:?}"),
            }
            assert!(!Path::new(DIR).exists() && !Path::new("/var/log/farrier").exists());
        }
    }
}

sandboxed! {
    /// A launch that is refused must not change the configuration of a running engine.
    fn a_running_engine_keeps_its_configuration_when_another_is_refused() {
        let server = Server::on("127.0.0.1:0");
        let machine = Machine::new(SESSION).calling(&server.callback());
        let before = fs::read(format!("{DIR}/callback.json")).unwrap();
        for report in [machine.launch_line_of_input("{}"), Machine::new("s2").launch_callback(&server.callback())] {
            assert!(matches!(report, LaunchReport::Failed { .. }), "{report:?}");
        }
        assert_eq!(fs::read(format!("{DIR}/callback.json")).unwrap(), before);
        Runner::default().finish_calls(&server, &machine);
        machine.assert_clean();
    }
}
