//! Errors and outcomes of writing what a run needs to be reachable.

use crate::failure::chain;

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteOutcome {
    /// What is there is not what it was.
    Object,
    /// Nothing: somebody was faster, and the cache does not show it yet.
    Nothing,
}

/// What went wrong while opening.
pub(super) enum ExposeError {
    Server(kube::Error),
    Words(String),
    /// Somebody was faster, and the caches do not show it yet.
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

/// Whether the API server cannot take an object as it is.
pub(super) fn is_invalid(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 422)
}

/// Whether that is because a Service cannot have a node port that it asks for: somebody else has it,
/// or the cluster gives others.
pub(super) fn lacks_node_port(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let named = |field: &str| field.starts_with("spec.ports[") && field.ends_with("].nodePort");
    is_invalid(error) && causes.into_iter().any(|cause| named(&cause.field))
}
