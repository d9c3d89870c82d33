//! Reasons that are about objects which may still be created.

use super::Reason;

impl Reason {
    /// Reports whether the reason means that an object is missing or incomplete, but may still be created or
    /// completed. A run waits for such objects until its arrival deadline.
    pub const fn may_arrive(self) -> bool {
        matches!(
            self,
            Self::SecretNotFound
                | Self::SecretIncomplete
                | Self::NodeNotFound
                | Self::ManagerNotFound
                | Self::BaselineNotFound
                | Self::NoNodesSelected
        )
    }
}
