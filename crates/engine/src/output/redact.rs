//! Removes credentials from lines of output.
//!
//! What the engine was given is recognised as it is. What installers use themselves is recognised by its
//! form: passwords in addresses and headers, and private keys. The operator removes what it knows as well.

use crate::work_dir::WorkDir;
use farrier_protocol::CallbackConfig;
use std::borrow::Cow;
use std::fs;
use std::ops::Range;

/// What stands in place of a credential.
const MASK: &str = "[redacted]";

/// Shorter texts are not credentials; they would be found in every other word.
const SHORTEST: usize = 8;

/// No private key is longer, in bytes: one of RSA with 16384 bits takes 13 KiB. Without a limit, the beginning of a
/// key that has no end would hide all output after it.
pub(super) const KEY_LIMIT: u64 = 32 * 1024;

/// Words before a credential, in lower case.
const INTRODUCTIONS: [&str; 5] = ["password=", "passwd=", "passphrase=", "token=", "secret="];

/// The header whose whole value is a credential, in lower case.
const HEADER: &str = "authorization:";

/// Recognises credentials.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    /// Texts that are credentials wherever they are.
    known: Vec<String>,
    /// How many bytes of a private key may follow; 0: the last line was not within one.
    key_left: u64,
    /// The line whose end was not there yet, as it was printed.
    begun: String,
}

impl Redactor {
    /// Knows what the engine in `place` was given.
    pub(super) fn of(place: &WorkDir) -> Self {
        let config = fs::read(place.callback()).ok();
        let config = config.and_then(|json| serde_json::from_slice::<CallbackConfig>(&json).ok());
        let key = config.map(|config| config.key).unwrap_or_default();
        let lines =
            key.lines().map(str::trim).filter(|line| line.len() >= SHORTEST && !line.starts_with("-----"));
        Self { known: lines.map(str::to_owned).collect(), ..Self::default() }
    }

    /// Takes note of a line that the next one continues. What introduces a credential may be in this one.
    pub(super) fn begin(&mut self, line: &str) {
        line.clone_into(&mut self.begun);
    }

    /// Returns the next lines without credentials.
    pub(super) fn text(&mut self, text: &str) -> String {
        let lines: Vec<String> = text.split('\n').map(|line| self.line(line).into_owned()).collect();
        lines.join("\n")
    }

    /// Returns the next line without credentials, or the rest of the line that was begun.
    pub(super) fn line<'a>(&mut self, line: &'a str) -> Cow<'a, str> {
        let mut begun = std::mem::take(&mut self.begun);
        if begun.is_empty() {
            return self.whole_line(line);
        }
        let copied = self.whole_line(&begun).into_owned();
        begun.push_str(line);
        let whole = self.whole_line(&begun);
        Cow::Owned(whole.strip_prefix(copied.as_str()).unwrap_or(&whole).to_owned())
    }

    fn whole_line<'a>(&mut self, line: &'a str) -> Cow<'a, str> {
        let is_edge = line.contains("PRIVATE KEY-----");
        if is_edge {
            let begins = line.contains("BEGIN ") && !line.contains("END ");
            self.key_left = if begins { KEY_LIMIT } else { 0 };
            return Cow::Borrowed(MASK);
        }
        if self.key_left > 0 {
            self.key_left = self.key_left.saturating_sub(line.len() as u64 + 1);
            return Cow::Borrowed(MASK);
        }
        let mut line = Cow::Borrowed(line);
        for known in &self.known {
            if line.contains(known.as_str()) {
                line = Cow::Owned(line.replace(known.as_str(), MASK));
            }
        }
        after_introductions(in_header(in_addresses(line)))
    }
}

/// Masks user name and password in addresses: `https://user:password@host`.
fn in_addresses(line: Cow<'_, str>) -> Cow<'_, str> {
    let is_end = |c: char| c.is_whitespace() || "/?#\"'<>".contains(c);
    let users = line.match_indices("://").filter_map(|(at, mark)| {
        let from = at + mark.len();
        let authority = line.get(from..)?.split(is_end).next()?;
        Some(from..from + authority.rfind('@')?)
    });
    mask(&line, users.collect()).map_or(line, Cow::Owned)
}

/// Masks the value of the header `Authorization`, up to a quotation mark.
fn in_header(line: Cow<'_, str>) -> Cow<'_, str> {
    let Some(at) = line.to_ascii_lowercase().find(HEADER) else { return line };
    let from = at + HEADER.len();
    let rest = line.get(from..).unwrap_or_default();
    let end = from + rest.find(['"', '\'']).unwrap_or(rest.len());
    let mut masked = line.into_owned();
    masked.replace_range(from..end, &format!(" {MASK}"));
    Cow::Owned(masked)
}

/// Masks the word after each of [`INTRODUCTIONS`].
fn after_introductions(line: Cow<'_, str>) -> Cow<'_, str> {
    let is_end = |c: char| c.is_whitespace() || "&,;\"'".contains(c);
    let mut line = line;
    for introduction in INTRODUCTIONS {
        let lower = line.to_ascii_lowercase();
        let words = lower.match_indices(introduction).filter_map(|(at, introduction)| {
            let from = at + introduction.len();
            let word = line.get(from..)?.split(is_end).next().filter(|word| !word.is_empty())?;
            Some(from..from + word.len())
        });
        line = mask(&line, words.collect()).map_or(line, Cow::Owned);
    }
    line
}

/// Masks parts of a line, which are in order; a part that begins within another one is within it. `None`: there are
/// none.
fn mask(line: &str, parts: Vec<Range<usize>>) -> Option<String> {
    let mut text = String::new();
    let mut copied = 0;
    for part in parts {
        if part.start >= copied {
            text.push_str(line.get(copied..part.start)?);
            text.push_str(MASK);
            copied = part.end;
        }
    }
    text.push_str(line.get(copied..)?);
    (copied > 0).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(line: &str) -> String {
        Redactor::default().line(line).into_owned()
    }

    #[test]
    fn credentials_are_recognised_by_their_form() {
        for (line, expected) in [
            ("Get:1 https://ann:pw@repo.example/x deb", "Get:1 https://[redacted]@repo.example/x deb"),
            (
                "https://token@h and http://a:b@c:80/p@q",
                "https://[redacted]@h and http://[redacted]@c:80/p@q",
            ),
            ("https://repo.example/a@b", "https://repo.example/a@b"),
            ("curl -H 'Authorization: Bearer abc.def' x", "curl -H 'Authorization: [redacted]' x"),
            ("GET /?Token=abc&x=1", "GET /?Token=[redacted]&x=1"),
            ("--password=abc --user=x", "--password=[redacted] --user=x"),
            ("authorization: Basic abc", "authorization: [redacted]"),
            ("Setting up ethtool (1:6.1-1) ...", "Setting up ethtool (1:6.1-1) ..."),
        ] {
            assert_eq!(masked(line), expected);
        }
    }

    #[test]
    fn private_keys_are_masked_to_their_end() {
        let mut redactor = Redactor { known: vec!["c2VjcmV0bGluZQ".into()], ..Redactor::default() };
        let lines = ["x -----BEGIN RSA PRIVATE KEY-----", "MIIB", "-----END RSA PRIVATE KEY-----", "after"];
        let out: Vec<String> = lines.iter().map(|line| redactor.line(line).into_owned()).collect();
        assert_eq!(out, [MASK, MASK, MASK, "after"]);
        assert_eq!(redactor.line("key c2VjcmV0bGluZQ."), "key [redacted].");
    }

    /// A program prints `token=`, and the word a second later.
    #[test]
    fn a_credential_is_recognised_by_what_was_copied_before_it() {
        for (begun, rest, expected) in [
            ("token=", "canary and more", "[redacted] and more"),
            ("x token=can", "ary and more", " and more"),
            ("Continue? ", "y", "y"),
            ("Authorization:", " Bearer canary", ""),
            ("https://ann", ":canary@h", "https://[redacted]@h"),
            ("-----BEGIN PRIVATE KEY-----", " MIIB", ""),
        ] {
            let mut redactor = Redactor::default();
            redactor.begin(begun);
            assert_eq!(redactor.line(rest), expected, "{begun}");
        }
        let mut redactor = Redactor::default();
        redactor.begin("token=");
        redactor.line("canary");
        assert_eq!(redactor.line("another line"), "another line");
    }

    /// A script that prints only the first line of a key would hide everything that follows.
    #[test]
    fn a_key_without_an_end_hides_no_more_than_a_key_may_be_long() {
        let mut redactor = Redactor::default();
        redactor.line("-----BEGIN PRIVATE KEY-----");
        let lines = (1..=1024).filter(|_| redactor.line(&"x".repeat(63)) == MASK).count();
        assert_eq!(lines as u64, KEY_LIMIT / 64);
    }
}
