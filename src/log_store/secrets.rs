//! Texts that must not get into a log.

use std::fmt;

/// A shorter value is not masked: it would be found in every other word.
const SHORTEST: usize = 6;

/// The values of credentials, never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Lines of the values; a private key is printed line by line.
    lines: Vec<String>,
}

impl Secrets {
    /// Masks these values.
    pub fn new<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Self {
        let mut lines: Vec<String> = Vec::new();
        for value in values {
            let text = String::from_utf8_lossy(value.as_ref());
            let parts = text.lines().map(str::trim);
            lines.extend(
                parts.filter(|part| part.len() >= SHORTEST && !part.starts_with("-----")).map(str::to_owned),
            );
        }
        // A value that contains another one is masked as a whole.
        lines.sort_by_key(|line| std::cmp::Reverse(line.len()));
        lines.dedup();
        Self { lines }
    }

    /// Masks the values in these bytes. The length stays, because offsets in a log count bytes.
    pub fn mask(&self, bytes: &mut [u8]) {
        for line in &self.lines {
            let length = line.len();
            let mut from = 0;
            while let Some(at) = find(bytes.get(from..).unwrap_or_default(), line.as_bytes()) {
                let start = from + at;
                if let Some(found) = bytes.get_mut(start..start + length) {
                    found.fill(b'*');
                }
                from = start + length;
            }
        }
    }

    /// Masks the values in a text.
    pub fn mask_text(&self, text: &mut String) {
        for line in &self.lines {
            if text.contains(line.as_str()) {
                *text = text.replace(line.as_str(), &"*".repeat(line.len()));
            }
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.lines.len())
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    loop {
        let at = bytes.get(from..)?.iter().position(|byte| *byte == first)? + from;
        if bytes.get(at..at + wanted.len())? == wanted {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_masked_wherever_they_are() {
        let secrets =
            Secrets::new(["hunter2!", "-----BEGIN X-----\nAAAAB3Nz\nxyz\n-----END X-----\n", "root"]);
        let mut bytes = b"a hunter2!hunter2! b AAAAB3Nz root hunter2".to_vec();
        secrets.mask(&mut bytes);
        assert_eq!(bytes, b"a **************** b ******** root hunter2");
        let mut text = "pw hunter2!\u{e4}".to_owned();
        secrets.mask_text(&mut text);
        assert_eq!(text, "pw ********\u{e4}");
        assert_eq!(format!("{secrets:?}"), "Secrets(2)");
    }
}
