//! Tests of quoting, and of the test of the return path.

use super::super::reach::{reach_program, read};
use super::super::script::{code, command_line, program};
use super::{find, output_of, temporary, text, with_every_shell};
use farrier_protocol::{DialOutcome, PREFLIGHT};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::process::Command;

/// Pieces with a special meaning to a shell, to `printf`, or to a terminal.
const PIECES: &str = "' \" \\ $ ` \n \t \r ! * ? [ ] ~ # & | ; < > ( ) { } % = - \\n \\0047 \\c %b %s \
    $(true) ${x} '' ä 日 \u{1} \u{7f} \u{1b} a B 7 / --";

/// Returns texts that consist of these pieces and blanks, the same on every run.
fn texts() -> Vec<String> {
    let pieces: Vec<&str> = PIECES.split(' ').filter(|piece| !piece.is_empty()).chain([" "]).collect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 32).unwrap()
    };
    let mut texts: Vec<String> = pieces.iter().map(|&piece| piece.to_owned()).collect();
    texts.push(String::new());
    for _ in 0..300 {
        let length = next() % 12;
        texts.push((0..length).map(|_| pieces[next() % pieces.len()]).collect());
    }
    texts
}

/// Otherwise, users who may write a ManagedNode or name a run could run commands as root on every machine, or
/// a name would arrive modified.
#[test]
fn what_is_quoted_arrives_byte_for_byte() {
    let texts = texts();
    let arguments: Vec<&str> = texts.iter().map(String::as_str).collect();
    let expected = format!("<{}>\0", texts.join(">\0<"));
    with_every_shell(|shell| {
        let script = r#"for word; do printf '<%s>\0' "$word"; done"#;
        let printed = output_of(shell, &[], &program(script, &[], &arguments)).expect("it came to its end");
        assert_eq!(printed, expected, "{shell:?}: arguments");
        let settings: Vec<(&str, &str)> = arguments.iter().map(|&argument| ("WORD", argument)).collect();
        for setting in settings.chunks(1).step_by(7) {
            let program = program(r#"printf '<%s>\0' "$WORD""#, setting, &[]);
            let expected = format!("<{}>\0", setting[0].1);
            assert_eq!(output_of(shell, &[], &program).as_deref(), Some(&*expected), "{shell:?}: a setting");
        }
        let words = [&["printf", r"<%s>\0"], arguments.as_slice()].concat();
        let (name, options) = shell.split_first().unwrap();
        let ran =
            Command::new(find(name)).args(options).args(["-c", &command_line(&words)]).output().unwrap();
        assert_eq!(String::from_utf8(ran.stdout).unwrap(), expected, "{shell:?}: a command line");
    });
}

/// Otherwise the script that is sent would differ from the file that was checked.
#[test]
fn comments_and_indentation_are_all_that_is_left_out() {
    let script = "# a comment\nif true; then\n  # another\n  echo '# none'\nfi\n";
    assert_eq!(code(script), "if true; then\necho '# none'\nfi");
}

/// Starts a listener that answers the preflight greeting, and returns its port.
fn answering() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut line = [0; PREFLIGHT.len()];
            if stream.read_exact(&mut line).is_ok() && line == *PREFLIGHT.as_bytes() {
                stream.write_all(b"y").ok();
            }
        }
    });
    port
}

/// Otherwise an open return path would be reported as blocked, or a blocked one as open.
#[test]
fn the_return_path_is_tested_by_bash_or_python_or_not_at_all() {
    let open = answering();
    // No process listens on a port that was just released.
    let shut = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let python = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    let python = String::from_utf8(python.stdout).unwrap();
    let tools = temporary();
    symlink(python.trim(), tools.path().join("python3")).unwrap();
    let nothing = temporary();
    let all = std::env::var("PATH").unwrap();
    // mksh has no builtin printf.
    for dir in [&tools, &nothing] {
        symlink(find("printf"), dir.path().join("printf")).unwrap();
    }
    with_every_shell(|shell| {
        let targets = [("127.0.0.1".to_owned(), open), ("127.0.0.1".into(), shut), ("no; word".into(), 1)];
        for (path, tried) in [(all.as_str(), true), (text(tools.path()), true), (text(nothing.path()), false)]
        {
            let printed = output_of(shell, &[("PATH", path)], &reach_program(&targets)).expect("its end");
            let mut dials: Vec<_> = printed.lines().filter_map(read).collect();
            dials.sort_by_key(|dial| dial.result == DialOutcome::Refused);
            let results: Vec<_> = dials.iter().map(|dial| dial.result).collect();
            let expected =
                if tried { vec![DialOutcome::Connected, DialOutcome::Refused] } else { Vec::new() };
            assert_eq!(results, expected, "{shell:?} with {path}: {printed}");
            let own = dials.iter().all(|dial| dial.from.is_some_and(|from| from.is_loopback()));
            assert!(own, "{shell:?} with {path}: {printed}");
        }
    });
}
