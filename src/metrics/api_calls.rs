//! Counts every request to the API server in a layer below the client, so that no caller can bypass it.

use super::Metrics;
use crate::heartbeat::LastContact;
use hyper::{Method, Request, Response, StatusCode};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;
use tower::{Layer, Service};

/// Resources that have a label value of their own; all others are counted as `other`.
const RESOURCES: &[&str] = &[
    "managednodes",
    "baselines",
    "updateruns",
    "nodeupdates",
    "nodeinventories",
    "events",
    "secrets",
    "services",
    "endpointslices",
    "networkpolicies",
    "leases",
    "pods",
];

/// Layer that counts requests and records the time of the server's last response.
#[derive(Clone)]
pub struct ApiCalls {
    /// The metrics that count the requests.
    pub metrics: Metrics,
    /// Time of the last response.
    pub contact: LastContact,
}

impl<S> Layer<S> for ApiCalls {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, calls: self.clone() }
    }
}

/// The service that [`ApiCalls`] wraps around the inner service.
#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    calls: ApiCalls,
}

impl<S, B, C> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<C>>,
    S::Future: Send + 'static,
    S::Response: Send,
    S::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (verb, resource) = (verb(&request), resource(request.uri().path()));
        let ApiCalls { metrics, contact } = self.calls.clone();
        let begun = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let status = answer.as_ref().ok().map(Response::status);
            if status.is_some_and(|status| !status.is_server_error()) {
                contact.note();
            }
            metrics.api_requests.count([verb, resource, result(status)]);
            if verb != "watch" {
                metrics.api_request_duration.observe([verb], begun.elapsed());
            }
            answer
        })
    }
}

/// Returns the Kubernetes verb of a request. `get` includes lists, because they differ only in the
/// resource's name in the path.
fn verb<B>(request: &Request<B>) -> &'static str {
    let watches = request.uri().query().is_some_and(|q| q.split('&').any(|p| p == "watch=true"));
    match *request.method() {
        Method::GET if watches => "watch",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// Returns the resource of a path: `/api/v1/…` or `/apis/GROUP/VERSION/…`, then optionally
/// `namespaces/NAME/`, then the resource.
fn resource(path: &str) -> &'static str {
    let mut parts = path.trim_matches('/').split('/');
    let behind = match parts.next() {
        Some("api") => 1,
        Some("apis") => 2,
        _ => return "other",
    };
    let mut parts = parts.skip(behind).peekable();
    if parts.peek() == Some(&"namespaces") {
        parts.next();
        parts.next();
    }
    let asked = parts.next().unwrap_or_default();
    RESOURCES.iter().find(|known| **known == asked).copied().unwrap_or("other")
}

fn result(status: Option<StatusCode>) -> &'static str {
    match status {
        None => "no_answer",
        Some(status) if status.is_success() => "ok",
        Some(StatusCode::NOT_FOUND | StatusCode::GONE) => "not_found",
        Some(StatusCode::CONFLICT) => "conflict",
        Some(StatusCode::TOO_MANY_REQUESTS) => "throttled",
        Some(status) if status.is_server_error() => "server_error",
        Some(_) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If an object's name in a path became a label value, each object would create a new series.
    #[test]
    fn only_the_resource_of_a_path_becomes_a_label() {
        for (path, wanted) in [
            ("/apis/farrier.dev/v1alpha1/namespaces/fleet/nodeupdates/r12-db-01/status", "nodeupdates"),
            ("/apis/farrier.dev/v1alpha1/nodeupdates", "nodeupdates"),
            ("/api/v1/namespaces/fleet/secrets/events", "secrets"),
            ("/apis/coordination.k8s.io/v1/namespaces/farrier/leases/farrier-leader", "leases"),
            ("/api/v1/namespaces/fleet", "other"),
            ("/apis/farrier.dev/v1alpha1", "other"),
            ("/version", "other"),
            ("", "other"),
        ] {
            assert_eq!(resource(path), wanted, "{path}");
        }
    }

    #[test]
    fn a_watch_is_distinguished_from_a_list() {
        let asks = |uri: &str| verb(&Request::get(uri).body(()).unwrap());
        assert_eq!(asks("/api/v1/pods?watch=true&resourceVersion=7"), "watch");
        assert_eq!(asks("/api/v1/pods?labelSelector=x%3Dwatch"), "get");
    }
}
