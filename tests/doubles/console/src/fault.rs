//! The faults that a test may switch on, each with a name.
//!
//! Where they take effect is the business of the places that ask for them.

use serde::{Deserialize, Serialize};

/// What goes wrong. As JSON: `{"name": "stuck", "percent": 99}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Fault {
    /// The update says that it succeeded; the device shows this version.
    WrongVersion {
        /// Empty: the old one.
        #[serde(default)]
        version: String,
    },
    /// The update leaves this part as it was, and says that it succeeded.
    LeavesOut {
        /// As in the versions: `oa-2`, `Blade 1/3`.
        part: String,
    },
    /// After an update this module does not show until the fault is cleared.
    ModuleAway {
        /// As in the versions: `oa-2`.
        part: String,
    },
    /// One more question before the update begins, which no guide has.
    SecondPrompt {
        /// What is asked; `Y` or `yes` goes on, everything else ends the command.
        #[serde(default = "second_question")]
        question: String,
    },
    /// A pager waits for a key in the middle of the progress.
    PagerInProgress,
    /// The progress stays there until the fault is cleared.
    Stuck {
        /// For example 99.
        percent: u8,
    },
    /// The standby or backup module takes no image.
    StandbyRefuses,
    /// There is no room for an image.
    NoRoom,
    /// The connection ends when the progress has come this far; the update goes on.
    DropLine {
        /// For example 40.
        percent: u8,
    },
    /// The update itself ends when it has come this far.
    BreaksOff {
        /// For example 40.
        percent: u8,
    },
    /// All connections end now.
    DropSessions,
    /// Updates are refused because of the device's security mode.
    Mode {
        /// `FIPS`, `CNSA`.
        mode: String,
    },
    /// Another administrator holds the device's only session, or its lock.
    OtherSession {
        /// Whose it is.
        user: String,
    },
    /// Somebody has left a session open on the console of the bay, which goes on with whoever connects next.
    LeftOpen {
        /// Whose it is.
        user: String,
    },
    /// The partner of a redundant pair is not well.
    PartnerUnhealthy,
    /// The transfer ends in the middle, whatever the server does.
    TransferFails,
    /// Every answer comes late.
    Slow {
        /// How late.
        ms: u64,
    },
    /// A message of the device's log stands in the middle of the output.
    Noise {
        /// The line.
        text: String,
    },
    /// After its reboot the device stays away until the fault is cleared.
    StaysDown,
    /// Connections that the reboot ends are not closed: nothing more comes on them.
    Silent,
}

fn second_question() -> String {
    "Are you really sure (yes, y, no, n): ".to_owned()
}

/// A fault with how often or how long it happens.
pub type Armed = farrier_double_parts::fault::Armed<Fault>;

/// The faults that are switched on.
pub(crate) type Faults = farrier_double_parts::fault::Faults<Fault>;

#[cfg(test)]
mod tests {
    use super::*;

    /// A test that switches a fault on for one update must not meet it at the second.
    #[test]
    fn a_fault_for_one_time_happens_once() {
        let armed: Armed = serde_json::from_str(r#"{"name": "no-room", "times": 1}"#).unwrap();
        let mut faults = Faults::default();
        faults.arm(armed);
        assert!(faults.has(&Fault::NoRoom));
        assert!(!faults.has(&Fault::NoRoom));
        assert!(faults.armed().is_empty());
    }
}
