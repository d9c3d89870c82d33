//! The URL of a payload, taken apart: which scheme, and for `oci://` and `s3://` what it names.
//!
//! Nothing is fetched here. The URLs of https and file are not looked into: who fetches them does that.

mod oci;
mod s3;

pub use oci::{OciReference, Version};
pub use s3::S3Object;

use thiserror::Error;

/// A payload's URL by its scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadUrl {
    /// `https://…`
    Https,
    /// `file:///…`
    File,
    /// `oci://…`: a layer of an artifact in a registry.
    Oci(OciReference),
    /// `s3://…`: an object in a bucket.
    S3(S3Object),
}

/// What is wrong with a payload's URL. The text follows the name of the field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UrlProblem {
    /// The scheme is unknown, or there is none.
    #[error("{scheme} is not supported in this version; use https://, oci://, s3:// or file://")]
    Scheme {
        /// The part of the URL before `://`.
        scheme: String,
    },
    /// User name or password in the URL, which everybody who may read the baseline would see.
    #[error("has credentials; put them into the Secret in payload.secretRef")]
    Credentials,
    /// The part before the first `/` is no host.
    #[error("{host:?} is no host of a registry; write oci://HOST/REPOSITORY:TAG")]
    Registry {
        /// What is there instead.
        host: String,
    },
    /// The repository is missing, or is no repository.
    #[error(
        "{repository:?} is no repository; write oci://HOST/REPOSITORY:TAG, the repository in lower-case letters, digits and . _ - /"
    )]
    Repository {
        /// What is there instead.
        repository: String,
    },
    /// Neither a tag nor a digest.
    #[error("names no artifact in the repository; add :TAG or @sha256:DIGEST")]
    NoVersion,
    /// The tag is no tag.
    #[error("{tag:?} is no tag; a tag has letters, digits and . _ -, 128 at most")]
    Tag {
        /// What is there instead.
        tag: String,
    },
    /// The digest is no SHA-256.
    #[error("{digest:?} is no digest; write @sha256: and 64 lower-case hexadecimal digits")]
    ManifestDigest {
        /// What is there instead.
        digest: String,
    },
    /// The bucket is missing, or is no name of a bucket.
    #[error("{bucket:?} is no bucket; write s3://BUCKET/KEY")]
    Bucket {
        /// What is there instead.
        bucket: String,
    },
    /// The key is missing or cannot be requested by every client.
    #[error(
        "{key:?} is no key; write s3://BUCKET/KEY, where no part of the key is . or .., and %3F and %23 stand for ? and #"
    )]
    Key {
        /// What is there instead.
        key: String,
    },
    /// A parameter of `s3://` that does not exist.
    #[error(
        "has the unknown or repeated parameter {name:?}; s3:// takes endpoint, region and versionId, once each"
    )]
    Parameter {
        /// The name of the parameter.
        name: String,
    },
    /// The endpoint is no https server.
    #[error(
        "{endpoint:?} is no endpoint; write endpoint=https://HOST or endpoint=https://HOST:PORT, without a path"
    )]
    Endpoint {
        /// What is there instead.
        endpoint: String,
    },
    /// The region is no name of a region.
    #[error("{region:?} is no region; write for instance region=eu-central-1")]
    Region {
        /// What is there instead.
        region: String,
    },
}

impl PayloadUrl {
    /// Takes a payload's URL apart.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn parse(url: &str) -> Result<Self, UrlProblem> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(UrlProblem::Scheme { scheme: "a URL without a scheme".to_owned() });
        };
        match scheme.to_ascii_lowercase().as_str() {
            "https" => Ok(Self::Https),
            "file" => Ok(Self::File),
            "oci" => OciReference::parse(rest).map(Self::Oci),
            "s3" => S3Object::parse(rest).map(Self::S3),
            _ => Err(UrlProblem::Scheme { scheme: scheme.to_owned() }),
        }
    }
}

/// Reports whether this is a host name or an address, with or without a port.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
                && host.starts_with(|c: char| c.is_ascii_alphanumeric())
        }
    };
    is_host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_other_text() {
        for good in ["a", "a.example.net", "a.example.net:5000", "10.0.0.1:1", "[fd00::1]", "[fd00::1]:5000"]
        {
            assert!(is_authority(good), "{good}");
        }
        for bad in ["", ":5000", "a:", "a:0", "a:70000", "a b", "-a", "fd00::1", "[fd00::1", "user@a", "a?b"]
        {
            assert!(!is_authority(bad), "{bad}");
        }
    }

    #[test]
    fn schemes_are_compared_without_case() {
        assert_eq!(PayloadUrl::parse("HTTPS://x/y"), Ok(PayloadUrl::Https));
        assert_eq!(PayloadUrl::parse("file:///x"), Ok(PayloadUrl::File));
        for url in ["http://x/y", "ftp://x/y", "x", ""] {
            assert!(matches!(PayloadUrl::parse(url), Err(UrlProblem::Scheme { .. })), "{url}");
        }
    }
}
