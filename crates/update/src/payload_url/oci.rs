//! `oci://HOST/REPOSITORY:TAG`, `oci://HOST/REPOSITORY@sha256:DIGEST`: an artifact in a registry.

use super::{UrlProblem, is_authority};

/// An artifact in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciReference {
    /// Host of the registry, with its port if the URL has one.
    pub registry: String,
    /// The repository, such as `firmware/bios`.
    pub repository: String,
    /// Which artifact of the repository.
    pub version: Version,
}

/// Which artifact of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// The one that has this tag now.
    Tag(String),
    /// The one whose manifest has this digest: `sha256:` and 64 hexadecimal digits.
    Digest(String),
}

impl Version {
    /// Returns the text that a registry is asked with.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tag(text) | Self::Digest(text) => text,
        }
    }
}

impl OciReference {
    /// Takes the part behind `oci://` apart. `#NAME` at the end is the name of the file on the machine
    /// (`plan::file_name`). Where there are a tag and a digest, the digest counts, as with other clients.
    pub(super) fn parse(rest: &str) -> Result<Self, UrlProblem> {
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let (registry, path) = rest.split_once('/').unwrap_or((rest, ""));
        if registry.contains('@') {
            return Err(UrlProblem::Credentials);
        }
        if !is_authority(registry) {
            return Err(UrlProblem::Registry { host: registry.to_owned() });
        }
        let (path, digest) = path.split_once('@').map_or((path, None), |(path, digest)| (path, Some(digest)));
        let (repository, tag) = path.split_once(':').map_or((path, None), |(name, tag)| (name, Some(tag)));
        if !is_repository(repository) {
            return Err(UrlProblem::Repository { repository: repository.to_owned() });
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(UrlProblem::Tag { tag: tag.to_owned() });
        }
        if let Some(digest) = digest.filter(|digest| !is_digest(digest)) {
            return Err(UrlProblem::ManifestDigest { digest: digest.to_owned() });
        }
        let version = match (digest, tag) {
            (Some(digest), _) => Version::Digest(digest.to_owned()),
            (None, Some(tag)) => Version::Tag(tag.to_owned()),
            // `latest` would be another artifact tomorrow, and a baseline is immutable.
            (None, None) => return Err(UrlProblem::NoVersion),
        };
        Ok(Self { registry: registry.to_owned(), repository: repository.to_owned(), version })
    }
}

/// The grammar of the distribution specification: parts of letters and digits, separated by one `.`, one or
/// two `_`, or any number of `-`; and `/` between components.
fn is_repository(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 255
        && text.split('/').all(|component| {
            component.bytes().next().is_some_and(is_plain)
                && component.bytes().last().is_some_and(is_plain)
                && component.bytes().all(|b| is_plain(b) || matches!(b, b'.' | b'_' | b'-'))
                && component.split(|c: char| c.is_ascii_alphanumeric()).all(|separator| {
                    matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
                })
        })
}

fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'-'))
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> Result<(String, String, String), UrlProblem> {
        let OciReference { registry, repository, version } = OciReference::parse(rest)?;
        Ok((registry, repository, version.as_str().to_owned()))
    }

    #[test]
    fn references_are_read_as_the_distribution_specification_says() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let of = |host: &str, name: &str, version: &str| Ok((host.into(), name.into(), version.into()));
        assert_eq!(parse("r.example.net/firmware/bios:2.0"), of("r.example.net", "firmware/bios", "2.0"));
        assert_eq!(parse("r:5000/a__b.c--d:V_1-2"), of("r:5000", "a__b.c--d", "V_1-2"));
        assert_eq!(parse(&format!("r/a@{digest}")), of("r", "a", &digest));
        assert_eq!(parse(&format!("r/a:1@{digest}#bios.fd")), of("r", "a", &digest));
    }

    /// What a registry would answer with "400 Bad Request" is said in words when the baseline is created.
    #[test]
    fn what_is_no_reference_is_refused_in_words() {
        let long = format!("r/a:{}", "t".repeat(129));
        let cases = [
            ("", "no host of a registry"),
            ("/a:1", "no host of a registry"),
            ("user:pw@r/a:1", "has credentials"),
            ("r", "no repository"),
            ("r/:1", "no repository"),
            ("r/A:1", "no repository"),
            ("r/a//b:1", "no repository"),
            ("r/a..b:1", "no repository"),
            ("r/a___b:1", "no repository"),
            ("r/-a:1", "no repository"),
            ("r/../a:1", "no repository"),
            ("r/a", "add :TAG or @sha256:"),
            ("r/a:", "no tag"),
            ("r/a:.1", "no tag"),
            ("r/a:1?x", "no tag"),
            ("r/a@sha256:0a", "no digest"),
            ("r/a@", "no digest"),
            (&long, "no tag"),
        ];
        for (text, words) in cases {
            let problem = parse(text).unwrap_err().to_string();
            assert!(problem.contains(words), "{text}: {problem}");
            assert!(!problem.contains("pw"), "{problem}");
        }
    }
}
