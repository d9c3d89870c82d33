//! The command as the device shows it again, which is not part of the answer.

use crate::drivers::console::screen::LogicalLine;

/// Returns the texts of lines.
pub(super) fn texts(lines: Vec<LogicalLine>) -> Vec<String> {
    lines.into_iter().map(|line| line.text).collect()
}

/// Joins the lines that the device itself has broken because they did not fit.
pub(super) fn join(lines: Vec<LogicalLine>) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in lines {
        match joined.last_mut() {
            Some(last) if goes_on => last.push_str(&line.text),
            Some(_) | None => joined.push(line.text),
        }
        goes_on = line.is_full;
    }
    joined
}

/// Removes prompt and command from the lines. Blanks are not compared, because they come and go where lines are
/// wrapped. A device that shows no echo loses nothing.
pub(super) fn without(lines: Vec<String>, prompt: &str, command: &str) -> Vec<String> {
    let mut rest = lines.into_iter();
    let Some(first) = rest.next() else { return Vec::new() };
    let typed = first.strip_prefix(prompt).unwrap_or(&first).trim_start();
    let mut left = dense(command);
    if is_scrolled(typed, &left) {
        return rest.collect();
    }
    match consume(typed, &left) {
        // No echo: the answer begins beside the prompt.
        None => return std::iter::once(typed.to_owned()).chain(rest).collect(),
        Some((after, answer)) => {
            left = after;
            if !answer.is_empty() {
                return std::iter::once(answer).chain(rest).collect();
            }
        }
    }
    let mut lines: Vec<String> = rest.collect();
    let mut gone = 0;
    for line in &lines {
        if line.is_empty() || left.is_empty() {
            break;
        }
        match consume(line, &left) {
            Some((after, answer)) if answer.is_empty() => left = after,
            Some(_) | None => break,
        }
        gone += 1;
    }
    // What only looked like the beginning of an echo.
    if left.is_empty() {
        lines.drain(..gone);
    }
    lines
}

/// Reports whether a line is the end of the command, as a shell shows it that moves a long line to the left: with `<`
/// in the place of its beginning, as readline does on a terminal that cannot wrap.
fn is_scrolled(line: &str, command: &[char]) -> bool {
    line.strip_prefix('<').map(dense).is_some_and(|shown| !shown.is_empty() && command.ends_with(&shown))
}

/// Compares a line with what is left of the command. Returns what is left after it, and what follows the command in
/// the line; `None` if they differ.
fn consume(line: &str, left: &[char]) -> Option<(Vec<char>, String)> {
    let mut wanted = left.iter();
    for (at, c) in line.char_indices().filter(|(_, c)| !c.is_whitespace()) {
        match wanted.next() {
            Some(expected) if *expected == c => {}
            Some(_) => return None,
            None => return Some((Vec::new(), line.get(at..).unwrap_or_default().to_owned())),
        }
    }
    Some((wanted.copied().collect(), String::new()))
}

fn dense(text: &str) -> Vec<char> {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(lines: &[&str]) -> Vec<String> {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        without(lines, "sw:admin>", "firmwareshow -v")
    }

    /// An echo in the answer would be searched for versions, and a missing one would cost the first line.
    #[test]
    fn an_echo_is_removed_however_it_is_shown() {
        assert_eq!(left(&["sw:admin> firmwareshow -v", "FOS v1"]), ["FOS v1"]);
        assert_eq!(left(&["sw:admin> firmware", "show -v", "FOS v1"]), ["FOS v1"], "broken by the device");
        assert_eq!(left(&["sw:admin>", "firmwareshow -v", "FOS v1"]), ["FOS v1"], "in a line of its own");
        assert_eq!(left(&["<eshow -v", "FOS v1"]), ["FOS v1"], "moved to the left");
        assert_eq!(left(&["sw:admin>", "FOS v1"]), ["FOS v1"], "none");
        assert_eq!(left(&["sw:admin>FOS v1", "x"]), ["FOS v1", "x"], "none, and no new line");
        assert_eq!(
            left(&["sw:admin> firmwareshow -vFOS v1", "x"]),
            ["FOS v1", "x"],
            "an echo, and no new line"
        );
        assert_eq!(left(&["sw:admin>", "firmware", "FOS v1"]), ["firmware", "FOS v1"], "an answer");
        assert_eq!(left(&[]), [""; 0]);
    }
}
