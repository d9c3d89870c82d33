//! How many session channels a connection has.

/// The channels of a connection, as counted from the server's messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Confirmed by the server and not closed by it.
    pub(super) open: usize,
    /// Closed by the server since the connection was made.
    pub(super) closed: u64,
}
