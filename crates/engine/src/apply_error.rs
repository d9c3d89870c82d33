//! Why an apply task cannot begin a step.

use crate::shared::Stop;
use farrier_protocol::FailureCode;

/// Why no step was begun.
pub(crate) enum ApplyError {
    /// The task failed; the component whose fault it is, or none.
    Failed { code: FailureCode, component: String, message: String },
    /// It was told to stop.
    Stopped(Stop),
}

impl ApplyError {
    pub(crate) fn other(component: &str, message: String) -> Self {
        Self::Failed { code: FailureCode::Other, component: component.into(), message }
    }
}
