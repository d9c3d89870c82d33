//! Tells the users who are signed in about the reboot.

use crate::command::{self, Bounds, Errors};
use std::time::Duration;

/// `wall` writes to terminals, and gives up on those that do not take the text.
const BOUNDS: Bounds = Bounds { time: Duration::from_secs(10), bytes: 1024 };

/// Announces the reboot.
pub(super) fn warn(run: &str, delay: Duration, message: &str) {
    let when = match delay.as_secs() {
        0 => "now".to_owned(),
        seconds => format!("in {seconds} s"),
    };
    let separator = if message.is_empty() { "" } else { ": " };
    tell(&format!("Farrier (UpdateRun {run}) reboots this machine {when}{separator}{message}"));
}

/// Writes a text to the terminals of all users. A machine without `wall` has no such users, or they are not
/// told.
pub(super) fn tell(text: &str) {
    // Terminals interpret control characters.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    command::capture("wall", &[text.as_str()], Errors::Discard, BOUNDS).ok();
}
