//! Errors and outcomes of writing what a run needs to be reachable.

use crate::failure::chain;

/// The outcome of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteOutcome {
    /// The object has changed.
    Object,
    /// Nothing was written: another writer was faster, and the cache does not show it yet.
    Nothing,
}

/// Why opening failed.
pub(super) enum ExposeError {
    Server(kube::Error),
    Words(String),
    /// Another writer was faster, and the caches do not show it yet.
    Meanwhile,
}

impl ExposeError {
    /// The error as text.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Server(error) => chain(error),
            Self::Words(words) => words.clone(),
            Self::Meanwhile => "it was changed meanwhile".to_owned(),
        }
    }
}

/// Reports whether the API server rejects an object as invalid.
pub(super) fn is_invalid(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 422)
}

/// Reports whether the error says that a Service cannot have the node port it asks for: the port is
/// taken, or outside the range of the cluster.
pub(super) fn lacks_node_port(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let named = |field: &str| field.starts_with("spec.ports[") && field.ends_with("].nodePort");
    is_invalid(error) && causes.into_iter().any(|cause| named(&cause.field))
}
