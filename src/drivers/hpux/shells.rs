//! Runs the scripts in every shell that is `/bin/sh` somewhere. What they find on HP-UX is tried on its double.

use super::look::{Look, TIMED_OUT};
use super::programs::with_values;
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
pub(super) fn put(dir: &Path, name: &str, script: &str) {
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
    let common = [include_str!("holders.sh"), include_str!("common.sh")];
    let script = [&common, scripts].concat().join("\n");
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

/// The values of `fetch-run.sh`, but those that a test sets.
fn fetching(work: &str, tools: &str) -> String {
    let values = [
        ("WORK", work),
        ("TOOLS", tools),
        ("IDLE", "60"),
        ("PAUSE", "0"),
        ("SIZE", "5"),
        ("DIGEST", "d1"),
        ("DIGESTER", ""),
    ];
    with_values(include_str!("fetch-run.sh"), &values)
}

/// Runs the program that fetches, as it runs on the machine. Returns its code, and what it and `follow.sh` have said.
fn fetched(shell: &[&str], dir: &Path, tools: &str) -> (String, String) {
    let work = dir.join("2/fetch");
    std::fs::create_dir_all(&work).unwrap();
    for name in ["request", "url", "authority", "fetch.pl"] {
        std::fs::write(work.join(name), "").unwrap();
    }
    let path = format!("{}:{}", text(dir), std::env::var("PATH").unwrap());
    // What the system has of these names must not be found.
    let program =
        fetching(text(&work), tools).replace("PATH=/usr/sbin", &format!("PATH={}:/usr/sbin", text(dir)));
    let (name, options) = shell.split_first().unwrap();
    let run =
        std::process::Command::new(name).args(options).args(["-c", &program]).env("PATH", path).output();
    std::fs::write(work.join("out"), run.unwrap().stdout).unwrap();
    let lines = on(shell, dir, &[include_str!("follow.sh")], &[("WORK", text(&work))], &[]);
    let said: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("said ")).collect();
    (std::fs::read_to_string(work.join("status")).unwrap().trim().to_owned(), said.join("\n"))
}

/// Otherwise a curl without TLS, or with a missing library, keeps a machine from its depot though it has wget or perl, and
/// nobody learns what each of them has said.
#[test]
fn a_depot_is_fetched_by_the_first_tool_that_can() {
    with_every_shell(|shell| {
        let dir = temporary();
        put(dir.path(), "curl", "echo 'curl: (1) Protocol https not supported' >&2; exit 1");
        put(dir.path(), "wget", "echo 'wget: libssl.so.1.0: not found' >&2; exit 127");
        put(dir.path(), "perl", "printf 12345 >\"$4\"");
        let (code, said) = fetched(shell, dir.path(), "curl wget perl");
        assert_eq!((code.as_str(), said.as_str()), ("0", ""), "{shell:?}");
        assert_eq!(std::fs::read(dir.path().join("2/depot")).unwrap(), b"12345", "{shell:?}");

        let dir = temporary();
        put(dir.path(), "curl", "echo 'curl: (1) Protocol https not supported' >&2; exit 1");
        put(
            dir.path(),
            "wget",
            "echo x >>\"${0%/*}/tried\"; echo 'wget: libssl.so.1.0: not found' >&2; exit 127",
        );
        let (code, said) = fetched(shell, dir.path(), "curl wget");
        assert_eq!(code, "1", "{shell:?}");
        let expected =
            "curl (1): curl: (1) Protocol https not supported\nwget (127): wget: libssl.so.1.0: not found";
        assert_eq!(said, expected, "{shell:?}");
        assert_eq!(
            std::fs::read_to_string(dir.path().join("tried")).unwrap().lines().count(),
            3,
            "{shell:?}"
        );
    });
}

/// Otherwise a fetch counts as begun that never was, and is waited for in vain.
#[test]
fn a_fetch_that_cannot_begin_is_refused() {
    with_every_shell(|shell| {
        let dir = temporary();
        let (top, directory) = (dir.path().join("top"), dir.path().join("top/2"));
        let settings =
            [("TOP", text(&top)), ("DIRECTORY", text(&directory)), ("NEED", "1"), ("RUN", ":"), ("URL", "")];
        let scripts = ["mkdir() { case $1 in */fetch) return 1 ;; *) command mkdir \"$@\" ;; esac; }"];
        let scripts = [scripts[0], include_str!("stage.sh"), include_str!("fetch.sh")];
        let said = on(shell, dir.path(), &scripts, &settings, &[]);
        assert_eq!(said, [format!("refused directory {}/fetch", text(&directory))], "{shell:?}");
        assert!(!top.exists(), "{shell:?}: nothing is left");
        let said = on(shell, dir.path(), &scripts[1..], &settings, &[]);
        assert_eq!(said, ["began"], "{shell:?}");
    });
}

/// Otherwise perl waits for ever for a server that has gone, and the machine is never reported.
#[test]
fn a_server_that_says_nothing_is_given_up() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let dir = temporary();
    let (url, file) = (dir.path().join("url"), dir.path().join("depot"));
    std::fs::write(&url, format!("http://127.0.0.1:{port}/x\n")).unwrap();
    for answer in ["", "HTTP/1.0 200 OK\r\n\r\nhalf of it"] {
        let program = ["-e", include_str!("fetch.pl"), "fetch", text(&url), text(&file), "1"];
        let mut perl = std::process::Command::new("perl");
        let perl = perl.args(program).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let (mut connection, _) = server.accept().unwrap();
        std::io::Write::write_all(&mut connection, answer.as_bytes()).unwrap();
        let ended = perl.wait_with_output().unwrap();
        let words = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success(), "{answer:?}");
        assert_eq!(
            words,
            format!("the answer of 127.0.0.1 port {port} took longer than 1 s\n"),
            "{answer:?}"
        );
    }
}

/// Begins an installation on a machine with this swlist, on which these processes have the lock, and returns what is said.
fn begun(shell: &[&str], swlist: &str, holders: &str) -> String {
    let dir = temporary();
    std::fs::write(dir.path().join("depot"), "x").unwrap();
    put(dir.path(), "swlist", swlist);
    // What works on software on this system has nothing to do with it.
    put(dir.path(), "ps", "case \"$*\" in *-e*) ;; *) echo COMMAND; echo '/opt/tool/backup -a' ;; esac");
    put(dir.path(), "fuser", &format!("echo file: o >&2; echo {holders}"));
    let settings = [
        ("DIRECTORY", text(dir.path())),
        ("ACTION", "3"),
        ("NAME", "Tool"),
        ("REVISION", "A.02.00"),
        ("EACH", "60"),
        ("MAY_RESTART", "no"),
        ("OPTIONS", ""),
        ("RUN", ":"),
    ];
    let local = format!("PATH={}:$PATH", text(dir.path()));
    on(shell, dir.path(), &[&local, include_str!("install.sh")], &settings, &[]).join("\n")
}

/// Otherwise a damaged depot counts as one of other software, a machine whose swagentd is down as one with a wrong depot,
/// and somebody's lock as neither.
#[test]
fn what_keeps_an_installation_from_its_begin_is_told_apart() {
    let whole =
        "case \"$*\" in *is_reboot*Tool*) echo '  Tool.RUN false' ;; *) echo '  Tool  A.02.00' ;; esac";
    let other = "case \"$*\" in *is_reboot*) exit 1 ;; *) echo '  Other  1' ;; esac";
    let damaged = "case \"$*\" in *depot*) echo 'ERROR:   It is not a depot.' >&2; exit 1 ;; esac";
    let down = "echo 'ERROR:   Could not contact host.' >&2; exit 1";
    with_every_shell(|shell| {
        for (swlist, words) in [
            (whole, "began"),
            (other, "refused selection Other 1,"),
            (damaged, "refused depot 1 ERROR: It is not a depot."),
            (":", "refused depot 0"),
            (down, "refused unlisted 1 ERROR: Could not contact host."),
        ] {
            assert_eq!(begun(shell, swlist, ""), words, "{shell:?}");
        }
        assert_eq!(begun(shell, whole, " 77"), "refused busy 77 /opt/tool/backup -a", "{shell:?}");
    });
}

/// Otherwise a restart that the machine refuses is waited for until its time is over, and nobody learns why.
#[test]
fn a_restart_that_is_refused_says_why() {
    with_every_shell(|shell| {
        let restart = |shutdown: &str| {
            let dir = temporary();
            let scratch = dir.path().join("restart");
            put(dir.path(), "shutdown", shutdown);
            let settings = [("BOOT", ""), ("DIRECTORY", text(&scratch)), ("PATIENCE", "3")];
            // That of this system must not be found, nor what works on software here.
            let local = format!("PATH={}:$PATH\nbooted() {{ :; }}\ninstallers() {{ :; }}", text(dir.path()));
            let said = on(shell, dir.path(), &[&local, include_str!("restart.sh")], &settings, &[]);
            assert!(!scratch.exists(), "{shell:?}: nothing is left");
            said
        };
        let refuses = "echo 'shutdown: you are not allowed to'; exit 1";
        assert_eq!(restart(refuses), ["refused shutdown 1 shutdown: you are not allowed to"], "{shell:?}");
        assert_eq!(restart(": # as it was told"), ["began"], "{shell:?}");
        assert_eq!(restart("exec sleep 20"), ["began"], "{shell:?}: it is on its way");
    });
}
