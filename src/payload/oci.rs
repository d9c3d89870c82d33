//! Payloads from OCI registries: one layer of an artifact.
//!
//! The manifest is read first, so that a wrong reference or an artifact that was replaced is reported in words.
//! Then the blob with the payload's digest is fetched; which layer of the artifact it is does not matter.

mod answer;
mod authentication;
mod manifest;

use super::client::{Redirects, client, is_same_host, short_body, unavailable};
use super::download::Remote;
use super::source::Source;
use crate::failure::Failure;
use authentication::Authentication;
use farrier_update::payload_url::OciReference;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};

/// Largest accepted manifest, in bytes: what registries have to accept according to the specification.
const MANIFEST_LIMIT: usize = 4 * 1024 * 1024;

/// The artifact of a payload in its registry.
pub(super) struct Registry<'a> {
    source: &'a Source,
    reference: &'a OciReference,
    client: Client,
    /// `https://HOST/v2/REPOSITORY/`
    base: Url,
    authentication: Authentication,
}

impl<'a> Registry<'a> {
    pub(super) fn new(source: &'a Source, reference: &'a OciReference) -> Result<Self, Failure> {
        let base = format!("https://{}/v2/{}/", reference.registry, reference.repository);
        let base = Url::parse(&base).map_err(|error| source.no_host(&error))?;
        Ok(Self {
            source,
            reference,
            client: client(source, Redirects::Followed)?,
            base,
            authentication: Authentication::new(&source.access),
        })
    }

    /// Reads the manifest, and checks that one of its layers is the payload.
    pub(super) async fn find_layer(&mut self) -> Result<(), Failure> {
        let mut accept = HeaderMap::new();
        accept.insert(ACCEPT, HeaderValue::from_static(manifest::MEDIA_TYPES));
        let response = self.get(&format!("manifests/{}", self.reference.version.as_str()), accept).await?;
        if !response.status().is_success() {
            return Err(answer::refused_manifest(
                self.source,
                self.reference,
                &self.authentication,
                response,
            )
            .await);
        }
        let read = short_body(response, MANIFEST_LIMIT).await;
        let bytes = read.map_err(|error| unavailable(self.source, &self.base, &error))?;
        manifest::find_layer(self.source, &self.reference.version, bytes.as_deref())
    }

    /// Requests something of the repository, signed in as the registry asks for it.
    async fn get(&mut self, path: &str, headers: HeaderMap) -> Result<Response, Failure> {
        let url = self.base.join(path).unwrap_or_else(|_| self.base.clone());
        let response = self.send(&url, headers.clone()).await?;
        let is_asked =
            response.status() == StatusCode::UNAUTHORIZED && is_same_host(response.url(), &self.base);
        if is_asked && self.authenticate(&response).await? {
            return self.send(&url, headers).await;
        }
        Ok(response)
    }

    async fn send(&self, url: &Url, headers: HeaderMap) -> Result<Response, Failure> {
        let mut request = self.client.get(url.clone()).headers(headers);
        if let Some(authorization) = self.authentication.header() {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request.send().await.map_err(|error| unavailable(self.source, url, &error))
    }
}

impl Remote for Registry<'_> {
    // A blob is what its digest says.
    const CHANGES: bool = false;

    async fn ask(&mut self, range: HeaderMap) -> Result<Response, Failure> {
        let response = self.get(&format!("blobs/{}", self.source.digest), range).await?;
        let status = response.status();
        if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(response);
        }
        Err(answer::refused_blob(self.source, self.reference, &self.authentication, &self.base, &response))
    }
}
