//! Why something could not be done on a machine: a closed reason and a message for people.

use farrier_update::Reason;

/// A failure that ends an attempt.
///
/// The reason becomes the condition's reason and a metric label; it alone decides what happens
/// next. The message names the object and the next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure.
    pub reason: Reason,
    /// What happened, on which object, what to do next.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// The text of an error and of all its sources, joined once.
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
