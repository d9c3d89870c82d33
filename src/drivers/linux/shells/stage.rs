//! Tests of the scripts that stage payloads: what they leave, what they take up again, and what ends.

use super::super::stage::{ASKS, ASKS_BYTES, stage_program, staged_program};
use crate::drivers::engine::{StageFile, StageOrder};
use crate::drivers::shell::script::{END, code};
use crate::drivers::shell::shells::{Shell, output_of, temporary, text, with_every_shell};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A machine, as far as the scripts see it.
struct Place {
    /// Removed at the end.
    root: tempfile::TempDir,
}

impl Place {
    /// A machine with cron.
    fn new() -> Self {
        let place = Self { root: temporary() };
        for dir in ["lib", "etc/cron.d", "proc/7"] {
            fs::create_dir_all(place.path(dir)).unwrap();
        }
        fs::write(place.path("proc/7/comm"), "cron\n").unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn staged(&self, name: &str) -> PathBuf {
        self.path("lib/farrier-staged").join(name)
    }

    /// Stages texts with this session, and sends `send` of each one that is asked for. Returns what was printed.
    fn stage(
        &self,
        shell: &[&str],
        session: &str,
        texts: &[&str],
        send: impl Fn(&str, usize) -> Option<usize>,
    ) -> String {
        let place = self.path("lib");
        let file =
            |text: &&str| StageFile { digest: digest(text), size: text.len() as u64, path: PathBuf::new() };
        let files: Vec<StageFile> = texts.iter().map(file).collect();
        let order = StageOrder { place: text(&place), lease: Duration::from_hours(1), files: &files };
        let (etc, proc) = (self.path("etc"), self.path("proc"));
        let program = stage_program(&order, session, text(&etc), text(&proc), "/nowhere");
        let mut shell = Shell::start(shell);
        shell.send(&program);
        if shell.prints_one_of(&[ASKS, END]) != Some(ASKS) {
            return shell.ends();
        }
        for text in texts {
            let name = name(text);
            let have = fs::read(self.staged(&format!("{name}.part-{session}"))).map_or(0, |part| part.len());
            let Some(count) = send(text, have) else { continue };
            let missing = &text.as_bytes()[have..];
            let how = if have == 0 { "fresh" } else { "" };
            shell.send(format!("{name} {} {} {how}\n", missing.len(), text.len()).as_bytes());
            assert!(shell.prints(ASKS_BYTES));
            shell.send(&missing[..count.min(missing.len())]);
            if count < missing.len() {
                return shell.ends();
            }
            assert!(shell.prints_one_of(&["stored", "changed", "short"]).is_some());
        }
        shell.send(b"-\n");
        shell.ends()
    }

    fn run(&self, shell: &[&str], mode: &str, session: &str, texts: &[&str]) -> String {
        let (place, etc) = (self.path("lib"), self.path("etc"));
        let digests: Vec<String> = texts.iter().map(|text| digest(text)).collect();
        let program = staged_program(mode, &["/nowhere", text(&place)], session, text(&etc), &digests);
        output_of(shell, &[], &program).expect("it came to its end")
    }

    /// Runs the scheduler's line, as cron does.
    fn hour_passes(&self, shell: &[&str]) {
        let line = fs::read_to_string(self.path("etc/cron.d/farrier-staged")).unwrap();
        let command = line.strip_prefix("7 * * * * root ").expect("a line of cron");
        assert!(!command.contains('%'), "cron takes it for the end of the line");
        let (program, options) = shell.split_first().unwrap();
        assert!(Command::new(program).args(options).args(["-c", command]).status().unwrap().success());
    }

    /// Returns whether nothing is there any more.
    fn is_clean(&self) -> bool {
        !self.staged("").exists() && !self.path("etc/cron.d/farrier-staged").exists()
    }
}

fn name(text: &str) -> String {
    crate::engines::hex(&Sha256::digest(text.as_bytes()))
}

fn digest(text: &str) -> String {
    format!("sha256:{}", name(text))
}

#[expect(clippy::unnecessary_wraps, reason = "one of several senders, of which the others stop")]
fn all(text: &str, _: usize) -> Option<usize> {
    Some(text.len())
}

/// Otherwise users could read what is staged, a cut-off transfer would begin anew, and leases would not end.
#[test]
fn payloads_are_staged_with_a_lease_and_go_on_where_they_were_cut_off() {
    with_every_shell(|shell| {
        let machine = Place::new();
        let (one, two) = ("one\0\\n\r\n%s".repeat(3000), "two");
        machine.stage(shell, "a1", &[&one, two], |_, have| (have == 0).then_some(9000));
        let part = machine.staged(&format!("{}.part-a1", name(&one)));
        assert_eq!(fs::read(&part).unwrap(), one.as_bytes()[..9000], "{shell:?}");
        let until = |text: &str| {
            let lease = fs::read_to_string(machine.staged(&format!("{}.until-a1", name(text)))).unwrap();
            Duration::from_secs(lease.trim().parse().unwrap())
        };
        let cut = until(&one);
        let printed = machine.stage(shell, "a1", &[&one, two], |text, _| {
            // A timer must not remove a part while the rest of it arrives, however long that takes.
            assert!(until(text) >= cut + Duration::from_mins(20), "{shell:?}");
            Some(text.len())
        });
        assert!(until(&one) >= cut && until(&one) < cut + Duration::from_mins(20), "{shell:?}");
        assert!(printed.contains(&format!("part 9000 {}\n", name(&one))), "{shell:?}: {printed}");
        assert!(printed.contains("free "), "{shell:?}: {printed}");
        for text in [one.as_str(), two] {
            assert_eq!(fs::read(machine.staged(&name(text))).unwrap(), text.as_bytes(), "{shell:?}");
            assert!(printed.contains(&format!("stored {}\n", name(text))), "{shell:?}: {printed}");
        }
        assert!(!part.exists(), "{shell:?}");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&machine.staged("")), 0o700, "{shell:?}");
        assert_eq!(mode(&machine.path("etc/cron.d/farrier-staged")), 0o644, "{shell:?}");
        machine.hour_passes(shell);
        let found = machine.run(shell, "look", "b2", &["nothing", &one, two]);
        let line = |text: &str| format!("staged {} {} {}\n", text_of(&machine), text.len(), name(text));
        assert_eq!(found, line(&one) + &line(two), "{shell:?}");
    });
}

fn text_of(machine: &Place) -> String {
    text(&machine.path("lib")).to_owned()
}

/// Otherwise a file that somebody has changed would be installed, or one that did not arrive.
#[test]
fn a_file_with_another_digest_is_removed() {
    with_every_shell(|shell| {
        let machine = Place::new();
        machine.stage(shell, "a1", &["one", "two"], all);
        fs::write(machine.staged(&name("one")), "evil").unwrap();
        let found = machine.run(shell, "look", "b2", &["one", "two"]);
        assert!(
            found.starts_with(&format!("changed {} {}\n", text_of(&machine), name("one"))),
            "{shell:?}: {found}"
        );
        assert!(!machine.staged(&name("one")).exists() && machine.staged(&name("two")).exists(), "{shell:?}");
        fs::write(machine.staged(&format!("{}.part-a1", name("one"))), "ex").unwrap();
        let printed = machine.stage(shell, "a1", &["one", "two"], |_, have| (have == 2).then_some(1));
        assert!(printed.contains(&format!("changed {}\n", name("one"))), "{shell:?}: {printed}");
        assert!(printed.contains(&format!("have 3 {}\n", name("two"))), "{shell:?}: {printed}");
        assert!(!machine.staged(&name("one")).exists(), "{shell:?}");
    });
}

/// Otherwise a cancel would take the files of another run, or leave some for ever.
#[test]
fn a_file_stays_as_long_as_it_has_a_lease_and_the_last_one_takes_everything() {
    with_every_shell(|shell| {
        let machine = Place::new();
        machine.stage(shell, "a1", &["one", "two"], all);
        machine.stage(shell, "b2", &["two"], |_, _| None);
        machine.run(shell, "release", "a1", &[]);
        assert!(!machine.staged(&name("one")).exists() && machine.staged(&name("two")).exists(), "{shell:?}");
        machine.hour_passes(shell);
        fs::write(machine.staged(&format!("{}.until-b2", name("two"))), "1000000000\n").unwrap();
        machine.hour_passes(shell);
        assert!(machine.is_clean(), "{shell:?}");
        machine.stage(shell, "a1", &["one", "two"], all);
        machine.run(shell, "remove", "c3", &["one"]);
        assert!(!machine.staged(&name("one")).exists() && machine.staged(&name("two")).exists(), "{shell:?}");
        machine.run(shell, "remove", "c3", &["two"]);
        assert!(machine.is_clean(), "{shell:?}");
    });
}

/// Otherwise the machine's timer would take a file from an update that counts on it, and the machine would be drained
/// in vain; or what the update does not use would stay for longer than the user wants.
#[test]
fn an_update_holds_what_it_has_found_until_it_ends() {
    with_every_shell(|shell| {
        let machine = Place::new();
        machine.stage(shell, "a1", &["one", "two"], all);
        let end = |session: &str, text: &str| {
            let lease = machine.staged(&format!("{}.until-{session}", name(text)));
            fs::write(lease, "1000000000\n").unwrap();
        };
        end("a1", "one");
        let found = machine.run(shell, "look", "b2", &["one", "three"]);
        assert!(found.starts_with("staged ") && found.lines().count() == 1, "{shell:?}: {found}");
        end("a1", "two");
        machine.hour_passes(shell);
        assert!(machine.staged(&name("one")).exists() && !machine.staged(&name("two")).exists(), "{shell:?}");
        machine.run(shell, "remove", "b2", &[]);
        assert!(machine.is_clean(), "{shell:?}");
        machine.stage(shell, "a1", &["one"], all);
        machine.run(shell, "look", "b2", &["one"]);
        machine.run(shell, "remove", "b2", &[]);
        assert!(machine.staged(&name("one")).exists(), "{shell:?}: the lease of the other run goes on");
        machine.run(shell, "look", "b2", &["one"]);
        end("a1", "one");
        end("b2", "one");
        machine.hour_passes(shell);
        assert!(machine.is_clean(), "{shell:?}: the update did not come back");
    });
}

/// Otherwise files would stay for ever on a machine that nothing cleans.
#[test]
fn nothing_is_staged_where_nothing_ends_a_lease() {
    with_every_shell(|shell| {
        let machine = Place::new();
        fs::remove_dir_all(machine.path("proc/7")).unwrap();
        let printed = machine.stage(shell, "a1", &["one"], all);
        assert!(printed.contains("\nno-scheduler\n"), "{shell:?}: {printed}");
        assert!(machine.is_clean(), "{shell:?}");
    });
}

/// A script of the machine's scheduler must be valid as it is written there, in the shell of each machine.
#[test]
fn the_script_on_the_machine_is_the_one_of_this_version() {
    with_every_shell(|shell| {
        let machine = Place::new();
        machine.stage(shell, "a1", &["one"], all);
        let there = fs::read_to_string(machine.staged("drop")).unwrap();
        assert_eq!(there.trim_end(), code(include_str!("../drop.sh")), "{shell:?}");
    });
}
