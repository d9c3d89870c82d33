//! The log of a session: what the engine does, and what installers print.
//!
//! Each line is `TIME COMPONENT TEXT`: the time in UTC by the machine's clock, as `2026-04-14T09:05:07Z`, and
//! the component that printed the text, or `-` for the engine itself. Every line ends with a line feed.

use serde::{Deserialize, Serialize};

/// Maximum number of bytes in one request: two seconds on the slowest link that is allowed for (32 KiB/s),
/// so that a chunk never delays an event for long.
pub const LOG_CHUNK_BYTES: usize = 64 * 1024;

/// Maximum length of the log of one session. An installer that prints more than this is a malfunction, and
/// both sides must bear it.
pub const LOG_LIMIT_BYTES: u64 = 24 * 1024 * 1024;

/// Name of the engine itself in place of a component.
pub const LOG_ENGINE: &str = "-";

/// Answer to `POST /v1/log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogAck {
    /// The offset from which the runner wants the log next.
    pub next: u64,
}

/// Returns the name of a component as it appears in a log, and in the names of files: letters, digits, `-`,
/// `_` and `.`; every other character becomes `_`.
pub fn log_name(component: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let name: String =
        component.chars().map(|letter| if plain(letter) { letter } else { '_' }).take(200).collect();
    if name.starts_with(['.', '-']) { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component's name comes from a user's baseline, and must not choose where a file is, nor pass for
    /// the engine.
    #[test]
    fn names_of_components_are_safe() {
        assert_eq!(log_name("../../etc/passwd"), "_.._.._etc_passwd");
        assert_eq!(log_name("bios-2.1"), "bios-2.1");
        assert_eq!(log_name("-"), "_-");
        assert_eq!(log_name("a b\n"), "a_b_");
    }
}
