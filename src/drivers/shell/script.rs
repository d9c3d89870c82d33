//! Sends a program to a machine independently of the user's login shell.
//!
//! The command line for the login shell is constant and consists of characters that mean the same in every
//! shell. It starts `/bin/sh`, which prints a marker and then reads the program as one line from its standard
//! input. So the program appears in no process list, and data may follow it.
//!
//! The programs are `.sh` files: those of this folder, and those of each class. Their inputs are shell variables and positional
//! parameters; every value is quoted by [`quote`].

use bytes::Bytes;

/// Printed by Farrier's shell before anything else, after any banner of the login shell.
pub(in crate::drivers) const READY: &str = "farrier-ready-1";

/// Printed after the output of a program that ran to its end.
pub(in crate::drivers) const END: &str = "farrier-end-1";

/// The program on the command line of `/bin/sh`; see `reader.sh`.
pub(in crate::drivers) fn reader() -> &'static str {
    include_str!("reader.sh").lines().last().unwrap_or_default()
}

/// The command line that runs a program as the sign-in user.
pub(in crate::drivers) fn as_user() -> String {
    command_line(&["/bin/sh", "-c", reader()])
}

/// Returns a command line with which the login shell replaces itself with the command. The words must not
/// contain characters that some shell interprets even between quotes: quotes, backslashes, exclamation marks,
/// newlines.
pub(in crate::drivers) fn command_line(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("exec {}", words.join(" "))
}

/// Quotes a text as one shell word with the same bytes. NUL bytes, which no word can contain, are removed.
pub(in crate::drivers) fn quote(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/.:_-+=@,".contains(&byte);
    if !text.is_empty() && !text.starts_with('=') && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\0', "").replace('\'', r"'\''"))
}

/// Encodes a script as the line that is read on the machine. `settings` become its variables, `arguments` its
/// positional parameters; [`END`] is printed when the script has ended.
pub(in crate::drivers) fn program(script: &str, settings: &[(&str, &str)], arguments: &[&str]) -> Bytes {
    let mut lines: Vec<String> =
        settings.iter().map(|(name, value)| format!("{name}={}", quote(value))).collect();
    let arguments = arguments.iter().map(|argument| quote(argument));
    lines
        .push(["set".to_owned(), "--".to_owned()].into_iter().chain(arguments).collect::<Vec<_>>().join(" "));
    lines.push(code(script));
    lines.push(format!("echo {END}"));
    let text = lines.join("\n");
    // `read` takes one line; `printf %b` restores the line breaks.
    let line = text.replace('\\', r"\\").replace('\n', r"\n");
    Bytes::from(format!("eval \"$(printf %b {})\"\n", quote(&line)))
}

/// Removes indentation and comment lines from a script: many shells read a line byte by byte. So scripts must
/// not use here-documents or multi-line texts.
pub(in crate::drivers) fn code(script: &str) -> String {
    let lines = script.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

/// Whether a text contains only characters of addresses and names.
pub(in crate::drivers) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".:%-_".contains(&b))
}

/// Returns the output of a script: the lines between [`READY`] and [`END`]; `None` if either is missing.
pub(in crate::drivers) fn between(output: &str) -> Option<Vec<String>> {
    let (_, after) = output.split_once(READY)?;
    let (body, _) = after.split_once(END)?;
    Some(
        body.lines()
            .map(|l| l.trim_end_matches('\r').trim())
            .filter(|l| !l.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_addresses_and_names() {
        for word in ["fe80::1%eth0.7", "runner-1.example.net", "0b3ee0c4-3c0e-4f6e-8ff6-3f0f7ad1a3d1"] {
            assert!(is_word(word), "{word}");
        }
        for wrong in ["", "10.0.0.1; reboot", "$(reboot)", "a b", "a'b", "a\nb", "*", "~", "ä"] {
            assert!(!is_word(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_means_the_same_in_every_shell() {
        let command = as_user();
        assert!(command.contains(READY), "{command}");
        assert_eq!(command.matches('\'').count(), 2);
        for forbidden in ['\\', '!', '\n', '`', '%'] {
            assert!(!command.contains(forbidden), "{forbidden:?} means something else in some shell");
        }
    }

    #[test]
    fn banners_before_and_after_are_thrown_away() {
        let output = "Welcome!\nfarrier-ready-1\n a 1\r\nb 2\nfarrier-end-1\nBye\n";
        assert_eq!(between(output), Some(vec!["a 1".to_owned(), "b 2".to_owned()]));
        assert_eq!(between("farrier-ready-1\na 1\n"), None, "cut off");
    }
}
