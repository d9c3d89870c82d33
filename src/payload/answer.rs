//! The response to a request for a payload: the whole file, a range of it, or an error.

use super::body::{FileBody, Stop};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_NONE_MATCH, IF_RANGE, RANGE,
};
use hyper::{Method, Request, Response, StatusCode};
use std::fs::File;
use std::path::PathBuf;

/// The body of a response.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Where in the file the body of a response begins. A response with content has it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin(pub u64);

/// What a response has: a file, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The file.
    pub path: PathBuf,
    /// The first byte and the length of the part; `None`: the whole file.
    pub part: Option<(u64, u64)>,
}

impl From<PathBuf> for Content {
    fn from(path: PathBuf) -> Self {
        Self { path, part: None }
    }
}

impl Content {
    /// Opens the file. Returns it with the first byte and the length of what it has.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(&self) -> std::io::Result<(File, u64, u64)> {
        let file = File::open(&self.path)?;
        let (begin, size) = match self.part {
            Some(part) => part,
            None => (0, file.metadata()?.len()),
        };
        Ok((file, begin, size))
    }
}

/// Finds payload files by digest, limited to the payloads that the requesting peer may have.
pub trait PayloadFiles: Send + Sync {
    /// Returns the file with this digest, or `None` if the requesting peer is not entitled to it.
    fn file(&self, digest: &str) -> Option<PathBuf>;

    /// Is called with the number of bytes that were sent, so that an implementation can count them.
    fn count_sent(&self, _bytes: usize) {}
}

/// Responds to GET or HEAD for this content, which `tag` identifies: the payload's digest, or that and what tells one
/// part of it from others. The body is cut off as soon as `stop` is ready.
pub async fn answer<B>(
    content: Content,
    tag: &str,
    request: &Request<B>,
    stop: Option<Stop>,
) -> Response<Body> {
    let opened = tokio::task::spawn_blocking(move || content.open());
    let (file, begin, size) = match opened.await.map_err(std::io::Error::other).flatten() {
        Ok(opened) => opened,
        Err(error) => {
            tracing::error!(%tag, %error, "a stored payload cannot be read");
            return plain(StatusCode::SERVICE_UNAVAILABLE, "the payload cannot be read");
        }
    };
    let etag = format!("\"{tag}\"");
    let selected = selected(request.headers(), &etag, size);
    let body = match selected {
        _ if request.method() == Method::HEAD => empty(),
        Selected::Unchanged | Selected::None => empty(),
        Selected::Whole => FileBody::new(file, begin, begin + size, stop).boxed_unsync(),
        Selected::Part { from, end } => FileBody::new(file, begin + from, begin + end, stop).boxed_unsync(),
    };
    let mut response = Response::new(body);
    match selected {
        Selected::Whole => response.extensions_mut().insert(Begin(0)),
        Selected::Part { from, end: _ } => response.extensions_mut().insert(Begin(from)),
        Selected::Unchanged | Selected::None => None,
    };
    describe(&mut response, selected, size);
    set(response.headers_mut(), ETAG, &etag);
    response
}

/// Sets the status and the headers that follow from the selection.
fn describe(response: &mut Response<Body>, selected: Selected, size: u64) {
    response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let (status, length) = match selected {
        Selected::Unchanged => (StatusCode::NOT_MODIFIED, None),
        Selected::Whole => (StatusCode::OK, Some(size)),
        Selected::Part { from, end } => {
            set(response.headers_mut(), CONTENT_RANGE, &format!("bytes {from}-{}/{size}", end - 1));
            (StatusCode::PARTIAL_CONTENT, Some(end - from))
        }
        Selected::None => {
            set(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{size}"));
            (StatusCode::RANGE_NOT_SATISFIABLE, None)
        }
    };
    *response.status_mut() = status;
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        let kind = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
}

/// The requested part of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Selected {
    Whole,
    /// The bytes from the start of the range up to, not including, its end.
    Part {
        from: u64,
        end: u64,
    },
    /// The peer already has the payload.
    Unchanged,
    /// A range that starts after the end of the file.
    None,
}

/// Evaluates the request headers (RFC 9110, sections 13 and 14). A range that cannot be parsed, or a
/// list of ranges, is ignored.
fn selected(headers: &HeaderMap, etag: &str, size: u64) -> Selected {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(IF_NONE_MATCH).is_some_and(|tags| tags == "*" || tags.split(',').any(|tag| tag.trim() == etag)) {
        return Selected::Unchanged;
    }
    let whole_after_all = headers.contains_key(IF_RANGE) && text(IF_RANGE) != Some(etag);
    if whole_after_all || headers.get_all(RANGE).iter().count() > 1 {
        return Selected::Whole;
    }
    text(RANGE).and_then(|range| range_of(range, size)).unwrap_or(Selected::Whole)
}

/// Parses a single range; `None` if it cannot be parsed.
fn range_of(header: &str, size: u64) -> Option<Selected> {
    let (first, last) = header.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| {
        // `parse` alone would accept a sign.
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten()
    };
    let part = |from: u64, end: u64| if from < end { Selected::Part { from, end } } else { Selected::None };
    if first.is_empty() {
        return Some(part(size.saturating_sub(number(last)?), size));
    }
    let from = number(first)?;
    if last.is_empty() {
        return Some(part(from, size));
    }
    let last = number(last)?;
    (from <= last).then(|| part(from, last.saturating_add(1).min(size)))
}

/// Returns a short plain-text response.
pub fn plain(status: StatusCode, words: &str) -> Response<Body> {
    let body = Full::new(Bytes::copy_from_slice(words.as_bytes())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Sets a header from text that is known to be valid.
fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = text.parse() {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: &str, size: u64) -> Selected {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, range.parse().unwrap());
        selected(&headers, "\"e\"", size)
    }

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let part = |from, end| Selected::Part { from, end };
        assert_eq!(of("bytes=0-", 10), part(0, 10));
        assert_eq!(of("bytes=3-5", 10), part(3, 6));
        assert_eq!(of("bytes=3-99999999999999999999", 10), Selected::Whole, "no number that fits");
        assert_eq!(of("bytes=3-18446744073709551615", 10), part(3, 10));
        assert_eq!(of("bytes=-4", 10), part(6, 10));
        assert_eq!(of("bytes=-40", 10), part(0, 10));
        for unsatisfiable in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            assert_eq!(of(unsatisfiable, 10), Selected::None, "{unsatisfiable}");
        }
        for unknown in
            ["bytes=5-3", "bytes=0-1,3-4", "lines=1-2", "bytes=", "bytes=-", "bytes=+1-", "bytes=a-"]
        {
            assert_eq!(of(unknown, 10), Selected::Whole, "{unknown}");
        }
        assert_eq!(of("bytes=0-", 0), Selected::None);
    }

    #[test]
    fn a_range_of_another_file_is_not_mixed_with_this_one() {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, "bytes=3-".parse().unwrap());
        headers.insert(IF_RANGE, "\"e\"".parse().unwrap());
        assert_eq!(selected(&headers, "\"e\"", 10), Selected::Part { from: 3, end: 10 });
        headers.insert(IF_RANGE, "\"other\"".parse().unwrap());
        assert_eq!(selected(&headers, "\"e\"", 10), Selected::Whole);
    }
}
