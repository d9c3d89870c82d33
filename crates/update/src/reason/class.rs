//! The classes of reasons, and what follows from them.

use super::Reason;
use std::fmt;

/// The class of a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Not a failure.
    Informational,
    /// A failure that may be gone a little later.
    Transient,
    /// A failure that lasts until a user acts. A wrong password is in this class, because repeated failures
    /// lock accounts; so is a wrong host key.
    Permanent,
    /// The machine was not reached, but may be reachable a little later.
    UnreachableTransient,
    /// The machine was not reached, and will not be until a user acts.
    UnreachablePermanent,
}

impl Reason {
    /// Returns the reason with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == name)
    }

    /// Reports whether the same attempt may succeed a little later.
    pub const fn retryable(self) -> bool {
        match self.class() {
            Class::Transient | Class::UnreachableTransient => true,
            Class::Informational | Class::Permanent | Class::UnreachablePermanent => false,
        }
    }

    /// Reports whether the reason means that the machine was not reached at all.
    ///
    /// Such nodes are counted as `unreachable`, separately from `failed`: a machine that is switched off says
    /// nothing about the update.
    pub const fn unreachable(self) -> bool {
        match self.class() {
            Class::UnreachableTransient | Class::UnreachablePermanent => true,
            Class::Informational | Class::Transient | Class::Permanent => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
