//! The number of session channels of a connection.

/// The session channels of a connection, counted from the server's messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Channels that the server has confirmed and not closed.
    pub(super) open: usize,
    /// Channels that the server has closed since the connection was established.
    pub(super) closed: u64,
}
