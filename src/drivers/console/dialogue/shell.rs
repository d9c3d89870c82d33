//! A session with a shell and a pager that nobody here has written: bash, its readline and `more`, in a terminal.
//!
//! They wrap, scroll and redraw lines as the shells of devices do, which are often the same programs.

use super::*;
use crate::drivers::console::lint;
use crate::drivers::console::template::Template;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

const PRODUCT: &str = r#"
format: 1
product: shell
title: A shell
types: [FCSwitch]
documents: {bash: {title: manual page of bash, edition: "5"}, more: {title: manual page of more, edition: "2"}}
terminal: {columns: 80, rows: 24}
session: {greeting: 30s, settle: 300ms, quiet: 5s, idle: 5m, assumed: our own}
modes:
  user: {prompt: 'sw1:admin>', sample: "sw1:admin> ", assumed: our own}
pagers:
- {pattern: '--More--(\(\d+%\))?', key: " ", cite: more description}
- {pattern: '\(END\)', key: "q", cite: more description}
values: {allowed: '[A-Za-z0-9_./,:-]+', assumed: our own}
words:
- {pattern: 'command not found', means: unknown-command, cite: bash section EXIT STATUS}
readings:
  versions:
    ask: {mode: user, command: version, limit: 30s, assumed: our own}
    entries:
    - {entry: Shell, version: '(?P<version>\S+)', assumed: our own}
"#;

/// A shell in a terminal of its own.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
}

impl Shell {
    fn start(terminal: &str) -> Self {
        // Python's own module makes the terminal, so that nothing unsafe is needed here.
        let script = "import os,pty,sys; os.environ['TERM']=sys.argv[1]; pty.spawn(['bash','--norc','--noprofile','-i'])";
        let mut command = Command::new("python3");
        command
            .args(["-c", script, terminal])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 is there, as for the checks");
        let (input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            // Pieces of an odd size, so that codes and characters are divided.
            let mut piece = [0; 7];
            while let Ok(length @ 1..) = output.read(&mut piece) {
                if sender.send(piece[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, input, output: receiver }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        assert!(killed.is_ok() || std::thread::panicking());
    }
}

/// Types commands, each at the prompt that the one before has left, and returns their answers.
fn answers(terminal: &str, commands: &[&str]) -> Vec<Answer> {
    let product = lint::read(PRODUCT).unwrap();
    let mut shell = Shell::start(terminal);
    shell.input.write_all(b"stty cols 80 rows 24; PS1='sw1:admin> '; PS2=\r").unwrap();
    let (start, mut answers) = (Instant::now(), Vec::new());
    let mut dialogue =
        Dialogue::new(&product, Values::default(), Secrets::new(["hunter2secret"]), Duration::ZERO);
    let mut commands: VecDeque<&str> = commands.iter().copied().collect();
    loop {
        let wake = dialogue.wake_at().expect("something is waited for");
        let mut actions = match shell.output.recv_timeout(wake.saturating_sub(start.elapsed())) {
            Ok(bytes) => dialogue.receive(&bytes, start.elapsed()),
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => dialogue.closed(),
        };
        actions.extend(dialogue.tick(start.elapsed()));
        while let Some(action) = actions.pop() {
            match action {
                Action::Send(typed) => shell.input.write_all(typed.bytes()).unwrap(),
                Action::Percent(_) | Action::Accepted | Action::Agreed(_) | Action::Unclear(_) => {}
                Action::End(answer) => {
                    answers.push(answer);
                    let next = commands.pop_front().filter(|_| dialogue.is_idle());
                    let Some(command) = next else { return answers };
                    let line =
                        Template::parse(command).unwrap().fill(&Values::default(), &product.allowed).unwrap();
                    let exchange = Exchange::reading(&product.versions.command);
                    let now = start.elapsed();
                    actions.extend(dialogue.send(exchange, line, Values::default(), BTreeSet::new(), now));
                }
            }
        }
    }
}

fn check(terminal: &str) {
    let long = "echo firmwaredownload -p scp 10.9.0.4,someuser,/a/long/path/that/is/wrapped/by/the/terminal/v6.4.3h,\
                hunter2secret; echo end";
    let commands = [
        "echo one; echo two",
        long,
        "seq 1 60 | more",
        "for i in 1 50 99; do printf '\\r%s%%' $i; done; echo",
        "nosuchcommand",
        "read -p 'Continue? [y/n]: ' x",
    ];
    let answers = answers(terminal, &commands);
    assert_eq!(answers.len(), commands.len() + 1, "{answers:?}");
    let shown: Vec<String> = answers.iter().skip(1).map(|answer| answer.lines.join("|")).collect();
    let numbers: Vec<String> = (1..=60).map(|number| number.to_string()).collect();
    assert_eq!(shown[0], "one|two");
    let echo = "firmwaredownload -p scp 10.9.0.4,someuser,/a/long/path/that/is/wrapped/by/the/terminal/v6.4.3h,***|end";
    assert_eq!(shown[1], echo);
    assert_eq!(shown[2], numbers.join("|"), "pages leave no trace");
    assert_eq!(shown[3], "99%", "as it was drawn last");
    assert!(answers[5].refused.is_some());
    let question = End::Question("Continue? [y/n]:".to_owned(), Unanswered::Unknown);
    assert_eq!(answers[6].end, question, "what nobody knows is not answered");
}

/// Codes for colours, keys and erasing, and lines that the terminal wraps.
#[test]
fn a_real_shell_on_a_terminal_with_codes_is_understood() {
    check("xterm-256color");
}

/// Lines that the shell moves to the left, because it cannot wrap them.
#[test]
fn a_real_shell_on_a_terminal_without_codes_is_understood() {
    check("dumb");
}
