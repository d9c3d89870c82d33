//! Payloads from https servers.

use super::client::{Redirects, client, host, is_same_host, unavailable};
use super::download::Remote;
use super::source::Source;
use crate::failure::Failure;
use farrier_update::Reason;
use reqwest::header::HeaderMap;
use reqwest::{Client, Response, StatusCode, Url};

/// A file on an https server.
pub(super) struct Https<'a> {
    source: &'a Source,
    client: Client,
    url: Url,
}

impl<'a> Https<'a> {
    pub(super) fn new(source: &'a Source) -> Result<Self, Failure> {
        let url = Url::parse(&source.url).map_err(|error| {
            let Source { component, url, .. } = source;
            Failure::new(
                Reason::PayloadRefused,
                format!("payload.url {url} of component {component} is no URL ({error}); correct it"),
            )
        })?;
        Ok(Self { source, client: client(source, Redirects::Followed)?, url })
    }

    fn check(&self, response: &Response) -> Result<(), Failure> {
        let Source { component, url, .. } = self.source;
        let status = response.status();
        if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(());
        }
        let (reason, next) = match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                (Reason::PayloadNotFound, "correct payload.url, or put the file there")
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (
                Reason::PayloadRefused,
                "give credentials in payload.secretRef (username and password, or token)",
            ),
            _ => {
                (Reason::PayloadUnavailable, "check the source; it is retried while the run has retries left")
            }
        };
        let place = if is_same_host(response.url(), &self.url) {
            url.clone()
        } else {
            format!("{}, which {url} refers to,", host(response.url()))
        };
        Err(Failure::new(
            reason,
            format!("{place} answered {status} for the payload of component {component}; {next}"),
        ))
    }
}

impl Remote for Https<'_> {
    const CHANGES: bool = true;

    async fn ask(&mut self, range: HeaderMap) -> Result<Response, Failure> {
        let mut request = self.client.get(self.url.clone()).headers(range);
        if let Some((user, password)) = &self.source.access.basic {
            request = request.basic_auth(user, Some(password));
        } else if let Some(token) = &self.source.access.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|error| unavailable(self.source, &self.url, &error))?;
        self.check(&response)?;
        Ok(response)
    }
}
