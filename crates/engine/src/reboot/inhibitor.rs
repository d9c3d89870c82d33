//! Programs that inhibit the shutdown of a machine with systemd, as `systemd-inhibit --list` shows them.
//!
//! They are read with `busctl`, which prints them completely, and in the same way in all versions of systemd:
//! `a(ssssuu) 1 "shutdown:sleep" "backup" "writes to tape" "block" 0 714` (what, who, why, mode, user, process).

use crate::boot;
use crate::command::{self, Bounds, Errors};
use crate::wait::Obstacle;
use farrier_protocol::{Holder, WaitFor};
use std::path::Path;
use std::time::Duration;

/// The answer of a login manager at work takes milliseconds.
const BOUNDS: Bounds = Bounds { time: Duration::from_secs(20), bytes: 1024 * 1024 };

/// Where the login manager of systemd keeps the inhibitors. It makes the directory before the first of them.
const DIRECTORY: &str = "/run/systemd/inhibit";

/// What the answer begins with: the type of the list.
const SIGNATURE: &str = "a(ssssuu)";

const CALL: [&str; 5] = [
    "call",
    "org.freedesktop.login1",
    "/org/freedesktop/login1",
    "org.freedesktop.login1.Manager",
    "ListInhibitors",
];

/// What keeps a machine from being rebooted.
pub(super) enum Blocker {
    /// A program inhibits the shutdown.
    Program(Obstacle),
    /// It is not known whether one does. The text is the cause.
    Unanswered(String),
}

/// Returns the first program that blocks the shutdown. A machine on which no login manager has run has no such
/// programs. A program that only delays the shutdown is waited for by systemd itself.
pub(super) fn look() -> Result<(), Blocker> {
    if !boot::has_systemd() || !Path::new(DIRECTORY).is_dir() {
        return Ok(());
    }
    let output = command::capture("busctl", &CALL, Errors::Merge, BOUNDS).map_err(Blocker::Unanswered)?;
    let text = output.text.trim();
    if !output.status.success() {
        return Err(Blocker::Unanswered(format!("busctl: {} ({})", cut(text), output.status)));
    }
    match first(text) {
        Ok(None) => Ok(()),
        Ok(Some(obstacle)) => Err(Blocker::Program(obstacle)),
        Err(()) => Err(Blocker::Unanswered(format!("busctl has printed {:?}", cut(text)))),
    }
}

/// Returns as much of a text as a message can have.
fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

/// Finds the first program that blocks the shutdown in an answer. An error means that this is no list of programs.
fn first(printed: &str) -> Result<Option<Obstacle>, ()> {
    let words = words(printed);
    let [signature, count, entries @ ..] = words.as_slice() else { return Err(()) };
    let is_list =
        signature == SIGNATURE && count.parse::<usize>().is_ok_and(|count| count * 6 == entries.len());
    if !is_list {
        return Err(());
    }
    Ok(entries.chunks_exact(6).find_map(|entry| {
        let [what, who, why, mode, _, pid] = entry else { return None };
        let is_shutdown = what.split(':').any(|what| what == "shutdown");
        // `block-weak` came with systemd 257: root may ignore it, and Farrier does not.
        let blocks = matches!(mode.as_str(), "block" | "block-weak");
        let holder = pid.parse().ok().map(|pid| Holder { pid, name: crate::lock_holder::name(pid) });
        let what = WaitFor::Inhibitor { who: who.clone(), why: why.clone() };
        (is_shutdown && blocks).then_some(Obstacle { what, holder })
    }))
}

/// Splits a line into its words; words in quotes may contain blanks, and escapes as in C.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut chars) = (Vec::new(), line.trim().chars().peekable());
    while let Some(first) = chars.next() {
        let mut word = String::new();
        match first {
            ' ' => continue,
            '"' => {
                while let Some(c) = chars.next().filter(|c| *c != '"') {
                    match c {
                        '\\' => word.extend(chars.next().map(|c| if c == 'n' { ' ' } else { c })),
                        c => word.push(c),
                    }
                }
            }
            first => {
                word.push(first);
                while let Some(c) = chars.next_if(|c| *c != ' ') {
                    word.push(c);
                }
            }
        }
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(printed: &str) -> Option<String> {
        let WaitFor::Inhibitor { who, why } = first(printed).unwrap()?.what else { return None };
        Some(format!("{who}: {why}"))
    }

    /// As systemd 252 prints them.
    #[test]
    fn a_program_that_blocks_the_shutdown_is_named() {
        let printed = concat!(
            r#"a(ssssuu) 3 "sleep" "NetworkManager" "NetworkManager needs to turn off networks" "delay" 0 611 "#,
            r#""shutdown" "Unattended Upgrades Shutdown" "Stop ongoing upgrades" "delay" 0 700 "#,
            r#""idle:shutdown" "backup \"nightly\"" "writes to tape" "block" 1000 714"#,
        );
        assert_eq!(who(printed), Some(r#"backup "nightly": writes to tape"#.to_owned()));
        assert_eq!(who(r#"a(ssssuu) 1 "sleep" "player" "plays" "block" 1000 7"#), None);
        assert_eq!(who("a(ssssuu) 0"), None);
    }

    /// A machine would be rebooted under somebody's work because the answer was not understood.
    #[test]
    fn what_is_no_list_of_programs_is_not_an_empty_list() {
        for printed in ["", "a(ssssuu)", "a(ssssuu) 1", "s \"shutdown\"", "Call failed: Connection timed out"]
        {
            assert!(first(printed).is_err(), "{printed}");
        }
        assert!(first(r#"a(ssssuu) 1 "shutdown" "a" "b" "block" 0"#).is_err(), "cut off");
    }
}
