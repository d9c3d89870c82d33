//! Answers of a device.

use super::credentials::Credential;
use super::link::{Link, NotALink};
use super::message::Messages;
use super::resource::Resource;
use super::retry_after;
use super::trouble::{Kind, Refusal};
use crate::failure::chain;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, HeaderMap, HeaderValue, LOCATION};
use serde_json::Value;
use std::io::Read as _;
use std::time::Duration;

/// Longest body of an answer. A resource has a few KiB; a collection whose members are all included has some
/// hundreds.
const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// An answer that is no error. Its headers may contain a token, so it is never printed.
pub struct Answer {
    /// The HTTP status, below 400.
    pub status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// Returns the token of a new session.
    pub(super) fn token(&self) -> Option<Credential> {
        Credential::token(self.headers.get("x-auth-token")?.as_bytes())
    }

    /// Returns the link in the header `Location`.
    ///
    /// # Errors
    /// [`NotALink`] if it is no link.
    pub fn location(&self) -> Result<Option<Link>, NotALink> {
        self.header(LOCATION).map(Link::of_location).transpose()
    }

    /// Reads the body as JSON. An empty body is an empty resource.
    ///
    /// # Errors
    /// Why it is not JSON.
    pub fn resource(&self) -> Result<Resource, String> {
        parse(&self.body).map(Resource::new)
    }

    pub(super) fn header(&self, name: hyper::header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns when the device wants to be asked again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        retry_after::read(&self.headers)
    }

    pub(super) fn refusal(&self) -> Refusal {
        let messages = Messages::read(&parse(&self.body).unwrap_or_default());
        Refusal { status: self.status, messages, retry_after: self.retry_after() }
    }
}

/// Reads an answer to its end.
///
/// # Errors
/// `Unreadable`, `Lost`.
pub(super) async fn read(response: Response<Incoming>) -> Result<Answer, Kind> {
    let (head, body) = response.into_parts();
    let body = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(too_long()),
        Err(error) => return Err(Kind::Lost { begun: true, cause: chain(error.as_ref()) }),
    };
    let encoding = head.headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes).unwrap_or_default();
    let body = match encoding.to_ascii_lowercase().as_slice() {
        b"" | b"identity" => body,
        b"gzip" | b"x-gzip" => unzip(&body)?,
        other => {
            let name = String::from_utf8_lossy(other)
                .chars()
                .filter(|c| !c.is_control())
                .take(20)
                .collect::<String>();
            return Err(Kind::Unreadable(format!("it is encoded as {name}, which was not asked for")));
        }
    };
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

/// Compression is not asked for, but some devices store their answers compressed.
fn unzip(body: &[u8]) -> Result<Bytes, Kind> {
    let mut plain = Vec::new();
    let limit = u64::try_from(BODY_LIMIT).unwrap_or(u64::MAX);
    MultiGzDecoder::new(body)
        .take(limit + 1)
        .read_to_end(&mut plain)
        .map_err(|error| Kind::Unreadable(format!("it cannot be decompressed ({error})")))?;
    if plain.len() > BODY_LIMIT { Err(too_long()) } else { Ok(plain.into()) }
}

fn too_long() -> Kind {
    Kind::Unreadable(format!("it has more than {} MiB", BODY_LIMIT / (1024 * 1024)))
}

/// Parses JSON, also with a byte order mark or with bytes that are not UTF-8.
fn parse(body: &[u8]) -> Result<Value, String> {
    let text = String::from_utf8_lossy(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body));
    let text = text.trim_matches(['\0', ' ', '\t', '\r', '\n']);
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).map_err(|error| format!("it is not JSON ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn bodies_are_read_with_tolerance() {
        assert_eq!(parse(b"\xef\xbb\xbf{\"a\": 1}\r\n\0").unwrap(), serde_json::json!({"a": 1}));
        assert_eq!(parse(b"{\"Model\": \"caf\xe9\"}").unwrap()["Model"], "caf\u{fffd}");
        assert_eq!(parse(b"").unwrap(), Value::Null);
        assert!(parse(b"<html>").unwrap_err().contains("not JSON"));
    }

    /// A kilobyte from a device must not become a gigabyte in the operator.
    #[test]
    fn what_grows_too_much_when_decompressed_is_refused() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(b"{}").unwrap();
        assert_eq!(unzip(&encoder.finish().unwrap()).unwrap(), Bytes::from_static(b"{}"));
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![b' '; BODY_LIMIT + 1]).unwrap();
        let Err(Kind::Unreadable(why)) = unzip(&encoder.finish().unwrap()) else { panic!("accepted") };
        assert!(why.contains("4 MiB"), "{why}");
        assert!(matches!(unzip(b"\x1f\x8b broken"), Err(Kind::Unreadable(_))));
    }
}
