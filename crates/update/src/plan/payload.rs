//! The file name of a payload on a machine.

/// Maximum length of a name. File systems allow 255 bytes.
const MAX_LEN: usize = 200;

/// Returns the last part of a payload's URL, made safe as a file name.
///
/// Some installers check their own name, so the name is preserved as far as possible: percent escapes
/// are decoded, and characters that could escape the directory or look like an option are replaced. A
/// URL without a last part gives `payload`. An artifact in a registry has no file name: it gets the one
/// behind `#`, or the last part of its repository.
pub fn file_name(url: &str) -> String {
    let decoded = decode(last_part(url));
    let safe: String =
        decoded.chars().map(|c| if c.is_control() || matches!(c, '/' | '\\') { '_' } else { c }).collect();
    let safe = match safe.strip_prefix('-') {
        Some(rest) => format!("_{rest}"),
        None => safe,
    };
    match safe.trim() {
        "" | "." | ".." => "payload".to_owned(),
        name => end_of(name).to_owned(),
    }
}

/// Returns the part of the URL that is the name; empty if there is none.
fn last_part(url: &str) -> &str {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (rest, fragment) = rest.split_once('#').map_or((rest, None), |(rest, name)| (rest, Some(name)));
    let path = rest.split('?').next().unwrap_or_default();
    let Some((_, last)) = path.rsplit_once('/') else { return "" };
    if scheme.eq_ignore_ascii_case("oci") {
        let repository = last.split([':', '@']).next().unwrap_or_default();
        return fragment.filter(|name| !name.is_empty()).unwrap_or(repository);
    }
    last
}

/// Returns the last [`MAX_LEN`] bytes, cut between characters, because the extension is at the end.
fn end_of(name: &str) -> &str {
    let least = name.len().saturating_sub(MAX_LEN);
    (least..name.len()).find_map(|start| name.get(start..)).unwrap_or(name)
}

/// Decodes `%41` and the like. A name that is not UTF-8 after decoding stays as it was written.
fn decode(text: &str) -> String {
    String::from_utf8(percent_decoded(text)).unwrap_or_else(|_| text.to_owned())
}

/// Decodes `%41` and the like. A `%` without two digits behind it stays.
pub(crate) fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let escaped = behind.first_chunk::<2>().and_then(|&[high, low]| Some(hex(high)? << 4 | hex(low)?));
        match (first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = behind.split_at_checked(2).map_or(&[], |(_, rest)| rest);
            }
            (byte, Some(_) | None) => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    bytes
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::file_name;

    /// An installer that checks its own name refuses to run under another name.
    #[test]
    fn ordinary_names_are_kept() {
        assert_eq!(
            file_name("https://repo.example.net/pool/ethtool_6.1-1_amd64.deb"),
            "ethtool_6.1-1_amd64.deb"
        );
        assert_eq!(file_name("file:///payloads/a%20b%2B1.rpm"), "a b+1.rpm");
        assert_eq!(file_name("https://x/y.bin?token=a/b#c"), "y.bin");
        assert_eq!(file_name("https://x/100%"), "100%");
        assert_eq!(file_name("https://x/%zz"), "%zz");
    }

    /// A machine or a device gets a file whose name says neither what it is nor which kind.
    #[test]
    fn artifacts_are_named_by_the_fragment_or_the_repository() {
        assert_eq!(file_name("oci://registry.example.net/firmware/bios:2.0"), "bios");
        assert_eq!(file_name("oci://registry.example.net:5000/bios@sha256:0a"), "bios");
        assert_eq!(file_name("oci://registry.example.net/firmware/bios:2.0#ilo5_278.bin"), "ilo5_278.bin");
        assert_eq!(file_name("oci://registry.example.net/bios:2.0#a%2Fb"), "a_b");
        assert_eq!(file_name("s3://firmware/ilo/ilo5_278.bin?region=eu-central-1"), "ilo5_278.bin");
    }

    /// A name that escapes the directory overwrites a file of the machine, as root.
    #[test]
    fn names_cannot_leave_the_directory_or_look_like_options() {
        assert_eq!(file_name("https://x/%2e%2e%2fetc%2fpasswd"), ".._etc_passwd");
        assert_eq!(file_name("https://x/%2e%2e"), "payload");
        assert_eq!(file_name("https://x/a%00b%0a"), "a_b_");
        assert_eq!(file_name("https://x/-rf"), "_rf");
        assert_eq!(file_name("https://x/"), "payload");
        assert_eq!(file_name("https://x"), "payload");
        assert_eq!(file_name(""), "payload");
    }

    /// A name that the file system rejects would fail a node without need.
    #[test]
    fn long_names_keep_their_end() {
        let name = file_name(&format!("https://x/{}.deb", "ä".repeat(300)));
        assert!(name.len() <= 200 && name.ends_with("ä.deb"), "{name}");
    }
}
