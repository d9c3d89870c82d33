//! Downloads a payload over HTTP, and goes on where a connection was cut.
//!
//! How a server is asked, and what its refusals mean, is the business of each kind of source ([`Remote`]).

use super::client::causes;
use super::sink::Sink;
use super::source::Source;
use crate::failure::Failure;
use crate::metrics::Counters;
use farrier_update::Reason;
use futures::StreamExt;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE};
use reqwest::{Response, StatusCode};
use std::future::Future;
use std::path::Path;
use std::time::Duration;

/// How many connections in a row may be cut before they have brought [`PROGRESS`]. The run's own retries
/// begin at the first byte, minutes later; a server that restarts is back within a few seconds.
const CUTS: u32 = 4;

/// What a connection must bring so that those before it no longer count, in bytes. A payload of any size is
/// fetched from a server that cuts every connection, as long as each brings this.
const PROGRESS: u64 = 1024 * 1024;

/// Pause before the second connection; each further one waits that much longer.
const PAUSE: Duration = Duration::from_secs(1);

/// A payload on an HTTP server.
pub(super) trait Remote {
    /// Whether the file may be replaced by another one between two requests. Then a rest is asked for only of
    /// the file that was begun.
    const CHANGES: bool;

    /// Requests the payload, with these headers for a rest of it. Returns an answer with a status of success,
    /// or 416. `PayloadUnavailable` is what may pass by itself; all other reasons last.
    fn ask(&mut self, range: HeaderMap) -> impl Future<Output = Result<Response, Failure>> + Send;
}

/// Writes the payload to `part`, verifies its digest and returns its length.
pub(super) async fn download(
    source: &Source,
    remote: &mut (impl Remote + Send),
    part: &Path,
    fetched: &Counters<0>,
) -> Result<u64, Failure> {
    let answer = remote.ask(HeaderMap::new()).await?;
    let mut download = Download {
        source,
        sink: Sink::create(source, part, fetched).await?,
        whole: answer.content_length(),
        validator: validator(answer.headers()),
    };
    let (mut cuts, mut farthest) = (0, 0);
    let mut answer = Some(answer);
    loop {
        let failure = match download.transfer(remote, answer.take()).await {
            Ok(()) => return download.sink.finish().await,
            Err(Interruption::Lasting(failure)) => return Err(failure),
            Err(Interruption::Passing(failure)) => failure,
        };
        if download.sink.written >= farthest + PROGRESS {
            (cuts, farthest) = (0, download.sink.written);
        }
        cuts += 1;
        if cuts == CUTS {
            return Err(failure);
        }
        tracing::warn!(component = %source.component, written = download.sink.written, %failure, "a download is resumed");
        // sleep: a server that restarts needs a moment
        tokio::time::sleep(PAUSE * cuts).await;
    }
}

/// Why a connection did not bring the rest of the payload.
enum Interruption {
    /// It was cut, or the server is not ready: it is asked again.
    Passing(Failure),
    /// Asking again would not help.
    Lasting(Failure),
}

impl From<Failure> for Interruption {
    fn from(failure: Failure) -> Self {
        Self::Lasting(failure)
    }
}

struct Download<'a> {
    source: &'a Source,
    sink: Sink<'a>,
    /// Length of the payload, if the server announced it.
    whole: Option<u64>,
    /// What the server calls this state of the file.
    validator: Option<HeaderValue>,
}

impl Download<'_> {
    /// Receives over one connection what is missing; `answer` is the first answer.
    async fn transfer<R: Remote + Send>(
        &mut self,
        remote: &mut R,
        answer: Option<Response>,
    ) -> Result<(), Interruption> {
        let answer = match answer {
            Some(answer) => answer,
            None => self.rest::<R>(remote).await?,
        };
        let mut stream = answer.bytes_stream();
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(|error| Interruption::Passing(self.cut_off(&causes(&error))))?;
            self.sink.write(&bytes).await?;
        }
        if self.whole.is_some_and(|whole| self.sink.written < whole) {
            return Err(Interruption::Passing(self.cut_off("the server ended it")));
        }
        Ok(())
    }

    /// Asks for what is missing. A server that cannot give it, or has another file by now, sends the whole
    /// file, which is then received from its first byte.
    async fn rest<R: Remote + Send>(&mut self, remote: &mut R) -> Result<Response, Interruption> {
        let answer = remote.ask(self.range(R::CHANGES)).await.map_err(|failure| {
            if failure.reason == Reason::PayloadUnavailable {
                Interruption::Passing(self.cut_off(&failure.message))
            } else {
                Interruption::Lasting(failure)
            }
        })?;
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            self.sink.restart().await?;
            return Err(Interruption::Passing(self.cut_off("the file at the source has become shorter")));
        }
        let is_same = !R::CHANGES || self.is_same_file(&answer);
        if is_same && self.continues(&answer) {
            return Ok(answer);
        }
        if answer.status() == StatusCode::PARTIAL_CONTENT {
            self.sink.restart().await?;
            let other_part = "the server sent another part than was asked for";
            let why = if is_same { other_part } else { "the file at the source was replaced" };
            return Err(Interruption::Passing(self.cut_off(why)));
        }
        self.sink.restart().await?;
        self.whole = answer.content_length();
        self.validator = validator(answer.headers());
        Ok(answer)
    }

    /// The headers that ask for what is missing; none if everything is.
    fn range(&self, may_change: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.sink.written > 0 {
            if let Ok(range) = HeaderValue::try_from(format!("bytes={}-", self.sink.written)) {
                headers.insert(RANGE, range);
            }
            if let Some(validator) = self.validator.as_ref().filter(|_| may_change) {
                headers.insert(IF_RANGE, validator.clone());
            }
        }
        headers
    }

    /// Reports whether the answer is of the file that was begun. Some servers ignore `If-Range`, and send a part
    /// of whatever file is there now.
    fn is_same_file(&self, answer: &Response) -> bool {
        let now = validator(answer.headers());
        now.is_none_or(|now| self.validator.as_ref().is_none_or(|begun| *begun == now))
    }

    /// Reports whether the answer goes on with the byte after those that are here.
    fn continues(&self, answer: &Response) -> bool {
        let written = self.sink.written;
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            return written == 0 && self.whole == answer.content_length();
        }
        let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let parts = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('/'));
        let first = parts.and_then(|(span, _)| span.split_once('-')?.0.parse::<u64>().ok());
        let total = parts.and_then(|(_, total)| total.parse::<u64>().ok());
        first == Some(written) && (total.is_none() || self.whole.is_none() || total == self.whole)
    }

    fn cut_off(&self, why: &str) -> Failure {
        let Source { component, url, .. } = self.source;
        let of = self.whole.map(|whole| format!(" of {whole}")).unwrap_or_default();
        Failure::new(
            Reason::PayloadTruncated,
            format!(
                "{url} was interrupted after {}{of} bytes (component {component}: {why}); it is retried while the run has retries left",
                self.sink.written
            ),
        )
    }
}

/// Returns what names this state of the file: a strong entity tag, or a date (RFC 9110, section 13.1.5).
fn validator(headers: &HeaderMap) -> Option<HeaderValue> {
    let strong = headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    strong.or_else(|| headers.get(LAST_MODIFIED)).cloned()
}
