//! The faults that a test may switch on, each with a name.
//!
//! Where they take effect is the business of the places that ask for them.

use std::time::{Duration, Instant};

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

/// A fault with how often it happens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Armed {
    /// What.
    #[serde(flatten)]
    pub fault: Fault,
    /// How many more times; without it: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// For how long, counted from now; without it: for ever.
    #[serde(default, rename = "for-ms", skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    #[serde(skip)]
    until: Option<Instant>,
}

impl Armed {
    /// Until it is cleared.
    pub const fn always(fault: Fault) -> Self {
        Self { fault, times: None, for_ms: None, until: None }
    }

    /// That many times.
    pub const fn times(fault: Fault, times: u32) -> Self {
        Self { fault, times: Some(times), for_ms: None, until: None }
    }

    fn is_over(&self) -> bool {
        self.times == Some(0) || self.until.is_some_and(|until| until <= Instant::now())
    }
}

/// The faults that are switched on.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Armed>);

impl Faults {
    pub(crate) fn arm(&mut self, mut armed: Armed) {
        armed.until = armed.for_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        self.0.push(armed);
    }

    pub(crate) fn clear(&mut self, name: Option<&str>) {
        self.0.retain(|armed| name.is_some_and(|name| fault_name(&armed.fault) != name));
    }

    pub(crate) fn armed(&mut self) -> &[Armed] {
        self.0.retain(|armed| !armed.is_over());
        &self.0
    }

    /// The first fault for which `pick` has an answer; one of its times is used up.
    pub(crate) fn take<T>(&mut self, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let (armed, picked) = self
            .0
            .iter_mut()
            .filter(|armed| !armed.is_over())
            .find_map(|armed| pick(&armed.fault).map(|picked| (armed, picked)))?;
        armed.times = armed.times.map(|times| times.saturating_sub(1));
        Some(picked)
    }

    /// Whether this fault is on; one of its times is used up.
    pub(crate) fn has(&mut self, fault: &Fault) -> bool {
        self.take(|armed| (armed == fault).then_some(())).is_some()
    }

    /// Whether a fault is on, without using it up.
    pub(crate) fn look<T>(&self, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        self.0.iter().filter(|armed| !armed.is_over()).find_map(|armed| pick(&armed.fault))
    }
}

/// The name in JSON.
pub(crate) fn fault_name(fault: &Fault) -> String {
    serde_json::to_value(fault)
        .ok()
        .and_then(|value| value.get("name").and_then(|name| name.as_str().map(str::to_owned)))
        .unwrap_or_default()
}

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
