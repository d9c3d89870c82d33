//! Fetches payloads: chooses the kind of source by the URL.

use super::https::Https;
use super::oci::Registry;
use super::s3::Bucket;
use super::source::Source;
use super::{download, file};
use crate::failure::Failure;
use crate::metrics::Counters;
use farrier_update::Reason;
use farrier_update::payload_url::{PayloadUrl, UrlProblem};
use std::path::Path;
use std::time::Duration;

/// Writes the payload to `part`, verifies its digest and returns its length.
pub(super) async fn fetch(
    source: &Source,
    payload_dir: Option<&Path>,
    part: &Path,
    fetched: &Counters<0>,
) -> Result<u64, Failure> {
    match PayloadUrl::parse(&source.url).map_err(|problem| not_fetchable(source, &problem))? {
        PayloadUrl::File => file::from_file(source, payload_dir, part, fetched).await,
        PayloadUrl::Https => download::download(source, &mut Https::new(source)?, part, fetched).await,
        PayloadUrl::Oci(reference) => {
            let mut registry = Registry::new(source, &reference)?;
            registry.find_layer().await?;
            download::download(source, &mut registry, part, fetched).await
        }
        PayloadUrl::S3(object) => {
            download::download(source, &mut Bucket::new(source, object)?, part, fetched).await
        }
    }
}

fn not_fetchable(source: &Source, problem: &UrlProblem) -> Failure {
    let reason = if matches!(problem, UrlProblem::Scheme { .. }) {
        Reason::NotYetSupported
    } else {
        Reason::PayloadRefused
    };
    Failure::new(reason, format!("payload.url of component {}: {problem}", source.component))
}

/// Returns the failure for a fetch that exceeded its limit.
pub(super) fn too_slow(source: &Source, limit: Duration) -> Failure {
    let Source { component, url, size, .. } = source;
    let minutes = limit.as_secs() / 60;
    let hint = if size.is_none() { ", or set payload.size, from which the limit is computed" } else { "" };
    Failure::new(
        Reason::PayloadUnavailable,
        format!(
            "the payload of component {component} was not fetched from {url} within {minutes} min; check the source{hint}; it is retried while the run has retries left"
        ),
    )
}
