//! `s3://BUCKET/KEY?endpoint=https://HOST&region=REGION`: an object in a bucket.

use super::{UrlProblem, is_authority};
use crate::plan::percent_decoded;

/// Region of endpoints that have none of their own. Most servers other than Amazon's expect it.
const DEFAULT_REGION: &str = "us-east-1";

/// An object in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Object {
    /// Name of the bucket.
    pub bucket: String,
    /// The key, percent escapes decoded.
    pub key: String,
    /// Host of the endpoint, with its port if the URL has one. `None` is Amazon's for the region.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// The version of the object. `None` is the newest.
    pub version_id: Option<String>,
}

impl S3Object {
    /// Takes the part behind `s3://` apart.
    pub(super) fn parse(rest: &str) -> Result<Self, UrlProblem> {
        let (path, query) = rest.split_once('?').map_or((rest, ""), |(path, query)| (path, query));
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        if bucket.contains('@') {
            return Err(UrlProblem::Credentials);
        }
        if !is_bucket(bucket) {
            return Err(UrlProblem::Bucket { bucket: bucket.to_owned() });
        }
        let refused = || UrlProblem::Key { key: key.to_owned() };
        let key = String::from_utf8(percent_decoded(key)).map_err(|_| refused())?;
        let is_lost = |part: &str| matches!(part, "." | "..");
        // A `#` is where others read the start of a fragment.
        if key.is_empty() || key.len() > 1024 || path.contains('#') || key.split('/').any(is_lost) {
            return Err(refused());
        }
        let mut object = Self {
            bucket: bucket.to_owned(),
            key,
            endpoint: None,
            region: DEFAULT_REGION.to_owned(),
            version_id: None,
        };
        object.set_parameters(query)?;
        Ok(object)
    }

    fn set_parameters(&mut self, query: &str) -> Result<(), UrlProblem> {
        let mut seen = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = String::from_utf8_lossy(&percent_decoded(value)).into_owned();
            let unknown = || UrlProblem::Parameter { name: name.to_owned() };
            if seen.contains(&name) {
                return Err(unknown());
            }
            seen.push(name);
            match name {
                "endpoint" => self.endpoint = Some(endpoint(&value)?),
                "region" if is_region(&value) => self.region = value,
                "region" => return Err(UrlProblem::Region { region: value }),
                "versionId" if !value.is_empty() => self.version_id = Some(value),
                _ => return Err(unknown()),
            }
        }
        Ok(())
    }
}

fn endpoint(value: &str) -> Result<String, UrlProblem> {
    let host = value.strip_prefix("https://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    if host.is_some_and(|host| host.contains('@')) {
        return Err(UrlProblem::Credentials);
    }
    let host = host.filter(|host| is_authority(host));
    host.map(str::to_owned).ok_or_else(|| UrlProblem::Endpoint { endpoint: value.to_owned() })
}

/// Old buckets may have upper-case letters and `_`; nothing else needs an escape in a path.
fn is_bucket(text: &str) -> bool {
    (3..=255).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// The region becomes a part of Amazon's host name.
fn is_region(text: &str) -> bool {
    !text.is_empty() && text.len() <= 63 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_read_with_their_parameters() {
        let plain = S3Object {
            bucket: "firmware".into(),
            key: "bios/2.0.bin".into(),
            endpoint: None,
            region: DEFAULT_REGION.into(),
            version_id: None,
        };
        assert_eq!(S3Object::parse("firmware/bios/2.0.bin"), Ok(plain.clone()));
        let parsed = S3Object::parse(
            "firmware/bios%2F2%2B0%20%3f.bin?endpoint=https%3A%2F%2Fminio.example.net:9000/&region=eu-central-1&versionId=a",
        );
        let full = S3Object {
            key: "bios/2+0 ?.bin".into(),
            endpoint: Some("minio.example.net:9000".into()),
            region: "eu-central-1".into(),
            version_id: Some("a".into()),
            ..plain
        };
        assert_eq!(parsed, Ok(full));
    }

    #[test]
    fn what_is_no_object_is_refused_in_words() {
        let cases = [
            ("", "no bucket"),
            ("b/a", "no bucket"),
            ("b_u:c/a", "no bucket"),
            ("key:secret@bucket/a", "has credentials"),
            ("bucket", "no key"),
            ("bucket/", "no key"),
            ("bucket/a/../b", "no key"),
            ("bucket/a/%2e%2e", "no key"),
            ("bucket/a#b", "no key"),
            ("bucket/%ff", "no key"),
            ("bucket/a?endpoint=http://minio", "no endpoint"),
            ("bucket/a?endpoint=minio", "no endpoint"),
            ("bucket/a?endpoint=https://minio/path", "no endpoint"),
            ("bucket/a?endpoint=https://key:secret@minio", "has credentials"),
            ("bucket/a?region=a.b", "no region"),
            ("bucket/a?region=", "no region"),
            ("bucket/a?Region=x", "unknown or repeated parameter \"Region\""),
            ("bucket/a?region=x&region=y", "unknown or repeated parameter \"region\""),
            ("bucket/a?versionId", "unknown or repeated parameter \"versionId\""),
        ];
        for (text, words) in cases {
            let problem = S3Object::parse(text).unwrap_err().to_string();
            assert!(problem.contains(words), "{text}: {problem}");
            assert!(!problem.contains("secret@"), "{problem}");
        }
    }
}
