//! Signatures of requests to S3: Signature Version 4, in headers, for GET without a body.
//!
//! Written from Amazon's "Authenticating Requests: Using the Authorization Header". Headers rather than the
//! query: a URL gets into more logs, and a server then says that the clocks differ.

use crate::engines::hex;
use crate::payload::client::host;
use crate::payload::source::S3Keys;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// SHA-256 of a body without bytes.
const NO_BODY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Returns the headers that sign a GET of this URL at this time.
pub(super) fn headers(keys: &S3Keys, region: &str, url: &Url, now: Timestamp) -> HeaderMap {
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = time.get(..8).unwrap_or_default();
    // In the order of the alphabet.
    let mut signed =
        vec![("host", host(url)), ("x-amz-content-sha256", NO_BODY.to_owned()), ("x-amz-date", time.clone())];
    if let Some(token) = &keys.session_token {
        signed.push(("x-amz-security-token", token.clone()));
    }
    let (authorization, _) = authorization(keys, region, url, day, &time, &signed);
    let mut headers = HeaderMap::new();
    let others = signed.into_iter().filter(|(name, _)| *name != "host");
    for (name, value) in others.map(|(name, value)| (HeaderName::from_static(name), value)) {
        insert(&mut headers, name, &value);
    }
    insert(&mut headers, AUTHORIZATION, &authorization);
    headers
}

/// Returns the value of the header, and the signature in it.
fn authorization(
    keys: &S3Keys,
    region: &str,
    url: &Url,
    day: &str,
    time: &str,
    signed: &[(&str, String)],
) -> (String, String) {
    let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let mut request = format!("GET\n{}\n{}\n", url.path(), url.query().unwrap_or_default());
    for (name, value) in signed {
        // Writing to a text cannot fail.
        writeln!(request, "{name}:{}", value.trim()).ok();
    }
    write!(request, "\n{names}\n{NO_BODY}").ok();
    let scope = format!("{day}/{region}/s3/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(&request)));
    let first = format!("AWS4{}", keys.secret_access_key);
    let key =
        [day, region, "s3", "aws4_request"].iter().fold(first.into_bytes(), |key, part| mac(&key, part));
    let signature = hex(&mac(&key, &text));
    let id = &keys.access_key_id;
    let header =
        format!("AWS4-HMAC-SHA256 Credential={id}/{scope},SignedHeaders={names},Signature={signature}");
    (header, signature)
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// A value that is no header is left out: the server then says what is missing.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(mut value) = HeaderValue::try_from(value) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
}

/// Escapes a key for the path, so that the URL and what is signed are the same.
pub(super) fn escaped_path(key: &str) -> String {
    key.split('/').map(escaped).collect::<Vec<_>>().join("/")
}

/// Escapes everything but letters, digits and `- . _ ~`.
pub(super) fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").ok();
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Amazon's own example, "GET Object", in the document that this file is written from.
    #[test]
    fn the_signature_is_that_of_the_published_example() {
        let keys = S3Keys {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let url = Url::parse("https://examplebucket.s3.amazonaws.com/test.txt").unwrap();
        let signed = [
            ("host", "examplebucket.s3.amazonaws.com".to_owned()),
            ("range", "bytes=0-9".to_owned()),
            ("x-amz-content-sha256", NO_BODY.to_owned()),
            ("x-amz-date", "20130524T000000Z".to_owned()),
        ];
        let (header, signature) =
            authorization(&keys, "us-east-1", &url, "20130524", "20130524T000000Z", &signed);
        assert_eq!(signature, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
        assert!(header.starts_with(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8"
        ));
    }

    /// A log of headers would have the keys.
    #[test]
    fn no_header_shows_its_value() {
        let keys = S3Keys {
            access_key_id: "id".into(),
            secret_access_key: "secret".into(),
            session_token: Some("session-token".into()),
        };
        let url = Url::parse("https://minio.example.net:9000/b/k").unwrap();
        let headers = headers(&keys, "us-east-1", &url, Timestamp::UNIX_EPOCH);
        assert_eq!(headers.get("x-amz-date").unwrap(), "19700101T000000Z");
        assert_eq!(headers.get("x-amz-security-token").unwrap(), "session-token");
        let shown = format!("{headers:?}{keys:?}");
        assert!(!shown.contains("session-token\":\"") && !shown.contains("secret\""), "{shown}");
        assert!(!shown.contains("Signature"), "{shown}");
    }
}
