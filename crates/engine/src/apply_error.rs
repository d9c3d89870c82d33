//! Why an apply task fails before its first step.

use crate::shared::Stop;
use farrier_protocol::FailureCode;

/// Why no step was started.
pub(crate) enum ApplyError {
    /// The task failed. `component` is the component at fault, or empty.
    Failed { code: FailureCode, component: String, message: String },
    /// The engine received a request to stop.
    Stopped(Stop),
}

impl ApplyError {
    pub(crate) fn other(component: &str, message: String) -> Self {
        Self::Failed { code: FailureCode::Other, component: component.into(), message }
    }
}
