//! What the benches of doubles have in common.

use farrier_update::device::Limits;
use farrier_update::{AppliesTo, Component, InstallerKind, Needs, PayloadRef, RebootNeed};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a runner that does not answer may act.
pub(crate) const HOLD: Duration = Duration::from_secs(3);

/// Times that fit a double in this process. What is waited for on a real device for minutes takes seconds.
pub(crate) fn limits() -> Limits {
    let seconds = Duration::from_secs;
    Limits {
        has_sessions: false,
        poll: Duration::from_millis(200),
        proof: HOLD + seconds(1),
        idle: seconds(1),
        session_timeout: Some(Duration::from_mins(30)),
        away: seconds(30),
        refused: seconds(30),
        reading: seconds(60),
        seen: seconds(2),
        unseen: seconds(4),
        settle: seconds(3),
        settle_failed: seconds(1),
        reset: seconds(20),
        busy: seconds(20),
        post: seconds(20),
        overdue: seconds(20),
    }
}

/// A component that is one file in the directory of the payloads.
pub(crate) fn component(
    name: &str,
    version: &str,
    installer: InstallerKind,
    file: &Path,
    digest: String,
    timeout: Duration,
) -> Component {
    let file = file.file_name().unwrap().to_string_lossy();
    Component {
        name: name.into(),
        version: version.to_owned(),
        applies_to: AppliesTo::default(),
        installer,
        detect: None,
        firmware: None,
        payload: Some(PayloadRef {
            url: format!("file:///{file}"),
            digest,
            size: None,
            unpack: false,
            signatures: Vec::new(),
        }),
        requires: Vec::new(),
        needs: Needs::default(),
        reboot: RebootNeed::IfRequested,
        interruptible: true,
        timeout,
    }
}

/// Waits until a double was seen without work so many times in a row, but not longer than `limit`.
pub(crate) async fn rests(looks: u32, limit: Duration, is_at_work: impl Fn() -> bool) {
    let begun = Instant::now();
    let mut idle = 0;
    while idle < looks && begun.elapsed() < limit {
        // sleep: a double may begin something a moment after its answer, and does not report it.
        tokio::time::sleep(Duration::from_millis(100)).await;
        idle = if is_at_work() { 0 } else { idle + 1 };
    }
}
