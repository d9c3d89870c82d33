//! How a shell script gets onto a machine whatever the user's login shell is.
//!
//! The command line given to the login shell is constant and made of characters that mean the same
//! in every shell. It starts `/bin/sh`, which says that it is there and then reads the real script
//! as one line from its standard input. So the script needs no quoting, is in no process list, and
//! may be followed by data.

/// Printed by our shell before anything else, after whatever banner the login shell printed.
pub(super) const READY: &str = "farrier-ready-1";

/// Ends the output of a script that came through.
pub(super) const END: &str = "farrier-end-1";

/// What `/bin/sh` is given. `stty` matters only on a terminal: nothing may be translated there.
pub(super) const READER: &str =
    "stty raw -echo 2>/dev/null; echo farrier-ready-1; IFS= read -r l; eval \"$l\"";

/// The command for the user itself.
pub(super) fn as_user() -> String {
    format!("exec /bin/sh -c '{READER}'")
}

/// A script as the one line that is read: newlines become blanks. Scripts therefore end each
/// statement with a semicolon, and have no comments and no here-documents.
pub(super) fn one_line(script: &str) -> String {
    let mut line = script.split('\n').map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ");
    line.push('\n');
    line
}

/// Whether a text is an address, a name or an id and nothing else, so that it may become part of a
/// script.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".:%-_".contains(&b))
}

/// What a script printed: the lines between [`READY`] and [`END`]; `None` if either is missing.
pub(super) fn between(output: &str) -> Option<Vec<String>> {
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

/// Words that a shell would obey.
#[cfg(test)]
pub(super) const WRONG_WORDS: &[&str] = &[
    "",
    "10.0.0.1; reboot",
    "$(reboot)",
    "a b",
    "`x`",
    "a'b",
    "x';reboot;'",
    "a\nb",
    "a&b",
    "a|b",
    "*",
    "~",
    "ä",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_addresses_names_and_ids() {
        for word in ["fe80::1%eth0.7", "runner-1.example.net", "0b3ee0c4-3c0e-4f6e-8ff6-3f0f7ad1a3d1"] {
            assert!(is_word(word), "{word}");
        }
        for wrong in WRONG_WORDS {
            assert!(!is_word(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_means_the_same_in_every_shell() {
        let command = as_user();
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
