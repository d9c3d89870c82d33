//! Why an operation on a machine failed: a closed reason and a message for users.

use farrier_update::Reason;

/// A failure that ends an attempt.
///
/// The reason becomes the condition's reason and a metric label; it alone decides what happens next.
/// The message names the object and the next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The kind of failure.
    pub reason: Reason,
    /// What happened, to which object, and what to do next.
    pub message: String,
}

impl Failure {
    /// Creates a failure.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Joins the texts of an error and its sources, without repetitions.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        // Some libraries repeat their source in their own text.
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}
