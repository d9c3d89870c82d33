//! What the refusals of a registry mean, and what users can do.

use super::authentication::Authentication;
use crate::failure::Failure;
use crate::payload::client::{host, is_same_host, short_body};
use crate::payload::source::Source;
use farrier_update::Reason;
use farrier_update::payload_url::{OciReference, Version};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

/// What to do where a registry wants to know who asks.
pub(super) const GIVE_CREDENTIALS: &str =
    "give credentials in payload.secretRef (username and password, token, or .dockerconfigjson)";

/// Largest error that is read, in bytes.
const ERROR_LIMIT: usize = 64 * 1024;

/// Errors of a registry, by the distribution specification.
#[derive(Deserialize)]
struct Errors {
    errors: Vec<Code>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

/// Returns the failure for a manifest that the registry did not send.
pub(super) async fn refused_manifest(
    source: &Source,
    reference: &OciReference,
    authentication: &Authentication,
    response: Response,
) -> Failure {
    let status = response.status();
    if status != StatusCode::NOT_FOUND {
        return refused(source, reference, authentication, status, &reference.registry);
    }
    let body = short_body(response, ERROR_LIMIT).await.ok().flatten().unwrap_or_default();
    let errors = serde_json::from_slice::<Errors>(&body).map(|found| found.errors).unwrap_or_default();
    let Source { component, url, .. } = source;
    let OciReference { registry, repository, version } = reference;
    let what = match version {
        Version::Tag(tag) => format!("tag {tag}"),
        Version::Digest(digest) => format!("manifest {digest}"),
    };
    let missing = if errors.iter().any(|error| error.code == "NAME_UNKNOWN") {
        format!("no repository {repository}")
    } else {
        format!("no {what} in a repository {repository}")
    };
    Failure::new(
        Reason::PayloadNotFound,
        format!(
            "registry {registry} has {missing} ({url}, component {component}); correct payload.url, or push the artifact"
        ),
    )
}

/// Returns the failure for a blob that was not sent, by the registry or by whom it refers to.
pub(super) fn refused_blob(
    source: &Source,
    reference: &OciReference,
    authentication: &Authentication,
    registry: &Url,
    response: &Response,
) -> Failure {
    let Source { component, url, digest, .. } = source;
    let status = response.status();
    if !is_same_host(response.url(), registry) {
        return Failure::new(
            Reason::PayloadUnavailable,
            format!(
                "the registry of {url} (component {component}) refers to {}, which answered {status}; check the registry's storage; it is retried while the run has retries left",
                host(response.url())
            ),
        );
    }
    if status == StatusCode::NOT_FOUND {
        return Failure::new(
            Reason::PayloadNotFound,
            format!(
                "registry {} has the manifest of {url}, but not its layer {digest} (component {component}); push the artifact again",
                reference.registry
            ),
        );
    }
    refused(source, reference, authentication, status, &reference.registry)
}

fn refused(
    source: &Source,
    reference: &OciReference,
    authentication: &Authentication,
    status: StatusCode,
    registry: &str,
) -> Failure {
    let Source { component, url, .. } = source;
    let repository = &reference.repository;
    let (reason, next) = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !authentication.has_credentials => {
            (Reason::PayloadRefused, GIVE_CREDENTIALS.to_owned())
        }
        // Before a password is accepted, or after a token was issued that does not suffice.
        StatusCode::UNAUTHORIZED if !authentication.is_issued() => (
            Reason::PayloadRefused,
            "correct the credentials in the Secret in payload.secretRef, which the registry does not accept"
                .to_owned(),
        ),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (
            Reason::PayloadRefused,
            format!(
                "allow the account in payload.secretRef to pull from the repository {repository}, or use another one"
            ),
        ),
        StatusCode::BAD_REQUEST => (Reason::PayloadRefused, "correct payload.url".to_owned()),
        _ => (
            Reason::PayloadUnavailable,
            "check the registry; it is retried while the run has retries left".to_owned(),
        ),
    };
    Failure::new(
        reason,
        format!(
            "registry {registry} answered {status} for the payload of component {component} ({url}); {next}"
        ),
    )
}
