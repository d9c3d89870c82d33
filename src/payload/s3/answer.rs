//! What the refusals of S3 mean, and what users can do.

use crate::failure::Failure;
use crate::payload::client::{host, short_body};
use crate::payload::source::Source;
use farrier_update::Reason;
use farrier_update::payload_url::S3Object;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{DATE, HeaderMap};
use reqwest::{Response, StatusCode, Url};

/// Largest error that is read, in bytes.
const ERROR_LIMIT: usize = 64 * 1024;

/// The error codes that users can do something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    NoBucket,
    NoKey,
    NoVersion,
    UnknownAccessKey,
    WrongSignature,
    SessionOver,
    ClocksDiffer,
    WrongRegion,
    Denied,
}

impl Code {
    /// Reads a code of the protocol, or takes the status where the answer has none.
    fn of(code: &str, status: StatusCode) -> Option<Self> {
        match (code, status) {
            ("NoSuchBucket", _) => Some(Self::NoBucket),
            ("NoSuchVersion", _) => Some(Self::NoVersion),
            ("NoSuchKey", _) | ("", StatusCode::NOT_FOUND) => Some(Self::NoKey),
            ("InvalidAccessKeyId", _) => Some(Self::UnknownAccessKey),
            ("SignatureDoesNotMatch", _) => Some(Self::WrongSignature),
            ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired", _) => Some(Self::SessionOver),
            ("RequestTimeTooSkewed", _) => Some(Self::ClocksDiffer),
            (
                "AuthorizationHeaderMalformed"
                | "PermanentRedirect"
                | "TemporaryRedirect"
                | "IllegalLocationConstraintException",
                _,
            ) => Some(Self::WrongRegion),
            (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Some(Self::Denied),
            (_, status) if status.is_redirection() => Some(Self::WrongRegion),
            _ => None,
        }
    }

    const fn reason(self) -> Reason {
        match self {
            Self::NoBucket | Self::NoKey | Self::NoVersion => Reason::PayloadNotFound,
            Self::UnknownAccessKey
            | Self::WrongSignature
            | Self::SessionOver
            | Self::WrongRegion
            | Self::Denied => Reason::PayloadRefused,
            // A clock is set right without a new baseline.
            Self::ClocksDiffer => Reason::PayloadUnavailable,
        }
    }
}

/// Returns the failure for an object that was not sent.
pub(super) async fn refused(source: &Source, object: &S3Object, asked: &Url, response: Response) -> Failure {
    let status = response.status();
    let headers = response.headers().clone();
    let body = short_body(response, ERROR_LIMIT).await.ok().flatten().unwrap_or_default();
    let body = String::from_utf8_lossy(&body);
    let word = element(&body, "Code").filter(|code| is_word(code)).unwrap_or_default();
    let code = Code::of(word, status);
    let Source { component, url, .. } = source;
    let next = match code {
        Some(code) => next_step(code, source, object, &headers, &body),
        None => "check the server; it is retried while the run has retries left".to_owned(),
    };
    let word = if word.is_empty() { String::new() } else { format!(" ({word})") };
    Failure::new(
        code.map_or(Reason::PayloadUnavailable, Code::reason),
        format!(
            "{} answered {status}{word} for the payload of component {component} ({url}); {next}",
            host(asked)
        ),
    )
}

fn next_step(code: Code, source: &Source, object: &S3Object, headers: &HeaderMap, body: &str) -> String {
    let S3Object { bucket, key, region, .. } = object;
    match code {
        Code::NoBucket => {
            format!("there is no bucket {bucket}; correct payload.url and its endpoint, or create the bucket")
        }
        Code::NoKey => format!("bucket {bucket} has no object {key}; correct payload.url, or put the file there"),
        Code::NoVersion => format!("object {key} has no such version; correct versionId in payload.url"),
        Code::UnknownAccessKey => {
            "the server does not know the key; correct access-key-id in the Secret in payload.secretRef".to_owned()
        }
        Code::WrongSignature => {
            "the signature is wrong; correct secret-access-key in the Secret in payload.secretRef".to_owned()
        }
        Code::SessionOver => {
            "the session token is not valid any more; renew session-token and its keys in the Secret in payload.secretRef".to_owned()
        }
        Code::ClocksDiffer => format!(
            "{}; set the clock of the operator's machine, or that of the server; it is retried while the run has retries left",
            clocks(headers, Timestamp::now())
        ),
        Code::WrongRegion => {
            let header = headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
            let known = header.or_else(|| element(body, "Region")).filter(|name| is_word(name));
            match known.filter(|known| known != region) {
                Some(known) => format!("add region={known} to payload.url: the bucket is there, not in {region}"),
                None => format!("correct region ({region}) and endpoint in payload.url"),
            }
        }
        Code::Denied if source.access.s3.is_none() => {
            "give access-key-id and secret-access-key in payload.secretRef".to_owned()
        }
        Code::Denied => format!(
            "allow the account in payload.secretRef to read {key} in bucket {bucket} (s3:GetObject); an account that may not list the bucket gets this answer for a missing object too"
        ),
    }
}

/// Says how far the clocks of server and operator are apart.
fn clocks(headers: &HeaderMap, now: Timestamp) -> String {
    let date = headers.get(DATE).and_then(|value| value.to_str().ok());
    // The format of HTTP is that of mail, with GMT for the zone.
    let theirs = date.and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
    match theirs.map(|theirs| now.duration_since(theirs).as_secs()) {
        Some(ahead) if ahead >= 60 => {
            format!("the operator's clock is {} min ahead of the server's", ahead / 60)
        }
        Some(ahead) if ahead <= -60 => {
            format!("the operator's clock is {} min behind the server's", -ahead / 60)
        }
        Some(_) | None => "the clocks of the operator and of the server differ".to_owned(),
    }
}

/// Returns the text of the first element of this name. The errors of S3 are flat, and their codes plain words.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text.trim())
}

/// Reports whether this can be shown: it is what somebody else wrote.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Access, S3Keys};
    use farrier_update::payload_url::PayloadUrl;

    async fn said(access: Access, status: u16, header: (&str, &str), body: &str) -> Failure {
        let url = "s3://firmware/a.bin?region=eu-west-1".to_owned();
        let source = Source { component: "bios".into(), url, digest: String::new(), size: None, access };
        let Ok(PayloadUrl::S3(object)) = PayloadUrl::parse(&source.url) else { panic!("{}", source.url) };
        let answer = hyper::Response::builder().status(status).header(header.0, header.1);
        let answer = Response::from(answer.body(body.to_owned()).unwrap());
        let asked = Url::parse("https://firmware.s3.eu-west-1.amazonaws.com/a.bin").unwrap();
        refused(&source, &object, &asked, answer).await
    }

    fn with_keys() -> Access {
        let keys = S3Keys {
            access_key_id: "AKIA".into(),
            secret_access_key: "very-secret".into(),
            session_token: None,
        };
        Access { s3: Some(keys), ..Access::default() }
    }

    /// Each code as Amazon documents it; the tests with a real server see most of them again.
    #[tokio::test]
    async fn each_code_has_its_own_reason_and_next_step() {
        let cases = [
            ("NoSuchBucket", 404, Reason::PayloadNotFound, "no bucket firmware"),
            ("NoSuchKey", 404, Reason::PayloadNotFound, "no object a.bin"),
            ("NoSuchVersion", 404, Reason::PayloadNotFound, "correct versionId"),
            ("InvalidAccessKeyId", 403, Reason::PayloadRefused, "correct access-key-id"),
            ("SignatureDoesNotMatch", 403, Reason::PayloadRefused, "correct secret-access-key"),
            ("ExpiredToken", 400, Reason::PayloadRefused, "renew session-token"),
            ("RequestTimeTooSkewed", 403, Reason::PayloadUnavailable, "the clocks of the operator"),
            ("AuthorizationHeaderMalformed", 400, Reason::PayloadRefused, "add region=eu-north-1"),
            ("AccessDenied", 403, Reason::PayloadRefused, "s3:GetObject"),
            ("SlowDown", 503, Reason::PayloadUnavailable, "it is retried"),
        ];
        for (code, status, reason, words) in cases {
            let body =
                format!("<Error><Code>{code}</Code><Message>m</Message><Region>eu-north-1</Region></Error>");
            let failure = said(with_keys(), status, ("x-other", ""), &body).await;
            assert_eq!(failure.reason, reason, "{failure}");
            let all = [words, code, "component bios", "s3://firmware/a.bin"];
            assert!(all.iter().all(|words| failure.message.contains(words)), "{failure}");
            assert!(!failure.message.contains("very-secret"), "{failure}");
        }
    }

    #[tokio::test]
    async fn an_answer_without_a_code_is_understood_by_its_status() {
        let none = ("x-other", "");
        assert_eq!(said(with_keys(), 404, none, "").await.reason, Reason::PayloadNotFound);
        let anonymous = said(Access::default(), 403, none, "<Code>\u{1b}[31m</Code>").await;
        assert!(anonymous.message.contains("give access-key-id"), "{anonymous}");
        assert!(!anonymous.message.contains('\u{1b}'), "{anonymous}");
        let elsewhere = said(with_keys(), 301, ("x-amz-bucket-region", "us-west-2"), "").await;
        assert_eq!(elsewhere.reason, Reason::PayloadRefused);
        assert!(elsewhere.message.contains("add region=us-west-2"), "{elsewhere}");
    }

    /// "The clocks differ" sends people to the wrong machine.
    #[test]
    fn the_clock_that_is_behind_is_named() {
        let now: Timestamp = "2026-11-01T12:00:00Z".parse().unwrap();
        let at = |date: &'static str| {
            clocks(&HeaderMap::from_iter([(DATE, reqwest::header::HeaderValue::from_static(date))]), now)
        };
        assert!(at("Sun, 01 Nov 2026 12:20:05 GMT").contains("operator's clock is 20 min behind"));
        assert!(at("Sun, 01 Nov 2026 11:00:00 GMT").contains("operator's clock is 60 min ahead"));
        assert!(at("yesterday").contains("the clocks of the operator and of the server differ"));
    }
}
