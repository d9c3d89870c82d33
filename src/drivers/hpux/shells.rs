//! Runs the scripts in every shell that is `/bin/sh` somewhere. What they find on HP-UX is tried on its double.

use super::look::{Look, TIMED_OUT};
use super::software::entry;
use crate::drivers::shell::script::{END, program};
use crate::drivers::shell::shells::{Shell, output_of, temporary, text, with_every_shell};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Longer than what a pipe holds, and with every byte.
fn image() -> Vec<u8> {
    (0..300_000_u32).map(|number| (number % 251) as u8).collect()
}

/// A depot that is cut off, or has another byte, must never be taken for whole.
#[test]
fn an_image_arrives_byte_for_byte_or_not_at_all() {
    let script = [include_str!("common.sh"), include_str!("stage.sh"), include_str!("receive.sh")].join("\n");
    with_every_shell(|shell| {
        for (sent, answer, name) in [(300_000, "received", "depot"), (299_999, "short 299999", "depot.part")]
        {
            let dir = temporary();
            let top = dir.path().join("farrier-a1");
            let directory = format!("{}/2", text(&top));
            let settings =
                [("TOP", text(&top)), ("DIRECTORY", &directory), ("NEED", "1"), ("LENGTH", "300000")];
            let mut running = Shell::start(shell);
            running.send(&program(&script, &settings, &[]));
            assert!(running.prints("farrier-send-1\n"), "{shell:?}");
            running.send(&image()[..sent]);
            let printed = running.ends();
            assert!(printed.contains(&format!("{answer}\n{END}")), "{shell:?}: {printed}");
            assert_eq!(std::fs::read(top.join("2").join(name)).unwrap(), image()[..sent], "{shell:?}");
            // The number is never used again.
            let again = output_of(shell, &[], &program(&script, &settings, &[])).unwrap();
            assert!(again.starts_with("refused taken "), "{shell:?}: {again}");
        }
    });
}

/// Otherwise work whose process is gone is waited for, or is begun a second time beside one that runs.
#[test]
fn the_state_of_work_is_that_of_its_process() {
    let script = [include_str!("common.sh"), "state_of \"$WORK\""].join("\n");
    with_every_shell(|shell| {
        let dir = temporary();
        let work = text(dir.path());
        let state = || {
            let program = program(&script, &[("WORK", work)], &[]);
            output_of(shell, &[], &program).unwrap().trim().to_owned()
        };
        assert_eq!(state(), "unstarted", "{shell:?}");
        std::fs::write(dir.path().join("run"), "read line").unwrap();
        let mut child = std::process::Command::new("dash")
            .arg(format!("{work}/run"))
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::fs::write(dir.path().join("pid"), format!("{}\n", child.id())).unwrap();
        assert_eq!(state(), "running", "{shell:?}");
        // The number may be another process's after a restart.
        std::fs::write(dir.path().join("pid"), format!("{}\n", std::process::id())).unwrap();
        assert_eq!(state(), "gone", "{shell:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
        std::fs::write(dir.path().join("status"), "2\n").unwrap();
        assert_eq!(state(), "ended 2", "{shell:?}");
    });
}

/// Puts a program of the machine into a directory.
fn put(dir: &Path, name: &str, script: &str) {
    let file = dir.join(name);
    std::fs::write(&file, format!("#!/usr/bin/env dash\n{script}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a program on a machine that has the programs of this directory, after those of this system.
fn on(
    shell: &[&str],
    dir: &Path,
    scripts: &[&str],
    settings: &[(&str, &str)],
    names: &[&str],
) -> Vec<String> {
    let script = [&[include_str!("common.sh")], scripts].concat().join("\n");
    let path = format!("{}:{}", std::env::var("PATH").unwrap(), text(dir));
    let printed = output_of(shell, &[("PATH", &path)], &program(&script, settings, names)).unwrap();
    printed.lines().map(|line| line.trim().to_owned()).collect()
}

fn look_at(shell: &[&str], dir: &Path, each: &str, names: &[&str]) -> Look {
    let settings = [("DIRECTORY", "/nowhere"), ("EACH", each), ("BRIEF", "30")];
    Look::read(&on(shell, dir, &[include_str!("look.sh")], &settings, names))
}

/// Lists a bundle of two products and another product, in the format of swlist, and counts how often it is asked.
const SWLIST: &str = r#"
echo x >>"${0%/*}/asked"
echo '# Initializing...'
case "$*" in
  '-l bundle'*) echo '  BASE  B.11.31.2403' ;;
  '-l product'*) printf '  %s\n' 'Tool  A.01.00' 'Doc  2' 'Half  3' ;;
  *BASE) printf '%s\n' '# BASE  B.11.31.2403' '# BASE.Tool' '  BASE.Tool.RUN  A.01.00 configured' '  BASE.Doc.MAN  2 configured' ;;
  '-l fileset'*) printf '%s\n' '# Tool' '  Tool.RUN A.01.00 configured' '  Doc.MAN 2 configured' '  Half.RUN 3 configured' '  Half.MAN 3 corrupt' ;;
esac
echo 'WARNING: The depot is old.' >&2
echo '         It has other products.' >&2"#;

/// Otherwise a machine with many components is asked for minutes, or a component has the version of another one.
#[test]
fn all_software_is_listed_in_four_calls() {
    with_every_shell(|shell| {
        let dir = temporary();
        put(dir.path(), "swlist", SWLIST);
        let absent: Vec<String> = (0..40).map(|number| format!("PHSS_{number}")).collect();
        let names: Vec<&str> = ["BASE", "Tool", "Doc.MAN", "Half"]
            .into_iter()
            .chain(absent.iter().map(String::as_str))
            .collect();
        let look = look_at(shell, dir.path(), "60", &names);
        assert_eq!(look.unlisted(), None, "{shell:?}: {look:?}");
        let version = |name: &str| entry(&look, name).version;
        let found = ["BASE", "Tool", "Doc.MAN", "Half", "PHSS_7", "It", "WARNING:"].map(version);
        assert_eq!(found, ["B.11.31.2403", "A.01.00", "2", "", "", "", ""], "{shell:?}: {look:?}");
        assert_eq!(look.software.len(), 4, "{shell:?}: {look:?}");
        assert_eq!(look.unfinished, [("Half.MAN".to_owned(), "corrupt".to_owned())], "{shell:?}");
        let asked = std::fs::read_to_string(dir.path().join("asked")).unwrap().lines().count();
        assert_eq!(asked, 4, "{shell:?}");
    });
}

/// Otherwise what could not be listed is installed again, and nobody learns what swlist has said.
#[test]
fn a_listing_that_fails_says_so() {
    with_every_shell(|shell| {
        let dir = temporary();
        let failing =
            "case \"$*\" in '-l fileset'*) echo 'ERROR:   Could not contact host.' >&2; exit 1 ;; esac";
        put(dir.path(), "swlist", &format!("{failing}\n{SWLIST}"));
        let listing = look_at(shell, dir.path(), "60", &["Tool"]).unlisted().expect("one that has failed");
        assert_eq!((listing.what.as_str(), listing.code), ("fileset", 1), "{shell:?}");
        assert_eq!(listing.words, ["ERROR: Could not contact host."], "{shell:?}");
    });
}

/// Otherwise a swagentd that does not answer keeps the machine until the whole reading is given up, without a word of
/// what has hung.
#[test]
fn a_listing_that_hangs_is_ended_and_named() {
    with_every_shell(|shell| {
        let dir = temporary();
        let hangs = "case \"$*\" in '-l product'*) echo '  Tool  A'; trap '' TERM; exec sleep 600 ;; esac";
        put(dir.path(), "swlist", &format!("{hangs}\n{SWLIST}"));
        let look = look_at(shell, dir.path(), "2", &["Tool"]);
        let listing = look.unlisted().expect("one that has hung");
        assert_eq!((listing.what.as_str(), listing.code), ("product", TIMED_OUT), "{shell:?}: {look:?}");
    });
}
